/**
 * A running QEMU that Holdfast did not start, described as far as its monitor tells: enough to open instants of it, and to
 * know later what a point was taken of.
 *
 * A disk's LUN is the one in its device's id where Holdfast's own names are used (disk0, disk1, ...), else its place among
 * the machine's disks. Its identity follows from machine and LUN, as for image files, so that points by either way form one
 * history. That an image still is that disk's is proven by its bitmap, whose name is the generation of one disk alone.
 */
import { readFile } from 'node:fs/promises'
import { type Clock, HoldfastError } from '#base'
import {
  describeNetworks,
  devicePaths,
  HypervisorError,
  type JsonObject,
  lunOfDeviceId,
  type MachineDescription,
  type MachineDisk,
  QmpClient,
  type RunningMachine,
} from '#engine/hypervisor'
import { derivedDiskId } from './derived-disk-id.ts'

export type MachineMonitor = Readonly<{ qmpSocketPath: string; agentSocketPath?: string }>
/** `attachments`: what belongs to the machine beside its disks, such as the variables of its firmware. */
export type Described = Readonly<{ running: RunningMachine; attachments: readonly Attachment[] }>
type Attachment = Readonly<{ name: 'uefi-vars'; bytes: Uint8Array }>
type Drive = Readonly<{ device: string; type: string; serial: string; node: string; path: string; format: string }>

const FLASH = /^cfi\.pflash/
/** Devices whose media are no part of a machine's state. */
const NO_DISK = /^(cfi\.pflash|floppy|ide-cd|scsi-cd)/
const BUSES: readonly (readonly [RegExp, MachineDisk['bus']])[] = [
  [/^scsi-/, 'virtio-scsi'],
  [/^ide-/, 'ide'],
  [/^nvme/, 'nvme'],
  [/^usb-/, 'usb'],
]

/** @throws qmp_unreachable, qmp_busy, disk_unsupported, qmp_command_failed */
export async function describeMonitored(clock: Clock, machine: string, sockets: MachineMonitor): Promise<Described> {
  const qmp = await QmpClient.connect(sockets.qmpSocketPath, { clock })
  try {
    const all = await writableDrives(qmp)
    const drives = all.filter(({ type }) => !NO_DISK.test(type))
    if (drives.length === 0) throw noDisk()
    const flash = all.find(({ type }) => FLASH.test(type))
    const luns = lunsOf(drives)
    const { networks } = await describeNetworks(qmp, await devicePaths(qmp))
    const description: MachineDescription = {
      schema: 1,
      name: machine,
      ...(await properties(qmp)),
      firmware: flash === undefined ? 'bios' : 'uefi',
      disks: drives.map((drive, i) => describeDisk(machine, drive, luns[i] ?? i)),
      networks,
      agent: sockets.agentSocketPath !== undefined,
      tags: {},
    }
    const nodeNames = Object.fromEntries(drives.map(({ node }, i) => [luns[i] ?? i, node]))
    const attachments = flash === undefined ? [] : [{ name: 'uefi-vars', bytes: await readFile(flash.path) } as const]
    return { running: { description, sockets, nodeNames }, attachments }
  } finally {
    await qmp.close()
  }
}

function noDisk(): Error {
  return new HypervisorError('disk_unsupported', 'The machine has no disk that it can write to.', {
    hint: 'Nothing of it needs a backup; or its disks are not attached yet.',
  })
}

/** What the machine can write to; read-only media are no part of its state. */
async function writableDrives(qmp: QmpClient): Promise<Drive[]> {
  const drives: Drive[] = []
  for (const drive of asList(await qmp.execute('query-block'))) {
    const inserted = asObject(drive['inserted'])
    const { qdev } = drive
    if (typeof qdev !== 'string' || inserted['ro'] !== false) continue
    // A device's back end sits below it: /machine/peripheral/disk0/virtio-backend.
    const path = /^\/machine\/[^/]+(\/[^/]+)?/.exec(qdev)?.[0] ?? `/machine/peripheral/${qdev}`
    drives.push({
      device: path.split('/').at(-1) ?? qdev,
      type: await propertyOf(qmp, path, 'type'),
      serial: await propertyOf(qmp, path, 'serial'),
      node: asText(inserted['node-name']),
      path: asText(asObject(inserted['image'])['filename'] ?? inserted['file']),
      format: asText(inserted['drv']),
    })
  }
  return drives
}

/** Not every device has every property; what is not known is left empty. */
async function propertyOf(qmp: QmpClient, path: string, property: string): Promise<string> {
  return asText(await qmp.execute('qom-get', { path, property }).catch(() => ''))
}

function lunsOf(drives: readonly Drive[]): number[] {
  const named = drives.map(({ device }) => lunOfDeviceId(device))
  const all = named.flatMap((lun) => lun ?? [])
  return all.length === drives.length && new Set(all).size === all.length ? all : [...drives.keys()]
}

function describeDisk(machine: string, { path, format, device, type, serial }: Drive, lun: number): MachineDisk {
  if (format !== 'qcow2' && format !== 'raw') {
    throw new HoldfastError(
      'disk_unsupported',
      `Disk ${device} of the machine is ${format}; only raw and qcow2 are read.`,
      {
        facts: { device, format, path },
      },
    )
  }
  const bus = BUSES.find(([pattern]) => pattern.test(type))?.[1] ?? 'virtio-blk'
  const role = lun === 0 ? 'os' : 'data'
  return { lun, diskId: derivedDiskId(machine, lun), role, path, format, bus, serial }
}

type Properties = Pick<MachineDescription, 'uuid' | 'machineType' | 'cpuCount' | 'memoryMib'>

async function properties(qmp: QmpClient): Promise<Properties> {
  const uuid = asText(asObject(await qmp.execute('query-uuid'))['UUID'])
  const type = await propertyOf(qmp, '/machine', 'type')
  const memory = asObject(await qmp.execute('query-memory-size-summary'))['base-memory']
  return {
    uuid,
    machineType: type.includes('q35') ? 'q35' : 'pc',
    cpuCount: Math.max(1, asList(await qmp.execute('query-cpus-fast')).length),
    memoryMib: typeof memory === 'number' ? Math.round(memory / 1024 ** 2) : 0,
  }
}

function asObject(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}
}

function asList(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.map(asObject) : []
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
