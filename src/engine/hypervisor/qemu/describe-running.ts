/**
 * Describes a running QEMU that Holdfast did not start, by its monitor alone: for `holdfast repo backup --qmp SOCKET`.
 *
 * Best effort, and it says where it guessed: a monitor does not tell what is behind a tap, and the firmware only when it is flash.
 * What it describes can be created again; names, ids and LUNs are the same in every run, so that increments fit. A disk that
 * Holdfast cannot back up is an error, never left out silently.
 */
import { MIB } from '#base'
import { HypervisorError } from '../errors.ts'
import { readInventory } from '../instant/inventory.ts'
import type { MachineDescription } from '../machine.ts'
import type { QmpClient } from '../qmp/client.ts'
import { asCount, asList, asObject, isObject, textOr } from '../qmp/shape.ts'
import type { MachineType } from './device-address.ts'
import { derivedUuid, describeDisks, type ForeignDisk, formatOfDriver, readForeignDisk } from './foreign-disk.ts'
import { describeNetworks } from './foreign-network.ts'
import { uuidOf } from './monitor.ts'
import { devicePaths, readText } from './object-tree.ts'
import { isMachineName } from './validate.ts'

export type RunningDescription = Readonly<{
  machine: MachineDescription
  /** The block node of each disk, by LUN: images are not always known to QEMU by the path described. */
  nodeNames: Readonly<Record<number, string>>
  /** The agent's socket, when the machine has one on this host. */
  agentSocketPath: string | undefined
  /** Where it was guessed. */
  notes: readonly string[]
}>

const NO_UUID = '00000000-0000-0000-0000-000000000000'
const AGENT_CHANNEL = 'org.qemu.guest_agent.0'
const NAME_CHARS_MAX = 64

async function nameOf(qmp: QmpClient, uuid: string, notes: string[]): Promise<string> {
  const name = textOr(asObject(await qmp.execute('query-name'), 'the name')['name'], '')
  if (isMachineName(name)) return name
  const cleaned = name.replaceAll(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  const chosen = cleaned === '' ? `machine-${uuid.slice(0, 8)}` : cleaned.slice(0, NAME_CHARS_MAX)
  notes.push(`QEMU calls the machine ${JSON.stringify(name)}; it is described as ${chosen}.`)
  return chosen
}

async function machineTypeOf(qmp: QmpClient, notes: string[]): Promise<MachineType> {
  const type = await readText(qmp, '/machine', 'type')
  if (/q35/.test(type)) return 'q35'
  if (!/^pc-(i440fx-)?\d/.test(type)) notes.push(`The machine type ${type || '(unknown)'} is described as pc.`)
  return 'pc'
}

async function firmwareOf(qmp: QmpClient, notes: string[]): Promise<MachineDescription['firmware']> {
  if ((await readText(qmp, '/machine', 'pflash0')) === '') return 'bios'
  notes.push('The UEFI variables are not part of this description: they are in a flash image of their own.')
  return 'uefi'
}

async function memoryMibOf(qmp: QmpClient): Promise<number> {
  const size = asObject(await qmp.execute('query-memory-size-summary'), 'the memory size')
  const plugged = size['plugged-memory'] === undefined ? 0 : asCount(size['plugged-memory'], 'the plugged memory')
  return Math.round((asCount(size['base-memory'], 'the memory') + plugged) / MIB)
}

/** QEMU shows a server socket as "disconnected:unix:/path,server=on" or "unix:/path,server=on". */
export function socketPathOf(chardevFilename: string): string | undefined {
  return /^(?:disconnected:)?unix:(\/.+?)(?:,server(?:=on)?)?(?: <-> .*)?$/.exec(chardevFilename)?.[1]
}

async function agentOf(
  qmp: QmpClient,
  devices: readonly string[],
): Promise<{ agent: boolean; socketPath: string | undefined }> {
  for (const path of devices) {
    if ((await readText(qmp, path, 'name')) !== AGENT_CHANNEL) continue
    const label = await readText(qmp, path, 'chardev')
    const all = asList(await qmp.execute('query-chardev'), 'the character devices')
    const chardev = all.find((one) => isObject(one) && one['label'] === label)
    return { agent: true, socketPath: socketPathOf(textOr(isObject(chardev) ? chardev['filename'] : '', '')) }
  }
  return { agent: false, socketPath: undefined }
}

function requireSupported(disks: readonly ForeignDisk[]): void {
  const odd = disks.filter((disk) => formatOfDriver(disk.drive.format) === undefined)
  if (odd.length === 0) return
  const list = odd.map((disk) => `${disk.drive.filename || disk.drive.qomPath} (${disk.drive.format})`)
  throw new HypervisorError('disk_unsupported', `Holdfast cannot back up these disks: ${list.join(', ')}.`, {
    facts: { disks: list },
    hint: 'Exclude them, or convert them to qcow2 or raw.',
  })
}

async function disksOf(qmp: QmpClient, notes: string[]): Promise<ForeignDisk[]> {
  const { drives } = await readInventory(qmp)
  const all: ForeignDisk[] = []
  for (const drive of drives) all.push(await readForeignDisk(qmp, drive))
  const disks = all.filter((disk) => !disk.isOther)
  requireSupported(disks)
  for (const disk of disks)
    if (disk.bus === undefined) notes.push(`The bus of ${disk.drive.filename} is described as virtio-scsi.`)
  return disks
}

/** Talks over a monitor that nobody else holds. @throws `disk_unsupported`, and as QmpClient. */
export async function describeRunning(qmp: QmpClient): Promise<RunningDescription> {
  const notes: string[] = []
  const disks = await disksOf(qmp, notes)
  const given = await uuidOf(qmp)
  const first = disks[0]?.drive.filename ?? ''
  const uuid = given === NO_UUID || given === '' ? derivedUuid('machine', first) : given
  if (uuid !== given) notes.push('The machine has no UUID; one was made of the path of its first disk.')
  const devices = await devicePaths(qmp)
  const { agent, socketPath } = await agentOf(qmp, devices)
  const { networks, notes: networkNotes } = await describeNetworks(qmp, devices)
  notes.push(...networkNotes)
  const machine: MachineDescription = {
    schema: 1,
    name: await nameOf(qmp, uuid, notes),
    uuid,
    firmware: await firmwareOf(qmp, notes),
    machineType: await machineTypeOf(qmp, notes),
    cpuCount: asList(await qmp.execute('query-cpus-fast'), 'the CPUs').length,
    memoryMib: await memoryMibOf(qmp),
    disks: describeDisks(uuid, disks),
    networks,
    agent,
    tags: {},
  }
  const nodeNames: Record<number, string> = {}
  for (const disk of machine.disks) {
    const state = disks.find((one) => one.drive.filename === disk.path)
    if (state !== undefined) nodeNames[disk.lun] = state.drive.formatNode
  }
  return { machine, nodeNames, agentSocketPath: socketPath, notes }
}
