/**
 * What a repository promises of its points' immutability, and what it goes by: the policy in its log, the time that the
 * log has observed, and the locks in its store (commit-locks.ts).
 *
 * Nothing here ends a lock. A clock that says more than is plausible stops pruning where locks are in use (`passedMs`)
 * until an operator accepts it or it is put right; backups go on, and points that no lock holds can be given up.
 */
import type { Clock } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { RepositoryError } from '../errors.ts'
import type { CommitLog } from '../log/log.ts'
import type { LogState } from '../log/state.ts'
import type { PointId } from '../point.ts'
import { CommitLocks, type LockParts } from './commit-locks.ts'
import { judge, type Judgement } from './observed-time.ts'
import { type ImmutabilityPolicy, mayFollow } from './policy.ts'

export type ImmutabilityStatus = Readonly<{
  policy: ImmutabilityPolicy
  /** Who keeps locks in this store. */
  keptBy: 'store' | 'program' | 'none'
  lockedPoints: number
  /** When the last lock of a live point ends; 0 when none is locked. */
  lastLockEndsAtMs: number
  observedMs: number
  clock: Judgement
}>

export class Immutability {
  readonly locks: CommitLocks
  readonly #store: BlobStore
  readonly #log: CommitLog
  readonly #clock: Clock

  constructor(parts: LockParts) {
    this.locks = new CommitLocks(parts)
    this.#store = parts.store
    this.#log = parts.log
    this.#clock = parts.clock
  }

  /** Whether anything was ever locked here, or is to be. */
  get isUsed(): boolean {
    const { lastLockEndMs, immutability } = this.#log.state
    return lastLockEndMs > 0 || immutability.state !== 'disabled'
  }

  /** Our clock, held against what the log has observed; the store's own is asked when ours alone would be doubted. */
  async judge(): Promise<Judgement> {
    const { time } = this.#log.state
    const nowMs = this.#clock.nowMs()
    const own = judge(time, { nowMs })
    return own.plausible ? own : judge(time, { nowMs, storeMs: await this.#store.timeMs() })
  }

  /** The time that may be taken for passed. Where locks are in use, @throws clock_doubted */
  async passedMs(): Promise<number> {
    if (!this.isUsed) return this.#clock.nowMs()
    const judged = await this.judge()
    if (!judged.plausible) throw clockDoubted(judged)
    return judged.passedMs
  }

  async status(): Promise<ImmutabilityStatus> {
    await this.#log.refresh()
    const { state } = this.#log
    const clock = await this.judge()
    const untils = [...state.points.values()].map(({ header }) => header.lockedUntilMs ?? 0)
    const running = untils.filter((until) => until > clock.passedMs)
    return {
      policy: state.immutability,
      keptBy: this.#store.capabilities.lock,
      lockedPoints: running.length,
      lastLockEndsAtMs: Math.max(0, ...running),
      observedMs: state.time.observedMs,
      clock,
    }
  }

  /** @throws immutability_locked, lock_failed where the store cannot lock */
  async setPolicy(next: ImmutabilityPolicy): Promise<void> {
    if (next.state !== 'disabled') this.locks.assertSupported()
    await this.#log.append(({ immutability: now }) => {
      if (!mayFollow(now, next)) throw policyRefused(now, next)
      return { fields: { immutability: next } }
    })
  }

  /** An operator has looked at this host's clock and says that it is right. */
  async acceptTime(): Promise<void> {
    const acceptedMs = this.#clock.nowMs()
    await this.#log.append(() => ({ fields: { acceptedMs } }))
  }

  /** Until when a live point is locked; undefined when it never was. */
  lockedUntilMs(id: PointId): number | undefined {
    return this.#log.state.lockedUntilMs(id)
  }
}

/** @throws point_locked when one of the points is still locked */
export function refuseLocked(state: LogState, ids: readonly PointId[], judged: Judgement): void {
  const locked = ids.flatMap((id) => {
    const untilMs = state.lockedUntilMs(id) ?? 0
    return untilMs > judged.passedMs ? [{ id, untilMs }] : []
  })
  const [first] = locked
  if (first === undefined) return
  const others = locked.length === 1 ? '' : ` So are ${locked.length - 1} more of those named; none was given up.`
  throw new RepositoryError(
    'point_locked',
    `Point ${first.id} is locked until ${isoText(first.untilMs)}: it cannot be given up before.${others}`,
    {
      facts: { points: locked.map(({ id }) => id), lockedUntilMs: first.untilMs, observedMs: state.time.observedMs },
      retry: 'never',
      hint: judged.plausible
        ? 'Wait until then. A lock can be extended, never shortened.'
        : 'The clock of this host is not believed; see "holdfast repo immutability STORE".',
    },
  )
}

function clockDoubted({ saysMs, passedMs, allowedMs }: Judgement & { plausible: false }): RepositoryError {
  const hours = Math.floor(allowedMs / 3_600_000)
  return new RepositoryError(
    'clock_doubted',
    `The clock says ${isoText(saysMs)}, but the log was last written at ${isoText(passedMs)}: more than ${hours} hours ahead is not believed, so nothing is deleted.`,
    {
      facts: { saysMs, observedMs: passedMs, allowedMs },
      retry: 'later',
      hint: 'Put the clock of this host right. If it is right, because nothing was written for that long, say so with "holdfast repo immutability STORE --accept-time".',
    },
  )
}

function policyRefused(now: ImmutabilityPolicy, next: ImmutabilityPolicy): RepositoryError {
  const isFinal = now.state === 'locked'
  return new RepositoryError(
    'immutability_locked',
    isFinal
      ? `The repository's immutability is locked at ${now.days} days: it can only be made longer.`
      : 'Immutability is locked in two steps: first unlocked, then locked.',
    {
      facts: { state: now.state, days: now.days, wanted: next.state, wantedDays: next.days },
      retry: 'never',
      hint: isFinal
        ? 'Give more days, with --state locked.'
        : 'Make it "unlocked" first, see that it is right, and lock it then: that can never be undone.',
    },
  )
}

function isoText(unixMs: number): string {
  return new globalThis.Date(unixMs).toISOString().replace(/\.\d+Z$/, 'Z')
}
