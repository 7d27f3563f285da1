import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '#base'
import { rangesOverBase } from './over-base.ts'

const SIZE = 200

type Ranges = { offset: number; length: number }[]

/** The stupidest model: one flag for each byte. */
function flagsOf(ranges: Ranges): boolean[] {
  return Array.from({ length: SIZE }, (_, at) =>
    ranges.some(({ offset, length }) => at >= offset && at < offset + length),
  )
}

function rangesOf(flags: readonly boolean[]): Ranges {
  const ranges: Ranges = []
  for (const [at, isSet] of flags.entries()) {
    const last = ranges.at(-1)
    if (isSet && last !== undefined && last.offset + last.length === at) last.length += 1
    else if (isSet) ranges.push({ offset: at, length: 1 })
  }
  return ranges
}

test('rangesOverBase() keeps every byte that overlay or base holds, and none that both do not', () => {
  const random = new SeededRandom(5)
  for (let round = 0; round < 200; round += 1) {
    // Runs of some length: each byte is mostly as the one before it.
    const flags = (): boolean[] => {
      let is = random.chance(0.5)
      return Array.from({ length: SIZE }, () => (is = random.chance(0.1) ? !is : is))
    }
    const [data, nothing, base] = [flags(), flags(), flags()]
    const unheld = data.map((isData, at) => isData && nothing[at] === true)
    const expected = data.map((isData, at) => isData && (unheld[at] !== true || base[at] === true))
    const found = rangesOverBase({
      data: rangesOf(data),
      unheld: rangesOf(unheld),
      beneath: rangesOf(base),
      sizeBytes: SIZE,
    })
    assert.deepEqual(flagsOf(found), expected, `round ${round}`)
    assert.deepEqual(found, rangesOf(expected), 'joined, ascending')
  }
})
