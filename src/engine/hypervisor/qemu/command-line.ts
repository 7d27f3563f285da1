/**
 * The command line of a machine as a pure function of its description, its paths and what the host can do.
 *
 * Promises
 *   1. No value can add an option: what QEMU takes as JSON is given as JSON; where it takes only `key=value` lists (-name,
 *      -chardev), commas are doubled; the description is valid (validate.ts).
 *   2. Nothing is there that was not asked for: -nodefaults, -no-user-config, and no display, audio or default network.
 *   3. Formats are named and never probed, so that a guest cannot turn its raw disk into a qcow2 with a backing file.
 *   4. Image locks are on: a second process that opens an image for writing is refused (docs/system/images, "locking").
 *   5. The process can start no program and gain no privilege (-sandbox). seccomp is installed before the machine is built.
 *
 * Node and device names are `lun<n>` and `disk<n>` (device-address.ts); `instant/` finds the disks by them.
 */
import { unreachable } from '#base'
import type { JsonObject } from '../qmp/shape.ts'
import type { MachineDescription, MachineDisk, MachineNetwork } from '../machine.ts'
import {
  diskDevice,
  diskNodeName,
  type DeviceJson,
  FIXED_SLOT,
  type MachineType,
  pciBus,
  rootPorts,
  slot,
} from './device-address.ts'
import type { UefiFirmware } from './firmware.ts'
import type { MachinePaths } from './machine-paths.ts'

export type Accelerator = 'kvm' | 'tcg'

/** What the host offers to this machine. `firmware` is there when the description asks for UEFI. */
export type LaunchCapabilities = Readonly<{ accelerator: Accelerator; firmware?: UefiFirmware }>
export type LaunchOptions = Readonly<{ paused?: boolean }>

const AGENT_CHANNEL = 'org.qemu.guest_agent.0'

/** Quotes a value inside a `key=value,...` option (QEMU doubles commas, util/keyval.c and qemu-option.c). */
export function escapeOption(value: string): string {
  return value.replaceAll(',', ',,')
}

function json(value: unknown): string {
  return JSON.stringify(value)
}

/** The block nodes of a disk: the format layer `lun<n>` over the file layer `lun<n>-file`. Also for `blockdev-add`. */
export function diskBlockdev(disk: Pick<MachineDisk, 'lun' | 'format' | 'path'>): JsonObject {
  const node = diskNodeName(disk.lun)
  return {
    driver: disk.format,
    'node-name': node,
    discard: 'unmap',
    'detect-zeroes': 'unmap',
    file: {
      driver: disk.path.startsWith('/dev/') ? 'host_device' : 'file',
      'node-name': `${node}-file`,
      filename: disk.path,
      discard: 'unmap',
      locking: 'on',
    },
  }
}

function firmwareOptions(machine: MachineDescription, paths: MachinePaths, firmware?: UefiFirmware): string[] {
  if (machine.firmware === 'bios' || firmware === undefined) return []
  const flash = (name: string, filename: string, readOnly: boolean): string =>
    json({
      driver: 'raw',
      'node-name': name,
      'read-only': readOnly,
      file: { driver: 'file', 'node-name': `${name}-file`, filename, 'read-only': readOnly },
    })
  return ['-blockdev', flash('uefi-code', firmware.code, true), '-blockdev', flash('uefi-vars', paths.uefiVars, false)]
}

function machineOption(machine: MachineDescription): string {
  const flash = machine.firmware === 'uefi' ? ',pflash0=uefi-code,pflash1=uefi-vars' : ''
  return `type=${machine.machineType},usb=off,dump-guest-core=off${flash}`
}

