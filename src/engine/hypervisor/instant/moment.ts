/**
 * The moment itself: freeze, pause, put filters in, start jobs, continue, thaw.
 *
 * The pause holds only what must be inside: the drives' change, and the start of jobs. Filters are made before it (they see
 * no writes until a drive is put on them), readers after it; new bitmaps may begin a little early and previous ones end a
 * little late, which marks a little too much and never too little.
 *
 * All commands from `stop` to `cont` go to QEMU in one write. How long the guest stands still is then QEMU's affair alone:
 * a busy host that does not schedule us, or our death, makes it no longer. If one of them fails the guest runs all the same,
 * and the caller dismantles. If the guest was continued by somebody else in between, the disks do not show one moment:
 * `instant_failed`.
 */
import { type Clock, isHoldfastError, messageOf } from '#base'
import { AgentClient } from '../agent/client.ts'
import { freezeGuest, thawGuest, writeBackGuest } from '../agent/guest.ts'
import { HypervisorError } from '../errors.ts'
import type { ConsistencyLevel } from '../machine.ts'
import type { QmpClient } from '../qmp/client.ts'
import { type Action, addFilter, setDrive, transaction } from './graph.ts'
import { queryStatus } from './inventory.ts'
import type { InstantStep } from './journal.ts'
import type { DiskPlan, InstantPlan } from './plan.ts'

export type Moment = Readonly<{
  takenAtMs: number
  consistency: ConsistencyLevel
  pauseMs: number
  freezeMs: number
  notes: readonly string[]
}>

export type MomentRequest = Readonly<{
  plan: InstantPlan
  wasRunning: boolean
  consistency: ConsistencyLevel
  strict: boolean
  agentSocketPath: string | undefined
  clock: Clock
  /** Writes the step to the journal before it is done. */
  enter: (step: InstantStep) => Promise<void>
  /** See InstantHost. */
  whenStill: (() => Promise<void>) | undefined
  /** A place where a test may end the process; nothing is written. */
  pass: (step: string) => Promise<void>
}>

/** The guest's freeze ends by itself on Windows after 10 s; more than this on Linux is a fault of storage or hook. */
const FREEZE_MS_MAX = 20_000
/** Waiting for another conversation with the agent is not freezing: give up soon, and say so. */
const AGENT_LOCK_MS_MAX = 5_000
/** A guest with much to write back is frozen all the same after this; it goes on writing back then. */
const WRITE_BACK_MS_MAX = 10_000
const THAW_MS_MAX = 5_000
const THAW_ATTEMPTS_MAX = 3

/** After the freeze, so that what freezing writes back is not marked as changed since the instant. */
function recordActions(disk: DiskPlan): Action[] {
  const { next } = disk.tracking
  return next === undefined ? [] : [{ type: 'block-dirty-bitmap-enable', data: { node: disk.formatNode, name: next } }]
}

function endActions(disk: DiskPlan): Action[] {
  const { previous } = disk.tracking
  if (previous === undefined) return []
  return [{ type: 'block-dirty-bitmap-disable', data: { node: disk.formatNode, name: previous } }]
}

function jobAction(disk: DiskPlan): Action {
  const data = { device: disk.topNode, target: disk.scratchNode, sync: 'none', 'job-id': disk.jobId }
  return { type: 'blockdev-backup', data }
}

function addFilters(qmp: QmpClient, plan: InstantPlan): Promise<unknown> {
  return Promise.all(plan.disks.filter((disk) => disk.method === 'filter').map((disk) => addFilter(qmp, disk)))
}

/** What the commands of the pause came to; none of them rejects on its own. */
type Paused = Readonly<{
  stopped: Promise<PromiseSettledResult<unknown>[]>
  inserted: Promise<PromiseSettledResult<unknown>[]>
  continued: Promise<readonly [PromiseSettledResult<string>, PromiseSettledResult<unknown>]>
}>

