/** holdfast machine create: of a disk that is there, of a snapshot in one step, of an image, or with an empty disk. */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { messageOf } from '#base'
import { CliError } from '../errors.ts'
import { parseSize } from '../size.ts'
import {
  type ApiContext,
  conclude,
  makeApiCommand,
  runApiCommand,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import { wholeGib } from './disk.ts'
import { imageOfWord } from './image-words.ts'
import { MACHINE, MACHINE_TYPE, type MachineJson } from './machine-kind.ts'
import type { ResourceJson } from './resource-json.ts'
import {
  DISK_TYPE,
  type GroupOptions,
  idOf,
  IMAGE_TYPE,
  locationFor,
  readTagOptions,
  SNAPSHOT_TYPE,
  withGroupOption,
} from './targets.ts'

type CreateOptions = WaitOptions &
  GroupOptions &
  Readonly<{
    location?: string
    size: string
    disk?: string
    snapshot?: string
    image?: string
    empty?: number
    osDiskSize?: number
    osType?: string
    data?: readonly string[]
    newData?: readonly number[]
    nic?: readonly string[]
    admin?: string
    sshKey?: readonly string[]
    passwordFile?: string
    customData?: string
    deleteDisks?: boolean
    tags?: readonly string[]
  }>

const NIC_TYPE = 'Microsoft.Network/networkInterfaces'

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new CliError('usage_invalid', `The file ${path} cannot be read: ${messageOf(cause)}`, { cause })
  }
}

type ImageJson = ResourceJson &
  Readonly<{
    properties: Readonly<{
      storageProfile?: Readonly<{
        osDisk?: Readonly<{ osState?: string }>
        dataDisks?: readonly Readonly<{ lun: number }>[]
      }>
    }>
  }>

/** How the request names it, the luns that it has disks at, and whether its machines are to be told their name. */
type ChosenImage = Readonly<{ reference: unknown; luns: readonly number[]; isNameless: boolean }>

type Origin = Readonly<{
  entry: Readonly<Record<string, unknown>>
  source: ResourceJson | undefined
  image?: ChosenImage
}>

async function ofImage(context: ApiContext, image: string, options: CreateOptions): Promise<Omit<Origin, 'entry'>> {
  const offered = await imageOfWord(context, image)
  if (offered !== undefined) {
    const { publisher, offer, sku } = offered
    const reference = { publisher, offer, sku, version: 'latest' }
    return { source: undefined, image: { reference, luns: [], isNameless: true } }
  }
  const source = await context.client.get<ImageJson>(await idOf(context, image, IMAGE_TYPE, options))
  const { osDisk, dataDisks = [] } = source.properties.storageProfile ?? {}
  const luns = dataDisks.map(({ lun }) => lun)
  return { source, image: { reference: { id: source.id }, luns, isNameless: osDisk?.osState !== 'Specialized' } }
}

async function originOf(context: ApiContext, options: CreateOptions): Promise<Origin> {
  const { disk, snapshot, image, empty, osDiskSize } = options
  if ([disk, snapshot, image, empty].filter((one) => one !== undefined).length !== 1)
    throw new CliError('usage_invalid', 'Say one of --disk, --snapshot, --image and --empty.')
  const size = osDiskSize === undefined ? {} : { diskSizeGB: wholeGib(osDiskSize) }
  if (disk !== undefined) {
    const source = await context.client.get<ResourceJson>(await idOf(context, disk, DISK_TYPE, options))
    return { source, entry: { createOption: 'Attach', managedDisk: { id: source.id } } }
  }
  if (snapshot !== undefined) {
    const source = await context.client.get<ResourceJson>(await idOf(context, snapshot, SNAPSHOT_TYPE, options))
    return { source, entry: { createOption: 'Copy', sourceResource: { id: source.id }, ...size } }
  }
  if (image !== undefined)
    return { ...(await ofImage(context, image, options)), entry: { createOption: 'FromImage', ...size } }
  return { source: undefined, entry: { createOption: 'Empty', diskSizeGB: wholeGib(empty ?? 0) } }
}

/** From the first lun up that the image has no disk at. */
async function dataDisks(context: ApiContext, options: CreateOptions, image?: ChosenImage): Promise<unknown[]> {
  const { data = [], newData = [], deleteDisks } = options
  const deleteOption = deleteDisks === true ? { deleteOption: 'Delete' } : {}
  const first = Math.max(-1, ...(image?.luns ?? [])) + 1
  const entries: unknown[] = []
  for (const name of data) {
    const id = await idOf(context, name, DISK_TYPE, options)
    entries.push({ lun: first + entries.length, createOption: 'Attach', managedDisk: { id }, ...deleteOption })
  }
  for (const bytes of newData)
    entries.push({ lun: first + entries.length, createOption: 'Empty', diskSizeGB: wholeGib(bytes), ...deleteOption })
  return entries
}

