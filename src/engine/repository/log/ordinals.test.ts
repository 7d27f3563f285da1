import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '#base'
import { decodeOrdinals, encodeOrdinals } from './ordinals.ts'

test('Ordinals come back as the ascending set that they were', () => {
  const random = new SeededRandom(3)
  for (let round = 0; round < 300; round += 1) {
    const bound = 1 + random.below(200)
    const set = new Set(Array.from({ length: random.below(60) }, () => random.below(bound)))
    assert.deepEqual(
      decodeOrdinals(encodeOrdinals(set), bound),
      [...set].sort((a, b) => a - b),
    )
  }
  assert.equal(encodeOrdinals([3, 1, 2, 7, 7]), '1-3,7')
})

test('Hostile texts stay harmless: what lies beyond the bound or goes back names nothing', () => {
  assert.deepEqual(decodeOrdinals('0-9999999999', 3), [0, 1, 2])
  assert.deepEqual(decodeOrdinals('5-2,9', 20), [9])
  assert.deepEqual(decodeOrdinals(Array(100_000).fill('0-9999999999').join(','), 4), [0, 1, 2, 3])
  assert.deepEqual(decodeOrdinals('', 4), [])
})
