/**
 * Where the files of a machine are. Two roots are passed in: one that keeps (descriptions, disks, logs) and one that a
 * restart of the host may empty (sockets), which must be short: a socket's path has at most 107 bytes (sun_path, unix(7)).
 *
 *   <machinesFolder>/<name>/   machine.json  run.json  exit  uefi-vars.fd  seed.iso  serial.log  serial.log.old  qemu.log  disks/
 *   <runtimeFolder>/<id>/      control  instant  rescue  agent  pid  shot  trace.log
 *
 * `id` is made of the machine's folder, so that two installations may share one runtime folder. Pure.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { HypervisorError } from '../errors.ts'
import { requireMachineName } from './validate.ts'

export type QemuRoots = Readonly<{ machinesFolder: string; runtimeFolder: string }>

export type MachinePaths = Readonly<{
  folder: string
  description: string
  run: string
  exit: string
  uefiVars: string
  seed: string
  serialLog: string
  qemuLog: string
  disks: string
  runtime: string
  /** Three monitors, because each takes one client: ours, the open instant's, and the watchdog's. */
  controlSocket: string
  instantSocket: string
  rescueSocket: string
  agentSocket: string
  pid: string
  screenshot: string
  /** QEMU's own log (-D); written only when somebody switches tracing on. */
  traceLog: string
  /** The folder in which the two ends of a link meet, shared by all machines of the runtime folder. */
  links: string
}>

export const SOCKET_PATH_BYTES_MAX = 107
/** The longest name below runtimeFolder: "/links/" + 64 + "-a". */
const LINK_SUFFIX_BYTES = 7 + 64 + 2

/** @throws HypervisorError `machine_invalid` when the roots are relative, or too long for sockets. */
export function requireUsableRoots(roots: QemuRoots): void {
  const { runtimeFolder, machinesFolder } = roots
  if (!runtimeFolder.startsWith('/') || !machinesFolder.startsWith('/'))
    throw new HypervisorError('machine_invalid', 'The folders for machines must be absolute paths.')
  const bytes = Buffer.byteLength(runtimeFolder) + LINK_SUFFIX_BYTES
  if (bytes <= SOCKET_PATH_BYTES_MAX) return
  throw new HypervisorError('machine_invalid', `The runtime folder ${runtimeFolder} is too long for sockets.`, {
    facts: { bytes, bytesMax: SOCKET_PATH_BYTES_MAX },
    hint: "Use /run/holdfast or the user's runtime folder.",
  })
}

/** @throws HypervisorError `machine_invalid` for a name that cannot be a folder. */
export function machinePaths(roots: QemuRoots, name: string): MachinePaths {
  requireMachineName(name)
  const folder = join(roots.machinesFolder, name)
  const runtime = join(roots.runtimeFolder, createHash('sha256').update(folder).digest('hex').slice(0, 8))
  return {
    folder,
    description: join(folder, 'machine.json'),
    run: join(folder, 'run.json'),
    exit: join(folder, 'exit'),
    uefiVars: join(folder, 'uefi-vars.fd'),
    seed: join(folder, 'seed.iso'),
    serialLog: join(folder, 'serial.log'),
    qemuLog: join(folder, 'qemu.log'),
    disks: join(folder, 'disks'),
    runtime,
    controlSocket: join(runtime, 'control'),
    instantSocket: join(runtime, 'instant'),
    rescueSocket: join(runtime, 'rescue'),
    agentSocket: join(runtime, 'agent'),
    pid: join(runtime, 'pid'),
    screenshot: join(runtime, 'shot'),
    traceLog: join(runtime, 'trace.log'),
    links: join(roots.runtimeFolder, 'links'),
  }
}