/** Everything from `stop` to `cont`. QEMU runs them in this order; the status is what it was right before `cont`. */
function sendPause(qmp: QmpClient, request: MomentRequest): Paused {
  const { plan, wasRunning } = request
  const filtered = plan.disks.filter((disk) => disk.method === 'filter')
  const jobs = plan.disks.filter((disk) => disk.method === 'job')
  return qmp.inOneWrite(() => ({
    stopped: Promise.allSettled(wasRunning ? [qmp.execute('stop')] : []),
    inserted: Promise.allSettled([
      ...filtered.map((disk) => setDrive(qmp, disk.qomPath, disk.filterNode)),
      transaction(qmp, jobs.map(jobAction)),
    ]),
    continued: Promise.allSettled([queryStatus(qmp), wasRunning ? qmp.execute('cont') : Promise.resolve()] as const),
  }))
}

function throwFailures(plan: InstantPlan, inserted: readonly PromiseSettledResult<unknown>[]): void {
  const filtered = plan.disks.filter((disk) => disk.method === 'filter')
  const refused = filtered.filter((_, i) => inserted[i]?.status === 'rejected')
  if (refused.length > 0) throw filterRefused(refused, inserted)
  for (const outcome of inserted) if (outcome.status === 'rejected') throw outcome.reason
}

/** A device that does not take another node while it runs; `facts.luns` says which, for a second try by job. */
function filterRefused(
  disks: readonly DiskPlan[],
  outcomes: readonly PromiseSettledResult<unknown>[],
): HypervisorError {
  const cause: unknown = outcomes.find((outcome) => outcome.status === 'rejected')?.reason
  const luns = disks.map((disk) => String(disk.lun))
  return new HypervisorError('disk_unsupported', `The devices of disks ${luns.join(', ')} do not take a filter.`, {
    facts: { luns, filterRefused: true },
    cause,
  })
}

/** Counts STOP and RESUME, and keeps QEMU's own times of them. */
function watchPause(qmp: QmpClient): { stops: number[]; resumes: number[]; forget: () => void } {
  const seen = { stops: [] as number[], resumes: [] as number[] }
  const forget = qmp.onEvent(({ name, atMs }) => {
    if (name === 'STOP') seen.stops.push(atMs)
    if (name === 'RESUME') seen.resumes.push(atMs)
  })
  return { ...seen, forget }
}

/** QEMU's times are of a wall clock: one that was set meanwhile must not make a pause negative, or longer than we saw. */
function pauseOf(watched: Readonly<{ stops: readonly number[]; resumes: readonly number[] }>, tookMs: number): number {
  const byQemuMs = (watched.resumes[0] ?? Infinity) - (watched.stops[0] ?? 0)
  return byQemuMs >= 0 && byQemuMs < tookMs ? byQemuMs : tookMs
}

async function pauseAround(qmp: QmpClient, request: MomentRequest): Promise<{ takenAtMs: number; pauseMs: number }> {
  const { clock, plan, wasRunning } = request
  const watched = watchPause(qmp)
  try {
    await Promise.all([transaction(qmp, plan.disks.flatMap(recordActions)), request.enter('pause')])
    const begunMs = clock.monotonicMs()
    if (request.whenStill !== undefined) {
      if (wasRunning) await qmp.execute('stop')
      await request.whenStill()
    }
    const takenAtMs = clock.nowMs()
    const paused = sendPause(qmp, request)
    await request.pass('pause.sent')
    for (const outcome of await paused.stopped) if (outcome.status === 'rejected') throw outcome.reason
    const inserted = await paused.inserted
    await request.pass('pause.inserted')
    const [status, continued] = await paused.continued
    const tookMs = clock.monotonicMs() - begunMs
    for (const outcome of [continued, status]) if (outcome.status === 'rejected') throw outcome.reason
    throwFailures(plan, inserted)
    const wasPaused = status.status === 'fulfilled' && status.value === 'paused'
    if (wasRunning && !wasPaused) throw ranInBetween()
    if (watched.resumes.length !== (wasRunning ? 1 : 0)) throw ranInBetween()
    return { takenAtMs, pauseMs: wasRunning ? pauseOf(watched, tookMs) : 0 }
  } catch (error) {
    if (wasRunning) {
      await qmp.execute('cont').catch(() => {
        // The journal still says `pause`: dismantling, recovery or the watchdog continues the guest.
      })
    }
    throw error
  } finally {
    watched.forget()
  }
}

function ranInBetween(): HypervisorError {
  return new HypervisorError('instant_failed', 'The guest was continued in the middle of its instant.', {
    retry: 'now',
  })
}

