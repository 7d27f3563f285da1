import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DAY_MS } from './observed-time.ts'
import { IMMUTABILITY_DISABLED, isPolicy, LOCK_GRAIN_MS, lockedUntil, mayFollow, roundLockEnd } from './policy.ts'

const unlocked = (days: number) => ({ state: 'unlocked', days }) as const
const locked = (days: number) => ({ state: 'locked', days }) as const

test('An unlocked policy may become anything, a locked one only longer, and nothing is locked at once', () => {
  for (const next of [IMMUTABILITY_DISABLED, unlocked(1), unlocked(90), locked(1)])
    assert.ok(mayFollow(unlocked(30), next))
  for (const next of [IMMUTABILITY_DISABLED, unlocked(90), locked(29)]) assert.ok(!mayFollow(locked(30), next))
  for (const next of [locked(30), locked(31)]) assert.ok(mayFollow(locked(30), next))
  assert.ok(!mayFollow(IMMUTABILITY_DISABLED, locked(30)))
})

test('Policies of other shapes are none', () => {
  assert.ok(isPolicy({ state: 'locked', days: 1 }) && isPolicy({ state: 'disabled', days: 0 }))
  for (const wrong of [
    { state: 'open', days: 3 },
    { state: 'locked', days: 0 },
    { state: 'locked', days: 1.5 },
    { state: 'unlocked' },
  ])
    assert.ok(!isPolicy(wrong))
})

test('A point is locked for the longest of policy, what its backup asked for, and its expiry; without either not at all', () => {
  const base = 1000 * DAY_MS
  assert.equal(lockedUntil(IMMUTABILITY_DISABLED, { expiresAtMs: 2000 * DAY_MS }, base), undefined)
  assert.equal(lockedUntil(unlocked(30), {}, base), 1030 * DAY_MS)
  assert.equal(lockedUntil(unlocked(30), { lockMs: 7 * DAY_MS }, base), 1030 * DAY_MS)
  assert.equal(lockedUntil(unlocked(30), { lockMs: 90 * DAY_MS }, base), 1090 * DAY_MS)
  assert.equal(lockedUntil(locked(30), { expiresAtMs: 1200 * DAY_MS }, base), 1200 * DAY_MS)
  assert.equal(lockedUntil(IMMUTABILITY_DISABLED, { lockMs: 5 * DAY_MS }, base), 1005 * DAY_MS)
})

test('The store is asked for at least what was promised and at most 30 days more', () => {
  for (let day = 0; day < 100; day += 1) {
    const until = 20_000 * DAY_MS + day * DAY_MS + 12_345
    assert.ok(roundLockEnd(until) >= until && roundLockEnd(until) < until + LOCK_GRAIN_MS)
    assert.equal(roundLockEnd(until) % LOCK_GRAIN_MS, 0)
  }
})
