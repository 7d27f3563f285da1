import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SeededRandom } from '#base'
import {
  alignRanges,
  appendExtent,
  assertRanges,
  type ByteRange,
  complementOf,
  type Extent,
  totalBytes,
} from './extent.ts'
import { dirtyContext } from './nbd/export.ts'
import { WrittenRanges } from './written-ranges.ts'

/** Ranges of whole bytes below `sizeBytes`, ascending, not overlapping. */
function someRanges(random: SeededRandom, sizeBytes: number): ByteRange[] {
  const ranges: ByteRange[] = []
  for (let at = random.below(30); at < sizeBytes - 40; at += random.below(60)) {
    const length = 1 + random.below(40)
    ranges.push({ offset: at, length })
    at += length
  }
  return ranges
}

function bytesOf(ranges: readonly ByteRange[]): Set<number> {
  return new Set(ranges.flatMap((range) => Array.from({ length: range.length }, (_, i) => range.offset + i)))
}

describe('complementOf()', () => {
  it('holds exactly the bytes that the ranges do not', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const ranges = someRanges(new SeededRandom(seed), 1003)
      const gaps = complementOf(ranges, 1003)
      assertRanges(gaps, 1003)
      const [inside, outside] = [bytesOf(ranges), bytesOf(gaps)]
      for (let at = 0; at < 1003; at += 1) assert.equal(outside.has(at), !inside.has(at), `seed ${seed} byte ${at}`)
    }
    assert.deepEqual(complementOf([], 7), [{ offset: 0, length: 7 }])
    assert.deepEqual(complementOf([{ offset: 0, length: 7 }], 7), [])
  })
})

describe('alignRanges()', () => {
  it('covers exactly the units that hold a byte of a range, joined', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const random = new SeededRandom(seed)
      const [sizeBytes, unitBytes] = [1003, random.pick([1, 7, 16, 64])]
      const ranges = someRanges(random, sizeBytes)
      const aligned = alignRanges(ranges, unitBytes, sizeBytes)
      assertRanges(aligned, sizeBytes)
      const units = new Set([...bytesOf(ranges)].map((byte) => Math.floor(byte / unitBytes)))
      const expected = Array.from({ length: sizeBytes }, (_, i) => i).filter((byte) =>
        units.has(Math.floor(byte / unitBytes)),
      )
      assert.deepEqual([...bytesOf(aligned)], expected)
      assert.equal(totalBytes(aligned), expected.length)
    }
  })
})

it('assertRanges() refuses what overlaps, is empty, descends or ends outside', () => {
  const range = (offset: number, length: number): ByteRange => ({ offset, length })
  for (const bad of [[range(0, 0)], [range(0, 5), range(4, 1)], [range(5, 1), range(0, 1)], [range(0, 101)]]) {
    assert.throws(() => assertRanges(bad, 100), { name: 'AssertionFailed' })
  }
  assertRanges([range(0, 5), range(5, 1), range(99, 1)], 100)
})

it('appendExtent() joins neighbours of one kind only', () => {
  const extents: Extent[] = []
  const add = (offset: number, length: number, kind: Extent['kind']): void =>
    appendExtent(extents, { offset, length, kind })
  add(0, 1, 'data')
  add(1, 2, 'data')
  add(3, 0, 'zero')
  add(3, 1, 'hole')
  add(5, 1, 'hole')
  assert.deepEqual(extents, [
    { offset: 0, length: 3, kind: 'data' },
    { offset: 3, length: 1, kind: 'hole' },
    { offset: 5, length: 1, kind: 'hole' },
  ])
})

it('dirtyContext() says of every byte whether it is in a range', async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const random = new SeededRandom(seed)
    const ranges = someRanges(random, 1000)
    const dirty = bytesOf(ranges)
    const offset = random.below(900)
    const length = 1 + random.below(1000 - offset)
    let at = offset
    for (const extent of await dirtyContext(ranges)(offset, length, AbortSignal.timeout(1000))) {
      for (let i = 0; i < extent.length; i += 1, at += 1) assert.equal(dirty.has(at), extent.flags === 1, `byte ${at}`)
    }
    assert.equal(at, offset + length)
  }
})

it('WrittenRanges never calls a written byte untouched', () => {
  const MIB = 1024 * 1024
  const random = new SeededRandom(11)
  const written = new WrittenRanges(100 * MIB)
  const pieces = Array.from({ length: 20 }, () => ({
    offset: random.below(98 * MIB),
    length: 1 + random.below(2 * MIB),
  }))
  for (const piece of pieces) written.add(piece.offset, piece.length)
  const touched = [...written.touched(0, 100 * MIB)]
  assertRanges(touched, 100 * MIB)
  for (const piece of pieces) {
    const inside = touched.some((t) => t.offset <= piece.offset && t.offset + t.length >= piece.offset + piece.length)
    assert.ok(inside, `${piece.offset}`)
  }
  assert.ok(totalBytes(touched) < 80 * MIB, 'what was not written is not touched')
})
