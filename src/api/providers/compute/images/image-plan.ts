/**
 * From a checked request to what is to be done for it: what each disk of the image is made of, with the caller's rights on every
 * resource that is named, and what the row shows.
 */
import { findResource, type ResourceRecord } from '#catalog'
import { ArmError, type ResourceId } from '#contract'
import { type ImageLun, type OsState, type SnapshotBacking, whyNoImage } from '#domain'
import { type CreateImageInput, DISK_TYPE, type ImageOrigin, MACHINE_TYPE, propertiesOf, sourcesOf } from '#jobs'
import type { ArmCall } from '../../../arm/call.ts'
import { fieldAt } from '../../../arm/field-table.ts'
import { findBlob } from '../../../blob/storage-files.ts'
import { disksOfMachine } from '../machine-disks.ts'
import { type DiskSource, diskSource, findSource } from '../snapshot-sources.ts'
import type { DiskWish, ImageRequest } from './image-request.ts'

type Fields = Readonly<Record<string, unknown>>

export type PlannedImage = Readonly<{
  input: CreateImageInput
  properties: Fields
  /** Resources that must be there, and settled, when the row is written. */
  sourceIds: readonly string[]
}>

type Found = Readonly<{
  lun: ImageLun
  from: ImageOrigin
  shown: Fields
  record: ResourceRecord | undefined
  disk: DiskSource | undefined
}>

function invalid(target: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target })
}

function checkRegion(record: ResourceRecord, location: string, target: string): void {
  if (record.location === location) return
  throw invalid(
    target,
    `'${record.id}' is in '${record.location ?? ''}'; an image is made in the region of its sources.`,
  )
}

async function ofBlob(call: ArmCall, { lun, target, shown }: DiskWish, url: URL): Promise<Found> {
  const isOurs = url.host === new URL(call.baseUrl).host
  const blob = isOurs ? await findBlob(call.host, url) : undefined
  if (blob === undefined)
    throw invalid(`${target}.blobUri`, `'${url.origin}${url.pathname}' is no blob of a storage account of this server.`)
  call.authorize('Microsoft.Storage/storageAccounts/listKeys/action', blob.account.id)
  const from: ImageOrigin = { kind: 'file', path: blob.path, folders: [blob.folder], name: url.pathname }
  return { lun, from, shown, record: undefined, disk: undefined }
}

async function ofResource(call: ArmCall, wish: DiskWish, id: ResourceId, location: string): Promise<Found> {
  const { lun, target, shown } = wish
  const record = await findSource(call, id)
  checkRegion(record, location, target)
  if (record.type === DISK_TYPE) {
    const disk = diskSource(record, location)
    return { lun, from: { kind: 'disk', diskId: disk.uniqueId }, shown, record, disk }
  }
  const { version } = record.backing as SnapshotBacking
  if (version === undefined || record.state !== 'Succeeded')
    throw new ArmError('OperationNotAllowed', `The snapshot '${record.id}' is not durable yet.`, { target })
  return { lun, from: { kind: 'version', version }, shown, record, disk: undefined }
}

function findOne(call: ArmCall, wish: DiskWish, location: string): Promise<Found> {
  const { source } = wish
  if (source.kind === 'blob') return ofBlob(call, wish, source.url)
  return ofResource(call, wish, source.id, location)
}

/** Generation and type of system must be those of the source, where it says what they are. */
function agreed<T extends string>(given: T | undefined, source: unknown, target: string, otherwise: T): T {
  const known = typeof source === 'string' && source !== '' ? (source as T) : undefined
  if (given !== undefined && known !== undefined && given !== known)
    throw invalid(target, `${target} is ${given}, but that of the source is ${known}.`)
  return given ?? known ?? otherwise
}

type Shape = Readonly<{
  generation: 'V1' | 'V2'
  osType: 'Linux' | 'Windows'
  osState: OsState
  zoneResilient: boolean
}>

function shownProperties(found: readonly Found[], shape: Shape, machine: ResourceRecord | undefined): Fields {
  const os = found.find(({ lun }) => lun === 'os')
  const { generation, osType, osState, zoneResilient } = shape
  return {
    ...(machine !== undefined && { sourceVirtualMachine: { id: machine.id } }),
    hyperVGeneration: generation,
    storageProfile: {
      osDisk: { osType, osState, ...os?.shown },
      dataDisks: found.filter(({ lun }) => lun !== 'os').map(({ shown }) => shown),
      zoneResilient,
    },
  }
}

