/**
 * Disks of a machine, from what its body wishes to what is done: those that exist are looked up, with the caller's right to
 * attach them, and reserved in the transaction that announces the machine; those that are to be made get a name, a record and an
 * entry in its job. A disk belongs to one machine: who comes second is refused.
 */
import { createHash } from 'node:crypto'
import { type CatalogTransaction, findResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError, parseIdOfType, resourceIdIn, sameId } from '#contract'
import { bytesOfGb, type DiskBacking, isRefusal, sizeGb } from '#domain'
import { type CreateDiskInput, DISK_TYPE, propertiesOf, sizeBytesOf } from '#jobs'
import type { ArmCall, ArmHost } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { type Origin, originInImage, readOrigin } from '../disk-origin.ts'
import { stateNow } from '../disk-view.ts'
import { announceDiskAs, filesOf, type NewDisk } from '../disks.ts'
import { invalid, type WishedDisk } from './machine-request.ts'

type Fields = Readonly<Record<string, unknown>>

/** What the disks are of. */
export type DiskOwner = Readonly<{
  id: string
  /** Id of its group. */
  group: string
  groupName: string
  name: string
  location: string
  vmId: string
  /** What its disks with `FromImage` are of. */
  image?: ResourceRecord | undefined
}>

export type PlannedDisk = Readonly<{
  wish: WishedDisk
  id: string
  /** In the machine's storageProfile. */
  entry: Fields
  /** To be made. */
  make?: Readonly<{ name: string; disk: NewDisk; input: CreateDiskInput }>
  osType: string | undefined
  generation: string | undefined
}>

/** Two disks of a machine never have one name, and the same request asked again means the same disks. */
function madeName({ name, vmId }: DiskOwner, { lun, name: given }: WishedDisk): string {
  if (given !== undefined) return given
  const kind = lun === undefined ? 'OsDisk_1' : `DataDisk_${lun}`
  const hex = createHash('sha256').update(`${vmId} ${kind}`).digest('hex').slice(0, 32)
  return `${name.slice(0, 30)}_${kind}_${hex}`
}

function entryOf(wish: WishedDisk, id: string, name: string, more: Fields): Fields {
  const { lun, createOption, caching, deleteOption, sourceId } = wish
  return {
    ...(lun !== undefined && { lun }),
    name,
    createOption,
    caching,
    deleteOption,
    ...more,
    ...(sourceId !== undefined && { sourceResource: { id: sourceId } }),
    managedDisk: { id, ...(wish.storageAccountType !== undefined && { storageAccountType: wish.storageAccountType }) },
    ...(lun !== undefined && { toBeDetached: false }),
  }
}

function osTypeEntry(wish: WishedDisk, osType: unknown): Fields {
  return wish.lun === undefined ? { osType: typeof osType === 'string' ? osType : 'Linux' } : {}
}

/** Why the disk cannot become this machine's; undefined when it can. */
function whyNotAttach(disk: ResourceRecord, owner: DiskOwner, nowMs: number): string | undefined {
  const { managedBy } = disk.body
  if (typeof managedBy === 'string' && !sameId(managedBy, owner.id)) return `is attached to '${managedBy}'`
  if (disk.state !== 'Succeeded') return `is ${disk.state}`
  const state = stateNow(disk, nowMs)
  if (managedBy === undefined && state !== 'Unattached') return `is ${state}`
  return undefined
}

function refuseAttach(disk: ResourceRecord, why: string, target: string): ArmError {
  return new ArmError('OperationNotAllowed', `The disk '${disk.id}' ${why}: it cannot be attached.`, { target })
}

async function planAttached(call: ArmCall, owner: DiskOwner, wish: WishedDisk): Promise<PlannedDisk> {
  const target = `${wish.target}.managedDisk.id`
  if (wish.id === undefined) throw invalid(target, 'A disk that is attached is named by managedDisk.id.')
  const id = parseIdOfType(wish.id, DISK_TYPE, target).text
  call.authorize(`${DISK_TYPE}/write`, id)
  const disk = await findResource(call.host.catalog, id)
  if (disk === undefined) throw new ArmError('ResourceNotFound', `The disk '${id}' was not found.`, { target })
  if (disk.location !== owner.location)
    throw invalid(target, `The disk '${id}' is in '${disk.location ?? ''}', the machine in '${owner.location}'.`)
  const why = whyNotAttach(disk, owner, call.host.clock.nowMs())
  if (why !== undefined) throw refuseAttach(disk, why, target)
  const { host } = disk.backing as Partial<DiskBacking>
  if (host !== undefined)
    throw new ArmError('NotSupported', `The disk '${id}' lies on the host ${host}; machines run on the server's own.`, {
      target,
    })
  const { osType: known, hyperVGeneration } = propertiesOf(disk)
  const osType = wish.osType ?? (typeof known === 'string' ? known : undefined)
  const more = { ...osTypeEntry(wish, osType), diskSizeGB: sizeGb(sizeBytesOf(disk)) }
  return {
    wish,
    id: disk.id,
    entry: entryOf(wish, disk.id, disk.name, more),
    osType,
    generation: typeof hyperVGeneration === 'string' ? hyperVGeneration : undefined,
  }
}

