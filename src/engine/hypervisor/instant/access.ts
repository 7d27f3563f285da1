/** What an instant needs of the machine and of its host. */
import { join } from 'node:path'
import type { Clock, Random } from '#base'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription } from '../machine.ts'
import type { ProcessUser } from '../qemu/supervisor.ts'
import type { MachineSockets } from './journal.ts'

/**
 * A running machine as its driver sees it. The monitor serves one client at a time and is held as long as the instant is
 * open: give it one of its own, beside the driver's.
 */
export type RunningMachine = Readonly<{
  description: MachineDescription
  sockets: MachineSockets
  /** Node names by LUN, for images that QEMU does not know by the path of the description. */
  nodeNames?: Readonly<Record<number, string>>
}>

export type InstantHost = Readonly<{
  clock: Clock
  random: Random
  /** Records of open instants; the watchdog and recovery read it. On a local file system. */
  journalFolder: string
  /** Scratch files; best on a file system of its own. */
  scratchFolder: string
  /** Sockets: private, writable for QEMU's user, and short, because a socket's path has at most 107 bytes. */
  runFolder: string
  /** start: make sure that a watchdog process watches the journal; elsewhere: somebody else sees to it. */
  watchdog: 'start' | 'elsewhere'
  /** Use backup jobs also where filters would do, for hosts on which filters misbehave. Gives the weaker promise. */
  jobsOnly?: boolean
  /** As whom QEMU runs, when not as we do: scratch files and sockets are given to it. Default: who made the monitor's socket. */
  processUser?: ProcessUser
  /** Folders at and below it are Holdfast's own: they are opened for that user to pass (qemu/passage.ts). */
  own?: string
  scratchBytesMax?: number
  scratchFloorBytes?: number
  /**
   * Several machines at one moment: called once the guest stands still; the moment is taken and the guest goes on only after
   * it resolved. The guest then stands still for some round trips more.
   */
  whenStill?: () => Promise<void>
  /** Called before each step with its name. Tests end the process there. */
  onStep?: (step: string) => Promise<void>
}>

/** sun_path has 108 bytes with its end (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107

/** The private NBD socket of an instant. @throws `instant_failed` when the run folder is too long for it. */
export function socketPathIn(runFolder: string, id: string): string {
  const path = join(runFolder, `hf-${id}.nbd`)
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path
  throw new HypervisorError('instant_failed', 'The run folder is too long for a socket.', {
    facts: { runFolder, socketPathBytesMax: SOCKET_PATH_BYTES_MAX },
    hint: 'Choose a short run folder, such as /run/holdfast.',
  })
}
