// oxlint-disable no-restricted-globals -- dates are made from instants that the test names; no clock is read
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BackupPolicy, checkPolicy, type GfsRules, pointsKeptMax } from './backup-policy.ts'
import { type GfsDecision, type GfsOptions, type GfsPoint, planGfs } from './gfs.ts'
import { nextSlot } from './slots.ts'

const DAY = 86_400_000
const ms = (text: string): number => Date.parse(text)

function daily(rules: GfsRules, more: Partial<BackupPolicy> = {}): BackupPolicy {
  const policy: BackupPolicy = {
    version: 'V1',
    timeZone: 'UTC',
    schedule: { kind: 'daily', minute: 22 * 60 },
    rules: { daily: { days: 7 }, ...rules },
    instantDays: 2,
    crashConsistentOnly: false,
    ...more,
  }
  checkPolicy(policy)
  return policy
}

/** A point for each slot from the first date to the last, named by its slot. */
function every(policy: BackupPolicy, from: string, to: string): GfsPoint[] {
  const points: GfsPoint[] = []
  for (let slot = nextSlot(policy, ms(from) - 1); slot <= ms(to); slot = nextSlot(policy, slot))
    points.push({
      id: new Date(slot).toISOString().slice(0, 16),
      takenMs: slot + 60_000,
      sequence: points.length,
      slotMs: slot,
      isOnDemand: false,
    })
  return points
}

const options = (now: string, more: Partial<GfsOptions> = {}): GfsOptions => ({
  nowMs: ms(now),
  mode: 'protected',
  softDeleteDays: 14,
  ...more,
})

/** What is kept besides the daily points, as "slot rule until". */
function longTerm(plan: readonly GfsDecision[], rule: string): string[] {
  return plan
    .flatMap((one) =>
      one.action === 'keep' && one.rules.some((name) => name === rule)
        ? [
            `${one.point.id} until ${one.untilMs === undefined ? 'ever' : new Date(one.untilMs).toISOString().slice(0, 16)}`,
          ]
        : [],
    )
    .reverse()
}

function without(points: readonly GfsPoint[], ...starts: readonly string[]): GfsPoint[] {
  return points.filter(({ id }) => !starts.some((start) => id.startsWith(start)))
}

test('planGfs() keeps daily points for their days, counted on the calendar of the zone over a change of the clocks', () => {
  const policy = daily({}, { timeZone: 'W. Europe Standard Time' })
  const points = every(policy, '2026-10-20T00:00Z', '2026-11-03T00:00Z')
  assert.equal(points[0]?.id, '2026-10-20T20:00', 'summer time')
  assert.equal(points.at(-1)?.id, '2026-11-02T21:00', 'winter time')
  const plan = planGfs(points, policy, options('2026-11-03T00:00Z'))
  assert.deepEqual(longTerm(plan, 'Daily').slice(0, 2), [
    '2026-10-27T21:00 until 2026-11-03T21:00',
    '2026-10-28T21:00 until 2026-11-04T21:00',
  ])
  const before = planGfs(points, policy, options('2026-10-27T20:30Z'))
  assert.deepEqual(longTerm(before, 'Daily')[0], '2026-10-20T20:00 until 2026-10-27T21:00', 'an hour longer, 7 days')
})

test('planGfs() keeps the first Sunday of a month, and the last of any length', () => {
  const first = daily({ monthly: { on: { by: 'weekday', days: ['Sunday'], weeks: ['First'] }, months: 12 } })
  const points = every(first, '2026-01-01T00:00Z', '2026-04-30T23:00Z')
  assert.deepEqual(longTerm(planGfs(points, first, options('2026-05-20T00:00Z')), 'Monthly'), [
    '2026-01-04T22:00 until 2027-01-04T22:00',
    '2026-02-01T22:00 until 2027-02-01T22:00',
    '2026-03-01T22:00 until 2027-03-01T22:00',
    '2026-04-05T22:00 until 2027-04-05T22:00',
  ])
  const last = daily({ monthly: { on: { by: 'weekday', days: ['Saturday', 'Sunday'], weeks: ['Last'] }, months: 12 } })
  const found = longTerm(planGfs(points, last, options('2026-05-20T00:00Z')), 'Monthly').map((text) =>
    text.slice(0, 10),
  )
  assert.deepEqual(found.slice(0, 4), ['2026-01-25', '2026-01-31', '2026-02-22', '2026-02-28'])
})

