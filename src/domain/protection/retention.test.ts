import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assert as assertProperty, integer, property, uniqueArray } from 'fast-check'
import { localCalendar } from './local-calendar.ts'
import { explainRetention, planRetention, type RetentionPoint, type RetentionRules } from './retention.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
// oxlint-disable-next-line no-restricted-globals -- reads a date that is written here, no clock
const at = (iso: string): number => Date.parse(iso)

/** Points named by their instants, in the order given. */
function points(...isos: string[]): RetentionPoint[] {
  return isos.map((iso, sequence) => ({ id: iso, sequence, takenAtMs: at(iso), legalHold: false }))
}

function keptBy(given: readonly RetentionPoint[], rules: RetentionRules): string[] {
  return planRetention(given, rules, at('2030-01-01T00:00:00Z')).decisions.flatMap((decision) =>
    decision.action === 'keep' ? [decision.point.id] : [],
  )
}

const UTC = { timeZone: 'UTC' }
const BERLIN = { timeZone: 'Europe/Berlin' }

test('planRetention() keeps the newest of each of the newest days that have a point', () => {
  const given = points('2026-01-01T01:00Z', '2026-01-01T23:00Z', '2026-01-05T10:00Z', '2026-01-09T10:00Z')
  assert.deepEqual(keptBy(given, { ...UTC, daily: 3 }), ['2026-01-09T10:00Z', '2026-01-05T10:00Z', '2026-01-01T23:00Z'])
})

test('planRetention() adds rules up: what any of them keeps is kept, with every reason', () => {
  const given = points('2026-01-31T12:00Z', '2026-02-01T12:00Z', '2026-02-02T12:00Z')
  const plan = planRetention(given, { ...UTC, last: 1, daily: 2, monthly: 2 }, 0)
  assert.deepEqual(
    plan.decisions.map(({ action, point, reasons }) => [action, point.id, reasons.map(explainRetention)]),
    [
      [
        'keep',
        '2026-02-02T12:00Z',
        ['newest of 2026-02-02 (daily 1)', 'newest of 2026-02 (monthly 1)', 'one of the last (1)'],
      ],
      ['keep', '2026-02-01T12:00Z', ['newest of 2026-02-01 (daily 2)']],
      ['keep', '2026-01-31T12:00Z', ['newest of 2026-01 (monthly 2)']],
    ],
  )
})

test('planRetention() takes days and months in the zone given: 23:30 in London is the next day in Berlin', () => {
  const given = points('2026-01-31T22:30Z', '2026-01-31T23:30Z')
  assert.equal(keptBy(given, { ...UTC, monthly: 5 }).length, 1)
  assert.equal(keptBy(given, { ...BERLIN, monthly: 5 }).length, 2)
})

test('planRetention() gives the leap day a day of its own, in February', () => {
  const given = points('2028-02-28T12:00Z', '2028-02-29T12:00Z', '2028-03-01T12:00Z')
  assert.equal(keptBy(given, { ...UTC, daily: 9 }).length, 3)
  assert.deepEqual(keptBy(given, { ...UTC, monthly: 9 }), ['2028-03-01T12:00Z', '2028-02-29T12:00Z'])
})

test('planRetention() keeps a week together over the turn of the year, and parts it at Monday', () => {
  const given = points(
    '2026-12-27T12:00Z',
    '2026-12-28T12:00Z',
    '2026-12-31T12:00Z',
    '2027-01-03T12:00Z',
    '2027-01-04T12:00Z',
  )
  const plan = planRetention(given, { ...UTC, weekly: 9 }, 0)
  const kept = plan.decisions.filter(({ action }) => action === 'keep')
  assert.deepEqual(
    kept.map(({ point }) => point.id),
    ['2027-01-04T12:00Z', '2027-01-03T12:00Z', '2026-12-27T12:00Z'],
  )
  assert.match(kept.flatMap(({ reasons }) => reasons.map(explainRetention))[1] ?? '', /the week of 2026-12-28/)
})

test('planRetention() counts the hour that occurs twice in autumn as two, the missing one in spring as none', () => {
  const autumn = points('2026-10-25T00:30Z', '2026-10-25T01:30Z') // 02:30 +02:00 and 02:30 +01:00
  assert.equal(keptBy(autumn, { ...BERLIN, hourly: 9 }).length, 2)
  assert.equal(keptBy(autumn, { ...BERLIN, daily: 9 }).length, 1)
  const spring = points('2026-03-29T00:30Z', '2026-03-29T01:30Z') // 01:30 +01:00 and 03:30 +02:00
  assert.equal(keptBy(spring, { ...BERLIN, hourly: 9 }).length, 2)
  const yesterday = points('2026-03-28T22:59Z', '2026-03-28T23:01Z') // midnight of the night that jumps
  assert.equal(keptBy(yesterday, { ...BERLIN, daily: 9 }).length, 2)
})

