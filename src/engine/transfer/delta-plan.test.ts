import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GIB, KIB, MIB, SeededRandom } from '#base'
import type { ByteRange } from '#engine/block'
import { type ContentHash, DELTA_DEPTH_MAX, type ExtentList } from '#engine/repository'
import { DELTA_LIMITS, type DeltaInput, NO_DELTAS, planDelta } from './delta-plan.ts'

const CHUNK = 256 * KIB
const NO_CHAIN: DeltaInput['chain'] = { extents: [], nodes: [], extentsKept: 0, bytesKept: 0 }

function scattered(count: number, length: number, gap: number, first = 0): ByteRange[] {
  return Array.from({ length: count }, (_, i) => ({ offset: first + i * gap, length }))
}

function chainOf(depth: number, ranges: readonly ByteRange[]): DeltaInput['chain'] {
  const payload = { content: new Uint8Array(32) as ContentHash, sizeBytes: CHUNK }
  const extents: ExtentList = ranges.map((range) => ({ ...range, payload, at: 0 }))
  const bytesKept = ranges.reduce((sum, { length }) => sum + length, 0)
  return { extents, nodes: Array.from({ length: depth }, () => payload.content), extentsKept: ranges.length, bytesKept }
}

function plan(input: Partial<DeltaInput>): ReturnType<typeof planDelta> {
  return planDelta({
    dirty: [],
    chunkSizeBytes: CHUNK,
    hasGrown: false,
    chain: NO_CHAIN,
    limits: DELTA_LIMITS,
    ...input,
  })
}

test('planDelta() takes a delta for small scattered changes, the tree for whole chunks, and half filled chunks are not small', () => {
  assert.equal(plan({ dirty: scattered(2000, 4 * KIB, 8 * MIB) }).node, 'append')
  assert.equal(plan({ dirty: scattered(2000, 64 * KIB, 8 * MIB) }).node, 'append')
  assert.equal(plan({ dirty: scattered(10, CHUNK, CHUNK) }).node, 'none')
  assert.equal(plan({ dirty: scattered(10, 150 * KIB, CHUNK) }).node, 'none')
  assert.equal(plan({ dirty: scattered(2000, 4 * KIB, 8 * MIB), limits: NO_DELTAS }).node, 'none')
  assert.equal(plan({ dirty: scattered(3, 2 * GIB, 4 * GIB) }).node, 'none')
})

test('planDelta() of a disk that grew folds all of the chain and leaves no node', () => {
  const chain = chainOf(3, scattered(5, 4 * KIB, CHUNK))
  const { fold, node } = plan({ dirty: [{ offset: 7 * CHUNK, length: CHUNK }], chain, hasGrown: true })
  assert.equal(node, 'none')
  assert.deepEqual([...fold], [0, 1, 2, 3, 4])
})

test('planDelta() merges a chain that is deep, and folds only what half fills its chunk', () => {
  const chain = chainOf(DELTA_DEPTH_MAX, [...scattered(5, 4 * KIB, CHUNK), { offset: 9 * CHUNK, length: 130 * KIB }])
  const { fold, node } = plan({ dirty: [{ offset: 3 * CHUNK + 8 * KIB, length: 4 * KIB }], chain })
  assert.equal(node, 'merge')
  assert.deepEqual([...fold], [9])
})

test('planDelta() of large changes over a chain folds where they are and merges the rest', () => {
  const chain = chainOf(2, scattered(5, 4 * KIB, CHUNK))
  const { fold, node } = plan({ dirty: [{ offset: 3 * CHUNK, length: 4 * CHUNK }], chain })
  assert.equal(node, 'merge')
  assert.deepEqual(
    [...fold].sort((a, b) => a - b),
    [3, 4, 5, 6],
  )
})

test('planDelta() at the limit of extents folds the fullest chunks first, and never more than the excess needs', () => {
  const random = new SeededRandom(5)
  const limits = { depthMax: 16, extentsMax: 1600, chunksMax: 4000 }
  const ranges: ByteRange[] = []
  for (let chunk = 0; chunk < 400; chunk += 1)
    for (let i = random.below(8); i >= 0; i -= 1)
      ranges.push({ offset: chunk * CHUNK + (8 - i) * 8 * KIB, length: 4 * KIB })
  const counts = new Map<number, number>()
  for (const { offset } of ranges) {
    const chunk = Math.floor(offset / CHUNK)
    counts.set(chunk, (counts.get(chunk) ?? 0) + 1)
  }
  const { fold, node } = plan({ dirty: [{ offset: 0, length: 512 }], chain: chainOf(1, ranges), limits })
  assert.equal(node, 'merge')
  const left = ranges.length - [...fold].reduce((sum, chunk) => sum + (counts.get(chunk) ?? 0), 0)
  assert.ok(left <= 1500 && left > 1490, `${left} extents stay`)
  const fullest = Math.min(...[...fold].map((chunk) => counts.get(chunk) ?? 0))
  for (const [chunk, count] of counts) if (!fold.has(chunk)) assert.ok(count <= fullest + 1)
})