test('planGfs() ends months and years on the last day of a month that has no such date', () => {
  const policy = daily({
    monthly: { on: { by: 'date', dates: [], last: true }, months: 1 },
    yearly: { in: ['February'], on: { by: 'date', dates: [], last: true }, years: 1 },
  })
  const points = every(policy, '2027-12-25T00:00Z', '2028-03-01T00:00Z')
  const plan = planGfs(points, policy, options('2028-03-01T00:00Z'))
  // 31 January and a month: 29 February of a leap year. Both last days.
  const { yearly: _yearly, ...monthly } = policy.rules
  const alone = planGfs(points, { ...policy, rules: monthly }, options('2028-03-01T00:00Z'))
  assert.deepEqual(longTerm(alone, 'Monthly'), ['2028-02-29T22:00 until 2028-03-29T22:00'])
  const january = planGfs(points, policy, options('2028-02-20T00:00Z'))
  assert.equal(longTerm(january, 'Monthly')[0], '2028-01-31T22:00 until 2028-02-29T22:00')
  // 29 February and a year: 28 February.
  assert.deepEqual(longTerm(plan, 'Yearly'), ['2028-02-29T22:00 until 2029-02-28T22:00'])
})

test('planGfs() keeps dates of the month, and the twenty-eighth of a February once where it is the last day too', () => {
  const policy = daily({ monthly: { on: { by: 'date', dates: [1, 28], last: true }, months: 6 } })
  const points = every(policy, '2027-02-01T00:00Z', '2027-03-31T23:00Z')
  const found = longTerm(planGfs(points, policy, options('2027-05-01T00:00Z')), 'Monthly').map((text) =>
    text.slice(0, 10),
  )
  assert.deepEqual(found, ['2027-02-01', '2027-02-28', '2027-03-01', '2027-03-28', '2027-03-31'])
})

test('planGfs() lets the next day stand in for one without a point, within its week and month, and no longer than that one', () => {
  const policy = daily({
    weekly: { on: ['Sunday'], weeks: 8 },
    monthly: { on: { by: 'weekday', days: ['Sunday'], weeks: ['Last'] }, months: 12 },
  })
  const all = every(policy, '2026-06-01T00:00Z', '2026-07-31T23:00Z')
  const missed = without(all, '2026-06-14', '2026-06-15', '2026-06-28', '2026-06-29', '2026-06-30')
  const plan = planGfs(missed, policy, options('2026-08-01T00:00Z'))
  const weekly = longTerm(plan, 'Weekly')
  assert.equal(
    weekly.find((text) => text.startsWith('2026-06-16')),
    '2026-06-16T22:00 until 2026-08-09T22:00',
    'as Sunday the 14th',
  )
  assert.equal(
    weekly.find((text) => text.startsWith('2026-07-01')),
    '2026-07-01T22:00 until 2026-08-23T22:00',
    'as Sunday the 28th',
  )
  assert.deepEqual(
    longTerm(plan, 'Monthly'),
    ['2026-07-26T22:00 until 2027-07-26T22:00'],
    'June has no day left to stand in',
  )
})

test('planGfs() keeps of an hourly schedule the last point of each day by the rules, the others for the instant tier', () => {
  const policy = daily(
    { daily: { days: 30 }, weekly: { on: ['Sunday'], weeks: 12 } },
    {
      version: 'V2',
      schedule: { kind: 'hourly', minute: 8 * 60, everyHours: 4, windowHours: 24 },
      instantDays: 3,
    },
  )
  const points = every(policy, '2026-11-01T08:00Z', '2026-11-12T04:00Z')
  assert.equal(points.length, 66, 'six a day')
  const plan = planGfs(points, policy, options('2026-11-12T04:30Z'))
  const kept = plan.filter(({ action }) => action === 'keep').map(({ point }) => point.id)
  // Days begin with the window: the last point of the 1st (a Sunday) is that of 04:00 on the 2nd.
  assert.deepEqual(longTerm(plan, 'Weekly'), [
    '2026-11-02T04:00 until 2027-01-25T04:00',
    '2026-11-09T04:00 until 2027-02-01T04:00',
  ])
  assert.deepEqual(longTerm(plan, 'Daily').length, 11)
  assert.equal(kept.filter((id) => !id.endsWith('T04:00')).length, 15, 'three days of the five others')
})

test('planGfs() counts a window’s point over the change of the clocks to the day that the window began on', () => {
  const policy = daily(
    {},
    {
      version: 'V2',
      timeZone: 'Europe/Berlin',
      schedule: { kind: 'hourly', minute: 22 * 60 + 30, everyHours: 4, windowHours: 8 },
    },
  )
  const points = every(policy, '2026-03-27T12:00Z', '2026-03-30T12:00Z')
  // 22:30, 02:30 and 06:30; on the 29th 02:30 does not exist and is 03:00.
  assert.deepEqual(
    points.slice(3, 6).map(({ id }) => id),
    ['2026-03-28T21:30', '2026-03-29T01:00', '2026-03-29T04:30'],
  )
  const found = longTerm(planGfs(points, policy, options('2026-03-30T12:00Z')), 'Daily')
  assert.deepEqual(
    found.map((text) => text.slice(0, 16)),
    ['2026-03-28T05:30', '2026-03-29T04:30', '2026-03-30T04:30'],
  )
})

