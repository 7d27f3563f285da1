/**
 * The QEMU command line of a test guest. Names that tests rely on: disk N is the block node `disk<N>` (its file node
 * `disk<N>-file`), the device `vd<N>` and the serial `D<N>`; disk 0 holds the system. Sockets stand in `GuestFolder`.
 */
import { join } from 'node:path'
import type { MachineDisk, PortForward } from '#engine/hypervisor'

export type RigBus = MachineDisk['bus']
export type AttachedDisk = Readonly<{ path: string; format: 'qcow2' | 'raw'; bus: RigBus }>

export type GuestPaths = Readonly<{
  folder: string
  /** The monitor for the code under test. */
  qmp: string
  /** The monitor for the rig: a QEMU monitor serves one client at a time. */
  rigQmp: string
  agent: string
  serial: string
  log: string
}>

export function guestPaths(folder: string): GuestPaths {
  return {
    folder,
    qmp: join(folder, 'qmp'),
    rigQmp: join(folder, 'rig-qmp'),
    agent: join(folder, 'agent'),
    serial: join(folder, 'serial.log'),
    log: join(folder, 'qemu.log'),
  }
}

export type GuestCommand = Readonly<{
  name: string
  paths: GuestPaths
  disks: readonly AttachedDisk[]
  memoryMib: number
  cpuCount: number
  forwards: readonly PortForward[]
  extraArguments: readonly string[]
}>

const BUS_CONTROLLERS: Readonly<Record<RigBus, readonly string[]>> = {
  'virtio-blk': [],
  'virtio-scsi': ['-device', 'virtio-scsi-pci,id=scsi0'],
  ide: [],
  nvme: [],
  usb: ['-device', 'qemu-xhci,id=xhci'],
}

const BUS_DEVICES: Readonly<Record<RigBus, string>> = {
  'virtio-blk': 'virtio-blk-pci',
  'virtio-scsi': 'scsi-hd,bus=scsi0.0',
  ide: 'ide-hd',
  nvme: 'nvme',
  usb: 'usb-storage,bus=xhci.0',
}

function diskArguments(disk: AttachedDisk, index: number): string[] {
  const node = `disk${index}`
  const blockdev = {
    'node-name': node,
    driver: disk.format,
    file: { driver: 'file', 'node-name': `${node}-file`, filename: disk.path },
  }
  const boot = index === 0 ? ',bootindex=0' : ''
  const device = `${BUS_DEVICES[disk.bus]},drive=${node},id=vd${index},serial=D${index}${boot}`
  return ['-blockdev', JSON.stringify(blockdev), '-device', device]
}

function networkArguments(forwards: readonly PortForward[]): string[] {
  const rules = forwards.map(
    ({ protocol, hostPort, guestPort }) => `,hostfwd=${protocol}:127.0.0.1:${hostPort}-:${guestPort}`,
  )
  return [
    ['-netdev', `user,id=net0,restrict=on${rules.join('')}`],
    ['-device', 'virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:48:46:01'],
  ].flat()
}

function channelArguments(paths: GuestPaths): string[] {
  return [
    ['-chardev', `socket,id=qmp,path=${paths.qmp},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
    ['-chardev', `socket,id=rig,path=${paths.rigQmp},server=on,wait=off`, '-mon', 'chardev=rig,mode=control'],
    ['-chardev', `socket,id=agent,path=${paths.agent},server=on,wait=off`],
    ['-device', 'virtio-serial', '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ['-serial', `file:${paths.serial}`],
  ].flat()
}

/** Arguments for qemu-system-x86_64: emulated, sandboxed, on a network that reaches nothing. */
export function guestArguments(command: GuestCommand): string[] {
  const buses = new Set(command.disks.map((disk) => disk.bus))
  return [
    ['-name', command.name, '-nodefaults', '-no-user-config', '-display', 'none', '-M', 'pc'],
    ['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', `${command.cpuCount}`, '-m', `${command.memoryMib}`],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    channelArguments(command.paths),
    [...buses].flatMap((bus) => BUS_CONTROLLERS[bus]),
    command.disks.flatMap(diskArguments),
    networkArguments(command.forwards),
    command.extraArguments,
  ].flat()
}
