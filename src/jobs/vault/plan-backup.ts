/**
 * From a protected item to what its backup reads now: the machine's disks as they are this minute, running or not, those that are
 * left out, and what the point is to say of the machine. It is looked up anew for each attempt, and never kept: a machine that was
 * started or given a disk in between is backed up as it is.
 */
import { type Catalog, findResource, type ProtectedItem, type ResourceRecord, type VaultPointDisk } from '#catalog'
import type { Clock } from '#base'
import {
  type AzureMachine,
  type DiskBacking,
  findMachineSize,
  isTaken,
  type KeptDisk,
  type KeptResource,
  withoutSecrets,
} from '#domain'
import type { MachineDescription, MachineDisk } from '#engine/hypervisor'
import type { DiskPlace } from '#engine/transfer'
import { JobsError } from '../errors.ts'
import { backingOf, propertiesOf, sizeBytesOf } from '../compute/disk-records.ts'
import { disksOfMachine, driverLun, nicsOfMachine, ownMachineOf, vmIdOf } from '../compute/machine/machine-records.ts'
import { type DiskToRead, sourcesOf } from '../compute/machine-sources.ts'
import { networkOfSubnet, readCard } from '../network/network-records.ts'

export type MachineToBackUp = Readonly<{
  /** The host elsewhere whose disks they are, as `region/name`. */
  host?: string
  sources: Awaited<ReturnType<typeof sourcesOf>>
  places: readonly (readonly [diskId: string, place: DiskPlace])[]
  description: MachineDescription
  azure: AzureMachine
  /** Its name at the hypervisor, where its firmware keeps variables. */
  uefiOf?: string
  disks: readonly VaultPointDisk[]
}>

type Found = Readonly<{ lun: number; record: ResourceRecord; backing: DiskBacking; uniqueId: string }>

function kept({ id, name, location, tags, body }: ResourceRecord): KeptResource {
  return { id, name, location: location ?? '', tags, body }
}

/** @throws JobsError `machine_not_there`, `vm_not_in_desirable_state` (later) */
async function findMachine(catalog: Catalog, item: ProtectedItem): Promise<ResourceRecord> {
  const record = await findResource(catalog, item.machineId)
  if (record === undefined)
    throw new JobsError('machine_not_there', `The machine ${item.machineId} is not there any more.`, {
      facts: { machine: item.machineId },
    })
  if (record.state === 'Succeeded') return record
  throw new JobsError('vm_not_in_desirable_state', `The machine ${record.name} is ${record.state}.`, {
    facts: { machine: record.id, state: record.state },
    retry: 'later',
  })
}

async function findDisks(catalog: Catalog, machine: ResourceRecord): Promise<Found[]> {
  const found: Found[] = []
  for (const { id, lun } of disksOfMachine(machine)) {
    const record = await findResource(catalog, id)
    const uniqueId = record === undefined ? undefined : propertiesOf(record)['uniqueId']
    if (record === undefined || typeof uniqueId !== 'string')
      throw new JobsError('vm_not_in_desirable_state', `The disk ${id} of ${machine.name} is not there.`, {
        facts: { disk: id },
        retry: 'later',
      })
    found.push({ lun: lun ?? -1, record, backing: backingOf(record), uniqueId })
  }
  return found
}

/** The one host that has the disks. */
function hostOf(machine: ResourceRecord, disks: readonly Found[]): string | undefined {
  const [first, ...others] = disks.map(({ backing }) => backing.host)
  if (others.every((host) => host === first)) return first
  throw new JobsError(
    'disk_elsewhere',
    `The disks of ${machine.name} lie on several hosts: there is no instant of them.`,
  )
}

async function findNetworks(catalog: Catalog, machine: ResourceRecord) {
  const cards: ResourceRecord[] = []
  const subnets = new Map<string, ResourceRecord>()
  const networks = new Map<string, ResourceRecord>()
  for (const { id } of nicsOfMachine(machine)) {
    const record = await findResource(catalog, id)
    if (record === undefined) continue
    cards.push(record)
    const subnet = readCard(record)?.subnet
    const subnetRow = subnet === undefined ? undefined : await findResource(catalog, subnet)
    if (subnet === undefined || subnetRow === undefined) continue
    subnets.set(subnetRow.key, subnetRow)
    const network = await findResource(catalog, networkOfSubnet(subnet))
    if (network !== undefined) networks.set(network.key, network)
  }
  return { cards, subnets: [...subnets.values()], networks: [...networks.values()] }
}

