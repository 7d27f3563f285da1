/** holdfast snapshot: snapshots of managed disks. */
import { Command } from 'commander'
import { makeApiCommand, runApiCommand, type WaitOptions, withWaitOption } from './api-command.ts'
import { exportCommand } from './export-command.ts'
import { deleteCommand, type KindWords, listing, type ListOptions, showCommand } from './kind-commands.ts'
import { change } from './one-or-many.ts'
import type { DiskJson, SnapshotJson } from './resource-json.ts'
import { SNAPSHOT } from './snapshot-kind.ts'
import { snapshotGroupCommand } from './snapshot-group.ts'
import {
  DISK_TYPE,
  type GroupOptions,
  idOf,
  listPath,
  readTagOptions,
  SNAPSHOT_TYPE,
  withGroupOption,
} from './targets.ts'

type CreateOptions = WaitOptions &
  GroupOptions &
  Readonly<{ source: string; incremental?: boolean; sku?: string; tags?: readonly string[] }>
type CopyOptions = WaitOptions &
  GroupOptions &
  Readonly<{ source: string; location?: string; tags?: readonly string[] }>

const SHOW_WORDS: KindWords = {
  examples: [
    'holdfast snapshot show monday -g web',
    'holdfast snapshot show monday -g web --query properties.timeCreated',
  ],
}
const DELETE_WORDS: KindWords = {
  description: 'Deletes snapshots; each by itself, for none rests on another. Asks first, unless --yes is given.',
  examples: ['holdfast snapshot delete monday -g web', 'holdfast snapshot delete --yes --ids "$ID1" "$ID2"'],
}

export function snapshotCommand(): Command {
  return new Command('snapshot')
    .summary('snapshots of disks')
    .description(
      'Takes, copies, exports and deletes snapshots. A snapshot rests on no disk and no other snapshot: each is deleted by itself.',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast snapshot create monday -g web --source data1\n  holdfast snapshot group create now -g web --disk data1 data2',
    )
    .addCommand(listCommand())
    .addCommand(showCommand(SNAPSHOT, SHOW_WORDS))
    .addCommand(createCommand())
    .addCommand(copyCommand())
    .addCommand(exportSnapshotCommand())
    .addCommand(deleteCommand(SNAPSHOT, DELETE_WORDS))
    .addCommand(snapshotGroupCommand())
}

function listCommand(): Command {
  const examples = ['holdfast snapshot list -g web', 'holdfast snapshot list -g web --source data1 -o json'] as const
  const command = listing(SNAPSHOT, examples).option('--source <disk>', 'only of this disk')
  return command.action((options: ListOptions & Readonly<{ source?: string }>) =>
    runApiCommand(options, async (context) => {
      const all = await context.client.list<SnapshotJson>(await listPath(context, SNAPSHOT_TYPE, options))
      if (options.source === undefined) return SNAPSHOT.many(all)
      const source = (await idOf(context, options.source, DISK_TYPE, options)).toLowerCase()
      return SNAPSHOT.many(
        all.filter(({ properties }) => properties.creationData?.sourceResourceId?.toLowerCase() === source),
      )
    }),
  )
}

function createCommand(): Command {
  const command = makeApiCommand({
    usage: 'create <name>',
    summary: 'take a snapshot of a disk, also of a running machine',
    description:
      'The snapshot is of the instant at which the request is accepted, and is done when it no longer needs the disk. With ' +
      '--incremental only what changed since the last one of the disk is stored anew.',
    examples: [
      'holdfast snapshot create monday -g web --source data1',
      'holdfast snapshot create tuesday -g web --source data1 --incremental --no-wait',
    ],
  })
    .requiredOption('--source <disk>', 'name of the disk in the group, or id')
    .option('--incremental', 'one of a family')
    .option('--sku <name>', 'kept and shown')
    .option('--tags <name=value...>', 'its tags')
  return withWaitOption(withGroupOption(command)).action((name: string, options: CreateOptions) =>
    runApiCommand(options, async (context) => {
      const { incremental = false, sku } = options
      const disk = await context.client.get<DiskJson>(await idOf(context, options.source, DISK_TYPE, options))
      const tags = readTagOptions(options.tags)
      const body = {
        location: disk.location,
        ...(sku !== undefined && { sku: { name: sku } }),
        ...(tags !== undefined && { tags }),
        properties: { creationData: { createOption: 'Copy', sourceResourceId: disk.id }, incremental },
      }
      const id = await idOf(context, name, SNAPSHOT_TYPE, options)
      return change(context, SNAPSHOT, options, { method: 'PUT', id, body, doing: 'Taking' })
    }),
  )
}

function copyCommand(): Command {
  const command = makeApiCommand({
    usage: 'copy <name>',
    summary: 'copy a snapshot, also to another region',
    description:
      'Copies a snapshot, into the region that is named or its own. The copy needs neither the first nor its region.',
    examples: [
      'holdfast snapshot copy monday-west -g web --source monday -l westus',
      'holdfast snapshot copy monday2 -g other --source "$ID"',
    ],
  })
    .requiredOption('--source <snapshot>', 'name in the group, or id')
    .option('-l, --location <region>', "the region to copy to (default: the source's)")
    .option('--tags <name=value...>', 'its tags')
  return withWaitOption(withGroupOption(command)).action((name: string, options: CopyOptions) =>
    runApiCommand(options, async (context) => {
      const source = await context.client.get<SnapshotJson>(await idOf(context, options.source, SNAPSHOT_TYPE, options))
      const location = options.location ?? source.location
      const createOption = sameRegion(location, source.location) ? 'Copy' : 'CopyStart'
      const tags = readTagOptions(options.tags)
      const body = {
        location,
        ...(tags !== undefined && { tags }),
        properties: {
          creationData: { createOption, sourceResourceId: source.id },
          incremental: source.properties.incremental ?? false,
        },
      }
      const id = await idOf(context, name, SNAPSHOT_TYPE, options)
      return change(context, SNAPSHOT, options, { method: 'PUT', id, body, doing: 'Copying' })
    }),
  )
}

function sameRegion(one: string | undefined, other: string | undefined): boolean {
  const plain = (name: string | undefined): string => (name ?? '').toLowerCase().replaceAll(' ', '')
  return plain(one) === plain(other)
}

function exportSnapshotCommand(): Command {
  return exportCommand({
    type: SNAPSHOT_TYPE,
    word: 'snapshot',
    description:
      'Writes the bytes of a snapshot to a file here. Only what holds something is fetched; the rest stays a hole.',
    examples: [
      'holdfast snapshot export monday -g web --to monday.vhd',
      'holdfast snapshot export monday -g web --to monday.img --format raw',
    ],
  })
}
