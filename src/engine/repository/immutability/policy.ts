/**
 * The repository's immutability, in Azure's words: disabled (points are locked only if a backup asks for it), unlocked
 * (every new point is locked for so many days; the policy may still be changed), locked (likewise, and the policy can only
 * be made stricter, for ever). It stands in the log; a record that loosens a locked policy is passed over by every reader.
 *
 * What a point was promised stays whatever becomes of the policy: lock ends are never brought forward.
 */
import { DAY_MS } from './observed-time.ts'

export const IMMUTABILITY_STATES = ['disabled', 'unlocked', 'locked'] as const
export type ImmutabilityState = (typeof IMMUTABILITY_STATES)[number]
export type ImmutabilityPolicy = Readonly<{ state: ImmutabilityState; days: number }>

export const IMMUTABILITY_DISABLED: ImmutabilityPolicy = { state: 'disabled', days: 0 }
export const LOCK_DAYS_MAX = 36_500
/** Locks end at whole multiples of this, so that a chain of points asks the store anew every 30 days and not every day. */
export const LOCK_GRAIN_MS = 30 * DAY_MS

/** The end of the lock that the store is asked for, so that nothing is unlocked before `untilMs`. */
export function roundLockEnd(untilMs: number): number {
  return Math.ceil(untilMs / LOCK_GRAIN_MS) * LOCK_GRAIN_MS
}

/** Whether `next` may take the place of `policy`. Locked is reached from unlocked only, and then never left. */
export function mayFollow(policy: ImmutabilityPolicy, next: ImmutabilityPolicy): boolean {
  if (policy.state === 'locked') return next.state === 'locked' && next.days >= policy.days
  return next.state !== 'locked' || policy.state === 'unlocked'
}

export function isPolicy(value: Record<string, unknown>): boolean {
  const { state, days } = value
  if (!IMMUTABILITY_STATES.includes(state as ImmutabilityState) || !Number.isInteger(days)) return false
  return (days as number) >= (state === 'disabled' ? 0 : 1) && (days as number) <= LOCK_DAYS_MAX
}

/**
 * Until when a point is to be locked; undefined when it is not to be.
 * @param lockMs what its backup asked for, if it did; the policy may ask for more
 */
export function lockedUntil(
  policy: ImmutabilityPolicy,
  wanted: Readonly<{ lockMs?: number; expiresAtMs?: number }>,
  baseMs: number,
): number | undefined {
  const policyMs = policy.state === 'disabled' ? 0 : policy.days * DAY_MS
  const lockMs = Math.max(policyMs, wanted.lockMs ?? 0)
  return lockMs === 0 ? undefined : Math.max(baseMs + lockMs, wanted.expiresAtMs ?? 0)
}
