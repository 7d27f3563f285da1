/**
 * What is known of a machine's last run, and what follows from it. Deciding is pure; `machine-folder.ts` reads the files.
 *
 *   stopped ──start──> starting ──monitor answers──> running ──exit 0, or ended by us──> stopped
 *                         └──exit──> stopped (start_failed)     └──anything else──> crashed
 *
 * The record is written before the act: `starting` before QEMU is spawned, `intent` before it is ended. After a crash of
 * ours the three witnesses (record, exit record of the supervisor, process table) decide:
 *
 *   crash after                      found                                then
 *   `starting` written               no process, no exit record           stopped: the start was interrupted
 *   QEMU spawned                     a process with our monitor socket    running: it is adopted
 *   `running` written                the recorded process                 running
 *   `intent` written                 process, or an exit record           running; or stopped as intended
 */
import type { HostProcess } from '#runtime'

export type EndCause =
  /** QEMU ended by itself with exit code 0: the guest powered off. */
  | 'guest_shutdown'
  /** Ended by Holdfast, with the guest's consent or without. */
  | 'shut_down'
  | 'powered_off'
  | 'start_failed'
  | 'start_interrupted'
  /** QEMU died: a signal or an exit code. */
  | 'process_died'
  /** The host went down under it. */
  | 'host_restarted'
  /** No process and nothing that says how it ended. */
  | 'vanished'

export type EndIntent = 'shut_down' | 'powered_off'

export type RunEnd = Readonly<{
  cause: EndCause
  /** 128 + n stands for death by signal n, as shells have it. */
  exitCode?: number
  endedAtMs?: number
}>

export type RunRecord = Readonly<
  { schema: 1; runId: string } & (
    | { phase: 'starting'; bootId: string; startedAtMs: number }
    | {
        phase: 'running'
        bootId: string
        startedAtMs: number
        process: HostProcess
        accelerator: 'kvm' | 'tcg'
        notes: readonly string[]
        intent?: EndIntent
      }
    | { phase: 'ended'; end: RunEnd }
  )
>

export type ExitRecord = Readonly<{ runId: string; exitCode: number; endedAtMs: number }>

export type Witnesses = Readonly<{
  record: RunRecord | undefined
  exit: ExitRecord | undefined
  /** running: whether the recorded process lives; starting: the process that holds our monitor socket, if any. */
  process: HostProcess | undefined
  bootId: string
}>

export type Verdict =
  | Readonly<{ power: 'running'; process: HostProcess }>
  | Readonly<{ power: 'stopped' | 'crashed'; end?: RunEnd }>

const CRASHES: ReadonlySet<EndCause> = new Set(['process_died', 'host_restarted', 'vanished'])

export function powerAfter(end: RunEnd): 'stopped' | 'crashed' {
  return CRASHES.has(end.cause) ? 'crashed' : 'stopped'
}

function ended(end: RunEnd): Verdict {
  return { power: powerAfter(end), end }
}

function causeOfExit(record: Exclude<RunRecord, { phase: 'ended' }>, exitCode: number): EndCause {
  if (record.phase === 'starting') return 'start_failed'
  if (record.intent === 'powered_off') return 'powered_off'
  // Asking the guest to shut down is no licence to die: only a clean exit is what was asked for.
  return exitCode === 0 ? (record.intent ?? 'guest_shutdown') : 'process_died'
}

/** What the machine is now, by all witnesses. */
export function judge(witnesses: Witnesses): Verdict {
  const { record, process, bootId } = witnesses
  if (record === undefined) return { power: 'stopped' }
  if (record.phase === 'ended') return ended(record.end)
  const exit = witnesses.exit?.runId === record.runId ? witnesses.exit : undefined
  if (exit !== undefined) {
    const { exitCode, endedAtMs } = exit
    return ended({ cause: causeOfExit(record, exitCode), exitCode, endedAtMs })
  }
  if (record.bootId !== bootId) return ended({ cause: 'host_restarted' })
  if (process !== undefined) return { power: 'running', process }
  if (record.phase === 'starting') return ended({ cause: 'start_interrupted' })
  return ended({ cause: record.intent === 'powered_off' ? 'powered_off' : 'vanished' })
}

/** The supervisor's line: run id, exit code, seconds since the Unix epoch. Anything else is no record. */
export function parseExitRecord(text: string): ExitRecord | undefined {
  const match = /^(\S+) (\d{1,3}) (\d{1,12})\n$/.exec(text)
  if (match === null) return undefined
  return { runId: match[1] ?? '', exitCode: Number(match[2]), endedAtMs: Number(match[3]) * 1000 }
}