/** A generalized image waits to be told at least its name. */
async function osProfile(name: string, options: CreateOptions, image?: ChosenImage): Promise<unknown> {
  const { admin, sshKey = [], passwordFile, customData } = options
  if (admin === undefined && customData === undefined) {
    if (sshKey.length === 0 && passwordFile === undefined)
      return image?.isNameless === true ? { computerName: name } : undefined
    throw new CliError('usage_invalid', 'A key or password needs --admin, the user that it is of.')
  }
  const keys = await Promise.all(sshKey.map(async (path) => ({ keyData: (await textOf(path)).trim() })))
  const password = passwordFile === undefined ? undefined : (await textOf(passwordFile)).split('\n')[0]
  return {
    computerName: name,
    ...(admin !== undefined && { adminUsername: admin }),
    ...(password !== undefined && { adminPassword: password }),
    ...(customData !== undefined && { customData: Buffer.from(await textOf(customData)).toString('base64') }),
    linuxConfiguration: {
      disablePasswordAuthentication: password === undefined,
      ...(keys.length > 0 && { ssh: { publicKeys: keys } }),
    },
  }
}

async function bodyOf(context: ApiContext, name: string, options: CreateOptions): Promise<unknown> {
  const { size, osType, nic = [], deleteDisks } = options
  const { entry, source, image } = await originOf(context, options)
  const nics = await Promise.all(nic.map(async (one) => ({ id: await idOf(context, one, NIC_TYPE, options) })))
  const tags = readTagOptions(options.tags)
  const profile = await osProfile(name, options, image)
  const osDisk = {
    ...entry,
    ...(osType !== undefined && { osType }),
    ...(deleteDisks === true && { deleteOption: 'Delete' }),
  }
  return {
    location: await locationFor(context, options, source),
    ...(tags !== undefined && { tags }),
    properties: {
      hardwareProfile: { vmSize: size },
      storageProfile: {
        ...(image !== undefined && { imageReference: image.reference }),
        osDisk,
        dataDisks: await dataDisks(context, options, image),
      },
      networkProfile: { networkInterfaces: nics },
      ...(profile !== undefined && { osProfile: profile }),
    },
  }
}

function parseSizes(text: string, before: readonly number[] = []): number[] {
  return [...before, parseSize(text)]
}

export function createCommand(): Command {
  const command = makeApiCommand({
    usage: 'create <name>',
    summary: 'make a machine of a disk, of a snapshot in one step, of an image, or with an empty disk',
    description:
      'Makes a machine and starts it. It is done when the machine runs; whether its guest is ready, "show" tells. A machine for ' +
      'which its host has no room is made all the same, deallocated, and says why. User, key, password and custom data are for ' +
      'the first boot of a guest with cloud-init.',
    examples: [
      'holdfast machine create front -g web --image Micro',
      'holdfast machine create web1 -g web --disk web1-os --size Standard_B2s',
      'holdfast machine create web2 -g web --snapshot monday --new-data 16G --admin ops --ssh-key ~/.ssh/id_ed25519.pub',
    ],
  })
    .option('--disk <disk>', 'its OS disk, by name or id')
    .option('--snapshot <snapshot>', 'its OS disk is made from this one')
    .option('--image <image>', 'its disks are of this image: a word of "guest list", a name or an id')
    .option('--empty <size>', 'its OS disk is new and empty, such as 16G', parseSize)
    .option('--os-disk-size <size>', 'of the disk made from a snapshot, at least its size', parseSize)
    .option('--os-type <type>', "Linux or Windows (default: the disk's)")
    .option('-s, --size <name>', 'a size of Azure, or Holdfast_<processors>x<MiB>', 'Standard_B1s')
    .option('--data <disk...>', 'data disks to attach, from lun 0 up')
    .option('--new-data <size>', 'a data disk to make, empty; may be given several times', parseSizes)
    .option('--nic <nic...>', 'network interfaces, by name or id')
    .option('--admin <user>', 'the administrator')
    .option('--ssh-key <file...>', 'public keys of the administrator')
    .option('--password-file <file>', "the administrator's password: the file's first line")
    .option('--custom-data <file>', 'user data for cloud-init')
    .option('--delete-disks', 'its disks are deleted with it')
    .option('-l, --location <region>', "its region (default: the disk's, else the usual one, else the group's)")
    .option('--tags <name=value...>', 'its tags')
  return withWaitOption(withGroupOption(command)).action((name: string, options: CreateOptions) =>
    runApiCommand(options, async (context) => {
      const id = await idOf(context, name, MACHINE_TYPE, options)
      const answer = await context.client.ask('PUT', id, await bodyOf(context, name, options))
      return conclude(context, options, answer, {
        task: `Making machine ${name}`,
        show: async () => MACHINE.one(await context.client.get<MachineJson>(`${id}?$expand=instanceView`)),
      })
    }),
  )
}
