/**
 * The moment itself: freeze, pause, put filters in, start jobs and bitmaps, continue, thaw.
 *
 * The pause holds only what must be inside: filters over a bitmap (they copy it as it is at that moment), the drives'
 * change, and the end of those bitmaps. The rest is outside: filters without a bitmap see no writes until a drive is put on
 * them; new bitmaps may begin a little early, and previous ones that no filter uses may end a little late, which marks a
 * little too much and never too little. The readers come after it. Commands of one kind are sent together, QEMU runs them in order.
 *
 * If anything fails between `stop` and `cont`, the guest is continued at once and the caller dismantles. If the guest was
 * continued by somebody else meanwhile, the disks do not show one moment: `instant_failed`.
 */
import { type Clock, isHoldfastError, messageOf } from '#base'
import { AgentClient } from '../agent/client.ts'
import { freezeGuest, thawGuest } from '../agent/guest.ts'
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
  /** A place where a test may end the process; nothing is written. */
  pass: (step: string) => Promise<void>
}>

/** The guest's freeze ends by itself on Windows after 10 s; more than this on Linux is a fault of storage or hook. */
const FREEZE_MS_MAX = 20_000
/** Waiting for another conversation with the agent is not freezing: give up soon, and say so. */
const AGENT_LOCK_MS_MAX = 5_000
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

function momentActions(disk: DiskPlan): Action[] {
  if (disk.method === 'filter') return disk.copiesChangedOnly ? endActions(disk) : []
  const data = { device: disk.topNode, target: disk.scratchNode, sync: 'none', 'job-id': disk.jobId }
  return [{ type: 'blockdev-backup', data }]
}

function afterwardsActions(disk: DiskPlan): Action[] {
  return disk.copiesChangedOnly ? [] : endActions(disk)
}

function addFilters(qmp: QmpClient, plan: InstantPlan, overBitmap: boolean): Promise<unknown> {
  const disks = plan.disks.filter((disk) => disk.method === 'filter')
  const chosen = disks.filter((disk) => disk.copiesChangedOnly === overBitmap)
  return Promise.all(chosen.map((disk) => addFilter(qmp, disk)))
}

async function insertAll(qmp: QmpClient, request: MomentRequest): Promise<void> {
  const { plan } = request
  await addFilters(qmp, plan, true)
  await request.pass('pause.filtered')
  const filtered = plan.disks.filter((disk) => disk.method === 'filter')
  const inserted = await Promise.allSettled(filtered.map((disk) => setDrive(qmp, disk.qomPath, disk.filterNode)))
  const refused = filtered.filter((_, i) => inserted[i]?.status === 'rejected')
  if (refused.length > 0) throw filterRefused(refused, inserted)
  await request.pass('pause.inserted')
  await transaction(qmp, plan.disks.flatMap(momentActions))
  await request.pass('pause.tracked')
}

/** A device that does not take another node while it runs; `facts.luns` says which, for a second try by job. */
function filterRefused(disks: readonly DiskPlan[], outcomes: readonly PromiseSettledResult<void>[]): HypervisorError {
  const cause: unknown = outcomes.find((outcome) => outcome.status === 'rejected')?.reason
  const luns = disks.map((disk) => String(disk.lun))
  return new HypervisorError('disk_unsupported', `The devices of disks ${luns.join(', ')} do not take a filter.`, {
    facts: { luns, filterRefused: true },
    cause,
  })
}

async function pauseAround(qmp: QmpClient, request: MomentRequest): Promise<{ takenAtMs: number; pauseMs: number }> {
  const { clock, plan } = request
  await transaction(qmp, plan.disks.flatMap(recordActions))
  await request.enter('pause')
  const begunMs = clock.monotonicMs()
  let resumes = 0
  const forget = qmp.onEvent((event) => {
    if (event.name === 'RESUME') resumes += 1
  })
  try {
    if (request.wasRunning) await qmp.execute('stop')
    await request.pass('pause.stopped')
    const takenAtMs = clock.nowMs()
    await insertAll(qmp, request)
    const pauseMs = request.wasRunning ? await resume(qmp, clock, begunMs) : 0
    if (resumes !== (request.wasRunning ? 1 : 0)) throw ranInBetween()
    await transaction(qmp, plan.disks.flatMap(afterwardsActions))
    return { takenAtMs, pauseMs }
  } catch (error) {
    if (request.wasRunning) {
      await qmp.execute('cont').catch(() => {
        // The journal still says `pause`: dismantling, recovery or the watchdog continues the guest.
      })
    }
    throw error
  } finally {
    forget()
  }
}

/**
 * Continues the guest and returns how long it was paused. QEMU runs the two commands one after the other, so that nobody
 * continued the guest before is known for sure. (`cont` to a running guest says and raises nothing.)
 */
async function resume(qmp: QmpClient, clock: Clock, begunMs: number): Promise<number> {
  const [status] = await Promise.all([queryStatus(qmp), qmp.execute('cont')])
  if (status !== 'paused') throw ranInBetween()
  return clock.monotonicMs() - begunMs
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
  await request.enter('freeze')
  try {
    agent = await AgentClient.open(agentSocketPath, { clock, lockTimeoutMs: AGENT_LOCK_MS_MAX })
    const beganMs = clock.monotonicMs()
    const count = await freezeGuest(agent, { timeoutMs: FREEZE_MS_MAX })
    await request.pass('freeze.frozen')
    if (count > 0) return { agent, beganMs }
    await agent.close()
    return 'the guest has no file system that can be frozen'
  } catch (error) {
    // A freeze that timed out may still happen in the guest, and a failed one may have frozen some file systems.
    if (agent !== undefined) await thawAndClose(agent)
    await request.enter('prepare')
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
  await addFilters(qmp, request.plan, false)
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

async function pauseFrozen(qmp: QmpClient, request: MomentRequest, frozen: Frozen): Promise<Moment> {
  let taken: Awaited<ReturnType<typeof pauseAround>>
  let thawed = 0
  try {
    taken = await pauseAround(qmp, request)
    await request.enter('thaw')
  } finally {
    thawed = await thawAndClose(frozen.agent)
  }
  const freezeMs = request.clock.monotonicMs() - frozen.beganMs
  if (thawed > 0) return { ...taken, consistency: request.consistency, freezeMs, notes: [] }
  if (request.strict) throw new HypervisorError('freeze_failed', 'The guest thawed before its instant was taken.')
  return { ...taken, consistency: 'crash', freezeMs, notes: ['Only crash-consistent: the guest thawed too early.'] }
}
