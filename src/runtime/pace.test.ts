import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '#base'
import { Pace } from './pace.ts'

const MIB = 1024 * 1024

/** Moves `count` pieces in a row, and says when (ms) each might. */
async function move(pace: Pace, clock: ManualClock, bytes: number, count: number): Promise<number[]> {
  const times: number[] = []
  for (let i = 0; i < count; i += 1) {
    await pace.take(bytes)
    times.push(clock.monotonicMs())
  }
  return times
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await Promise.resolve()
}

/** Lets time pass in steps of 10 ms. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let done = 0; done < ms; done += 10) {
    await settle()
    clock.advance(10)
  }
  await settle()
}

test('Without a limit nobody waits', () => {
  const pace = new Pace(new ManualClock())
  assert.equal(pace.take(1024 * MIB), undefined)
})

test('Several who share the memory move together what the rate allows, and no more', async () => {
  const clock = new ManualClock()
  clock.advance(10_000)
  const here = new Pace(clock)
  const there = new Pace(clock, here.memory)
  here.set(8 * MIB)
  const begunMs = clock.monotonicMs()
  const all = Promise.all([move(here, clock, MIB, 20), move(there, clock, MIB, 20)])
  await pass(clock, 6_000)
  const times = (await all).flat().map((ms) => ms - begunMs)
  for (const second of [1, 2, 3, 4]) {
    const moved = times.filter((ms) => ms <= second * 1000).length
    const allowed = 8 * second + 2 // the burst of a quarter second
    assert.ok(moved <= allowed + 1 && moved >= 8 * second - 1, `${moved} MiB after ${second} s`)
  }
  assert.equal(times.length, 40)
})

test('A pause is not made up for: after a minute of nothing one moves a quarter second’s bytes at once, then by the rate', async () => {
  const clock = new ManualClock()
  clock.advance(60_000)
  const pace = new Pace(clock)
  pace.set(4 * MIB)
  clock.advance(60_000)
  const begunMs = clock.monotonicMs()
  const moving = move(pace, clock, MIB, 9)
  await pass(clock, 3_000)
  const times = (await moving).map((ms) => ms - begunMs)
  assert.deepEqual(times.slice(0, 2), [0, 0])
  assert.ok((times[8] ?? 0) >= 1_700, `the ninth MiB at ${times[8]} ms`)
})

test('Who waits under a slow rate goes on at once when the limit is taken away', async () => {
  const clock = new ManualClock()
  clock.advance(1_000)
  const pace = new Pace(clock)
  pace.set(1024)
  let done = false
  void pace.take(MIB)
  const waiting = (pace.take(1) ?? Promise.resolve()).then(() => (done = true))
  await pass(clock, 600)
  assert.equal(done, false, 'a MiB at 1 KiB/s is in front of it')
  pace.set(0)
  await pass(clock, 600)
  await waiting
  assert.equal(done, true)
})

test('A wait ends with its signal', async () => {
  const clock = new ManualClock()
  const pace = new Pace(clock)
  pace.set(1)
  await pace.take(1)
  const leave = new AbortController()
  const waiting = pace.take(1000, leave.signal) ?? Promise.resolve()
  const next = pace.take(1000, leave.signal) ?? Promise.resolve()
  leave.abort()
  for (const one of [next]) await assert.rejects(one, { code: 'cancelled' })
  await waiting.catch(() => undefined)
})
