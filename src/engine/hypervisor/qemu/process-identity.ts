/**
 * Tells one process from another that later got its number: a process is its pid together with its start time, within one
 * boot of the host (proc(5): stat field 22, in clock ticks since boot; /proc/sys/kernel/random/boot_id).
 */
import { readFile } from 'node:fs/promises'
import { errnoOf } from '#base'

export type ProcessIdentity = Readonly<{ pid: number; startTicks: number }>

async function readOrUndefined(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'ENOENT' || code === 'ESRCH') return undefined // no such process (any more)
    throw error
  }
}

/** The start time in a line of /proc/<pid>/stat; undefined for a zombie, which runs no more. The name may hold anything. */
export function startTicksOf(stat: string): number | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const isOver = fields[0] === 'Z' || fields[0] === 'X'
  const ticks = Number(fields[19])
  return isOver || !Number.isSafeInteger(ticks) ? undefined : ticks
}

/** The identity of the live process `pid`. */
export async function identityOf(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = await readOrUndefined(`/proc/${pid}/stat`)
  const startTicks = stat === undefined ? undefined : startTicksOf(stat)
  return startTicks === undefined ? undefined : { pid, startTicks }
}

export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await identityOf(identity.pid))?.startTicks === identity.startTicks
}

/** The arguments of a live process; empty when it is gone. */
export async function argumentsOf(pid: number): Promise<readonly string[]> {
  const text = await readOrUndefined(`/proc/${pid}/cmdline`)
  return text === undefined ? [] : text.split('\0').slice(0, -1)
}

/** Changes with every boot of the host. */
export async function currentBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}

/** Kills exactly this process, or nothing: a pid that was given to another process is left alone. */
export async function killProcess(identity: ProcessIdentity, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (!(await isAlive(identity))) return
  try {
    process.kill(identity.pid, signal)
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error // it ended in between, which is what was wanted
  }
}
