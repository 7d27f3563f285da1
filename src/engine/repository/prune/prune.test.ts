import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '#runtime'
import type { Envelope } from '../log/entry.ts'
import { LogState } from '../log/state.ts'
import { planPrune, PRUNE_DEFAULTS } from './plan.ts'

const NAME = (digit: string): string => digit.repeat(64)
const POINT = (digit: string): string => digit.repeat(32)

function stateOf(...entries: Partial<Envelope>[]): LogState {
  const state = new LogState()
  entries.forEach((fields, i) => {
    const envelope = {
      format: 'holdfast-log',
      repository: '',
      number: i + 1,
      entry: '',
      previous: '',
      atMs: i,
      writer: '',
      ...fields,
    } as Envelope
    state.apply(envelope, `hash${i + 1}`)
  })
  return state
}

const packs = (...digits: string[]): { name: string; lengthBytes: number }[] =>
  digits.map((digit) => ({ name: NAME(digit), lengthBytes: 1000 }))
const options = { ...PRUNE_DEFAULTS, passedMs: 5_000, head: 100 }

test('planPrune() drops what nobody needs, rewrites what is mostly waste, and leaves the rest alone', () => {
  const state = stateOf({ packs: packs('a', 'b', 'c') })
  const plan = planPrune(
    state,
    new Map([
      [1, 900],
      [2, 300],
    ]),
    [],
    options,
  )
  assert.deepEqual(
    [plan.drop, plan.rewrite, plan.rewrittenBytes, plan.freedBytes, plan.keptBytes],
    [[NAME('a')], [NAME('c')], 300, 1700, 1000],
  )
})

test('planPrune() keeps a stray whose session is still pinned, and takes one whose session ran out', () => {
  const state = stateOf(
    { pin: { holder: 'w', purpose: 'backup', expiresAtMs: 9_000 } },
    { pin: { holder: 'w', purpose: 'backup', expiresAtMs: 1_000 } },
  )
  const strays = [
    { name: NAME('d'), sizeBytes: 10, session: 1 },
    { name: NAME('e'), sizeBytes: 20, session: 2 },
    { name: NAME('f'), sizeBytes: 30, session: 7 },
  ]
  const plan = planPrune(state, new Map(), strays, options)
  assert.deepEqual(plan.strays, [NAME('e')])
  assert.deepEqual(
    plan.straysKept,
    [NAME('d'), NAME('f')],
    'a session ahead of the log proves a roll-back: nothing of it is deleted',
  )
})

test('planPrune() keeps the strays of a session that has renewed its pin, although its first pin ran out', () => {
  const state = stateOf(
    { pin: { holder: 'w', purpose: 'backup', expiresAtMs: 1_000 } },
    { pin: { holder: 'w', purpose: 'backup', expiresAtMs: 9_000, session: 1 } },
  )
  const stray = { name: NAME('d'), sizeBytes: 10, session: 1 }
  assert.deepEqual(planPrune(state, new Map(), [stray], options).straysKept, [NAME('d')])
})

test('planPrune() does not judge packs that were added after the marks were made', () => {
  const state = stateOf({ packs: packs('a') }, { packs: packs('b') })
  assert.deepEqual(planPrune(state, new Map([[0, 1000]]), [], { ...options, head: 1 }).drop, [])
})

test('LogState: a point that is committed after its packs were doomed revives them, its forgotten base included', () => {
  const state = stateOf(
    { packs: packs('a'), points: [{ id: POINT('1'), uses: '0' }] },
    { forgotten: [POINT('1')] },
    { tombstones: [NAME('a')] },
    { packs: packs('b'), points: [{ id: POINT('2'), base: POINT('1'), uses: '1' }] },
  )
  assert.equal(state.packs[0]?.status, 'live')
  assert.deepEqual([...state.closureOf({ id: POINT('2'), base: POINT('1'), uses: '1' })], [1, 0])
})

test('LogState: what is deleted stays deleted, and moved chunks join the closures of those that needed them', () => {
  const state = stateOf(
    { packs: packs('a'), points: [{ id: POINT('1'), uses: '0' }] },
    { packs: packs('b'), moved: { from: '0', to: '1' } },
    { tombstones: [NAME('a')] },
    { deletions: [NAME('a')] },
    { packs: packs('a') },
  )
  assert.equal(state.packs[0]?.status, 'deleted')
  assert.ok(state.closureOf({ id: POINT('1'), uses: '0' }).has(1))
})

test('LogState: thousands of incrementals on one another are taken in without walking every chain', () => {
  const state = new LogState()
  const id = (n: number): string => n.toString(16).padStart(32, '0')
  const pack = (n: number): string => n.toString(16).padStart(64, '0')
  const started = systemClock.monotonicMs()
  for (let n = 1; n <= 3000; n += 1) {
    const point = { id: id(n), uses: `${n - 1}`, ...(n === 1 ? {} : { base: id(n - 1) }) }
    const fields: Partial<Envelope> = {
      number: n,
      atMs: 0,
      packs: [{ name: pack(n), lengthBytes: 1 }],
      points: [point],
    }
    state.apply(fields as Envelope, 'h')
  }
  assert.equal(state.points.size, 3000)
  assert.ok(systemClock.monotonicMs() - started < 10_000, 'walking every chain takes most of a minute')
})