async function thawSurely(agent: AgentClient): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await thawGuest(agent, { timeoutMs: THAW_MS_MAX })
    } catch (error) {
      if (attempt >= THAW_ATTEMPTS_MAX) throw error
    }
  }
}

type Frozen = Readonly<{ agent: AgentClient; beganMs: number }>

/** A frozen guest, or the reason why there is none. */
async function freeze(request: MomentRequest): Promise<Frozen | string> {
  const { agentSocketPath, clock } = request
  if (agentSocketPath === undefined) return 'the machine has no guest agent channel'
  let agent: AgentClient | undefined
  let begun = false
  try {
    agent = await AgentClient.open(agentSocketPath, { clock, lockTimeoutMs: AGENT_LOCK_MS_MAX })
    await writeBackGuest(agent, clock, WRITE_BACK_MS_MAX)
    begun = true
    await request.enter('freeze')
    const beganMs = clock.monotonicMs()
    const count = await freezeGuest(agent, { timeoutMs: FREEZE_MS_MAX })
    await request.pass('freeze.frozen')
    if (count > 0) return { agent, beganMs }
    await agent.close()
    return 'the guest has no file system that can be frozen'
  } catch (error) {
    // A freeze that timed out may still happen in the guest, and a failed one may have frozen some file systems.
    if (agent !== undefined) await (begun ? thawAndClose(agent) : agent.close())
    if (begun) await request.enter('prepare')
    if (!isHoldfastError(error)) throw error
    return messageOf(error)
  }
}

async function thawAndClose(agent: AgentClient): Promise<number> {
  try {
    return await thawSurely(agent)
  } finally {
    await agent.close()
  }
}

/** Takes the moment. @throws HypervisorError; the guest runs then, and the caller dismantles what is left. */
export async function takeMoment(qmp: QmpClient, request: MomentRequest): Promise<Moment> {
  await addFilters(qmp, request.plan)
  const moment = await takeConsistent(qmp, request)
  await transaction(qmp, request.plan.disks.flatMap(endActions))
  return moment
}

async function takeConsistent(qmp: QmpClient, request: MomentRequest): Promise<Moment> {
  const wanted = request.wasRunning ? request.consistency : 'crash'
  const frozen = wanted === 'crash' ? undefined : await freeze(request)
  const notes: string[] = []
  if (typeof frozen === 'string') {
    if (request.strict) {
      throw new HypervisorError('freeze_failed', `No ${wanted}-consistent instant: ${frozen}.`, { retry: 'later' })
    }
    notes.push(`Only crash-consistent: ${frozen}.`)
  }
  if (frozen === undefined || typeof frozen === 'string') {
    return { ...(await pauseAround(qmp, request)), consistency: 'crash', freezeMs: 0, notes }
  }
  return await pauseFrozen(qmp, request, frozen)
}

/** The guest does not wait for our journal: what that says until then has the guest thawed as well. */
async function thawAndNote(request: MomentRequest, frozen: Frozen): Promise<{ thawed: number; freezeMs: number }> {
  const timed = async (): Promise<{ thawed: number; freezeMs: number }> => {
    const thawed = await thawSurely(frozen.agent)
    return { thawed, freezeMs: request.clock.monotonicMs() - frozen.beganMs }
  }
  const [thawing, noted] = await Promise.allSettled([timed(), request.enter('thaw')])
  await frozen.agent.close()
  if (thawing.status === 'rejected') throw thawing.reason
  if (noted.status === 'rejected') throw noted.reason
  return thawing.value
}

async function pauseFrozen(qmp: QmpClient, request: MomentRequest, frozen: Frozen): Promise<Moment> {
  const [pausing] = await Promise.allSettled([pauseAround(qmp, request)])
  const { thawed, freezeMs } = await thawAndNote(request, frozen)
  if (pausing.status === 'rejected') throw pausing.reason
  const taken = pausing.value
  if (thawed > 0) return { ...taken, consistency: request.consistency, freezeMs, notes: [] }
  if (request.strict) throw new HypervisorError('freeze_failed', 'The guest thawed before its instant was taken.')
  return { ...taken, consistency: 'crash', freezeMs, notes: ['Only crash-consistent: the guest thawed too early.'] }
}
