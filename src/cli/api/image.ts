/** holdfast image: images, from which disks and machines are made. */
import { Command, Option } from 'commander'
import { CliError } from '../errors.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type WaitOptions, withWaitOption } from './api-command.ts'
import { diskOrSnapshot } from './disk-or-snapshot.ts'
import { IMAGE } from './image-kind.ts'
import { deleteCommand, type KindWords, listCommand, showCommand } from './kind-commands.ts'
import { change } from './one-or-many.ts'
import type { ResourceJson } from './resource-json.ts'
import {
  type GroupOptions,
  idOf,
  IMAGE_TYPE,
  locationFor,
  MACHINE_TYPE,
  readTagOptions,
  SNAPSHOT_TYPE,
  withGroupOption,
} from './targets.ts'

type CreateOptions = WaitOptions &
  GroupOptions &
  Readonly<{
    source?: string
    machine?: string
    data?: readonly string[]
    osType: string
    specialized?: boolean
    generation?: string
    location?: string
    tags?: readonly string[]
  }>

const DELETE_WORDS: KindWords = {
  description: 'Deletes images. Disks and machines that were made from them live on. Asks first.',
  examples: ['holdfast image delete web1 -g web', 'holdfast image delete --yes --ids "$ID1" "$ID2"'],
}

export function imageCommand(): Command {
  return new Command('image')
    .summary('images, from which disks and machines are made')
    .description(
      'Makes, shows and deletes images. Disks made from an image share its data until they write, and live on without it.',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast image create web1 -g web --machine builder\n  holdfast disk create data1 -g web --image web1',
    )
    .addCommand(listCommand(IMAGE, ['holdfast image list -g web', 'holdfast image list --all --query "[].id" -o tsv']))
    .addCommand(
      showCommand(IMAGE, { examples: ['holdfast image show web1 -g web', 'holdfast image show web1 -g web -o json'] }),
    )
    .addCommand(createCommand())
    .addCommand(deleteCommand(IMAGE, DELETE_WORDS))
}

type Fields = Readonly<Record<string, unknown>>
type Found = Readonly<{ fields: Fields; resource: ResourceJson | undefined }>

/** A blob by its URL; else a disk or snapshot. */
async function sourceOf(context: ApiContext, source: string, options: GroupOptions): Promise<Found> {
  if (/^https?:\/\//.test(source)) return { fields: { blobUri: source }, resource: undefined }
  const resource = await diskOrSnapshot(context, source, options)
  const isSnapshot = resource.id.toLowerCase().includes(`/${SNAPSHOT_TYPE.toLowerCase()}/`)
  return { fields: { [isSnapshot ? 'snapshot' : 'managedDisk']: { id: resource.id } }, resource }
}

async function dataDisk(context: ApiContext, given: string, options: GroupOptions): Promise<Fields> {
  const [, lun, source] = /^(\d{1,2})=(.+)$/.exec(given) ?? []
  if (lun === undefined || source === undefined)
    throw new CliError('usage_invalid', `"${given}" is no data disk such as 0=data1.`)
  return { lun: Number(lun), ...(await sourceOf(context, source, options)).fields }
}

async function createBody(context: ApiContext, options: CreateOptions): Promise<unknown> {
  const { source, machine, data = [], osType, specialized = false, generation } = options
  if ((source === undefined) === (machine === undefined))
    throw new CliError('usage_invalid', 'Either --source or --machine is needed.')
  const tags = readTagOptions(options.tags)
  const common = tags === undefined ? {} : { tags }
  const shape = generation === undefined ? {} : { hyperVGeneration: generation }
  if (source === undefined) {
    const from = await context.client.get<ResourceJson>(await idOf(context, machine ?? '', MACHINE_TYPE, options))
    const location = await locationFor(context, options, from)
    return { ...common, location, properties: { ...shape, sourceVirtualMachine: { id: from.id } } }
  }
  const { fields, resource } = await sourceOf(context, source, options)
  const osDisk = { osType, osState: specialized ? 'Specialized' : 'Generalized', ...fields }
  const dataDisks: Fields[] = []
  for (const one of data) dataDisks.push(await dataDisk(context, one, options))
  const location = await locationFor(context, options, resource)
  return { ...common, location, properties: { ...shape, storageProfile: { osDisk, dataDisks } } }
}

function createCommand(): Command {
  const command = makeApiCommand({
    usage: 'create <name>',
    summary: 'make an image of a disk, a snapshot, a blob, or a machine',
    description:
      'Makes an image of the disks as they are now; it needs none of them afterwards. A machine must be generalized and ' +
      'deallocated. A blob is the URL of a VHD, VHDX, VMDK or qcow2 image in a storage account here.',
    examples: [
      'holdfast image create web1 -g web --machine builder',
      'holdfast image create web2 -g web --source monday --data 0=data-monday',
      'holdfast image create web3 -g web --source https://127.0.0.1:8443/acct/vhds/web.vhd --os-type Linux',
    ],
  })
    .option('--source <disk, snapshot or URL>', 'of the OS disk: name in the group, id, or URL of a blob')
    .option('--machine <machine>', 'name in the group, or id: all its disks')
    .option('--data <lun=source...>', 'data disks, such as 0=data1')
    .addOption(new Option('--os-type <type>', 'what is on it').choices(['Linux', 'Windows']).default('Linux'))
    .option('--specialized', 'machines from it are the same machine again (default: generalized)')
    .addOption(
      new Option('--generation <generation>', 'V2 boots by UEFI (default: that of the source, else V1)').choices([
        'V1',
        'V2',
      ]),
    )
    .option('-l, --location <region>', "its region (default: the source's, else the usual one, else the group's)")
    .option('--tags <name=value...>', 'its tags')
  return withWaitOption(withGroupOption(command)).action((name: string, options: CreateOptions) =>
    runApiCommand(options, async (context) => {
      const id = await idOf(context, name, IMAGE_TYPE, options)
      const body = await createBody(context, options)
      return change(context, IMAGE, options, { method: 'PUT', id, body, doing: 'Making' })
    }),
  )
}
