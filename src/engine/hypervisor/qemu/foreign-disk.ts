/**
 * Describes one disk of a QEMU that others started. Its identity is made of what the guest sees of it (its serial, else the
 * place of its device), not of the image's path: a snapshot or a mirror by others changes the path and not the disk.
 */
import { createHash } from 'node:crypto'
import type { DriveState } from '../instant/inventory.ts'
import type { MachineDisk } from '../machine.ts'
import type { QmpClient } from '../qmp/client.ts'
import { lunOfDeviceId, type DiskBus } from './device-address.ts'
import { pathsUpwards, readProperty, readText } from './object-tree.ts'

export type ForeignDisk = Readonly<{
  drive: DriveState
  bus: DiskBus | undefined
  /** As the guest sees it; empty when it has none. */
  serial: string
  bootIndex: number | undefined
  /** From a device id of ours (`disk<n>`). */
  lun: number | undefined
  /** Firmware flash, CD-ROM or floppy: no disk that a backup would hold. */
  isOther: boolean
}>

const OTHER_TYPES = new Set(['cfi.pflash01', 'cfi.pflash02', 'scsi-cd', 'ide-cd', 'floppy', 'sd-card'])
const BUS_OF_TYPE: readonly (readonly [pattern: RegExp, bus: DiskBus])[] = [
  [/^usb-(storage|bot|uas)/, 'usb'],
  [/^nvme/, 'nvme'],
  [/^virtio-blk/, 'virtio-blk'],
  [/^ide-hd/, 'ide'],
  [/^(virtio-scsi|vhost-scsi)/, 'virtio-scsi'],
]

/** The bus by the types of the device and of all that holds it, nearest first. A SCSI disk counts by its controller. */
export function busOfTypes(types: readonly string[]): DiskBus | undefined {
  for (const type of types) for (const [pattern, bus] of BUS_OF_TYPE) if (pattern.test(type)) return bus
  return undefined
}

async function firstText(qmp: QmpClient, paths: readonly string[], property: string): Promise<string> {
  for (const path of paths) {
    const text = await readText(qmp, path, property)
    if (text !== '') return text
  }
  return ''
}

async function bootIndexOf(qmp: QmpClient, paths: readonly string[]): Promise<number | undefined> {
  for (const path of paths) {
    const value = await readProperty(qmp, path, 'bootindex')
    if (typeof value === 'number' && value >= 0) return value
  }
  return undefined
}

export async function readForeignDisk(qmp: QmpClient, drive: DriveState): Promise<ForeignDisk> {
  const own = pathsUpwards(drive.qomPath).filter((path) => path !== '/machine/peripheral')
  const bus = await readText(qmp, drive.qomPath, 'parent_bus')
  const types: string[] = []
  for (const path of [...own, ...pathsUpwards(bus)]) types.push(await readText(qmp, path, 'type'))
  const id = /^\/machine\/peripheral\/([^/]+)/.exec(drive.qomPath)?.[1] ?? ''
  return {
    drive,
    bus: busOfTypes(types),
    serial: await firstText(qmp, own, 'serial'),
    bootIndex: await bootIndexOf(qmp, own),
    lun: lunOfDeviceId(id),
    isOther: types.some((type) => OTHER_TYPES.has(type)),
  }
}

/** A UUID made of texts (RFC 9562, version 8: the SHA-256 of them), the same in every run. */
export function derivedUuid(...texts: readonly string[]): string {
  const hash = createHash('sha256').update(texts.join('\0')).digest()
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80
  const hex = hash.toString('hex', 0, 16)
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

const RAW_DRIVERS = new Set(['raw', 'file', 'host_device'])

/** The format as Holdfast knows it; undefined for one that it does not run machines on. */
export function formatOfDriver(driver: string): MachineDisk['format'] | undefined {
  if (driver === 'qcow2') return 'qcow2'
  return RAW_DRIVERS.has(driver) ? 'raw' : undefined
}

function lunsFor(disks: readonly ForeignDisk[]): Map<ForeignDisk, number> {
  const luns = new Map<ForeignDisk, number>()
  const taken = new Set<number>()
  for (const disk of disks) {
    if (disk.lun === undefined || taken.has(disk.lun)) continue
    luns.set(disk, disk.lun)
    taken.add(disk.lun)
  }
  let next = 0
  for (const disk of disks) {
    if (luns.has(disk)) continue
    while (taken.has(next)) next += 1
    luns.set(disk, next)
    taken.add(next)
  }
  return luns
}

/** The disk to boot from: the lowest boot index, else the first that QEMU lists. */
function osDiskOf(disks: readonly ForeignDisk[]): ForeignDisk | undefined {
  const indexed = disks.filter((disk) => disk.bootIndex !== undefined)
  return indexed.toSorted((a, b) => (a.bootIndex ?? 0) - (b.bootIndex ?? 0))[0] ?? disks[0]
}

/** At most 20 characters that every device takes. */
function usableSerial(serial: string, diskId: string): string {
  const cleaned = serial.replaceAll(/[^A-Za-z0-9._-]/g, '-').slice(0, 20)
  return cleaned === '' ? diskId.replaceAll('-', '').slice(0, 20) : cleaned
}

/** Pure. Disks of a format or on a bus that Holdfast cannot recreate keep their place with the nearest that it can. */
export function describeDisks(machineUuid: string, disks: readonly ForeignDisk[]): MachineDisk[] {
  const luns = lunsFor(disks)
  const isUnique = (serial: string): boolean => disks.filter((disk) => disk.serial === serial).length === 1
  const os = osDiskOf(disks)
  return disks
    .map((disk): MachineDisk => {
      const seen = disk.serial !== '' && isUnique(disk.serial) ? disk.serial : ''
      const diskId = derivedUuid(machineUuid, seen === '' ? disk.drive.qomPath : seen)
      return {
        lun: luns.get(disk) ?? 0,
        diskId,
        role: disk === os ? 'os' : 'data',
        path: disk.drive.filename,
        format: formatOfDriver(disk.drive.format) ?? 'raw',
        bus: disk.bus ?? 'virtio-scsi',
        serial: usableSerial(seen, diskId),
      }
    })
    .toSorted((a, b) => a.lun - b.lun)
}