/** The place in the machine as the hypervisor counts; adopted machines are told with its own numbers. */
function placeOf({ lun }: Pick<Found, 'lun'>, isOwned: boolean): number {
  if (lun < 0) return 0
  return isOwned ? driverLun(lun) : lun
}

function describe(
  machine: ResourceRecord,
  disks: readonly Found[],
  macs: readonly string[],
  firmware: 'bios' | 'uefi',
): MachineDescription {
  const isOwned = ownMachineOf(machine) !== undefined
  const { vmSize } = (propertiesOf(machine)['hardwareProfile'] ?? {}) as Readonly<{ vmSize?: unknown }>
  const size = findMachineSize(typeof vmSize === 'string' ? vmSize : '')
  return {
    schema: 1,
    name: machine.name,
    uuid: vmIdOf(machine),
    firmware,
    machineType: firmware === 'uefi' ? 'q35' : 'pc',
    cpuCount: size?.cpus ?? 1,
    memoryMib: size?.memoryMib ?? 1024,
    disks: disks.map((disk): MachineDisk => ({
      lun: placeOf(disk, isOwned),
      diskId: disk.uniqueId,
      role: disk.lun < 0 ? 'os' : 'data',
      path: disk.backing.file,
      format: disk.backing.format,
      bus: isOwned && disk.lun >= 0 ? 'virtio-scsi' : 'virtio-blk',
      serial: '',
    })),
    networks: macs.map((mac) => ({ kind: 'user', mac, restricted: true, forwards: [] })),
    agent: true,
    tags: { resource: machine.id },
  }
}

/** @throws JobsError why the machine cannot be backed up as it is now */
export async function planBackup(catalog: Catalog, clock: Clock, item: ProtectedItem): Promise<MachineToBackUp> {
  const machine = await findMachine(catalog, item)
  const own = ownMachineOf(machine)
  const all = await findDisks(catalog, machine)
  const taken = all.filter(({ lun }) => isTaken(lun, item.exclusion))
  if (taken.length === 0)
    throw new JobsError('vm_not_in_desirable_state', `The machine ${machine.name} has no disk that is backed up.`)
  const host = hostOf(machine, taken)
  const { cards, subnets, networks } = await findNetworks(catalog, machine)
  const firmware = own?.firmware ?? 'bios'
  const macs = cards.flatMap((card) => readCard(card)?.mac ?? [])
  const toRead: DiskToRead[] = taken.map(({ record, backing, uniqueId }) => ({ record, backing, uniqueId }))
  const body = withoutSecrets(machine.body)
  const disks = all.map(({ lun, record, uniqueId }): KeptDisk => ({
    ...kept(record),
    diskId: uniqueId,
    lun,
    sizeBytes: sizeBytesOf(record),
    included: isTaken(lun, item.exclusion),
  }))
  return {
    ...(host !== undefined && { host }),
    sources: await sourcesOf(clock, toRead),
    places: taken.map((disk) => {
      const { base } = disk.backing
      return [disk.uniqueId, { lun: placeOf(disk, own !== undefined), ...(base !== undefined && { base: base.file }) }]
    }),
    description: describe(machine, taken, macs, firmware),
    azure: {
      schema: 1,
      group: machine.groupKey.split('/').at(-1) ?? '',
      subscription: machine.subscription,
      machine: { ...kept(machine), body },
      firmware,
      owned: own !== undefined,
      disks,
      cards: cards.map(kept),
      networks: networks.map(kept),
      subnets: subnets.map(kept),
      vault: { id: item.vaultKey, item: item.id, ...(item.policyId !== undefined && { policy: item.policyId }) },
    },
    ...(own !== undefined && firmware === 'uefi' && { uefiOf: own.machine }),
    disks: taken.map(({ lun, record, uniqueId }) => ({
      diskId: uniqueId,
      lun,
      name: record.name,
      sizeBytes: sizeBytesOf(record),
    })),
  }
}
