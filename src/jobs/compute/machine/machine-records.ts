/** Machines that Holdfast runs, as jobs read and change their records, and what their host is to make of them. */
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  findResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { findMachineSize, type MachineSize, type OwnMachineBacking } from '#domain'
import type { MachineNetwork } from '#engine/hypervisor'
import { JobsError } from '../../errors.ts'
import { MACHINE_TYPE } from '../adopt-machine.ts'
import { backingOf, changeDisk, findDisk, propertiesOf } from '../disk-records.ts'
import type { WantedDisk, WantedMachine } from './machine-tasks.ts'

type Fields = Readonly<Record<string, unknown>>

/** What is given replaces; undefined takes a member away. */
export type BackingChange = Readonly<{ [Name in keyof OwnMachineBacking]?: OwnMachineBacking[Name] | undefined }>
export type MachineChange = Readonly<{ state?: string; properties?: Fields; backing?: BackingChange }>

/** Undefined for a machine that was adopted: others run it. */
export function ownMachineOf(record: Pick<ResourceRecord, 'type' | 'backing'>): OwnMachineBacking | undefined {
  const isMachine = record.type.toLowerCase() === MACHINE_TYPE.toLowerCase()
  return isMachine && typeof record.backing['machine'] === 'string'
    ? (record.backing as unknown as OwnMachineBacking)
    : undefined
}

/** @throws JobsError `machine_not_there` */
export async function findOwnMachine(
  from: Catalog | CatalogTransaction,
  id: string,
): Promise<Readonly<{ record: ResourceRecord; own: OwnMachineBacking }>> {
  const record = await findResource(from, id)
  const own = record === undefined ? undefined : ownMachineOf(record)
  if (record !== undefined && own !== undefined) return { record, own }
  throw new JobsError('machine_not_there', `There is no machine ${id}.`, { facts: { id } })
}

/** Changes what is given and keeps the rest; undefined takes a member away. Nothing when the machine is gone. */
export function changeMachine(
  trx: CatalogTransaction,
  id: string,
  { state, properties, backing }: MachineChange,
  source: ChangeSource,
): Promise<void> {
  const change = {
    ...(state !== undefined && { state }),
    ...(properties !== undefined && { properties }),
    ...(backing !== undefined && { backing: backing as Fields }),
  }
  return changeDisk(trx, id, change, source)
}

/** A machine's name at its hypervisor: readable, and unique by its vmId. */
export function machineName(name: string, vmId: string): string {
  return `${name.slice(0, 50)}-${vmId.replaceAll('-', '').slice(0, 12)}`
}

export type MachineDiskRef = Readonly<{
  id: string
  /** Undefined: the OS disk. */
  lun: number | undefined
  deleteOption: 'Delete' | 'Detach'
}>

function referenceOf(disk: Fields): MachineDiskRef | undefined {
  const { id } = (disk['managedDisk'] ?? {}) as Fields
  const { lun, deleteOption } = disk
  if (typeof id !== 'string') return undefined
  return {
    id,
    lun: typeof lun === 'number' ? lun : undefined,
    deleteOption: deleteOption === 'Delete' ? 'Delete' : 'Detach',
  }
}

/** Its disks, the OS disk first. */
export function disksOfMachine(record: Pick<ResourceRecord, 'body'>): MachineDiskRef[] {
  const { osDisk, dataDisks } = (propertiesOf(record)['storageProfile'] ?? {}) as Fields
  const data = Array.isArray(dataDisks) ? (dataDisks as Fields[]) : []
  return [...(osDisk === undefined ? [] : [osDisk as Fields]), ...data].flatMap((one) => referenceOf(one) ?? [])
}

export type MachineNicRef = Readonly<{ id: string; primary: boolean; deleteOption: 'Delete' | 'Detach' }>

export function nicsOfMachine(record: Pick<ResourceRecord, 'body'>): MachineNicRef[] {
  const { networkInterfaces } = (propertiesOf(record)['networkProfile'] ?? {}) as Fields
  return (Array.isArray(networkInterfaces) ? (networkInterfaces as Fields[]) : []).flatMap((nic) => {
    const { id } = nic
    const { primary, deleteOption } = (nic['properties'] ?? {}) as Fields
    if (typeof id !== 'string') return []
    return [{ id, primary: primary === true, deleteOption: deleteOption === 'Delete' ? ('Delete' as const) : 'Detach' }]
  })
}

