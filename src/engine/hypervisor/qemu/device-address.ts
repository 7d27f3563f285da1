/**
 * Where each device of a machine sits, as a function of the device alone.
 *
 * A disk's address depends on its own LUN and bus only, and everything that is not a disk has a fixed slot. So attaching or
 * detaching a disk never moves another device: guests name network interfaces by slot (ens3), and Windows asks for a new
 * driver when one moves. It also makes a saved machine state fit the command line that is built again later.
 *
 *   pc    pci.0   02 display  03-06 networks  07 scsi  08 agent channel  09 random  0a usb  0b-1f disks by LUN
 *   q35   pcie.0  the same up to 0a; disks sit behind root ports, eight to a slot from 10, as pcie.0 takes no hot plug
 */
import { unreachable } from '#base'
import type { MachineDescription, MachineDisk } from '../machine.ts'

export type MachineType = MachineDescription['machineType']
export type DiskBus = MachineDisk['bus']
/** A device as `-device` and `device_add` take it (QEMU 6.2 and newer accept JSON for the former). */
export type DeviceJson = Readonly<{ driver: string; id: string } & Record<string, string | number | boolean>>

export const NETWORKS_MAX = 4
export const FIXED_SLOT = { display: 0x02, network: 0x03, scsi: 0x07, agent: 0x08, random: 0x09, usb: 0x0a } as const

const PC_DISK_SLOT_MIN = 0x0b
const PC_DISK_SLOT_MAX = 0x1f
const ROOT_PORT_SLOT_MIN = 0x10
const ROOT_PORTS_PER_SLOT = 8
const ROOT_PORT_COUNT = 16
/** virtio-scsi addresses 16,384 LUNs; Azure stops at 64. */
const SCSI_LUN_MAX = 255

/** Name of the QEMU block node that holds the disk's format layer, and of the guest's device, for a LUN. */
export function diskNodeName(lun: number): string {
  return `lun${lun}`
}

/** The device of a LUN is found at `/machine/peripheral/disk<lun>`. */
export function diskDeviceId(lun: number): string {
  return `disk${lun}`
}

/** The LUN that a device id of ours stands for. */
export function lunOfDeviceId(id: string): number | undefined {
  const match = /^disk(\d{1,3})$/.exec(id)
  return match?.[1] === undefined ? undefined : Number(match[1])
}

export function pciBus(machineType: MachineType): string {
  return machineType === 'q35' ? 'pcie.0' : 'pci.0'
}

export function slot(number: number): string {
  return `0x${number.toString(16)}`
}

/** The highest LUN for which the bus has an address. */
export function lunMax(bus: DiskBus, machineType: MachineType): number {
  switch (bus) {
    case 'virtio-blk':
    case 'nvme':
      return machineType === 'q35' ? ROOT_PORT_COUNT - 1 : PC_DISK_SLOT_MAX - PC_DISK_SLOT_MIN
    case 'virtio-scsi':
      return SCSI_LUN_MAX
    case 'ide':
      return machineType === 'q35' ? 5 : 3
    case 'usb':
      return 7
    default:
      return unreachable(bus)
  }
}

/** Whether a device on this bus can come and go while the machine runs. */
export function isHotPluggable(bus: DiskBus): boolean {
  return bus !== 'ide'
}

/** q35's root ports, one for each LUN that may hold a PCI disk. */
export function rootPorts(): DeviceJson[] {
  return Array.from({ length: ROOT_PORT_COUNT }, (_, lun) => {
    const fn = lun % ROOT_PORTS_PER_SLOT
    return {
      driver: 'pcie-root-port',
      id: `port${lun}`,
      bus: 'pcie.0',
      addr: `${slot(ROOT_PORT_SLOT_MIN + Math.floor(lun / ROOT_PORTS_PER_SLOT))}.${slot(fn)}`,
      chassis: lun + 1,
      ...(fn === 0 ? { multifunction: true } : {}),
    }
  })
}

function pciPlace(lun: number, machineType: MachineType): { bus: string; addr: string } {
  if (machineType === 'q35') return { bus: `port${lun}`, addr: '0x0' }
  return { bus: 'pci.0', addr: slot(PC_DISK_SLOT_MIN + lun) }
}

function idePlace(lun: number, machineType: MachineType): { bus: string; unit: number } {
  if (machineType === 'q35') return { bus: `ide.${lun}`, unit: 0 }
  return { bus: `ide.${lun >> 1}`, unit: lun & 1 }
}

/**
 * The guest's device for a disk. `lun` is within `lunMax` (machineFaults).
 *
 * A BIOS boots what has the lowest bootindex. UEFI firmware (OVMF, QemuBootOrderLib) drops every entry of its own variables
 * that a bootindex does not name, so a machine that only its own entry can boot would not boot: there the variables decide.
 */
export function diskDevice(
  disk: MachineDisk,
  { machineType, firmware }: Pick<MachineDescription, 'machineType' | 'firmware'>,
): DeviceJson {
  const common = {
    id: diskDeviceId(disk.lun),
    drive: diskNodeName(disk.lun),
    serial: disk.serial,
    ...(disk.role === 'os' && firmware === 'bios' ? { bootindex: 0 } : {}),
  }
  switch (disk.bus) {
    case 'virtio-blk':
      return { driver: 'virtio-blk-pci', ...common, ...pciPlace(disk.lun, machineType) }
    case 'nvme':
      return { driver: 'nvme', ...common, ...pciPlace(disk.lun, machineType) }
    case 'virtio-scsi':
      return { driver: 'scsi-hd', ...common, bus: 'scsi0.0', channel: 0, 'scsi-id': 0, lun: disk.lun }
    case 'ide':
      return { driver: 'ide-hd', ...common, ...idePlace(disk.lun, machineType) }
    case 'usb':
      return { driver: 'usb-storage', ...common, bus: 'usb0.0' }
    default:
      return unreachable(disk.bus)
  }
}
