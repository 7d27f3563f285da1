import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BootQuiet } from './boot-quiet.ts'

/** The time at which the guest counts as settled, when it has asked for `reads(ms)` reads after `ms`. */
function settledAt(reads: (ms: number) => number): number {
  const quiet = new BootQuiet(0)
  for (let ms = 0; ; ms += 250) if (quiet.isSettled(ms, reads(ms))) return ms
}

test('A guest has settled two seconds after it stopped reading', () => {
  assert.equal(
    settledAt((ms) => Math.min(ms, 3_000)),
    5_000,
  )
  assert.equal(
    settledAt((ms) => Math.min(ms, 500) + Math.floor(ms / 1_000)),
    2_500,
  )
})

test('A guest that has read nothing has not begun, one that never stops reading is not waited for', () => {
  assert.equal(
    settledAt(() => 0),
    10_000,
  )
  assert.equal(
    settledAt((ms) => ms),
    10_000,
  )
  assert.equal(
    settledAt((ms) => (ms < 4_000 ? 0 : Math.min(ms, 4_500))),
    6_500,
  )
})