test('planGfs() keeps a weekly schedule’s points for their weeks', () => {
  const policy = daily(
    { daily: undefined as never },
    {
      schedule: { kind: 'weekly', days: ['Wednesday', 'Saturday'], minute: 60 },
      instantDays: 5,
      rules: { weekly: { on: ['Wednesday', 'Saturday'], weeks: 2 } },
    },
  )
  const points = every(policy, '2026-11-01T00:00Z', '2026-11-30T00:00Z')
  assert.deepEqual(longTerm(planGfs(points, policy, options('2026-11-30T00:00Z')), 'Weekly'), [
    '2026-11-18T01:00 until 2026-12-02T01:00',
    '2026-11-21T01:00 until 2026-12-05T01:00',
    '2026-11-25T01:00 until 2026-12-09T01:00',
    '2026-11-28T01:00 until 2026-12-12T01:00',
  ])
})

test('planGfs() keeps a point that was asked for until its own end, thirty days where it has none, and counts it for no rule', () => {
  const policy = daily({ weekly: { on: ['Sunday'], weeks: 4 } })
  const asked = { takenMs: ms('2026-11-01T23:00Z'), sequence: 9, isOnDemand: true }
  const points: GfsPoint[] = [
    ...every(policy, '2026-11-01T00:00Z', '2026-11-02T23:00Z'),
    { ...asked, id: 'long', expiresMs: ms('2099-01-01T00:00Z') },
    { ...asked, id: 'plain', sequence: 8 },
  ]
  const plan = planGfs(points, policy, options('2026-11-28T00:00Z'))
  assert.deepEqual(longTerm(plan, 'OnDemand'), ['plain until 2026-12-01T23:00', 'long until 2099-01-01T00:00'])
  assert.deepEqual(longTerm(plan, 'Weekly'), ['2026-11-01T22:00 until 2026-11-29T22:00'])
  const later = planGfs(points, policy, options('2026-12-01T23:00Z'))
  assert.equal(later.find(({ point }) => point.id === 'plain')?.action, 'soft-delete')
})

test('planGfs() keeps the newest point for as long as nothing newer is there, also where backups are suspended', () => {
  const policy = daily({})
  const points = every(policy, '2026-11-01T00:00Z', '2026-11-03T23:00Z')
  for (const mode of ['protected', 'suspended'] as const) {
    const plan = planGfs(points, policy, options('2030-01-01T00:00Z', { mode, softDeleteDays: 0 }))
    assert.deepEqual(
      plan.map(({ action }) => action),
      ['keep', 'delete', 'delete'],
    )
    assert.deepEqual(plan[0]?.action === 'keep' && plan[0].rules, ['Latest'])
  }
})

test('planGfs() gives up nothing where protection was stopped to keep the data, and brings nothing back', () => {
  const policy = daily({})
  const [first, ...others] = every(policy, '2026-01-01T00:00Z', '2026-01-03T23:00Z')
  const deleted = { ...(first ?? assert.fail()), softDeleted: { purgeAtMs: ms('2026-02-01T00:00Z'), byUser: false } }
  const plan = planGfs([deleted, ...others], undefined, options('2036-01-01T00:00Z', { mode: 'forever' }))
  assert.deepEqual(
    plan.map(({ action }) => action),
    ['keep', 'keep', 'delete'],
  )
  assert.equal(plan[0]?.action === 'keep' && plan[0].untilMs, undefined)
})

test('planGfs() soft-deletes what was kept for ever and is cut off now, though the time that it was promised before is over', () => {
  const policy = daily({})
  const [first = assert.fail(), ...others] = every(policy, '2026-01-01T00:00Z', '2026-01-03T23:00Z')
  const promised = { ...first, promisedUntilMs: ms('2026-01-08T22:00Z') }
  const stopped = planGfs([promised, ...others], undefined, options('2026-06-01T00:00Z', { mode: 'forever' }))
  assert.equal(stopped[2]?.action === 'keep' && stopped[2].untilMs, promised.promisedUntilMs, 'the promise is kept')
  const resumed = planGfs([{ ...promised, isRetained: true }, ...others], policy, options('2026-06-01T00:00Z'))
  assert.equal(resumed[2]?.action, 'soft-delete')
})

