// oxlint-disable no-restricted-globals -- dates are made from instants that the test names; no clock is read
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { daysOf } from '../civil-days.ts'
import { WINDOWS_ZONE_NAMES } from './windows-zones.ts'
import { DAY_MS, zoneOf } from './zone.ts'

const utc = (text: string): number => Date.parse(text)
const at = (zone: string, date: readonly [number, number, number], hour: number, minute = 0): string =>
  new Date(zoneOf(zone).instant(daysOf(...date), hour * 60 + minute)).toISOString()

test('Every name that Windows has for a time zone is one that the runtime knows', () => {
  assert.ok(WINDOWS_ZONE_NAMES.length > 130)
  for (const name of WINDOWS_ZONE_NAMES) assert.doesNotThrow(() => zoneOf(name), name)
  assert.equal(zoneOf('pacific standard time').name, 'America/Los_Angeles')
  assert.equal(zoneOf('Europe/Berlin').name, 'Europe/Berlin')
  assert.throws(() => zoneOf('Middle-earth Standard Time'), { code: 'time_zone_unknown' })
})

test('A time that the clock jumps over is the first instant after the gap; one that occurs twice is the first', () => {
  assert.equal(at('Europe/Berlin', [2026, 3, 29], 1, 59), '2026-03-29T00:59:00.000Z')
  assert.equal(at('Europe/Berlin', [2026, 3, 29], 2, 30), '2026-03-29T01:00:00.000Z')
  assert.equal(at('Europe/Berlin', [2026, 3, 29], 3), '2026-03-29T01:00:00.000Z')
  assert.equal(at('Europe/Berlin', [2026, 10, 25], 2, 30), '2026-10-25T00:30:00.000Z')
  assert.equal(at('Pacific Standard Time', [2026, 3, 8], 2, 30), '2026-03-08T10:00:00.000Z')
  assert.equal(at('Lord Howe Standard Time', [2026, 10, 4], 2, 15), '2026-10-03T15:30:00.000Z', 'half an hour')
  // Samoa passed over the whole of 30 December 2011.
  assert.equal(at('Samoa Standard Time', [2011, 12, 30], 12), '2011-12-30T10:00:00.000Z')
})

test('Of any instant, the wall’s time gives the instant back, unless it occurs twice: then the first of the two', () => {
  const names = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'Pacific/Apia']
  const range = { min: utc('2005-01-01T00:00Z') / 60_000, max: utc('2040-01-01T00:00Z') / 60_000 }
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.integer(range), (name, minutes) => {
      const zone = zoneOf(name)
      const atMs = minutes * 60_000
      const { day, ms } = zone.wallTime(atMs)
      const back = zone.instant(day, ms / 60_000)
      assert.deepEqual(zone.wallTime(back), { day, ms })
      assert.ok(back === atMs || (back < atMs && atMs - back <= 3_600_000))
      const shown = new Intl.DateTimeFormat('sv', { timeZone: name, dateStyle: 'short', timeStyle: 'medium' })
      const text = new Date(day * DAY_MS + ms).toISOString().slice(0, 19).replace('T', ' ')
      assert.equal(shown.format(atMs), text)
    }),
    { numRuns: 500 },
  )
})