test('planRetention() sees quarter-hour zones, and midnight as the hour 00 of the new day', () => {
  const given = points('2026-05-01T18:14Z', '2026-05-01T18:15Z') // Kathmandu is at +05:45: 23:59 and 00:00
  assert.equal(keptBy(given, { timeZone: 'Asia/Kathmandu', daily: 9 }).length, 2)
  assert.match(localCalendar('Asia/Kathmandu')(at('2026-05-01T18:15Z')).hour, /^2026-05-02T00 GMT\+05:45$/)
})

test('planRetention() never drops the newest point, though no rule keeps any', () => {
  const given = points('2026-01-01T00:00Z', '2026-01-02T00:00Z')
  for (const rules of [UTC, { ...UTC, last: 0, daily: 0 }])
    assert.deepEqual(keptBy(given, rules), ['2026-01-02T00:00Z'])
})

test('planRetention() keeps a point under legal hold and one that is still locked', () => {
  const [old, locked, unlocked, newest] = points(
    '2020-01-01T00:00Z',
    '2020-01-02T00:00Z',
    '2020-01-03T00:00Z',
    '2026-01-01T00:00Z',
  )
  assert.ok(old && locked && unlocked && newest)
  const given = [
    { ...old, legalHold: true },
    { ...locked, lockedUntilMs: at('2031-01-01T00:00Z') },
    { ...unlocked, lockedUntilMs: at('2029-01-01T00:00Z') },
    newest,
  ]
  assert.deepEqual(keptBy(given, { ...UTC, last: 1 }), [newest.id, locked.id, old.id])
})

test('planRetention() takes the order from the sequence when a clock went backwards', () => {
  const given = points('2026-01-02T12:00Z', '2026-01-01T12:00Z')
  assert.deepEqual(keptBy(given, { ...UTC, last: 1 }), ['2026-01-01T12:00Z'])
})

test('planRetention() names the newer point that a dropped one gave way to, or says that no rule reaches it', () => {
  const given = points('2025-01-01T00:00Z', '2026-01-02T01:00Z', '2026-01-02T02:00Z')
  const dropped = planRetention(given, { ...UTC, daily: 1 }, 0).decisions.filter(({ action }) => action === 'drop')
  assert.deepEqual(
    dropped.map(({ reasons }) => reasons.map(explainRetention)),
    [['2026-01-02T02:00Z is newer in 2026-01-02 (daily)'], ['older than every rule reaches']],
  )
})

test('planRetention() keeps what is young against the newest point, not against the clock', () => {
  const given = points('2020-01-01T00:00Z', '2020-01-05T00:00Z', '2020-01-07T00:00Z')
  assert.deepEqual(keptBy(given, { ...UTC, withinMs: 2 * DAY_MS }), ['2020-01-07T00:00Z', '2020-01-05T00:00Z'])
})

test('planRetention() refuses rules that make no sense', () => {
  const given = points('2020-01-01T00:00Z')
  assert.throws(() => planRetention(given, { ...UTC, daily: -1 }, 0), { code: 'retention_invalid' })
  assert.throws(() => planRetention(given, { ...UTC, daily: 1.5 }, 0), { code: 'retention_invalid' })
  assert.throws(() => planRetention(given, { timeZone: 'Europe/Atlantis' }, 0), { code: 'time_zone_unknown' })
  assert.throws(() => planRetention([...given, ...given], UTC, 0), { code: 'retention_invalid' })
})

test('planRetention() agrees with the simplest model, decides on each point once, and repeats itself on what it kept', () => {
  const hours = uniqueArray(integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 60 })
  const count = integer({ min: 0, max: 8 })
  assertProperty(
    property(hours, count, count, count, (given, last, daily, monthly) => {
      const made = given.map((hour, sequence) => ({
        id: `p${sequence}`,
        sequence,
        takenAtMs: at('2026-01-01T00:00Z') + hour * HOUR_MS + 7,
        legalHold: false,
      }))
      const rules = { ...UTC, last, daily, monthly }
      const kept = keptBy(made, rules)
      const newestFirst = made.toReversed()
      const expected = new Set([newestFirst[0]?.id, ...newestFirst.slice(0, last).map(({ id }) => id)])
      for (const [length, wanted] of [
        [10, daily],
        [7, monthly],
      ] as const) {
        const seen = new Set<string>()
        for (const point of newestFirst) {
          // oxlint-disable-next-line no-restricted-globals -- formats a given instant, reads no clock
          const period = new Date(point.takenAtMs).toISOString().slice(0, length)
          if (!seen.has(period) && seen.size < wanted) {
            seen.add(period)
            expected.add(point.id)
          }
        }
      }
      assert.deepEqual(new Set(kept), expected)
      assert.equal(planRetention(made, rules, 0).decisions.length, made.length)
      const again = made.filter(({ id }) => kept.includes(id))
      assert.deepEqual(keptBy(again, rules), kept)
    }),
    { numRuns: 200, seed: 11 },
  )
})