test('planGfs() brings back nothing whose purge is due: it may be going in this moment', () => {
  const policy = daily({})
  const [first = assert.fail(), ...others] = every(policy, '2026-11-01T00:00Z', '2026-11-02T23:00Z')
  const purgeAtMs = ms('2026-11-03T00:00Z')
  const deleted = { ...first, softDeleted: { purgeAtMs, byUser: false } }
  const at = (now: string) => planGfs([deleted, ...others], policy, options(now)).at(-1)?.action
  assert.deepEqual([at('2026-11-02T23:59Z'), at('2026-11-03T00:00Z')], ['restore', 'delete'])
})

test('planGfs() soft-deletes what an edit cuts off, lets go what is over, and brings back what a longer retention keeps', () => {
  const long = daily({ daily: { days: 30 } })
  const short = daily({ daily: { days: 7 } })
  const points = every(long, '2026-11-01T00:00Z', '2026-11-20T23:00Z')
  const now = '2026-11-21T00:00Z'
  const promised = planGfs(points, long, options(now)).map((one): GfsPoint => {
    return { ...one.point, promisedUntilMs: one.action === 'keep' ? one.untilMs : undefined }
  })
  const cut = planGfs(promised, short, options(now))
  const deleted = cut.filter(({ action }) => action === 'soft-delete')
  assert.equal(deleted.length, 13)
  assert.equal(deleted[0]?.action === 'soft-delete' && deleted[0].purgeAtMs, ms(now) + 14 * DAY)
  const after = cut.map((one): GfsPoint => {
    return {
      ...one.point,
      ...(one.action === 'soft-delete' && { softDeleted: { purgeAtMs: one.purgeAtMs, byUser: false } }),
    }
  })
  assert.ok(planGfs(after, short, options(now)).every(({ action }) => action === 'keep' || action === 'wait'))
  const restored = planGfs(after, long, options(now)).filter(({ action }) => action === 'restore')
  assert.deepEqual(
    restored.map(({ point }) => point.id),
    deleted.map(({ point }) => point.id),
  )
  const purged = planGfs(after, short, options('2026-12-05T00:00Z')).filter(({ action }) => action === 'delete')
  assert.ok(purged.length >= 13)
  const over = planGfs(promised, long, options('2026-12-05T00:00Z'))
  assert.deepEqual(
    [...new Set(over.map(({ action }) => action))].sort(),
    ['delete', 'keep'],
    'nothing of it is kept for longer',
  )
})

test('planGfs() brings a point that was deleted by name back for no rule, and lets the next day stand in for it', () => {
  const policy = daily({ weekly: { on: ['Sunday'], weeks: 12 } })
  const points = every(policy, '2026-11-01T00:00Z', '2026-11-04T00:00Z').map((point) =>
    point.id.startsWith('2026-11-01')
      ? { ...point, softDeleted: { purgeAtMs: ms('2026-11-18T00:00Z'), byUser: true } }
      : point,
  )
  const plan = planGfs(points, policy, options('2026-11-04T00:00Z'))
  assert.equal(plan.at(-1)?.action, 'wait')
  assert.deepEqual(longTerm(plan, 'Weekly'), ['2026-11-02T22:00 until 2027-01-24T22:00'])
})

test('planGfs() under immutability keeps what was promised though the policy is shorter now, and at least so many days', () => {
  const policy = daily({})
  const [point = assert.fail(), ...others] = every(policy, '2026-11-01T00:00Z', '2026-11-02T23:00Z')
  const promised = { ...point, promisedUntilMs: ms('2026-12-24T00:00Z') }
  const immutable = { immutable: {} }
  const plan = planGfs([promised, ...others], policy, options('2026-12-01T00:00Z', immutable))
  assert.deepEqual(longTerm(plan, 'Immutable'), ['2026-11-01T22:00 until 2026-12-24T00:00'])
  const over = planGfs([promised, ...others], policy, options('2026-12-24T00:00Z', immutable))
  assert.equal(over.at(-1)?.action, 'delete')
  const byDays = planGfs([point, ...others], policy, options('2026-12-24T00:00Z', { immutable: { days: 60 } }))
  assert.deepEqual(longTerm(byDays, 'Immutable')[0], '2026-11-01T22:00 until 2026-12-31T22:01')
})

