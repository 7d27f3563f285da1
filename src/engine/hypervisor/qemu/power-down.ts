/**
 * Ends a running machine: by asking the guest, or by pulling the plug. The intent is written down before the act, so that
 * the end is told from a crash even when we are not there to see it (run-record.ts).
 */
import { BaseError, type Clock, messageOf } from '#base'
import { withAgent } from '../agent/client.ts'
import { shutDownGuest } from '../agent/guest.ts'
import type { ShutdownOptions, ShutdownOutcome } from '../driver.ts'
import type { MachineDescription } from '../machine.ts'
import type { MachinePaths } from './machine-paths.ts'
import { withMonitor } from './monitor.ts'
import { type HostProcess, isAlive, signalProcess } from '#runtime'

export type RunningMachine = Readonly<{
  machine: MachineDescription
  paths: MachinePaths
  process: HostProcess
  clock: Clock
}>

const POLL_MS = 50
const AGENT_READY_MS = 2_000
/** QEMU flushes and closes its images on `quit`; one that needs longer is stuck on storage. */
const QUIT_MS_MAX = 5_000
const KILL_MS_MAX = 10_000
/** Guests ignore the power button while they boot or show a dialogue; it is pressed again. */
const ACPI_EVERY_MS = 10_000

/** Whether the process ended within `timeoutMs`. @throws BaseError `cancelled`. */
async function endsWithin(running: RunningMachine, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  const endMs = running.clock.monotonicMs() + timeoutMs
  while (isAlive(running.process)) {
    if (running.clock.monotonicMs() >= endMs) return false
    await running.clock.sleep(POLL_MS, signal)
  }
  return true
}

async function askAgent(running: RunningMachine, readyMs: number): Promise<string | undefined> {
  if (!running.machine.agent) return 'The machine has no agent channel.'
  const options = { clock: running.clock, lockTimeoutMs: readyMs, readyTimeoutMs: readyMs }
  try {
    await withAgent(running.paths.agentSocket, options, (agent) => shutDownGuest(agent, 'powerdown'))
    return undefined
  } catch (error) {
    return `The guest agent could not be asked: ${messageOf(error)}`
  }
}

async function pressPowerButton(running: RunningMachine): Promise<string | undefined> {
  try {
    await withMonitor(running.paths.controlSocket, running.machine, { clock: running.clock }, (qmp) =>
      qmp.execute('system_powerdown'),
    )
    return undefined
  } catch (error) {
    return `The power button could not be pressed: ${messageOf(error)}`
  }
}

/** Ends QEMU: `quit` closes the images cleanly, SIGKILL is for one that does not answer. @throws BaseError `timed_out`. */
export async function powerOffNow(running: RunningMachine): Promise<void> {
  const { machine, paths, clock } = running
  try {
    await withMonitor(paths.controlSocket, machine, { clock, connectTimeoutMs: QUIT_MS_MAX }, (qmp) =>
      qmp.execute('quit', {}, { timeoutMs: QUIT_MS_MAX }),
    )
  } catch {
    // Whether `quit` arrived shows in the process; an unresponsive QEMU is killed next.
  }
  if (await endsWithin(running, QUIT_MS_MAX)) return
  signalProcess(running.process, 'SIGKILL')
  if (await endsWithin(running, KILL_MS_MAX)) return
  throw new BaseError('timed_out', `The process of ${machine.name} does not end, not even killed.`, {
    facts: { processId: running.process.pid },
    retry: 'later',
    hint: 'It hangs in the kernel, most often on storage that went away.',
  })
}

/** Asks the guest, first through the agent, then by the power button. @throws BaseError `timed_out`, `cancelled`. */
export async function shutDownGracefully(running: RunningMachine, options: ShutdownOptions): Promise<ShutdownOutcome> {
  const { clock } = running
  const startedMs = clock.monotonicMs()
  const leftMs = (): number => startedMs + options.deadlineMs - clock.monotonicMs()
  const notes: string[] = []
  const outcome = (by: ShutdownOutcome['by']): ShutdownOutcome => ({
    by,
    tookMs: Math.round(clock.monotonicMs() - startedMs),
    notes,
  })
  const agentNote = await askAgent(running, Math.min(AGENT_READY_MS, options.deadlineMs / 4))
  if (agentNote !== undefined) notes.push(agentNote)
  else if (await endsWithin(running, options.deadlineMs / 2, options.signal)) return outcome('agent')
  while (leftMs() > 0) {
    const note = await pressPowerButton(running)
    if (note !== undefined && !notes.includes(note)) notes.push(note)
    if (await endsWithin(running, Math.max(0, Math.min(ACPI_EVERY_MS, leftMs())), options.signal))
      return outcome('acpi')
  }
  if (options.thenPowerOff) {
    notes.push('The guest did not comply in time and was powered off.')
    await powerOffNow(running)
    return outcome('power_off')
  }
  throw new BaseError('timed_out', `${running.machine.name} did not shut down within ${options.deadlineMs} ms.`, {
    facts: { deadlineMs: options.deadlineMs, notes },
    retry: 'later',
    hint: 'Look at its screen, or power it off.',
  })
}
