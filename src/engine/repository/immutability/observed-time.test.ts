import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '#base'
import { allowedGapMs, DAY_MS, judge, lockBaseMs, NO_TIME, observe, type ObservedTime } from './observed-time.ts'

const START = 1_790_000_000_000
const at = (days: number): number => START + days * DAY_MS

/** The time after entries that state these days after the start. */
function observed(...days: number[]): ObservedTime {
  return days.reduce((time: ObservedTime, day, i) => observe(time, { number: i + 1, atMs: at(day) }), NO_TIME)
}

test('Observed time follows plausible statements and never goes back', () => {
  assert.equal(observed(0, 0.5, 0.2, 1).observedMs, at(1))
  assert.equal(observed(0, 1, -300).observedMs, at(1))
})

test('A statement far ahead is doubted and moves nothing; a plausible one after it ends the doubt', () => {
  const ahead = observed(0, 0.5, 400)
  assert.deepEqual([ahead.observedMs, ahead.doubted], [at(0.5), { number: 3, atMs: at(400) }])
  const again = observe(ahead, { number: 4, atMs: at(400.1) })
  assert.equal(again.observedMs, at(0.5), 'that it is said twice makes it no truer')
  const right = observe(again, { number: 5, atMs: at(0.6) })
  assert.deepEqual([right.observedMs, right.doubted], [at(0.6), undefined])
})

test("The store's own clock and an operator's word are believed, and what they taught is plausible next time", () => {
  for (const proof of [{ storeMs: at(7) }, { acceptedMs: at(7) }]) {
    const time = observe(observed(0), { number: 2, atMs: at(7), ...proof })
    assert.equal(time.observedMs, at(7))
    assert.equal(allowedGapMs(time), 15 * DAY_MS)
    assert.equal(observe(time, { number: 3, atMs: at(14) }).observedMs, at(14), 'weekly backups are known from then on')
  }
  const lying = observe(observed(0), { number: 2, atMs: at(900), storeMs: at(2) })
  assert.equal(lying.observedMs, at(2), 'where the two differ the store is believed')
})

test('However long silences were, at most 35 days are plausible', () => {
  const time = observe(observed(0), { number: 2, atMs: at(300), acceptedMs: at(300) })
  assert.equal(allowedGapMs(time), 35 * DAY_MS)
})

test('judge(): neither a clock ahead nor one behind makes more time pass than was observed', () => {
  const time = observed(0, 1)
  assert.deepEqual(judge(time, { nowMs: at(1.5) }), { plausible: true, passedMs: at(1.5) })
  assert.deepEqual(judge(time, { nowMs: at(-3) }), { plausible: true, passedMs: at(-3) })
  const jumped = judge(time, { nowMs: at(90) })
  assert.deepEqual([jumped.plausible, jumped.passedMs], [false, at(1)])
  assert.deepEqual(judge(time, { nowMs: at(90), storeMs: at(1.2) }), { plausible: true, passedMs: at(1.2) })
})

test('lockBaseMs(): a lock counts from the latest clock, of a doubted one from at most a year ahead', () => {
  const time = observed(0, 1)
  assert.equal(lockBaseMs(time, { nowMs: at(-30) }), at(1), 'a clock that went back shortens no lock')
  assert.equal(lockBaseMs(time, { nowMs: at(1.5) }), at(1.5))
  assert.equal(lockBaseMs(time, { nowMs: at(60) }), at(60), 'the log may really have been silent')
  assert.equal(lockBaseMs(time, { nowMs: at(9000) }), at(1 + 366), 'and no lock is for ever by mistake')
  assert.equal(lockBaseMs(time, { nowMs: at(9000), storeMs: at(2) }), at(2))
})

test('Whatever single jumps clocks make, observed time is never ahead of the truth by more than what was plausible', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = new SeededRandom(seed)
    let [time, trueMs, number] = [NO_TIME, START, 0]
    for (let step = 0; step < 60; step += 1) {
      trueMs += random.below(2 * DAY_MS)
      const jumpMs = random.chance(0.3) ? (random.below(20_000) - 5_000) * DAY_MS : 0
      const before = time.observedMs
      const allowedMs = before === 0 ? Infinity : allowedGapMs(time)
      number += 1
      if (number === 1) time = observe(time, { number, atMs: trueMs })
      else time = observe(time, { number, atMs: Math.max(0, trueMs + jumpMs) })
      assert.ok(time.observedMs >= before, `seed ${seed}: it went back`)
      assert.ok(time.observedMs <= Math.max(before, trueMs) + allowedMs, `seed ${seed}: it ran ahead`)
      if (Math.abs(jumpMs) > 40 * DAY_MS)
        assert.ok(time.observedMs <= trueMs + 40 * DAY_MS, `seed ${seed}: a jump was believed`)
    }
  }
})
