/**
 * Who owns an instant: a process, by its id and its start time, because ids are used again. Linux only (/proc).
 */
import { readFile } from 'node:fs/promises'
import { errnoOf } from '#base'

export type Owner = Readonly<{
  pid: number
  /** Field 22 of /proc/PID/stat: clock ticks since boot (proc(5)). */
  startTicks: string
  /** /proc/sys/kernel/random/boot_id: after a reboot nobody lives on. */
  bootId: string
}>

/** An owner that is never alive. */
export const NOBODY: Owner = { pid: 0, startTicks: '', bootId: '' }

async function startTicksOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The second field is the program's name in parentheses and may hold anything, so fields count from the last ")".
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined
    throw error
  }
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}

/** This process, or the living process `pid`. */
export async function ownerOf(pid: number): Promise<Owner | undefined> {
  const startTicks = await startTicksOf(pid)
  return startTicks === undefined ? undefined : { pid, startTicks, bootId: await bootId() }
}

/** Whether exactly that process still runs (a zombie does not). */
export async function isAlive(owner: Owner): Promise<boolean> {
  return owner.bootId === (await bootId()) && (await startTicksOf(owner.pid)) === owner.startTicks
}
