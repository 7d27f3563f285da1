/** holdfast protect job: what is done to what vaults protect; and a job followed to its end. */
import { Command, Option } from 'commander'
import { CliError } from '../errors.ts'
import { textTable } from '../text-table.ts'
import {
  type ApiContext,
  makeApiCommand,
  runApiCommand,
  type Shown,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import { apiErrorOfParts } from './api-error.ts'
import { askPatiently, begunBy, leftAlone, operationIdOf, operationUrl } from './follow-operation.ts'
import type { HttpAnswer } from './https.ts'
import { pathOfId, vaultIdOf, type VaultOptions, withVaultOptions } from './protect-names.ts'
import { factLines, textCell, timeCell } from './words.ts'

export type JobJson = Readonly<{
  name: string
  properties: Readonly<{
    operation: string
    status: string
    entityFriendlyName: string
    startTime?: string
    endTime?: string
    duration?: string
    errorDetails?: readonly Readonly<{ errorTitle: string; errorString: string; recommendations: readonly string[] }>[]
    extendedInfo: Readonly<{
      tasksList: readonly Readonly<{ taskId: string; status: string; duration?: string; progressPercentage?: number }>[]
      propertyBag: Readonly<Record<string, string>>
      progressPercentage?: number
    }>
  }>
}>

const POLL_MS = 500
const RUNNING: readonly string[] = ['InProgress', 'Cancelling']

function jobPath(vaultId: string, id: string): string {
  return `${pathOfId(vaultId)}/backupJobs/${encodeURIComponent(id)}`
}

export function withJobWaitOption(command: Command): Command {
  return withWaitOption(command, 'holdfast protect job wait')
}

/** The id of the job that an answer began, which is that of its operation. @throws CliError when it began none */
export function jobIdOf(answer: HttpAnswer): string {
  const url = operationUrl(answer)
  const id = url === undefined ? '' : operationIdOf(url)
  if (id !== '') return id
  throw new CliError('api_answer_invalid', 'The answer names no job.')
}

type Following = Pick<ApiContext, 'client'> & Readonly<{ output: Pick<ApiContext['output'], 'progress'> }>

/**
 * Follows it to its end. Leaving (Ctrl-C), or a server that stays away, leaves the job alone.
 * @throws ApiError when it failed or was cancelled; `cancelled` when left; CliError `api_unreachable`
 */
export async function followJob(context: Following, vaultId: string, id: string, task: string): Promise<JobJson> {
  try {
    return await pollJob(context, vaultId, id, task)
  } catch (error) {
    const command = `holdfast protect job wait ${id} --vault ${vaultId}`
    throw leftAlone(error, { task, facts: { job: id }, command })
  }
}

/** The end of a change: with `--no-wait` what was begun, else its job when that is over. */
export async function concludeJob(
  context: ApiContext,
  options: WaitOptions,
  answer: HttpAnswer,
  { vaultId, task }: Readonly<{ vaultId: string; task: string }>,
): Promise<Shown> {
  const id = jobIdOf(answer)
  if (options.wait) return oneJob(await followJob(context, vaultId, id, task))
  return { value: begunBy(answer), table: () => `${task}: goes on as job ${id}.` }
}

async function pollJob({ client, output }: Following, vaultId: string, id: string, task: string): Promise<JobJson> {
  for (;;) {
    const job = (await askPatiently(client, jobPath(vaultId, id))).body as JobJson
    const { status, extendedInfo, errorDetails = [] } = job.properties
    if (!RUNNING.includes(status)) {
      if (status !== 'Failed' && status !== 'Cancelled') return job
      const [error] = errorDetails
      const code = error?.errorTitle.split(':', 1)[0] ?? 'OperationPreempted'
      const message = error?.errorString ?? `The job ${id} was cancelled.`
      throw apiErrorOfParts({ code, message }, { operation: id })
    }
    const doneBytes = extendedInfo.progressPercentage ?? 0
    output.progress({ task, doneBytes, totalBytes: 100, unit: 'percent' })
    await client.clock.sleep(POLL_MS, client.signal)
  }
}

export function oneJob(job: JobJson): Shown {
  return { value: job, table: () => jobFacts(job) }
}

function jobFacts({ name, properties }: JobJson): string {
  const { operation, status, entityFriendlyName, startTime, endTime, duration, errorDetails = [] } = properties
  const { tasksList, propertyBag } = properties.extendedInfo
  const facts = factLines([
    ['Job', textCell(name)],
    ['Operation', textCell(operation)],
    ['Machine', textCell(entityFriendlyName)],
    ['State', textCell(status)],
    ['Started (UTC)', timeCell(startTime)],
    ['Ended (UTC)', timeCell(endTime)],
    ['Duration', textCell(duration)],
    ...tasksList.map(({ taskId, status, progressPercentage }): readonly [string, string] => [
      textCell(taskId),
      `${textCell(status)}${progressPercentage === undefined ? '' : ` ${progressPercentage} %`}`,
    ]),
    ...Object.entries(propertyBag).map(([key, value]): readonly [string, string] => [textCell(key), textCell(value)]),
  ])
  const errors = errorDetails.flatMap(({ errorTitle, errorString, recommendations }) => [
    '',
    textCell(errorTitle),
    textCell(errorString),
    ...recommendations.map((one) => `  - ${textCell(one)}`),
  ])
  return [facts, ...errors].join('\n')
}

function jobTable(jobs: readonly JobJson[]): string {
  if (jobs.length === 0) return 'There is no such job.'
  const rows = jobs.map(({ name, properties }) => [
    textCell(name),
    textCell(properties.operation),
    textCell(properties.entityFriendlyName),
    textCell(properties.status),
    timeCell(properties.startTime),
    textCell(properties.duration),
  ])
  return textTable(['JOB', 'OPERATION', 'MACHINE', 'STATE', 'STARTED (UTC)', 'DURATION'], rows)
}

type ListOptions = VaultOptions & Readonly<{ status?: string; operation?: string }>

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'the jobs of a vault, the newest first',
    examples: ['holdfast protect job list -g web -v vault1 --status Failed'],
  })
    .addOption(
      new Option('--status <state>', 'only those').choices([
        'InProgress',
        'Completed',
        'CompletedWithWarnings',
        'Failed',
        'Cancelled',
      ]),
    )
    .option('--operation <word>', 'only those: Backup, Restore, ConfigureBackup, ...')
  return withVaultOptions(command).action((options: ListOptions) =>
    runApiCommand(options, async (context) => {
      const terms = [
        ...(options.status === undefined ? [] : [`status eq '${options.status}'`]),
        ...(options.operation === undefined ? [] : [`operation eq '${options.operation.replaceAll("'", "''")}'`]),
      ]
      const filter = terms.length === 0 ? '' : `?$filter=${encodeURIComponent(terms.join(' and '))}`
      const path = `${pathOfId(await vaultIdOf(context, options))}/backupJobs${filter}`
      const jobs = await context.client.list<JobJson>(path)
      return { value: jobs, table: () => jobTable(jobs) }
    }),
  )
}

