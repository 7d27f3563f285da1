/**
 * A running QEMU that Holdfast did not start, described as far as its monitor tells: enough to open instants of it, and to
 * know later what a point was taken of.
 *
 * A disk's LUN is the one in its device's id where Holdfast's own names are used (disk0, disk1, ...), else its place among
 * the machine's disks. Its identity follows from machine and LUN, as for image files, so that points by either way form one
 * history. An id alone does not prove that the image is still the same one (`sameImages`).
 */
import { stat } from 'node:fs/promises'
import { HoldfastError } from '#base'
import type { JsonObject, MachineDescription, MachineDisk, QmpClient, RunningMachine } from '#engine/hypervisor'
import type { PointRecord } from '#engine/repository'
import { derivedDiskId } from './disk-sources.ts'

export type MachineMonitor = Readonly<{ qmpSocketPath: string; agentSocketPath?: string }>
type Drive = Readonly<{ device: string; node: string; path: string; format: string }>

const IMAGE_TAG = 'image-inode-'

/** @throws qmp_unreachable, qmp_busy, disk_unsupported, qmp_command_failed */
export async function describeRunning(machine: string, sockets: MachineMonitor): Promise<RunningMachine> {
  const { QmpClient } = await import('#engine/hypervisor')
  const { systemClock } = await import('#runtime')
  const qmp = await QmpClient.connect(sockets.qmpSocketPath, { clock: systemClock })
  try {
    const drives = await writableDrives(qmp)
    const luns = await lunsOf(drives)
    const description: MachineDescription = {
      schema: 1,
      name: machine,
      ...(await properties(qmp)),
      disks: drives.map((drive, i) => describeDisk(machine, drive, luns[i] ?? i)),
      networks: [],
      agent: sockets.agentSocketPath !== undefined,
      tags: await imageTags(drives, luns),
    }
    const nodeNames = Object.fromEntries(drives.map(({ node }, i) => [luns[i] ?? i, node]))
    return { description, sockets, nodeNames }
  } finally {
    await qmp.close()
  }
}

/** Disks that the guest can write to; CD drives and read-only media are no part of a machine's state. */
async function writableDrives(qmp: QmpClient): Promise<Drive[]> {
  const drives = asList(await qmp.execute('query-block')).flatMap((drive) => driveOf(drive) ?? [])
  if (drives.length > 0) return drives
  const { HypervisorError } = await import('#engine/hypervisor')
  throw new HypervisorError('disk_unsupported', 'The machine has no disk that it can write to.', {
    hint: 'Nothing of it needs a backup; or its disks are not attached yet.',
  })
}

function driveOf(drive: JsonObject): Drive | undefined {
  const inserted = asObject(drive['inserted'])
  const { qdev } = drive
  if (typeof qdev !== 'string' || inserted['ro'] !== false) return undefined
  const path = /^\/machine\/[^/]+\/([^/]+)/.exec(qdev)
  return {
    device: path?.[1] ?? qdev,
    node: asText(inserted['node-name']),
    path: asText(asObject(inserted['image'])['filename'] ?? inserted['file']),
    format: asText(inserted['drv']),
  }
}

async function lunsOf(drives: readonly Drive[]): Promise<number[]> {
  const { lunOfDeviceId } = await import('#engine/hypervisor')
  const named = drives.map(({ device }) => lunOfDeviceId(device))
  const all = named.flatMap((lun) => lun ?? [])
  return all.length === drives.length && new Set(all).size === all.length ? all : [...drives.keys()]
}

function describeDisk(machine: string, { path, format, device }: Drive, lun: number): MachineDisk {
  if (format !== 'qcow2' && format !== 'raw') {
    throw new HoldfastError(
      'disk_unsupported',
      `Disk ${device} of the machine is ${format}; only raw and qcow2 are read.`,
      {
        facts: { device, format, path },
      },
    )
  }
  const role = lun === 0 ? 'os' : 'data'
  return { lun, diskId: derivedDiskId(machine, lun), role, path, format, bus: 'virtio-blk', serial: '' }
}

type Properties = Pick<MachineDescription, 'uuid' | 'firmware' | 'machineType' | 'cpuCount' | 'memoryMib'>

async function properties(qmp: QmpClient): Promise<Properties> {
  const uuid = asObject(await qmp.execute('query-uuid'))['UUID']
  const type = await qmp.execute('qom-get', { path: '/machine', property: 'type' })
  const memory = asObject(await qmp.execute('query-memory-size-summary'))['base-memory']
  return {
    uuid: String(uuid),
    firmware: (await hasPflash(qmp)) ? 'uefi' : 'bios',
    machineType: String(type).includes('q35') ? 'q35' : 'pc',
    cpuCount: Math.max(1, asList(await qmp.execute('query-cpus-fast')).length),
    memoryMib: typeof memory === 'number' ? Math.round(memory / 1024 ** 2) : 0,
  }
}

/** Firmware with variables that are kept sits in flash; the PC BIOS does not (QEMU, docs/interop/firmware.json). */
async function hasPflash(qmp: QmpClient): Promise<boolean> {
  const given = await qmp.execute('qom-get', { path: '/machine', property: 'pflash0' }).catch(() => '')
  return typeof given === 'string' && given !== ''
}

async function imageTags(drives: readonly Drive[], luns: readonly number[]): Promise<Record<string, string>> {
  const tags: Record<string, string> = {}
  for (const [i, { path }] of drives.entries()) {
    // An image that is no file of this host has no inode here; its path alone speaks for it.
    const inode = await stat(path).then(
      (stats) => String(stats.ino),
      () => 'elsewhere',
    )
    tags[`${IMAGE_TAG}${luns[i] ?? i}`] = inode
  }
  return tags
}

/**
 * The ids of the disks whose images are those that `point` was taken of, by path and inode. For any other the bitmap in the
 * image may be of another disk's history, so its changes must not be laid onto this one's.
 */
export function sameImages(now: MachineDescription, point: PointRecord | undefined): ReadonlySet<string> {
  const before = asObject(point?.description)
  const [tags, disks] = [asObject(before['tags']), asList(before['disks'])]
  const same = now.disks.filter(({ diskId, lun, path }) => {
    const disk = disks.find((other) => other['diskId'] === diskId)
    return disk?.['path'] === path && tags[`${IMAGE_TAG}${lun}`] === now.tags[`${IMAGE_TAG}${lun}`]
  })
  return new Set(same.map(({ diskId }) => diskId))
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
