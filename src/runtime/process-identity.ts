/**
 * Which process this is, in a way that outlives process ids being used again: boot, pid namespace, pid and start time
 * (proc_pid_stat(5), field 22). "Dead" is only said when it is proven on this host; what cannot be seen is unknown.
 *
 * A zombie runs no more: it has no identity and counts as dead.
 */
import { readFileSync, readlinkSync } from 'node:fs'
import { errnoOf } from '#base'

/** A process of this host, as records on its disks name it. */
export type HostProcess = Readonly<{
  /** /proc/sys/kernel/random/boot_id: changes with every boot of the host. */
  bootId: string
  pid: number
  /** Clock ticks after boot at which it started. */
  startTicks: string
}>

export type ProcessIdentity = HostProcess &
  Readonly<{
    /** The pid namespace: pids of another container mean nothing here. */
    pidNamespace: string
  }>

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'ENOENT' || code === 'ESRCH') return undefined // no such process (any more)
    throw error
  }
}

/** The start time in a line of /proc/PID/stat; undefined for a zombie. The program's name may hold anything. */
export function startTicksOf(stat: string): string | undefined {
  // The name stands in parentheses and may itself hold some: count from the last one. State is field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const isOver = fields[0] === 'Z' || fields[0] === 'X'
  return isOver ? undefined : fields[19]
}

function startTicks(pid: number): string | undefined {
  const stat = readOrUndefined(`/proc/${pid}/stat`)
  return stat === undefined ? undefined : startTicksOf(stat)
}

/** Changes with every boot of the host. */
export function currentBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
}

function currentPidNamespace(): string {
  return readlinkSync('/proc/self/ns/pid')
}

/** The identity of a living process of this host, this one by default; undefined when there is none with that pid. */
export function identityOf(pid: number = process.pid): ProcessIdentity | undefined {
  const ticks = startTicks(pid)
  if (ticks === undefined) return undefined
  return { bootId: currentBootId(), pidNamespace: currentPidNamespace(), pid, startTicks: ticks }
}

/** alive, dead (proven: its pid is gone, a zombie, or another's now), or unknown (another boot, host or namespace). */
export function processState(identity: ProcessIdentity): 'alive' | 'dead' | 'unknown' {
  if (identity.bootId !== currentBootId() || identity.pidNamespace !== currentPidNamespace()) return 'unknown'
  return startTicks(identity.pid) === identity.startTicks ? 'alive' : 'dead'
}

/** Whether exactly that process runs here now. For records that never leave their host: another boot means dead. */
export function isAlive(process: HostProcess): boolean {
  return process.bootId === currentBootId() && startTicks(process.pid) === process.startTicks
}

/** The arguments of a living process; empty when it is gone. */
export function argumentsOf(pid: number): readonly string[] {
  const text = readOrUndefined(`/proc/${pid}/cmdline`)
  return text === undefined ? [] : Buffer.from(text, 'latin1').toString('utf8').split('\0').slice(0, -1)
}

/** Signals exactly this process, or nothing: a pid that was given to another process is left alone. */
export function signalProcess(target: HostProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  if (!isAlive(target)) return
  try {
    process.kill(target.pid, signal)
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error // it ended in between, which is what was wanted
  }
}