export function sizeOfMachine(record: Pick<ResourceRecord, 'body'>): MachineSize {
  const { vmSize } = (propertiesOf(record)['hardwareProfile'] ?? {}) as Fields
  const size = findMachineSize(typeof vmSize === 'string' ? vmSize : '')
  if (size !== undefined) return size
  throw new JobsError('job_input_invalid', `There is no size ${String(vmSize)}.`)
}

export function vmIdOf(record: Pick<ResourceRecord, 'body'>): string {
  return String(propertiesOf(record)['vmId'])
}

/** The driver counts the OS disk as LUN 0 of all buses, so that a data disk's LUN is one more there than it is in Azure. */
export function driverLun(lun: number | undefined): number {
  return lun === undefined ? 0 : lun + 1
}

export async function wantedDisk(from: Catalog | CatalogTransaction, ref: MachineDiskRef): Promise<WantedDisk> {
  const record = await findDisk(from, ref.id)
  const { file, format, pool } = backingOf(record)
  return {
    lun: driverLun(ref.lun),
    role: ref.lun === undefined ? 'os' : 'data',
    bus: ref.lun === undefined ? 'virtio-blk' : 'virtio-scsi',
    diskId: String(propertiesOf(record)['uniqueId']),
    path: file,
    format,
    // In a pool of ours an image names another only when we made it so: a base that several share.
    allowBacking: pool !== undefined,
  }
}

export async function wantedMachine(
  from: Catalog | CatalogTransaction,
  record: ResourceRecord,
  own: OwnMachineBacking,
  networks: readonly MachineNetwork[],
): Promise<WantedMachine> {
  const { cpus, memoryMib } = sizeOfMachine(record)
  const disks: WantedDisk[] = []
  for (const ref of disksOfMachine(record)) disks.push(await wantedDisk(from, ref))
  return {
    name: own.machine,
    uuid: vmIdOf(record),
    firmware: own.firmware,
    machineType: own.firmware === 'uefi' ? 'q35' : 'pc',
    cpuCount: cpus,
    memoryMib,
    agent: true,
    tags: { resource: record.id },
    networks,
    disks,
  }
}

/** What its disks are while it is so: `Attached` under a machine that runs or holds its host, else `Reserved`. */
export async function setDisks(
  trx: CatalogTransaction,
  record: ResourceRecord,
  diskState: 'Attached' | 'Reserved',
  source: ChangeSource,
  machine?: Readonly<{ name: string; qmp: string; agent?: string }>,
): Promise<void> {
  for (const { id } of disksOfMachine(record)) {
    const backing = machine === undefined ? {} : { backing: { machine } }
    await changeDisk(trx, id, { properties: { diskState }, ...backing }, source)
  }
}

/** Lets go of a disk: it is nobody's any more. */
export async function releaseDisk(trx: CatalogTransaction, id: string, source: ChangeSource): Promise<void> {
  const disk = await findResource(trx, id)
  if (disk === undefined) return
  const { managedBy: _managedBy, ...body } = disk.body
  const { machine: _machine, ...backing } = disk.backing
  const properties = { ...propertiesOf(disk), diskState: 'Unattached' }
  await updateResource(trx, id, { body: { ...body, properties }, backing }, source)
}

/** The name by which its neighbours find it. */
export function hostNameFor(record: ResourceRecord): string {
  const { computerName } = (propertiesOf(record)['osProfile'] ?? {}) as Fields
  return typeof computerName === 'string' ? computerName : record.name
}

/** Lets go of a network card: it is nobody's any more. */
export async function releaseNic(trx: CatalogTransaction, id: string, source: ChangeSource): Promise<void> {
  const nic = await findResource(trx, id)
  if (nic === undefined) return
  const { virtualMachine: _machine, ...properties } = propertiesOf(nic)
  await updateResource(trx, id, { body: { ...nic.body, properties } }, source)
}

/** Machines that Holdfast runs, of all regions. */
export async function listOwnMachines(
  from: Catalog | CatalogTransaction,
): Promise<Readonly<{ record: ResourceRecord; own: OwnMachineBacking }>[]> {
  const records = await listResources(from, { type: MACHINE_TYPE })
  return records.flatMap((record) => {
    const own = ownMachineOf(record)
    return own === undefined ? [] : [{ record, own }]
  })
}
