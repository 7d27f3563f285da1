/** holdfast job: what the server does and did. */
import { Command } from 'commander'
import type { JobEvent, JobView, StepView } from '#server'
import { parseCount } from '../count.ts'
import { runCommandHandler } from '../command.ts'
import { textTable } from '../text-table.ts'
import { timeText } from '../time-text.ts'
import { type HomeOptions, makeHomeCommand, withControl } from './home-option.ts'
import { jobStartCommand } from './job-start.ts'
import { watchJob } from './job-watch.ts'

type ListOptions = HomeOptions & Readonly<{ status?: string; limit?: number }>
type CancelOptions = HomeOptions & Readonly<{ reason?: string }>
type Shown = Readonly<{ job: JobView; steps: readonly StepView[]; events: readonly JobEvent[] }>

export function jobCommand(): Command {
  return new Command('job')
    .summary('durable jobs of the server')
    .description('Starts jobs, shows, follows and cancels them. A server must run: "holdfast serve".')
    .addHelpText('after', '\nExamples:\n  holdfast job list\n  holdfast job watch 0d5f7c1e-...')
    .addCommand(jobStartCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(watchCommand())
    .addCommand(cancelCommand())
}

function listCommand(): Command {
  return makeHomeCommand({
    usage: 'list',
    summary: 'jobs, newest first',
    examples: ['holdfast job list', 'holdfast job list --status running --output json'],
  })
    .option('--status <status>', 'only jobs of this status')
    .option('--limit <count>', 'at most this many (default: 100)', parseCount)
    .action((options: ListOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const { status, limit } = options
          const jobs = (await control.call('job.list', { status, limit })) as JobView[]
          output.result(jobs, () => (jobs.length === 0 ? 'There is no such job.' : table(jobs)))
        }),
      ),
    )
}

function table(jobs: readonly JobView[]): string {
  const rows = jobs.map(({ id, name, key, status, createdMs }) => [id, name, key ?? '', status, timeText(createdMs)])
  return textTable(['JOB', 'KIND', 'KEY', 'STATUS', 'CREATED (UTC)'], rows)
}

function showCommand(): Command {
  return makeHomeCommand({
    usage: 'show <id>',
    summary: 'one job in full: input, steps, result',
    examples: ['holdfast job show 0d5f7c1e-6c2b-4f0e-9d4e-2f6f6c1f2a3b --output json'],
  }).action((id: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const shown = (await control.call('job.show', { id })) as Shown
        output.result(shown, () => describe(shown))
      }),
    ),
  )
}

function describe({ job, steps }: Shown): string {
  const { id, name, status, createdMs, error, output } = job
  const rows = steps.map((step) => [step.name, step.status, String(step.attempts), step.error?.message ?? ''])
  const end = error === undefined ? JSON.stringify(output, undefined, 2) : `${error.code}: ${error.message}`
  const head = `Job ${id} (${name}): ${status}, created ${timeText(createdMs)} UTC.`
  return [head, ...(rows.length === 0 ? [] : [textTable(['STEP', 'STATUS', 'ATTEMPTS', 'ERROR'], rows)]), end].join(
    '\n',
  )
}

function watchCommand(): Command {
  return makeHomeCommand({
    usage: 'watch <id>',
    summary: 'follow a job until it is over',
    description: 'Shows progress until the job is over, and fails as the job failed. Ctrl-C leaves; the job goes on.',
    examples: ['holdfast job watch 0d5f7c1e-6c2b-4f0e-9d4e-2f6f6c1f2a3b'],
  }).action((id: string, options: HomeOptions) =>
    runCommandHandler(options, (context) =>
      withControl(options, async (control) => {
        const job = await watchJob(control, id, context)
        context.output.result(job, () => `Job ${id} ${job.status}.`)
      }),
    ),
  )
}

function cancelCommand(): Command {
  return makeHomeCommand({
    usage: 'cancel <id>',
    summary: 'ask a job to stop',
    description: 'Asks the job to stop and to clean up after itself. Does not wait for it: see "holdfast job watch".',
    examples: ['holdfast job cancel 0d5f7c1e-6c2b-4f0e-9d4e-2f6f6c1f2a3b --reason "wrong machine"'],
  })
    .option('--reason <words>', 'kept with the job')
    .action((id: string, options: CancelOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const asked = (await control.call('job.cancel', { id, reason: options.reason })) as boolean
          output.result({ id, asked }, () => (asked ? `Job ${id} was asked to stop.` : `Job ${id} is over already.`))
        }),
      ),
    )
}
