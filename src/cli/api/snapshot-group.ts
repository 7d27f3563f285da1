/** holdfast snapshot group: snapshots of several disks, of one machine or of several, at one instant. */
import { Command, Option } from 'commander'
import { CliError } from '../errors.ts'
import { textTable } from '../text-table.ts'
import { begunBy } from './follow-operation.ts'
import {
  type ApiContext,
  follow,
  makeApiCommand,
  runApiCommand,
  type Shown,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import type { SnapshotJson } from './resource-json.ts'
import {
  DISK_TYPE,
  groupIn,
  type GroupOptions,
  idOf,
  listPath,
  nameOf,
  readTagOptions,
  SNAPSHOT_TYPE,
  withGroupOption,
} from './targets.ts'
import { factLines, textCell, timeCell } from './words.ts'

const GROUP_TYPE = 'Holdfast.Protection/consistencyGroups'
const MACHINE_TYPE = 'Microsoft.Compute/virtualMachines'
/** The tag by which the snapshots of one instant are known. */
const GROUP_TAG = 'consistencyGroup'
const LEVELS = { crash: 'crash', fs: 'filesystem', app: 'application' } as const

type CreateOptions = WaitOptions &
  GroupOptions &
  Readonly<{
    disk?: readonly string[]
    machine?: readonly string[]
    incremental?: boolean
    names?: string
    consistency: keyof typeof LEVELS
    strict?: boolean
    tags?: readonly string[]
  }>

/** What the operation gives in the end. */
type Taken = Readonly<{
  instant?: string
  skewMs?: number
  pauseMs?: number
  consistency?: string
  snapshots?: readonly (string | Readonly<{ id: string }>)[]
}>

export function snapshotGroupCommand(): Command {
  return new Command('group')
    .summary('snapshots of several disks at one instant')
    .description('Takes snapshots of several disks, of one machine or of several, at one instant: all of them or none.')
    .addHelpText('after', '\nExamples:\n  holdfast snapshot group create now -g web --machine web1')
    .addCommand(createCommand())
    .addCommand(listCommand())
}

async function wishOf(context: ApiContext, options: CreateOptions): Promise<unknown> {
  const { disk = [], machine = [], incremental = false, names, consistency, strict = false } = options
  if (disk.length + machine.length === 0)
    throw new CliError('usage_invalid', 'Name disks with --disk, machines with --machine, or both.')
  const idsOf = (given: readonly string[], type: string): Promise<string[]> =>
    Promise.all(given.map((one) => idOf(context, one, type, options)))
  const tags = readTagOptions(options.tags)
  return {
    disks: await idsOf(disk, DISK_TYPE),
    machines: await idsOf(machine, MACHINE_TYPE),
    incremental,
    consistency: LEVELS[consistency],
    strict,
    ...(names !== undefined && { namePattern: names }),
    ...(tags !== undefined && { tags }),
  }
}

function createCommand(): Command {
  const command = makeApiCommand({
    usage: 'create <name>',
    summary: 'snapshots of several disks at one instant',
    description:
      'Takes a snapshot of every disk named and of every disk of the machines named, all at one instant. A file system that ' +
      'spans several disks can only be brought back from such snapshots.',
    examples: [
      'holdfast snapshot group create now -g web --machine web1',
      'holdfast snapshot group create now -g web --disk data1 data2 --incremental --consistency fs',
    ],
  })
    .option('--disk <name...>', 'disks, by name in the group or id')
    .option('--machine <name...>', 'machines, with all their disks')
    .option('--incremental', 'each of the family of its disk')
    .option('--names <pattern>', 'names of the snapshots: {disk}, {group} and {time} stand for what they say')
    .addOption(
      new Option('--consistency <level>', 'what to ask of the guests').choices(Object.keys(LEVELS)).default('crash'),
    )
    .option('--strict', 'fail instead of taking snapshots of lesser consistency')
    .option('--tags <name=value...>', 'their tags')
  return withWaitOption(withGroupOption(command)).action((name: string, options: CreateOptions) =>
    runApiCommand(options, async (context): Promise<Shown> => {
      const path = `${await idOf(context, name, GROUP_TYPE, options)}/createSnapshots`
      const answer = await context.client.ask('POST', path, await wishOf(context, options))
      if (!options.wait) {
        const begun = begunBy(answer)
        return { value: begun, table: () => `The instant is taken; operation ${begun.operation ?? ''} stores it.` }
      }
      const { output } = await follow(context, answer, `Taking group ${name}`)
      return { value: output, table: () => describe(name, output ?? {}) }
    }),
  )
}

function describe(name: string, { instant, skewMs, pauseMs, consistency, snapshots = [] }: Taken): string {
  const ids = snapshots.map((one) => (typeof one === 'string' ? one : one.id))
  return factLines([
    ['Group', textCell(name)],
    ['Instant (UTC)', timeCell(instant)],
    ['Consistency', textCell(consistency)],
    ['Apart at most', skewMs === undefined ? '' : `${skewMs} ms`],
    ['Guests paused', pauseMs === undefined ? '' : `${pauseMs} ms`],
    ['Snapshots', ids.map((id) => textCell(nameOf(id))).join(', ')],
  ])
}

type ListedGroup = Readonly<{ name: string; group: string; instant: string | undefined; snapshots: readonly string[] }>

/** Snapshots of one instant bear its name; those of another run under the same name have another time. */
export function groupsOf(snapshots: readonly SnapshotJson[]): ListedGroup[] {
  const tagged = snapshots.filter(({ tags }) => tags?.[GROUP_TAG] !== undefined)
  const found = Map.groupBy(tagged, ({ id, tags, properties }) =>
    [groupIn(id).toLowerCase(), tags?.[GROUP_TAG], properties.timeCreated].join('\n'),
  )
  return Array.from(found.values(), (members) => ({
    name: members[0]?.tags?.[GROUP_TAG] ?? '',
    group: groupIn(members[0]?.id ?? ''),
    instant: members[0]?.properties.timeCreated,
    snapshots: members.map(({ id }) => id),
  }))
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'what was taken together',
    examples: ['holdfast snapshot group list -g web'],
  }).option('-a, --all', 'of all groups, whatever the default')
  return withGroupOption(command).action((options: GroupOptions & Readonly<{ all?: boolean }>) =>
    runApiCommand(options, async (context) => {
      const all = await context.client.list<SnapshotJson>(await listPath(context, SNAPSHOT_TYPE, options))
      const groups = groupsOf(all)
      return { value: groups, table: () => groupTable(groups) }
    }),
  )
}

function groupTable(groups: readonly ListedGroup[]): string {
  if (groups.length === 0) return 'Nothing was taken together here.'
  const rows = groups.map(({ name, group, instant, snapshots }) => [
    textCell(name),
    textCell(group),
    timeCell(instant),
    snapshots.map((id) => textCell(nameOf(id))).join(', '),
  ])
  return textTable(['NAME', 'GROUP', 'INSTANT (UTC)', 'SNAPSHOTS'], rows)
}