function showCommand(): Command {
  const command = makeApiCommand({
    usage: 'show <job>',
    summary: 'a job: its tasks, what it moved, what went wrong and what to do about it',
    examples: ['holdfast protect job show 1f0e3dad-9990-4c1e-9f65-0a1c4c6c1b7e -g web -v vault1'],
  })
  return withVaultOptions(command).action((job: string, options: VaultOptions) =>
    runApiCommand(options, async (context) =>
      oneJob(await context.client.get<JobJson>(jobPath(await vaultIdOf(context, options), job))),
    ),
  )
}

function waitCommand(): Command {
  const command = makeApiCommand({
    usage: 'wait <job>',
    summary: 'waits for the end of a job; fails when it failed',
    examples: ['holdfast protect job wait 1f0e3dad-9990-4c1e-9f65-0a1c4c6c1b7e -g web -v vault1'],
  })
  return withVaultOptions(command).action((job: string, options: VaultOptions) =>
    runApiCommand(options, async (context) =>
      oneJob(await followJob(context, await vaultIdOf(context, options), job, `Job ${job}`)),
    ),
  )
}

function cancelCommand(): Command {
  const command = makeApiCommand({
    usage: 'cancel <job>',
    summary: 'cancels a job that runs; a backup that is cancelled leaves no point',
    examples: ['holdfast protect job cancel 1f0e3dad-9990-4c1e-9f65-0a1c4c6c1b7e -g web -v vault1'],
  })
  return withVaultOptions(command).action((job: string, options: VaultOptions) =>
    runApiCommand(options, async (context) => {
      const path = jobPath(await vaultIdOf(context, options), job)
      await context.client.ask('POST', `${path}/cancel`)
      return oneJob(await context.client.get<JobJson>(path))
    }),
  )
}

export function protectJobCommand(): Command {
  return new Command('job')
    .summary('what is done to protected machines')
    .description('Shows, waits for and cancels the jobs of a vault: backups, restores, changes of protection.')
    .addHelpText('after', '\nExamples:\n  holdfast protect job list -g web -v vault1')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(waitCommand())
    .addCommand(cancelCommand())
}
