/**
 * What a machine may be and do, as data and pure rules. Two states beside each other:
 *
 *   provisioning   Creating ──> Succeeded <──> Updating        what is being done to it, by whom it was asked
 *                      └──> Failed ──> (made again)  ;  any ──> Deleting
 *
 *   power          deallocated ──> starting ──> running ──> stopping ──> stopped ──> deallocating ──> deallocated
 *                                     ^            │ └── crashed, or the guest powered off ──^ │
 *                                     └────────────│───────────────── stopped <───────────────┘ (start again)
 *
 * `stopped` holds the memory and processors of its host, `deallocated` gave them back, as in Azure. What a machine is wanted
 * to be is kept beside what it is: one that is wanted to run and does not is started again, a guest that powers off is not.
 */
import { assert } from '#base'
import type { Refusal } from './disk.ts'

export const MACHINE_POWERS = ['starting', 'running', 'stopping', 'stopped', 'deallocating', 'deallocated'] as const
export type MachinePowerState = (typeof MACHINE_POWERS)[number]

export const MACHINE_POWER_MOVES = {
  /** A start that failed goes back to where it came from. */
  starting: ['running', 'stopped', 'deallocated'],
  running: ['stopping', 'deallocating', 'stopped', 'running'],
  stopping: ['stopped', 'running'],
  stopped: ['starting', 'deallocating'],
  deallocating: ['deallocated', 'stopped', 'running'],
  deallocated: ['starting'],
} satisfies Record<MachinePowerState, readonly MachinePowerState[]>

export const MACHINE_PROVISIONINGS = ['Creating', 'Updating', 'Succeeded', 'Failed', 'Deleting'] as const
export type MachineProvisioning = (typeof MACHINE_PROVISIONINGS)[number]

export function mayPowerBecome(from: MachinePowerState, to: MachinePowerState): boolean {
  const allowed: readonly MachinePowerState[] = MACHINE_POWER_MOVES[from]
  return from === to || allowed.includes(to)
}

/** `to`, asserted against the table: a move outside it is our own fault. */
export function powerMove(from: MachinePowerState, to: MachinePowerState): MachinePowerState {
  assert(mayPowerBecome(from, to), `A machine cannot go from ${from} to ${to}`)
  return to
}

/** Why the last run ended, as the hypervisor says, or why there was none. */
export type MachineRunEnd = Readonly<{ cause: string; atMs: number; exitCode?: number }>

/** What stands behind a machine that Holdfast runs; never shown as it is. */
export type OwnMachineBacking = Readonly<{
  /** Its name at the hypervisor; unique on any host. */
  machine: string
  firmware: 'bios' | 'uefi'
  power: MachinePowerState
  /** Where it rested before the state in between that it is in now. */
  powerBefore?: 'running' | 'stopped' | 'deallocated'
  wanted: 'running' | 'off'
  /** Whether it holds memory and processors of its host. */
  allocated: boolean
  generalized: boolean
  /** File of the home with what its first boot is to find, until it has been handed over. */
  seed?: string
  /** Azure's userData: base64, shown only when asked for. */
  userData?: string
  /** Why it is as it is, where that is not what was asked for: for its status. */
  why?: string
  startedMs?: number
  lastEnd?: MachineRunEnd
  /** Crashes in a row, for the back-off. */
  crashes?: number
  lastCrashMs?: number
  /** While it is being deleted: what it is again should that fail. */
  stateBefore?: string
}>

export const MACHINE_COMMANDS = ['start', 'powerOff', 'deallocate', 'restart', 'generalize', 'runCommand'] as const
export type MachineCommand = (typeof MACHINE_COMMANDS)[number]

const NEEDS_RUNNING = 'The operation requires the VM to be running (or set to run).'
const NEEDS_REST = 'The machine is running: stop or deallocate it first.'

