/** holdfast operation: what goes on, and what became of it. */
import { Command } from 'commander'
import type { OperationBody } from '#contract'
import { parseCount } from '../count.ts'
import { textTable } from '../text-table.ts'
import { actionCell, type EventJson, HOURS_DEFAULT, readEvents, resourceCell } from './activity.ts'
import type { ApiClient } from './api-client.ts'
import { type ApiOptions, follow, makeApiCommand, runApiCommand, type Shown } from './api-command.ts'
import { operationPath } from './follow-operation.ts'
import { factLines, textCell, timeCell } from './words.ts'

/** Each is asked for by itself. */
const LISTED_MAX = 100

type ListOptions = ApiOptions & Readonly<{ all?: boolean; hours: number }>
type Listed = OperationBody & Readonly<{ action: string; resourceId: string; caller: string }>

export function operationCommand(): Command {
  return new Command('operation')
    .summary('what goes on')
    .description('Shows and follows what was accepted and takes its time. It goes on whether it is followed or not.')
    .addHelpText('after', '\nExamples:\n  holdfast operation list\n  holdfast operation watch 0d5f7c1e-...')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(watchCommand())
}

/** The operations that the events began, newest first; those whose record is gone are left out. */
async function operationsOf(client: ApiClient, events: readonly EventJson[]): Promise<Listed[]> {
  const newest = new Map(events.toReversed().map((event) => [event.operationId, event]))
  const found: Listed[] = []
  for (const [id, event] of [...newest].toReversed().slice(0, LISTED_MAX)) {
    const body = await client.find<OperationBody>(await operationPath(client, id))
    if (body === undefined) continue
    const { resourceId, caller, operationName } = event
    found.push({ ...body, action: operationName?.value ?? '', resourceId, caller })
  }
  return found
}

function listCommand(): Command {
  return makeApiCommand({
    usage: 'list',
    summary: 'operations that go on; with --all also those that have ended',
    examples: ['holdfast operation list', 'holdfast operation list --all --hours 2'],
  })
    .option('-a, --all', 'also those that have ended')
    .option('--hours <count>', 'begun in the last so many hours', parseCount, HOURS_DEFAULT)
    .action((options: ListOptions) =>
      runApiCommand(options, async ({ client }) => {
        const all = await operationsOf(client, await readEvents(client, { hours: options.hours, status: 'Accepted' }))
        const shown = options.all === true ? all : all.filter(({ status }) => status === 'InProgress')
        return { value: shown, table: () => operationTable(shown) }
      }),
    )
}

function percentCell(percent: number | undefined): string {
  return percent === undefined ? '' : `${percent} %`
}

function operationTable(operations: readonly Listed[]): string {
  if (operations.length === 0) return 'Nothing goes on.'
  const rows = operations.map(({ name, action, resourceId, status, percentComplete, startTime }) => [
    textCell(name),
    actionCell(action),
    resourceCell(resourceId),
    textCell(status),
    percentCell(percentComplete),
    timeCell(startTime),
  ])
  return textTable(['OPERATION', 'ACTION', 'RESOURCE', 'STATUS', 'DONE', 'BEGUN (UTC)'], rows)
}

function shown(operation: OperationBody): Shown {
  const { name, status, startTime, endTime, percentComplete, error } = operation
  const facts = [
    ['Operation', textCell(name)],
    ['Status', textCell(status)],
    ['Done', percentCell(percentComplete)],
    ['Begun (UTC)', timeCell(startTime)],
    ['Ended (UTC)', timeCell(endTime)],
    ['Error', error === undefined ? '' : textCell(`${error.code}: ${error.message}`)],
  ] as const
  return { value: operation, table: () => factLines(facts) }
}

function showCommand(): Command {
  return makeApiCommand({
    usage: 'show <id>',
    summary: 'one operation: its status, its share done, its error',
    examples: ['holdfast operation show 0d5f7c1e-6c2b-4f0e-9d4e-2f6f6c1f2a3b'],
  }).action((id: string, options: ApiOptions) =>
    runApiCommand(options, async ({ client }) => shown(await client.get(await operationPath(client, id)))),
  )
}

function watchCommand(): Command {
  return makeApiCommand({
    usage: 'watch <id>',
    summary: 'follow an operation until it is over',
    description:
      'Shows progress until the operation is over, and fails as it failed. Ctrl-C leaves; the operation goes on.',
    examples: ['holdfast operation watch 0d5f7c1e-6c2b-4f0e-9d4e-2f6f6c1f2a3b'],
  }).action((id: string, options: ApiOptions) =>
    runApiCommand(options, async (context) => {
      const path = await operationPath(context.client, id)
      const answer = { status: 202, headers: { 'azure-asyncoperation': path }, body: undefined }
      await follow(context, answer, `Operation ${id}`)
      return shown(await context.client.get(path))
    }),
  )
}
