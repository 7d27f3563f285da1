import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB, SeededRandom } from '#base'
import { ReadAhead } from './read-ahead.ts'

test('ReadAhead keeps ahead of many streams at once, each asked for once, in steps', () => {
  const ahead = new ReadAhead(4 * MIB, MIB)
  const bases = [100, 200, 300].map((at) => at * MIB)
  const asked = new Map<number, { start: number; end: number }[]>(bases.map((base) => [base, []]))
  for (let at = 0; at < 16 * MIB; at += 65_536) {
    for (const base of bases) {
      const range = ahead.note(base + at, base + at + 65_536)
      if (range !== undefined) asked.get(base)?.push(range)
    }
  }
  for (const [base, ranges] of asked) {
    // The first read of a stream may be anyone's; from the second on it is one.
    assert.equal(ranges[0]?.start, base + 2 * 65_536)
    for (const [i, range] of ranges.entries()) {
      assert.ok(range.end - range.start >= MIB, 'not worth a request')
      assert.ok(i === 0 || range.start === ranges[i - 1]?.end, 'nothing is asked for twice or left out')
    }
    assert.ok((ranges.at(-1)?.end ?? 0) >= base + 16 * MIB + 3 * MIB - 65_536)
  }
})

test('ReadAhead leaves random reads alone', () => {
  const ahead = new ReadAhead(4 * MIB, MIB)
  const random = new SeededRandom(5)
  let asked = 0
  for (let i = 0; i < 10_000; i += 1) {
    const offset = 4096 * random.below(1 << 22)
    if (ahead.note(offset, offset + 4096) !== undefined) asked += 1
  }
  assert.ok(asked < 5, `${asked} of 10,000 random reads were taken for sequential ones`)
})
