import assert from 'node:assert/strict'
import { test } from 'node:test'
import { durationText, readFilterTime } from './azure-time.ts'

const at = (...parts: [number, number, number, number, number, number]): number => globalThis.Date.UTC(...parts)

test('readFilterTime() reads what az, the portal and the SDKs write, in UTC', () => {
  const evening = at(2026, 10, 22, 20, 5, 9)
  for (const text of ['2026-11-22 08:05:09 PM', '11/22/2026 8:05:09 PM', '2026-11-22T20:05:09Z', '2026-11-22 20:05:09'])
    assert.equal(readFilterTime(text), evening, text)
  assert.equal(readFilterTime('2026-11-22 12:00:00 AM'), at(2026, 10, 22, 0, 0, 0), 'midnight')
  assert.equal(readFilterTime('2026-11-22 12:00:00 PM'), at(2026, 10, 22, 12, 0, 0), 'noon')
  assert.equal(readFilterTime('2026-11-22T21:05:09+01:00'), evening)
  for (const text of ['', 'yesterday', '2026-13-45 08:00:00 XM']) assert.equal(readFilterTime(text), undefined, text)
})

test('durationText() writes hours, minutes and tenths of seconds, and never a negative one', () => {
  assert.equal(durationText(0), 'PT0S')
  assert.equal(durationText(-5), 'PT0S')
  assert.equal(durationText(91_900), 'PT1M31.9S')
  assert.equal(durationText(3_600_000 + 2_000), 'PT1H2S')
})
