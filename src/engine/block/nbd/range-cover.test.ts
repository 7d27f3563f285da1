import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SeededRandom } from '#base'
import { RangeCover } from './range-cover.ts'

describe('RangeCover', () => {
  it('is complete when every byte came once, in any order', () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const random = new SeededRandom(seed)
      const cuts = [...new Set(Array.from({ length: 20 }, () => random.below(1000)))].sort((a, b) => a - b)
      const pieces = [0, ...cuts].map((start, i) => ({ start, end: [...cuts, 1000][i] ?? 1000 }))
      const cover = new RangeCover(1000)
      const left = pieces.filter((piece) => piece.end > piece.start)
      while (left.length > 0) {
        assert.equal(cover.complete, false)
        const [piece] = left.splice(random.below(left.length), 1)
        if (piece !== undefined) cover.add(piece.start, piece.end - piece.start)
      }
      assert.equal(cover.complete, true)
    }
  })

  it('agrees with a set of bytes about what overlaps', () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      const random = new SeededRandom(seed)
      const seen = new Set<number>()
      const cover = new RangeCover(40)
      for (let count = 0; count < 12; count += 1) {
        const at = random.below(44) - 2
        const length = random.below(8)
        const bytes = Array.from({ length }, (_, i) => at + i)
        const isLegal = length > 0 && at >= 0 && at + length <= 40 && bytes.every((byte) => !seen.has(byte))
        if (!isLegal) {
          assert.throws(() => cover.add(at, length), { code: 'nbd_protocol_violation' })
          break
        }
        cover.add(at, length)
        for (const byte of bytes) seen.add(byte)
      }
      assert.equal(cover.complete, seen.size === 40)
    }
  })

  it('refuses a reply that is shredded without end', () => {
    const cover = new RangeCover(1_000_000)
    assert.throws(
      () => {
        for (let at = 0; at < 1_000_000; at += 2) cover.add(at, 1)
      },
      { code: 'nbd_protocol_violation' },
    )
  })
})
