/** holdfast advise: which protection fits which need, from the machines' own figures. */
import type { Command } from 'commander'
import { formatBytes, isHoldfastError, isoTime } from '#base'
import type { Advice, AdviceNote, KnownPoint, Means, Need, Protection, Threat } from '#domain'
import { formatDuration } from '../progress-bar.ts'
import { readCatalog } from '../server/catalog.ts'
import { withControl } from '../server/home-option.ts'
import { textTable } from '../text-table.ts'
import { type ApiContext, makeApiCommand, runApiCommand } from './api-command.ts'
import { figuresOf } from './figures.ts'
import type { DiskJson, SnapshotJson, UsageJson } from './resource-json.ts'
import { DISK_TYPE, type GroupOptions, listPath, SNAPSHOT_TYPE, withGroupOption } from './targets.ts'
import { usagePath } from './usage.ts'
import { textCell, timeCell } from './words.ts'

type AdviseOptions = GroupOptions & Readonly<{ all?: boolean; disk?: string; machine?: string }>

const NEED_WORDS: Readonly<Record<Need, string>> = {
  'undo-change': 'undo a bad change',
  'survive-region': 'outlive the region',
  'long-history': 'go far back, single files',
}

const MEANS_WORDS: Readonly<Record<Means, string>> = {
  snapshot: 'snapshot',
  'consistency-group': 'snapshot group',
  'remote-snapshot': 'snapshot elsewhere',
  'recovery-point': 'backup',
}

const COMMANDS: Readonly<Record<Means, string>> = {
  snapshot: 'holdfast snapshot create NAME --source DISK --incremental',
  'consistency-group': 'holdfast snapshot group create NAME --machine MACHINE --incremental',
  'remote-snapshot': 'holdfast snapshot copy NAME --source SNAPSHOT -l OTHER-REGION',
  'recovery-point': 'holdfast repo backup, holdfast job start backup',
}

const THREAT_WORDS: Readonly<Record<Threat, string>> = {
  'bad-change': 'a bad change inside the machine',
  'disk-deleted': 'a deleted disk',
  'pool-lost': 'the loss of the storage that the disk lies on',
  'region-lost': 'the loss of everything in its region',
  'protection-deleted': 'somebody who deletes the protection itself',
}

const NOTE_WORDS: Readonly<Record<AdviceNote, string>> = {
  'no-protection': 'nothing protects it',
  'instants-differ': 'its disks have snapshots, but none that were taken together: they may not fit each other',
  'nothing-elsewhere': 'nothing of it lies in another region',
  'points-unknown': 'whether it has backups is known on the host of its server only',
}

export function adviseCommand(): Command {
  const command = makeApiCommand({
    usage: 'advise',
    summary: 'which protection fits which need: what it protects, costs and loses',
    description:
      'Shows for every machine and every single disk which protection fits which need, what there is of it, what would be lost ' +
      'now, and what it costs, from its own figures: size, use ("holdfast usage --measure" makes it exact) and snapshots. ' +
      'Figures that are not known are left out.',
    examples: ['holdfast advise -g web', 'holdfast advise --machine web1', 'holdfast advise --all -o json'],
  })
    .option('-a, --all', 'of all groups, whatever the default')
    .option('--disk <name>', 'only this disk')
    .option('--machine <name>', 'only this machine')
  return withGroupOption(command).action((options: AdviseOptions) =>
    runApiCommand(options, async (context) => {
      const advice = await adviseOn(context, options)
      return { value: advice, table: () => describe(advice) }
    }),
  )
}

async function adviseOn(context: ApiContext, options: AdviseOptions): Promise<Advice[]> {
  const { client } = context
  const disks = await client.list<DiskJson>(await listPath(context, DISK_TYPE, options))
  // Copies may lie in other groups.
  const everywhere = { output: options.output, all: true }
  const snapshots = await client.list<SnapshotJson>(await listPath(context, SNAPSHOT_TYPE, everywhere))
  const usage = await client.list<UsageJson>(await usagePath(context, everywhere))
  const figures = figuresOf(disks, snapshots, usage)
  const wanted = figures.filter(
    ({ name, machine }) =>
      (options.disk === undefined || name === options.disk) &&
      (options.machine === undefined || machine === options.machine),
  )
  const { adviseProtection } = await import('#domain')
  return adviseProtection({ nowMs: client.clock.nowMs(), disks: wanted, points: await readPoints(options) })
}

/** The server's catalog of recovery points; only who may open its home can see it. */
async function readPoints({ home }: AdviseOptions): Promise<KnownPoint[] | undefined> {
  const { HOLDFAST_ENDPOINT: endpoint = '' } = process.env
  if (home === undefined && endpoint !== '') return undefined
  try {
    const { points } = await withControl(home === undefined ? {} : { home }, readCatalog)
    return points.map(({ machineName, takenAtMs }) => ({ machine: machineName, takenMs: takenAtMs }))
  } catch (error) {
    if (isHoldfastError(error)) return undefined
    throw error
  }
}

function lossCell({ count, losesMs }: Protection): string {
  if (losesMs !== undefined) return formatDuration(Math.floor(losesMs / 1000))
  return count === undefined ? '?' : 'everything'
}

function costCell({ firstBytesMax, perDayBytes }: Protection): string {
  const first = firstBytesMax > 0 ? `up to ${formatBytes(firstBytesMax)}` : ''
  const daily = perDayBytes === undefined ? 'then what changes' : `${formatBytes(perDayBytes)} a day`
  return [first, daily].filter((part) => part !== '').join(', ')
}

function rowsOf({ subject, protections }: Advice): string[][] {
  return protections.map((one) => [
    textCell(subject.name),
    NEED_WORDS[one.need],
    MEANS_WORDS[one.means],
    one.count === undefined ? '?' : String(one.count),
    one.newestMs === undefined ? '' : timeCell(isoTime(one.newestMs)),
    lossCell(one),
    one.back === 'at-once' ? 'at once' : 'at once, there',
    costCell(one),
  ])
}

function headOf({ subject, disks, sizeBytes, usedBytes, perDayBytes, notes }: Advice): string {
  const facts = [
    `${disks.length} disk${disks.length === 1 ? '' : 's'}`,
    formatBytes(sizeBytes),
    ...(usedBytes === undefined ? [] : [`${formatBytes(usedBytes)} used`]),
    ...(perDayBytes === undefined ? [] : [`${formatBytes(perDayBytes)} change a day`]),
  ]
  const warnings = notes.map((note) => NOTE_WORDS[note])
  return `${textCell(subject.name)} (${facts.join(', ')})${warnings.length > 0 ? `: ${warnings.join('; ')}` : ''}.`
}

function legend(advice: readonly Advice[]): string[] {
  const means = new Map(advice.flatMap(({ protections }) => protections).map((one) => [one.means, one]))
  return [...means.values()].map(({ means: name, notAgainst }) => {
    const gaps = notAgainst.map((threat) => THREAT_WORDS[threat]).join(', or ')
    return `A ${MEANS_WORDS[name]} (${COMMANDS[name]}) does not help against ${gaps}.`
  })
}

function describe(advice: readonly Advice[]): string {
  if (advice.length === 0) return 'There is no such disk or machine.'
  const headings = ['OF', 'TO', 'FITS', 'THERE ARE', 'NEWEST (UTC)', 'WOULD LOSE', 'BACK', 'COSTS']
  return [...advice.map(headOf), '', textTable(headings, advice.flatMap(rowsOf)), '', ...legend(advice)].join('\n')
}
