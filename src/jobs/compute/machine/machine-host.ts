/**
 * The machines of this host, as the worker has them: one driver over the home's folders. Sockets lie in the home where its path
 * is short enough for them, else where the user's sockets lie; a restart of the host may empty either.
 *
 *   HOME/machines/{name}/   what outlives us of a machine (engine/hypervisor, machine-paths.ts); its disks lie in pools
 */
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Clock, Random } from '#base'
import { JournalGate, type Hypervisor, QemuHypervisor, type QemuRoots } from '#engine/hypervisor'
import { UNIX_PATH_BYTES_MAX } from '#runtime'

export type MachineHost = Readonly<{
  hypervisor: Hypervisor
  clock: Clock
  /** Asked before a machine is to have disks: whoever holds one at rest lets go of it. */
  letGo?: (files: readonly string[]) => Promise<void>
}>
export type MachineHostParts = Readonly<{
  clock: Clock
  random: Random
  /** The home's. */
  stateFolder: string
  environment?: Readonly<Record<string, string | undefined>>
}>

/** The longest name below the runtime folder: an end of a link (machine-paths.ts). */
const NAME_BYTES_MAX = 73

/** Where sockets may lie that have a path of at most 107 bytes. */
export function machineRoots(
  stateFolder: string,
  environment: MachineHostParts['environment'] = process.env,
): QemuRoots {
  const machinesFolder = join(stateFolder, 'machines')
  const own = join(stateFolder, 'run', 'm')
  if (Buffer.byteLength(own) + NAME_BYTES_MAX <= UNIX_PATH_BYTES_MAX) return { machinesFolder, runtimeFolder: own }
  if (process.getuid?.() === 0) return { machinesFolder, runtimeFolder: '/run/holdfast' }
  const { XDG_RUNTIME_DIR: given } = environment
  const users = given === undefined || given === '' ? join(homedir(), '.cache') : given
  return { machinesFolder, runtimeFolder: join(users, 'holdfast') }
}

export function openMachineHost(parts: MachineHostParts): MachineHost {
  const { clock, random, stateFolder } = parts
  const roots = machineRoots(stateFolder, parts.environment)
  const journalsFolder = join(stateFolder, 'instants')
  const host = {
    clock,
    random,
    journalFolder: join(journalsFolder, 'machines'),
    scratchFolder: join(stateFolder, 'scratch'),
    runFolder: roots.runtimeFolder,
    watchdog: 'start' as const,
    own: stateFolder,
  }
  const instants = new JournalGate({ host, journalsFolder })
  return { clock, hypervisor: new QemuHypervisor({ roots, clock, random, instants, own: stateFolder }) }
}