/** `go`: something is to be done; `done`: it is so already; else why not. States in between belong to an operation at work. */
const RULES: Readonly<Record<MachineCommand, Readonly<Record<'running' | 'stopped' | 'deallocated', string>>>> = {
  start: { running: 'done', stopped: 'go', deallocated: 'go' },
  powerOff: { running: 'go', stopped: 'done', deallocated: 'done' },
  deallocate: { running: 'go', stopped: 'go', deallocated: 'done' },
  restart: { running: 'go', stopped: NEEDS_RUNNING, deallocated: NEEDS_RUNNING },
  generalize: { running: NEEDS_REST, stopped: 'go', deallocated: 'go' },
  runCommand: { running: 'go', stopped: NEEDS_RUNNING, deallocated: NEEDS_RUNNING },
}

/** The state in which a machine rests, for one whose operation was given up. */
export function settledPower(power: MachinePowerState): 'running' | 'stopped' | 'deallocated' {
  if (power === 'running' || power === 'stopping') return 'running'
  return power === 'deallocated' ? 'deallocated' : 'stopped'
}

export function ruleCommand(
  command: MachineCommand,
  machine: Pick<OwnMachineBacking, 'power' | 'generalized'>,
): 'go' | 'done' | Refusal {
  const boots = command === 'start' || command === 'restart'
  if (machine.generalized && boots)
    return {
      message:
        'The VM was generalized: its identity is gone, so it cannot start. Make machines from an image of it instead.',
    }
  if (machine.generalized && command === 'generalize') return 'done'
  const rule = RULES[command][settledPower(machine.power)]
  return rule === 'go' || rule === 'done' ? rule : { message: rule }
}

/** What became of a machine that was running, when somebody looks and it does not run any more. */
export type NoticedEnd = Readonly<{ kind: 'crash' | 'guest-off'; wanted: 'running' | 'off'; crashes: number }>

/** Crashes that lie further apart than this are each the first. */
const CRASH_MEMORY_MS = 10 * 60_000

const GUEST_ENDS = new Set(['guest_shutdown', 'shut_down', 'powered_off'])

export function noticeEnd(
  machine: Pick<OwnMachineBacking, 'wanted' | 'crashes' | 'lastCrashMs'>,
  cause: string,
  nowMs: number,
): NoticedEnd {
  if (GUEST_ENDS.has(cause)) return { kind: 'guest-off', wanted: 'off', crashes: 0 }
  const { crashes = 0, lastCrashMs } = machine
  const isNear = lastCrashMs !== undefined && nowMs - lastCrashMs < CRASH_MEMORY_MS
  return { kind: 'crash', wanted: machine.wanted, crashes: isNear ? crashes + 1 : 1 }
}

const RESTART_MS_FIRST = 1_000
const RESTART_MS_MAX = 5 * 60_000

/** How long to wait before a machine that crashed is started again. @param crashes in a row, from 1 up */
export function restartDelayMs(crashes: number): number {
  return Math.min(RESTART_MS_MAX, RESTART_MS_FIRST * 2 ** Math.min(Math.max(0, crashes - 1), 20))
}

export type MachineStatusLine = Readonly<{
  code: string
  level: 'Info' | 'Warning' | 'Error'
  displayStatus: string
  message?: string
  time?: string
}>

const POWER_WORDS: Readonly<Record<MachinePowerState, string>> = {
  starting: 'VM starting',
  running: 'VM running',
  stopping: 'VM stopping',
  stopped: 'VM stopped',
  deallocating: 'VM deallocating',
  deallocated: 'VM deallocated',
}

/** The power state and what belongs to it, as `instanceView.statuses` tells them. The time of the end is for the caller. */
export function machineStatusLines(machine: OwnMachineBacking, isoTime: (ms: number) => string): MachineStatusLine[] {
  const { power, generalized, why, lastEnd } = machine
  const [code, displayStatus] = [`PowerState/${power}`, POWER_WORDS[power]]
  const crashed = power === 'stopped' && lastEnd !== undefined && !GUEST_ENDS.has(lastEnd.cause)
  const about = why ?? (crashed ? `The last run ended: ${lastEnd.cause}.` : undefined)
  return [
    ...(generalized ? [{ code: 'OSState/generalized', level: 'Info' as const, displayStatus: 'VM generalized' }] : []),
    {
      code,
      level: about === undefined ? 'Info' : crashed ? 'Error' : 'Warning',
      displayStatus,
      ...(about !== undefined && { message: about }),
      ...(crashed && { time: isoTime(lastEnd.atMs) }),
    },
  ]
}
