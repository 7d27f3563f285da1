/**
 * Which process this is, in a way that outlives process ids being used again: boot, pid namespace, pid and start time
 * (proc_pid_stat(5), field 22). "Dead" is only said when it is proven on this host; what cannot be seen is unknown.
 */
import { readFileSync, readlinkSync } from 'node:fs'
import { errnoOf } from '#base'

export type ProcessIdentity = Readonly<{
  /** /proc/sys/kernel/random/boot_id: changes with every boot of the host. */
  bootId: string
  /** The pid namespace: pids of another container mean nothing here. */
  pidNamespace: string
  pid: number
  /** Clock ticks after boot at which it started. */
  startTicks: string
}>

type Stat = Readonly<{ state: string; startTicks: string }>

function statOf(pid: number): Stat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined
    throw error
  }
  // The program's name stands in parentheses and may itself hold some: count from the last one. State is field 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0] ?? '', startTicks: fields[19] ?? '' }
}

function hostFacts(): Pick<ProcessIdentity, 'bootId' | 'pidNamespace'> {
  return {
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
    pidNamespace: readlinkSync('/proc/self/ns/pid'),
  }
}

/** The identity of a living process of this host, this one by default; undefined when there is none with that pid. */
export function identityOf(pid: number = process.pid): ProcessIdentity | undefined {
  const stat = statOf(pid)
  return stat === undefined ? undefined : { ...hostFacts(), pid, startTicks: stat.startTicks }
}

/** alive, dead (proven: its pid is gone, a zombie, or another's now), or unknown (another boot, host or namespace). */
export function processState(identity: ProcessIdentity): 'alive' | 'dead' | 'unknown' {
  const here = hostFacts()
  if (identity.bootId !== here.bootId || identity.pidNamespace !== here.pidNamespace) return 'unknown'
  const stat = statOf(identity.pid)
  if (stat === undefined || stat.startTicks !== identity.startTicks) return 'dead'
  return stat.state === 'Z' || stat.state === 'X' ? 'dead' : 'alive'
}
