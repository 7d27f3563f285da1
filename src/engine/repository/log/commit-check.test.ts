import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deletedUnder } from './commit-check.ts'
import type { Envelope } from './entry.ts'
import { LogState } from './state.ts'

const NAME = (digit: string): string => digit.repeat(64)
const POINT = (digit: string): string => digit.repeat(32)
const pack = (digit: string): { name: string; lengthBytes: number } => ({ name: NAME(digit), lengthBytes: 9 })

function stateOf(...entries: Partial<Envelope>[]): LogState {
  const state = new LogState()
  entries.forEach((fields, i) => state.apply({ number: i + 1, atMs: 0, ...fields } as Envelope, `hash${i + 1}`))
  return state
}

test('A commit on a live base goes ahead, whatever was deleted before', () => {
  const state = stateOf(
    { packs: [pack('a'), pack('b')], points: [{ id: POINT('1'), uses: '0-1' }] },
    { tombstones: [NAME('b')] },
    { deletions: [NAME('b')] },
  )
  assert.deepEqual(deletedUnder(state, { packNames: [NAME('a')], base: POINT('1') }), [])
})

test('A commit on a base that was forgotten and pruned is refused, also when that was before its session began', () => {
  const state = stateOf(
    { packs: [pack('a'), pack('b')], points: [{ id: POINT('1'), uses: '0-1' }] },
    { forgotten: [POINT('1')] },
    { tombstones: [NAME('b')] },
    { deletions: [NAME('b')] },
    { pin: { holder: 'late', purpose: 'backup', expiresAtMs: 9 } },
  )
  assert.deepEqual(deletedUnder(state, { packNames: [NAME('a')], base: POINT('1') }), [NAME('b')])
})

test('What was deleted while the base was live was not needed by it', () => {
  const state = stateOf(
    { packs: [pack('a'), pack('b')], points: [{ id: POINT('1'), uses: '0-1' }] },
    { tombstones: [NAME('b')] },
    { deletions: [NAME('b')] },
    { forgotten: [POINT('1')] },
  )
  assert.deepEqual(deletedUnder(state, { packNames: [], base: POINT('1') }), [])
})

test('A commit of packs that were deleted as strays is refused, and one on a base that never was', () => {
  const state = stateOf({ tombstones: [NAME('d')] }, { deletions: [NAME('d')] })
  assert.deepEqual(deletedUnder(state, { packNames: [NAME('d')] }), [NAME('d')])
  const other = stateOf({ packs: [pack('a')] }, { tombstones: [NAME('a')] }, { deletions: [NAME('a')] })
  assert.deepEqual(deletedUnder(other, { packNames: [], base: POINT('9') }), [NAME('a')])
})

test('LogState: a name that was deleted before it was added is never live', () => {
  const state = stateOf({ deletions: [NAME('d')] }, { packs: [pack('d')] })
  assert.equal(state.packNamed(NAME('d'))?.status, 'deleted')
})