/** A disk of the machine as the body of that disk alone would be. */
function bodyOfDisk(wish: WishedDisk): Fields {
  const { createOption, sourceId, sizeGb: diskSizeGB, osType, storageAccountType } = wish
  return {
    ...(storageAccountType !== undefined && { sku: { name: storageAccountType } }),
    properties: {
      ...(osType !== undefined && { osType }),
      ...(diskSizeGB !== undefined && { diskSizeGB }),
      creationData: { createOption, ...(sourceId !== undefined && { sourceResourceId: sourceId }) },
    },
  }
}

function originFor(call: ArmCall, owner: DiskOwner, wish: WishedDisk, body: Fields, wanted: number | undefined) {
  if (wish.createOption !== 'FromImage') return readOrigin(call, body, owner.location, wanted)
  const target = `${wish.target}.createOption`
  if (owner.image === undefined) throw invalid(target, 'FromImage needs an imageReference.')
  return originInImage(owner.image, wish.lun, wanted, target)
}

async function planMade(call: ArmCall, owner: DiskOwner, wish: WishedDisk): Promise<PlannedDisk> {
  const name = madeName(owner, wish)
  const id = resourceIdIn(call.host.subscriptionId, owner.groupName, DISK_TYPE, name)
  call.authorize(`${DISK_TYPE}/write`, id)
  const there = await findResource(call.host.catalog, id)
  const isForeign =
    there !== undefined && there.state !== 'Failed' && !sameId(String(there.body['managedBy']), owner.id)
  if (isForeign) throw new ArmError('Conflict', `There is a disk '${id}' already.`, { target: `${wish.target}.name` })
  const wanted = wish.sizeGb === undefined ? undefined : bytesOfGb(wish.sizeGb)
  if (isRefusal(wanted)) throw invalid(`${wish.target}.diskSizeGB`, wanted.message)
  const body = bodyOfDisk(wish)
  const origin: Origin = await originFor(call, owner, wish, body, wanted)
  const { osType: inherited, hyperVGeneration } = origin.inherited
  const osType = wish.osType ?? (typeof inherited === 'string' ? inherited : undefined)
  const disk: NewDisk = {
    body,
    location: owner.location,
    tags: {},
    origin,
    file: await filesOf(call.host, owner.location, origin),
    managedBy: owner.id,
    diskState: 'Reserved',
  }
  const more = {
    ...osTypeEntry(wish, osType),
    ...(origin.sizeBytes !== undefined && { diskSizeGB: sizeGb(origin.sizeBytes) }),
  }
  return {
    wish,
    id,
    entry: entryOf(wish, id, name, more),
    make: { name, disk, input: { id, sizeBytes: origin.sizeBytes ?? null, origin: origin.origin } },
    osType,
    generation: typeof hyperVGeneration === 'string' ? hyperVGeneration : undefined,
  }
}

/** @throws ArmError when the disk cannot be this machine's */
export function planDisk(call: ArmCall, owner: DiskOwner, wish: WishedDisk): Promise<PlannedDisk> {
  return wish.createOption === 'Attach' ? planAttached(call, owner, wish) : planMade(call, owner, wish)
}

/** Reserves the disk for the machine, or announces the one that is to be made for it. */
export async function takeDisk(
  host: ArmHost,
  trx: CatalogTransaction,
  owner: DiskOwner,
  planned: PlannedDisk,
): Promise<void> {
  const { id, make, wish } = planned
  const now = await findResource(trx, id)
  if (make !== undefined) {
    // Whole already, from an attempt before.
    const isOurs = now?.state === 'Succeeded' && sameId(String(now.body['managedBy']), owner.id)
    if (!isOurs) await announceDiskAs(host, trx, { id, group: owner.group, name: make.name }, make.disk)
    return
  }
  if (now === undefined)
    throw new ArmError('ResourceNotFound', `The disk '${id}' was not found.`, { target: wish.target })
  const why = whyNotAttach(now, owner, host.clock.nowMs())
  if (why !== undefined) throw refuseAttach(now, why, wish.target)
  const { grant: _grant, ...backing } = now.backing
  const body = { ...now.body, managedBy: owner.id, properties: { ...propertiesOf(now), diskState: 'Reserved' } }
  await updateResource(trx, id, { body, backing }, changeSourceOf(host))
}
