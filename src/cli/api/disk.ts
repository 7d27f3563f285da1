/** holdfast disk: managed disks. */
import { Command } from 'commander'
import { GIB } from '#base'
import { CliError } from '../errors.ts'
import { parseSize } from '../size.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type WaitOptions, withWaitOption } from './api-command.ts'
import { DISK } from './disk-kind.ts'
import { adoptCommand, exportDiskCommand, importCommand } from './disk-bytes.ts'
import { diskOrSnapshot } from './disk-or-snapshot.ts'
import { deleteCommand, type KindWords, listCommand, showCommand } from './kind-commands.ts'
import { change } from './one-or-many.ts'
import type { ResourceJson } from './resource-json.ts'
import {
  DISK_TYPE,
  type GroupOptions,
  idOf,
  IMAGE_TYPE,
  locationFor,
  readTagOptions,
  withGroupOption,
} from './targets.ts'

type CreateOptions = WaitOptions &
  GroupOptions &
  Readonly<{
    location?: string
    size?: number
    source?: string
    image?: string
    lun?: number
    sku?: string
    osType?: string
    tags?: readonly string[]
    pool?: string
  }>

const DELETE_WORDS: KindWords = {
  description: 'Deletes disks. An adopted file stays where it is. Snapshots of the disk stay whole. Asks first.',
  examples: ['holdfast disk delete data1 -g web', 'holdfast disk delete --yes --no-wait --ids "$ID1" "$ID2"'],
}

export function diskCommand(): Command {
  return new Command('disk')
    .summary('managed disks')
    .description('Makes, grows, copies, adopts, imports and exports disks.')
    .addHelpText('after', '\nExamples:\n  holdfast disk create data1 -g web --size 64G\n  holdfast disk list -g web')
    .addCommand(listCommand(DISK, ['holdfast disk list -g web', 'holdfast disk list --all --query "[].id" -o tsv']))
    .addCommand(
      showCommand(DISK, { examples: ['holdfast disk show data1 -g web', 'holdfast disk show data1 -g web -o json'] }),
    )
    .addCommand(createCommand())
    .addCommand(growCommand())
    .addCommand(deleteCommand(DISK, DELETE_WORDS))
    .addCommand(importCommand())
    .addCommand(exportDiskCommand())
    .addCommand(adoptCommand())
}

/** `diskSizeGB` of Azure counts whole gibibytes. @throws CliError `usage_invalid` */
export function wholeGib(bytes: number): number {
  if (bytes >= GIB && bytes % GIB === 0) return bytes / GIB
  throw new CliError('usage_invalid', 'The size of a disk is whole gibibytes, such as 64G.', { facts: { bytes } })
}

async function originOf(context: ApiContext, options: CreateOptions): Promise<ResourceJson | undefined> {
  const { source, image } = options
  if (source !== undefined) return diskOrSnapshot(context, source, options)
  if (image === undefined) return undefined
  // An id may be that of a platform image, too.
  return context.client.get(image.startsWith('/') ? image : await idOf(context, image, IMAGE_TYPE, options))
}

function creationDataOf(source: ResourceJson | undefined, { image, lun }: CreateOptions): unknown {
  if (source === undefined) return { createOption: 'Empty' }
  if (image === undefined) return { createOption: 'Copy', sourceResourceId: source.id }
  return { createOption: 'FromImage', imageReference: { id: source.id, ...(lun !== undefined && { lun }) } }
}

async function createBody(context: ApiContext, options: CreateOptions): Promise<unknown> {
  const { size, sku, osType } = options
  if (options.source !== undefined && options.image !== undefined)
    throw new CliError('usage_invalid', 'Either --source or --image can be given, not both.')
  const source = await originOf(context, options)
  if (source === undefined && size === undefined)
    throw new CliError('usage_invalid', 'Either --size, --source or --image is needed.')
  const creationData = creationDataOf(source, options)
  const { pool } = options
  const given = readTagOptions(options.tags)
  const tags = pool === undefined ? given : { ...given, 'holdfast-pool': pool }
  return {
    location: await locationFor(context, options, source),
    ...(sku !== undefined && { sku: { name: sku } }),
    ...(tags !== undefined && { tags }),
    properties: {
      creationData,
      ...(size !== undefined && { diskSizeGB: wholeGib(size) }),
      ...(osType !== undefined && { osType }),
    },
  }
}

function createCommand(): Command {
  const command = makeApiCommand({
    usage: 'create <name>',
    summary: 'make an empty disk, or one from a snapshot, an image or another disk',
    description:
      'Makes a disk. From a snapshot it can be used at once, while its data follows; from a disk that no machine runs on it ' +
      'is a copy. From an image it shares the data of the image until it is written to, and is made at once.',
    examples: [
      'holdfast disk create data1 -g web --size 64G',
      'holdfast disk create data2 -g web --source monday --tags owner=ops',
      'holdfast disk create os1 -g web --image web1 --size 128G',
    ],
  })
    .option('-s, --size <size>', 'whole gibibytes, such as 64G; with --source at least its size', parseSize)
    .option('--source <disk or snapshot>', 'name in the group, or id')
    .option('--image <image>', 'name in the group, or id: the disk shares its data')
    .option('--lun <number>', 'with --image: which data disk (default: the OS disk)', Number)
    .option('-l, --location <region>', "its region (default: the source's, else the usual one, else the group's)")
    .option('--sku <name>', 'kept and shown; one kind of storage serves all')
    .option('--os-type <type>', 'Linux or Windows')
    .option('--pool <name>', 'the pool of the region that it is to lie in, as the tag holdfast-pool')
    .option('--tags <name=value...>', 'its tags')
  return withWaitOption(withGroupOption(command)).action((name: string, options: CreateOptions) =>
    runApiCommand(options, async (context) => {
      const id = await idOf(context, name, DISK_TYPE, options)
      const body = await createBody(context, options)
      return change(context, DISK, options, { method: 'PUT', id, body, doing: 'Creating' })
    }),
  )
}

function growCommand(): Command {
  const command = makeApiCommand({
    usage: 'grow <name>',
    summary: 'make a disk larger, also of a running machine',
    description:
      'Makes the disk larger. What is on it stays; partitions and file systems are grown in the guest. Never smaller.',
    examples: ['holdfast disk grow data1 -g web --size 128G'],
  }).requiredOption('-s, --size <size>', 'the new size, whole gibibytes', parseSize)
  return withWaitOption(withGroupOption(command)).action(
    (name: string, options: WaitOptions & GroupOptions & Readonly<{ size: number }>) =>
      runApiCommand(options, async (context) => {
        const id = await idOf(context, name, DISK_TYPE, options)
        const body = { properties: { diskSizeGB: wholeGib(options.size) } }
        return change(context, DISK, options, { method: 'PATCH', id, body, doing: 'Growing' })
      }),
  )
}
