/**
 * Says everything that is wrong with a machine description, before any of it becomes a folder, a command line or a device.
 *
 * Names that end up in paths and options are held to small alphabets here; the command line quotes them all the same. The
 * limits of luns come from where each bus has room (device-address.ts). Pure.
 */
import { MACHINE_DISKS_MAX, type Facts } from '#base'
import { HypervisorError } from '../errors.ts'
import { CARD_MODELS, type MachineDescription, type MachineDisk, type MachineNetwork } from '../machine.ts'
import { lunMax, NETWORKS_MAX } from './device-address.ts'

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const MAC = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/
const SERIAL = /^[A-Za-z0-9._-]{1,20}$/
/** IFNAMSIZ is 16 with its terminating zero (linux/if.h). */
const INTERFACE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/
/** No control characters: a line break in a path would forge lines in logs, and NUL ends an argument. */
// oxlint-disable-next-line no-control-regex
const PATH = /^\/[^\u0000-\u001f\u007f]{0,4000}$/

const CPU_COUNT_MAX = 255
const MEMORY_MIB_MIN = 16
const MEMORY_MIB_MAX = 4 * 1024 * 1024

/** Whether `name` may name a machine: it becomes a folder, a process argument and part of messages. */
export function isMachineName(name: string): boolean {
  return NAME.test(name)
}

export function isAbsolutePath(path: string): boolean {
  return PATH.test(path)
}

function diskFaults(machine: MachineDescription, disk: MachineDisk): string[] {
  const faults: string[] = []
  const luns = lunMax(disk.bus, machine.machineType)
  const label = `The disk at LUN ${disk.lun}`
  if (!Number.isInteger(disk.lun) || disk.lun < 0) faults.push(`LUN ${disk.lun} is not a whole number from 0 up.`)
  else if (disk.lun > luns)
    faults.push(`${label}: ${disk.bus} on ${machine.machineType} has room for LUNs 0 to ${luns}; use virtio-scsi.`)
  if (!UUID.test(disk.diskId)) faults.push(`${label}: its id is not a lower-case UUID.`)
  if (!isAbsolutePath(disk.path)) faults.push(`${label}: its path is not absolute or holds control characters.`)
  if (!SERIAL.test(disk.serial)) faults.push(`${label}: the serial needs 1 to 20 of the characters A-Z a-z 0-9 . _ -`)
  return faults
}

function forwardFaults(network: Extract<MachineNetwork, { kind: 'user' }>): string[] {
  const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535
  return network.forwards
    .filter((forward) => !isPort(forward.hostPort) || !isPort(forward.guestPort))
    .map((forward) => `The forward ${forward.hostPort} to ${forward.guestPort} names no port between 1 and 65535.`)
}

function networkFaults(network: MachineNetwork): string[] {
  if (network.kind === 'none') return []
  const faults = MAC.test(network.mac)
    ? []
    : [`The MAC ${JSON.stringify(network.mac)} is not a lower-case unicast address.`]
  if (network.kind === 'user') {
    const { model } = network
    if (model !== undefined && !CARD_MODELS.includes(model))
      faults.push(`There is no network card of the model ${model}.`)
    return [...faults, ...forwardFaults(network)]
  }
  if (network.kind === 'link')
    return NAME.test(network.link) ? faults : [...faults, 'The name of the link is not valid.']
  if (!INTERFACE.test(network.interface)) faults.push('The name of the tap interface is not valid.')
  if (network.kind === 'segment')
    return UUID.test(network.network) ? faults : [...faults, 'The id of the virtual network is not a lower-case UUID.']
  if (network.namespace !== undefined && !NAME.test(network.namespace))
    faults.push('The name of the network namespace is not valid.')
  return faults
}

function isTwice(values: readonly unknown[]): boolean {
  return new Set(values).size !== values.length
}

/** The namespace that a card needs QEMU to be in: a process is in one. */
function namespaceIn(network: MachineNetwork): string[] {
  if (network.kind === 'tap') return [network.namespace ?? '']
  return network.kind === 'segment' ? [`segment ${network.network}`] : []
}

function collectionFaults(machine: MachineDescription): string[] {
  const { disks, networks } = machine
  const faults: string[] = []
  const connected = networks.filter((network) => network.kind !== 'none')
  if (disks.length > MACHINE_DISKS_MAX) faults.push(`A machine has at most ${MACHINE_DISKS_MAX} disks.`)
  if (isTwice(disks.map((disk) => disk.lun))) faults.push('Two disks have the same LUN.')
  if (isTwice(disks.map((disk) => disk.diskId))) faults.push('Two disks have the same id.')
  if (isTwice(disks.map((disk) => disk.path))) faults.push('Two disks share one image.')
  if (isTwice(disks.map((disk) => disk.serial))) faults.push('Two disks have the same serial.')
  if (disks.filter((disk) => disk.role === 'os').length > 1) faults.push('There is more than one OS disk.')
  if (connected.length > NETWORKS_MAX) faults.push(`A machine has at most ${NETWORKS_MAX} networks.`)
  if (isTwice(connected.map((network) => network.mac))) faults.push('Two networks have the same MAC.')
  const namespaces = new Set(networks.flatMap(namespaceIn))
  if (namespaces.size > 1) faults.push('All taps of a machine must be in one network namespace.')
  return faults
}

/** Every fault of the description as a sentence; empty when it can be run. */
export function machineFaults(machine: MachineDescription): string[] {
  const faults: string[] = []
  if (!isMachineName(machine.name))
    faults.push('The name needs 1 to 64 of the characters A-Z a-z 0-9 . _ - and must begin with a letter or a digit.')
  if (!UUID.test(machine.uuid)) faults.push('The machine UUID is not a lower-case UUID.')
  if (!Number.isInteger(machine.cpuCount) || machine.cpuCount < 1 || machine.cpuCount > CPU_COUNT_MAX)
    faults.push(`The number of CPUs is not between 1 and ${CPU_COUNT_MAX}.`)
  if (!Number.isInteger(machine.memoryMib) || machine.memoryMib < MEMORY_MIB_MIN || machine.memoryMib > MEMORY_MIB_MAX)
    faults.push(`The memory is not between ${MEMORY_MIB_MIN} and ${MEMORY_MIB_MAX} MiB.`)
  return [
    ...faults,
    ...collectionFaults(machine),
    ...machine.disks.flatMap((disk) => diskFaults(machine, disk)),
    ...machine.networks.flatMap(networkFaults),
  ]
}

/** @throws HypervisorError `machine_invalid` that names every fault. */
export function requireValidMachine(machine: MachineDescription): void {
  const faults = machineFaults(machine)
  if (faults.length === 0) return
  const facts: Facts = { faults }
  throw new HypervisorError('machine_invalid', `The machine cannot be run as described: ${faults.join(' ')}`, { facts })
}

/** @throws HypervisorError `machine_invalid`. */
export function requireMachineName(name: string): void {
  if (isMachineName(name)) return
  throw new HypervisorError('machine_invalid', `${JSON.stringify(name.slice(0, 80))} cannot name a machine.`, {
    hint: 'Use 1 to 64 of the characters A-Z a-z 0-9 . _ - and begin with a letter or a digit.',
  })
}