test('checkPolicy() refuses by the field’s name what contradicts itself or is out of Azure’s bounds', () => {
  const refused = (policy: () => unknown, field: string): void =>
    assert.throws(policy, (error: { code: string; facts: { field: string } }) => {
      assert.deepEqual([error.code, error.facts.field], ['policy_invalid', field])
      return true
    })
  refused(() => daily({ daily: { days: 6 } }), 'dailySchedule')
  refused(() => daily({ daily: { days: 10_000 } }), 'dailySchedule')
  refused(() => daily({ weekly: { on: [], weeks: 1 } }), 'weeklySchedule.daysOfTheWeek')
  refused(() => daily({}, { instantDays: 6 }), 'instantRpRetentionRangeInDays')
  refused(() => daily({}, { crashConsistentOnly: true }), 'snapshotConsistencyType')
  refused(
    () => daily({ monthly: { on: { by: 'date', dates: [31], last: false }, months: 1 } }),
    'monthlySchedule.daysOfTheMonth',
  )
  const hourly = { kind: 'hourly', minute: 0, everyHours: 4, windowHours: 12 } as const
  refused(() => daily({}, { schedule: hourly }), 'scheduleRunFrequency')
  refused(() => daily({}, { version: 'V2', schedule: { ...hourly, everyHours: 5 } }), 'hourlySchedule.interval')
  refused(
    () => daily({}, { version: 'V2', schedule: { ...hourly, windowHours: 3 } }),
    'hourlySchedule.scheduleWindowDuration',
  )
  refused(
    () => daily({ daily: { days: 30 } }, { version: 'V2', schedule: hourly, instantDays: 18 }),
    'instantRpRetentionRangeInDays',
  )
  refused(() => daily({}, { version: 'V2', instantDays: 8 }), 'instantRpRetentionRangeInDays')
  const weekly = { kind: 'weekly', days: ['Monday'], minute: 0 } as const
  refused(() => daily({}, { schedule: weekly, instantDays: 5 }), 'dailySchedule')
  const on = { by: 'date', dates: [1], last: false } as const
  const rules: GfsRules = { weekly: { on: ['Monday'], weeks: 4 } }
  refused(() => daily({}, { schedule: weekly, instantDays: 4, rules }), 'instantRpRetentionRangeInDays')
  refused(
    () => daily({}, { schedule: weekly, instantDays: 5, rules: { ...rules, monthly: { on, months: 1 } } }),
    'monthlySchedule',
  )
  refused(() => daily({ daily: { days: 9999 }, weekly: { on: ['Monday'], weeks: 1 } }), 'retentionPolicy')
  assert.throws(() => daily({}, { timeZone: 'Nowhere' }), { code: 'time_zone_unknown' })
})

for (const [everyHours, instantDays] of [
  [1, 4],
  [4, 17],
  [24, 30],
] as const)
  test(`A year of a backup every ${everyHours} h, retention done each day: left is what was planned, within the policy's bound`, () => {
    const policy = daily(
      {
        daily: { days: 35 },
        weekly: { on: ['Sunday'], weeks: 12 },
        monthly: { on: { by: 'date', dates: [1], last: true }, months: 12 },
        yearly: { in: ['January', 'July'], on: { by: 'weekday', days: ['Monday'], weeks: ['First'] }, years: 2 },
      },
      {
        version: 'V2',
        timeZone: 'Pacific Standard Time',
        schedule: { kind: 'hourly', minute: 330, everyHours, windowHours: 24 },
        instantDays,
      },
    )
    const all = every(policy, '2027-12-01T00:00Z', '2028-12-05T00:00Z')
    let left: GfsPoint[] = []
    let next = 0
    for (let nowMs = ms('2027-12-02T00:00Z'); nowMs <= ms('2028-12-05T00:00Z'); nowMs += DAY) {
      for (let point = all[next]; point !== undefined && point.takenMs <= nowMs; point = all[(next += 1)])
        left.push(point)
      const plan = planGfs(left, policy, { nowMs, mode: 'protected', softDeleteDays: 0 })
      assert.ok(plan.every(({ action }) => action === 'keep' || action === 'delete'))
      left = plan.filter(({ action }) => action === 'keep').map(({ point }) => point)
      // Those of a day that is not over, of the day that the instant tier ends in, and a day more of February.
      assert.ok(
        left.length <= pointsKeptMax(policy) + 3 * (24 / everyHours),
        `${left.length} of ${pointsKeptMax(policy)}`,
      )
    }
    const atOnce = planGfs(all.slice(0, next), policy, {
      nowMs: ms('2028-12-05T00:00Z'),
      mode: 'protected',
      softDeleteDays: 0,
    })
    const ids = (points: readonly GfsPoint[]): string[] => points.map(({ id }) => id).sort()
    assert.deepEqual(ids(left), ids(atOnce.filter(({ action }) => action === 'keep').map(({ point }) => point)))
  })
