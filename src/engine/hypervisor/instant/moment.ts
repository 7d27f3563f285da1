/**
 * The moment itself: quiet the guest (quiet-guest.ts), pause, put filters in, start jobs, continue, wake the guest.
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
import { HypervisorError } from '../errors.ts'
import type { ConsistencyLevel } from '../machine.ts'
import type { QmpClient } from '../qmp/client.ts'
import type { Shortfall } from '../quiesce/consistency-reason.ts'
import { type Action, addFilter, setDrive, transaction } from './graph.ts'
import { queryStatus } from './inventory.ts'
import type { DiskPlan, InstantPlan } from './plan.ts'
import { quietGuest, type QuietGuest, type QuietRequest, refuseLess, thaw, wakeApplications } from './quiet-guest.ts'

export type Moment = Readonly<{
  takenAtMs: number
  consistency: ConsistencyLevel
  pauseMs: number
  freezeMs: number
  /** Why it is less consistent than was asked for. */
  shortfalls: readonly Shortfall[]
}>

export type MomentRequest = QuietRequest &
  Readonly<{
    plan: InstantPlan
    /** See InstantHost. */
    whenStill: (() => Promise<void>) | undefined
  }>

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

type Taken = Readonly<{ takenAtMs: number; pauseMs: number; freezeMs: number; thawedEarly: boolean }>

async function pauseQuiet(qmp: QmpClient, request: MomentRequest, { frozen }: QuietGuest): Promise<Taken> {
  if (frozen === undefined) return { ...(await pauseAround(qmp, request)), freezeMs: 0, thawedEarly: false }
  const [pausing] = await Promise.allSettled([pauseAround(qmp, request)])
  const { thawed, freezeMs } = await thaw(request, frozen)
  if (pausing.status === 'rejected') throw pausing.reason
  return { ...pausing.value, freezeMs, thawedEarly: thawed === 0 }
}

const THAWED_EARLY: Shortfall = { code: 'thawed_early', note: 'Only crash-consistent: the guest thawed too early.' }

/** What the moment is worth. Scripts count only when both succeeded, as with Azure. Pure. */
function judge(request: MomentRequest, quiet: QuietGuest, taken: Taken, failed: readonly Shortfall[]) {
  const { consistency, wasRunning } = request
  const shortfalls = [...(taken.thawedEarly ? [THAWED_EARLY] : []), ...quiet.shortfalls, ...failed]
  const isFrozen = quiet.frozen !== undefined && !taken.thawedEarly
  if (consistency === 'crash' || !wasRunning) return { level: 'crash', shortfalls } as const
  const isFrozenOrNeedsNot = isFrozen || !quiet.freezes
  if (quiet.scripts !== undefined && quiet.scriptsRan && failed.length === 0 && isFrozenOrNeedsNot)
    return { level: 'application', shortfalls } as const
  return { level: isFrozen ? quiet.frozenIs : 'crash', shortfalls } as const
}

/** Takes the moment. @throws HypervisorError; the guest runs then, and the caller dismantles what is left. */
export async function takeMoment(qmp: QmpClient, request: MomentRequest): Promise<Moment> {
  await addFilters(qmp, request.plan)
  const quiet = await quietGuest(request)
  const taken = await pauseQuiet(qmp, request, quiet)
  await transaction(qmp, request.plan.disks.flatMap(endActions))
  const woken = quiet.scripts === undefined ? undefined : await wakeApplications(request, quiet.scripts)
  const { level, shortfalls } = judge(request, quiet, taken, woken === undefined ? [] : [woken])
  refuseLess(request, level, shortfalls)
  const { takenAtMs, pauseMs, freezeMs } = taken
  return { takenAtMs, consistency: level, pauseMs, freezeMs, shortfalls }
}
