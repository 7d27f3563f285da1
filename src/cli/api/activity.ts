/** holdfast activity: what was asked for and what became of it, newest first. */
import type { Command } from 'commander'
import { isoTime } from '#base'
import { parseCount } from '../count.ts'
import { textTable } from '../text-table.ts'
import type { ApiClient } from './api-client.ts'
import { makeApiCommand, runApiCommand } from './api-command.ts'
import { groupIn, type GroupOptions, nameOf, withGroupOption } from './targets.ts'
import { textCell, timeCell } from './words.ts'

const HOUR_MS = 3_600_000
export const HOURS_DEFAULT = 24

type Value = Readonly<{ value?: string }>
export type EventJson = Readonly<{
  eventTimestamp: string
  operationId: string
  correlationId: string
  caller: string
  resourceId: string
  operationName?: Value
  status?: Value
  subStatus?: Value
  properties?: Readonly<Record<string, unknown>>
}>

type ActivityOptions = GroupOptions & Readonly<{ all?: boolean; hours: number; failed?: boolean }>

export type EventWish = Readonly<{ hours: number; group?: string | undefined; status?: string }>

/** Events of the activity log, newest first; the server gives at most a thousand. */
export async function readEvents(client: ApiClient, { hours, group, status }: EventWish): Promise<EventJson[]> {
  const terms = [
    `eventTimestamp ge '${isoTime(client.clock.nowMs() - hours * HOUR_MS)}'`,
    ...(group === undefined ? [] : [`resourceGroupName eq '${group.replaceAll("'", "''")}'`]),
    ...(status === undefined ? [] : [`status eq '${status}'`]),
  ]
  const path = `/subscriptions/${await client.subscription()}/providers/Microsoft.Insights/eventtypes/management/values`
  return client.list<EventJson>(`${path}?$filter=${encodeURIComponent(terms.join(' and '))}`)
}

export function activityCommand(): Command {
  const command = makeApiCommand({
    usage: 'activity',
    summary: 'what was done: every change that was asked for, by whom, and what became of it',
    description:
      'Shows the activity log of the group that is named or is the default; of everything without either, or with --all. What ' +
      'was accepted goes on as an operation: see "holdfast operation".',
    examples: ['holdfast activity --hours 2', 'holdfast activity -g web --failed -o json'],
  })
    .option('-a, --all', 'of everything, whatever the default group')
    .option('--hours <count>', 'of the last so many hours', parseCount, HOURS_DEFAULT)
    .option('--failed', 'only what was refused or failed')
  return withGroupOption(command).action((options: ActivityOptions) =>
    runApiCommand(options, async ({ client, defaults }) => {
      const group = options.group ?? (options.all === true ? undefined : defaults.group)
      const failed = options.failed === true ? { status: 'Failed' } : {}
      const events = await readEvents(client, { hours: options.hours, group, ...failed })
      return { value: events, table: () => eventTable(events) }
    }),
  )
}

/** "Microsoft.Compute/disks/write" as "disks/write". */
export function actionCell(action: string | undefined): string {
  return textCell((action ?? '').split('/').slice(1).join('/'))
}

export function resourceCell(id: string): string {
  const group = groupIn(id)
  return textCell(group === '' || nameOf(id) === group ? nameOf(id) : `${group}/${nameOf(id)}`)
}

function eventTable(events: readonly EventJson[]): string {
  if (events.length === 0) return 'Nothing was done.'
  const rows = events.map(({ eventTimestamp, operationName, resourceId, status, subStatus, caller, properties }) => [
    timeCell(eventTimestamp),
    actionCell(operationName?.value),
    resourceCell(resourceId),
    textCell(status?.value),
    textCell(properties?.['code'] ?? subStatus?.value),
    textCell(caller),
  ])
  return textTable(['TIME (UTC)', 'ACTION', 'RESOURCE', 'STATUS', 'CODE', 'CALLER'], rows)
}