async function planned(
  call: ArmCall,
  found: readonly Found[],
  shown: Readonly<{ region: string; properties: Fields; more: readonly string[] }>,
): Promise<PlannedImage> {
  const { region, properties, more } = shown
  const disks = found.flatMap(({ disk }) => disk ?? [])
  return {
    input: {
      id: call.id,
      region,
      disks: found.map(({ lun, from }) => ({ lun, from })),
      sources: await sourcesOf(call.host.clock, disks),
    },
    properties,
    sourceIds: [...more, ...found.flatMap(({ record }) => record?.id ?? [])],
  }
}

async function ofStorage(call: ArmCall, request: ImageRequest): Promise<PlannedImage> {
  const { location, disks, generation, osType = 'Linux', osState = 'Generalized', zoneResilient } = request
  const found: Found[] = []
  for (const wish of disks) found.push(await findOne(call, wish, location))
  const seen = new Set(found.flatMap(({ record }) => record?.key ?? []))
  if (seen.size < found.filter(({ record }) => record !== undefined).length)
    throw invalid('properties.storageProfile', 'A disk or snapshot is named twice.')
  const os = found.find(({ lun }) => lun === 'os')?.record
  const from = os === undefined ? {} : propertiesOf(os)
  const shape: Shape = {
    generation: agreed(generation, from['hyperVGeneration'], 'properties.hyperVGeneration', 'V1'),
    osType: agreed(osType, from['osType'], 'properties.storageProfile.osDisk.osType', 'Linux'),
    osState,
    zoneResilient,
  }
  const properties = shownProperties(found, shape, undefined)
  return planned(call, found, { region: location, properties, more: [] })
}

/** A disk of a machine as its storage profile has it. */
function diskOfMachine(record: ResourceRecord, shown: unknown, lun: ImageLun, location: string): Found {
  const disk = diskSource(record, location)
  const caching = fieldAt(shown, 'caching')
  const type = fieldAt(shown, 'managedDisk.storageAccountType')
  return {
    lun,
    from: { kind: 'disk', diskId: disk.uniqueId },
    shown: {
      ...(lun !== 'os' && { lun }),
      ...(typeof caching === 'string' && { caching }),
      ...(typeof type === 'string' && { storageAccountType: type }),
      managedDisk: { id: record.id },
    },
    record,
    disk,
  }
}

async function disksOf(call: ArmCall, machine: ResourceRecord): Promise<Found[]> {
  const disks = await disksOfMachine(call, machine)
  for (const { record } of disks) call.authorize(`${DISK_TYPE}/beginGetAccess/action`, record.id)
  return disks.map(({ lun, shown, record }) => diskOfMachine(record, shown, lun, machine.location ?? ''))
}

async function ofMachine(call: ArmCall, request: ImageRequest, id: ResourceId): Promise<PlannedImage> {
  call.authorize(`${MACHINE_TYPE}/read`, id.text)
  const machine = await findResource(call.host.catalog, id.text)
  if (machine === undefined)
    throw new ArmError('ResourceNotFound', `The Resource '${MACHINE_TYPE}/${id.name}' was not found.`, {
      target: 'properties.sourceVirtualMachine.id',
    })
  checkRegion(machine, request.location, 'location')
  const { power, generalized } = machine.backing
  const found = await disksOf(call, machine)
  const refusal = whyNoImage({
    isGeneralized: generalized === true,
    isDeallocated: power === 'deallocated',
    hasOsDisk: found.some(({ lun }) => lun === 'os'),
  })
  if (refusal !== undefined)
    throw new ArmError('OperationNotAllowed', `No image is made of '${machine.name}'. ${refusal.message}`)
  const os = found.find(({ lun }) => lun === 'os')?.record
  const from = os === undefined ? {} : propertiesOf(os)
  const shape: Shape = {
    generation: agreed(request.generation, from['hyperVGeneration'], 'properties.hyperVGeneration', 'V1'),
    osType: agreed(request.osType, from['osType'], 'properties.storageProfile.osDisk.osType', 'Linux'),
    osState: 'Generalized',
    zoneResilient: request.zoneResilient,
  }
  const properties = shownProperties(found, shape, machine)
  return planned(call, found, { region: request.location, properties, more: [machine.id] })
}

/** @throws ArmError */
export function planImage(call: ArmCall, request: ImageRequest): Promise<PlannedImage> {
  const { machine } = request
  return machine === undefined ? ofStorage(call, request) : ofMachine(call, request, machine)
}
