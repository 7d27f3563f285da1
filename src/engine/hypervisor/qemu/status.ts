/** How a machine is shown: the description, the verdict of run-record.ts and QEMU's own run state. Pure. */
import type { MachineStatus } from '../driver.ts'
import type { MachineDescription } from '../machine.ts'
import { asObject, textOr } from '../qmp/shape.ts'
import type { MachinePaths } from './machine-paths.ts'
import type { RunRecord, Verdict } from './run-record.ts'

export type RunState = Readonly<{ isPaused: boolean; note?: string }>

/** Run states of QEMU (qapi/run-state.json) that need more words than "paused". */
const EXPLAINED: Readonly<Record<string, string>> = {
  'io-error': 'The guest is stopped on an I/O error of a disk (full or failing storage). Mend that, then resume.',
  'internal-error': 'QEMU stopped the guest on an internal error; it has to be reset.',
  'guest-panicked': 'The guest panicked.',
  inmigrate: 'The guest waits for an incoming state.',
  watchdog: "The guest's watchdog stopped it.",
}

/** From the answer of `query-status`. */
export function runStateOf(answer: unknown): RunState {
  const status = asObject(answer, 'the run state')
  const note = EXPLAINED[textOr(status['status'], '')]
  const isPaused = status['running'] !== true && status['status'] !== 'suspended'
  return { isPaused, ...(note === undefined ? {} : { note }) }
}

function connections(machine: MachineDescription, paths: MachinePaths): NonNullable<MachineStatus['sockets']> {
  const { controlSocket, instantSocket, rescueSocket, agentSocket } = paths
  return {
    control: controlSocket,
    instant: instantSocket,
    rescue: rescueSocket,
    ...(machine.agent ? { agent: agentSocket } : {}),
  }
}

export function statusOf(
  machine: MachineDescription,
  paths: MachinePaths,
  record: RunRecord | undefined,
  verdict: Verdict,
  runState: RunState = { isPaused: false },
): MachineStatus {
  const attachments: MachineStatus['attachments'] =
    machine.firmware === 'uefi' ? [{ name: 'uefi-vars', path: paths.uefiVars }] : []
  if (verdict.power !== 'running') {
    const { power, end } = verdict
    return { machine, power, attachments, notes: [], ...(end === undefined ? {} : { lastEnd: end }) }
  }
  const run = record?.phase === 'running' ? record : undefined
  return {
    machine,
    power: runState.isPaused ? 'paused' : 'running',
    attachments,
    processId: verdict.process.pid,
    sockets: connections(machine, paths),
    notes: [...(run?.notes ?? []), ...(runState.note === undefined ? [] : [runState.note])],
    ...(record === undefined || record.phase === 'ended' ? {} : { startedAtMs: record.startedAtMs }),
    ...(run === undefined ? {} : { accelerator: run.accelerator }),
  }
}