function computeOptions(machine: MachineDescription, accelerator: Accelerator): string[] {
  const accel = accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi'
  return [
    ['-accel', accel, '-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ['-smp', `cpus=${machine.cpuCount}`, '-m', `size=${machine.memoryMib}M`],
  ].flat()
}

function monitor(id: string, path: string): string[] {
  return [
    ['-chardev', `socket,id=${id},path=${escapeOption(path)},server=on,wait=off`],
    ['-mon', `chardev=${id},mode=control`],
  ].flat()
}

function fixedDevices(machineType: MachineType): DeviceJson[] {
  const bus = pciBus(machineType)
  return [
    { driver: 'VGA', id: 'display0', bus, addr: slot(FIXED_SLOT.display) },
    { driver: 'virtio-scsi-pci', id: 'scsi0', bus, addr: slot(FIXED_SLOT.scsi) },
    { driver: 'virtio-serial-pci', id: 'serial-bus0', bus, addr: slot(FIXED_SLOT.agent) },
    { driver: 'virtio-rng-pci', id: 'random0', bus, addr: slot(FIXED_SLOT.random), rng: 'random-source0' },
    { driver: 'qemu-xhci', id: 'usb0', bus, addr: slot(FIXED_SLOT.usb) },
    { driver: 'vmgenid', id: 'generation0', guid: 'auto' },
    { driver: 'isa-serial', id: 'com1', chardev: 'com1-log' },
    ...(machineType === 'q35' ? rootPorts() : []),
  ]
}

function agentOptions(path: string): string[] {
  return [
    '-chardev',
    `socket,id=agent0,path=${escapeOption(path)},server=on,wait=off`,
    '-device',
    json({ driver: 'virtserialport', id: 'agent-port0', bus: 'serial-bus0.0', chardev: 'agent0', name: AGENT_CHANNEL }),
  ]
}

function backendOf(network: Exclude<MachineNetwork, { kind: 'none' }>, id: string, links: string): JsonObject {
  switch (network.kind) {
    case 'user':
      return {
        type: 'user',
        id,
        restrict: network.restricted,
        ...(network.restricted ? { ipv6: false } : {}),
        hostfwd: network.forwards.map((f) => ({ str: `${f.protocol}:127.0.0.1:${f.hostPort}-:${f.guestPort}` })),
      }
    case 'tap':
    case 'segment':
      return { type: 'tap', id, ifname: network.interface, script: 'no', downscript: 'no' }
    case 'link': {
      const end = (name: string): JsonObject => ({ type: 'unix', path: `${links}/${network.link}-${name}` })
      return { type: 'dgram', id, local: end(network.end), remote: end(network.end === 'a' ? 'b' : 'a') }
    }
    default:
      return unreachable(network)
  }
}

function networkOptions(machine: MachineDescription, links: string): string[] {
  const connected = machine.networks.filter((network) => network.kind !== 'none')
  return connected.flatMap((network, index) => {
    const device = {
      driver: network.kind === 'user' ? (network.model ?? 'virtio-net-pci') : 'virtio-net-pci',
      id: `nic${index}`,
      netdev: `net${index}`,
      mac: network.mac,
      bus: pciBus(machine.machineType),
      addr: slot(FIXED_SLOT.network + index),
      romfile: '',
    }
    return ['-netdev', json(backendOf(network, `net${index}`, links)), '-device', json(device)]
  })
}

function diskOptions(machine: MachineDescription): string[] {
  return machine.disks
    .toSorted((a, b) => a.lun - b.lun)
    .flatMap((disk) => ['-blockdev', json(diskBlockdev(disk)), '-device', json(diskDevice(disk, machine))])
}

/** On the bus of the data disks, where no LUN of theirs is: whoever reads those reads it too, and it moves no other device. */
function seedOptions(machine: MachineDescription, paths: MachinePaths): string[] {
  if (machine.seed !== true) return []
  const file = { driver: 'file', 'node-name': 'seed0-file', filename: paths.seed, 'read-only': true }
  const node = { driver: 'raw', 'node-name': 'seed0', 'read-only': true, file }
  const device = { driver: 'scsi-hd', id: 'seed-disk0', drive: 'seed0', serial: 'SEED', bus: 'scsi0.0', 'scsi-id': 1 }
  return ['-blockdev', json(node), '-device', json({ ...device, channel: 0, lun: 0 })]
}

/**
 * The arguments for qemu-system-x86_64 (7.2 or newer: JSON for -netdev). `machine` has passed `requireValidMachine`.
 * The first serial port is standard output, which the supervisor writes to a bounded log (supervisor.ts).
 */
export function buildCommandLine(
  machine: MachineDescription,
  paths: MachinePaths,
  capabilities: LaunchCapabilities,
  options: LaunchOptions = {},
): string[] {
  const name = escapeOption(machine.name)
  return [
    ['-name', `guest=${name},debug-threads=on`, '-uuid', machine.uuid],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-msg', 'timestamp=on'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    firmwareOptions(machine, paths, capabilities.firmware),
    ['-machine', machineOption(machine)],
    computeOptions(machine, capabilities.accelerator),
    ['-rtc', 'base=utc,driftfix=slew', '-boot', 'strict=on'],
    ['-object', json({ 'qom-type': 'rng-random', id: 'random-source0', filename: '/dev/urandom' })],
    ['-chardev', 'stdio,id=com1-log,signal=off'],
    fixedDevices(machine.machineType).flatMap((device) => ['-device', json(device)]),
    machine.agent ? agentOptions(paths.agentSocket) : [],
    networkOptions(machine, paths.links),
    diskOptions(machine),
    seedOptions(machine, paths),
    monitor('control', paths.controlSocket),
    monitor('instant', paths.instantSocket),
    monitor('rescue', paths.rescueSocket),
    ['-pidfile', paths.pid, '-D', paths.traceLog],
    options.paused === true ? ['-S'] : [],
  ].flat()
}
