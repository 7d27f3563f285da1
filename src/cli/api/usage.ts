/** holdfast usage: what disks, snapshots and images use. */
import type { Command } from 'commander'
import { GIB } from '#base'
import { textTable } from '../text-table.ts'
import { type ApiContext, follow, makeApiCommand, runApiCommand } from './api-command.ts'
import type { UsageJson } from './resource-json.ts'
import { groupIn, type GroupOptions, pathOfGroup, withGroupOption } from './targets.ts'
import { sizeCell, textCell, timeCell } from './words.ts'

const NAMESPACE = 'Holdfast.Protection'

type UsageOptions = GroupOptions & Readonly<{ all?: boolean; measure?: boolean }>

export function usageCommand(): Command {
  const command = makeApiCommand({
    usage: 'usage',
    summary: 'what disks, snapshots and images use, and what deleting each would free',
    description:
      'Shows of every disk, snapshot and image what it could hold (SIZE), what is written to it (USED), what of that nothing else has ' +
      'a share in (OWN), and what deleting it alone would free (FREES). OWN and FREES are of the last measurement.',
    examples: [
      'holdfast usage -g web',
      'holdfast usage --all --measure',
      'holdfast usage -o json --query "[].properties"',
    ],
  })
    .option('-a, --all', 'of all groups, whatever the default')
    .option('--measure', 'measure anew first')
  return withGroupOption(command).action((options: UsageOptions) =>
    runApiCommand(options, async (context) => {
      const path = await usagePath(context, options)
      if (options.measure === true) await measure(context, await context.client.list<UsageJson>(path))
      const all = await context.client.list<UsageJson>(path)
      return { value: all, table: () => usageTable(all) }
    }),
  )
}

export async function usagePath(context: ApiContext, options: UsageOptions): Promise<string> {
  const { client, defaults } = context
  const group = options.group ?? (options.all === true ? undefined : defaults.group)
  const within =
    group === undefined ? `/subscriptions/${await client.subscription()}` : await pathOfGroup(context, group)
  return `${within}/providers/${NAMESPACE}/usage`
}

async function measure(context: ApiContext, all: readonly UsageJson[]): Promise<void> {
  const { client } = context
  const regions = new Set(all.map(({ location = '' }) => location).filter((location) => location !== ''))
  for (const region of regions) {
    const path = `/subscriptions/${await client.subscription()}/providers/${NAMESPACE}/locations/${region}/measureUsage`
    await follow(context, await client.ask('POST', path), `Measuring ${region}`)
  }
}

/** The same kinds of bytes together; those that are not known count as nothing. */
export function sumOf(all: readonly UsageJson[], field: 'sizeBytes' | 'usedBytes' | 'ownBytes' | 'billedGiB'): number {
  return all.reduce((sum, { properties }) => sum + (properties[field] ?? 0), 0)
}

function usageTable(all: readonly UsageJson[]): string {
  if (all.length === 0) return 'There is no disk, snapshot or image here.'
  const rows = all.map(({ id, name, type, location, properties }) => [
    textCell(name),
    textCell(type.split('/').at(-1)),
    textCell(groupIn(id)),
    textCell(location),
    sizeCell(properties.sizeBytes),
    sizeCell(properties.usedBytes),
    sizeCell(properties.ownBytes),
    sizeCell(properties.freedBytes),
    timeCell(properties.measuredAt),
  ])
  const table = textTable(['NAME', 'KIND', 'GROUP', 'LOCATION', 'SIZE', 'USED', 'OWN', 'FREES', 'MEASURED (UTC)'], rows)
  const billed = sumOf(all, 'billedGiB')
  const size = Math.ceil(sumOf(all, 'sizeBytes') / GIB)
  return `${table}\n\nCounted together: ${billed} GiB used (each rounded up) of ${size} GiB that they could hold.`
}
