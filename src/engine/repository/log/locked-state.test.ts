/** What entries that break the rules of locks cannot do, whoever wrote them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DAY_MS } from '../immutability/observed-time.ts'
import type { PointRecord } from '../point.ts'
import { MemoryStore } from '../stores/memory-store.ts'
import type { Envelope } from './entry.ts'
import { openLog, PACK } from './log.rig.ts'
import { LogState } from './state.ts'

const [BASE, POINT] = ['1'.repeat(32), '2'.repeat(32)]

function stateOf(entries: readonly Partial<Envelope>[]): LogState {
  const state = new LogState()
  for (const [i, fields] of entries.entries())
    state.apply({ number: i + 1, atMs: DAY_MS + i, ...fields } as Envelope, `h${i}`)
  return state
}

const LOCKED: readonly Partial<Envelope>[] = [
  { packs: [PACK('a')], points: [{ id: BASE, uses: '0' }] },
  { packs: [PACK('b')], points: [{ id: POINT, uses: '1', base: BASE, lockedUntilMs: 5 * DAY_MS }] },
]

test('A point that is committed again, it or its base, loses neither its lock nor its packs', () => {
  const state = stateOf([
    ...LOCKED,
    { points: [{ id: POINT, uses: '' }] },
    { points: [{ id: BASE, uses: '' }] },
    { forgotten: [POINT, BASE] },
    { tombstones: [PACK('a').name, PACK('b').name], deletions: [PACK('a').name, PACK('b').name] },
  ])
  assert.deepEqual([...state.points.keys()], [POINT])
  assert.deepEqual(state.lockedPacks(2 * DAY_MS), new Set([0, 1]))
  assert.deepEqual(
    state.packs.map(({ status }) => status),
    ['live', 'live'],
  )
})

test('Packs of a point that was given up stay locked to the end of the 30 days, also behind the horizon', () => {
  const given = [{ forgotten: [BASE] }, { atMs: 6 * DAY_MS, acceptedMs: 6 * DAY_MS }, { forgotten: [POINT] }]
  const state = stateOf([...LOCKED, ...given, { atMs: 6 * DAY_MS, compact: 5 }])
  assert.deepEqual([state.points.size, state.horizon], [0, 5])
  assert.deepEqual(state.lockedPacks(6 * DAY_MS), new Set([0, 1]))
  const restored = LogState.restore(JSON.parse(JSON.stringify(state.snapshot())))
  for (const one of [state, restored]) {
    const entry = { number: 7, atMs: 7 * DAY_MS, deletions: [PACK('a').name, PACK('b').name] } as Partial<Envelope>
    one.apply(entry as Envelope, 'h')
    assert.deepEqual(
      one.packs.map(({ status }) => status),
      ['live', 'live'],
    )
    one.apply({ number: 8, atMs: 0, acceptedMs: 31 * DAY_MS, compact: 7 } as Envelope, 'h')
    assert.deepEqual([one.lockedPacks(31 * DAY_MS).size, one.snapshot().forgotten.length], [0, 0])
    one.apply({ ...entry, number: 9 } as Envelope, 'h')
    assert.deepEqual(
      one.packs.map(({ status }) => status),
      ['deleted', 'deleted'],
    )
  }
})

test('The record of a point stays the one that it was committed with', async () => {
  const record = (note: string): PointRecord =>
    ({ schema: 1, id: POINT, machine: 'm', notes: [note], disks: [], attachments: [] }) as unknown as PointRecord
  const store = new MemoryStore()
  const log = await openLog(store)
  for (const note of ['true', 'other']) {
    const points = [{ id: POINT, uses: '', lockedUntilMs: DAY_MS }]
    await log.append(() => ({ fields: { points }, body: { points: [record(note)] } }))
  }
  for (const one of [log, await openLog(store)]) assert.deepEqual(one.points()[0]?.notes, ['true'])
})
