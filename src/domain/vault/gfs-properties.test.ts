// oxlint-disable no-restricted-globals -- dates are made from instants that the test names; no clock is read
/**
 * The planner against the stupidest model of retention: it asks for every point alone, day by day, what a person would ask with a
 * calendar in hand. Slow, and written without looking at the planner.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { type BackupPolicy, checkPolicy, type DaysOfMonth, MONTHS, WEEKDAYS, WEEKS_OF_MONTH } from './backup-policy.ts'
import { type GfsDecision, type GfsOptions, type GfsPoint, planGfs } from './gfs.ts'
import { lastSlot, mayBegin, nextSlot, spreadMs } from './slots.ts'
import { zoneOf } from './zone.ts'

const DAY = 86_400_000
const date = (day: number): Date => new Date(day * DAY)

/** Policies of the model are in UTC, with windows that do not pass midnight. */
const dayOf = (point: GfsPoint): number => Math.floor((point.slotMs ?? point.takenMs) / DAY)

function isOn(on: DaysOfMonth, day: number): boolean {
  const at = date(day)
  const month = at.getUTCMonth()
  const daysWithThisWeekday = Array.from(
    { length: 31 },
    (_, n) => new Date(Date.UTC(at.getUTCFullYear(), month, n + 1)),
  )
    .filter((one) => one.getUTCMonth() === month && one.getUTCDay() === at.getUTCDay())
    .map((one) => one.getTime() / DAY)
  if (on.by === 'weekday')
    return (
      on.days.includes(WEEKDAYS[at.getUTCDay()] ?? 'Sunday') &&
      on.weeks.some((week) =>
        week === 'Last'
          ? daysWithThisWeekday.at(-1) === day
          : daysWithThisWeekday[['First', 'Second', 'Third', 'Fourth'].indexOf(week)] === day,
      )
    )
  return on.dates.includes(at.getUTCDate()) || (on.last && date(day + 1).getUTCMonth() !== month)
}

function monthsLater(day: number, months: number): number {
  const at = date(day)
  const last = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + months + 1, 0)).getUTCDate()
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + months, Math.min(at.getUTCDate(), last)) / DAY
}

type Rule = Readonly<{
  named: (day: number) => boolean
  same: (a: number, b: number) => boolean
  until: (day: number) => number
}>

function rulesOf({ rules }: BackupPolicy): Rule[] {
  const sameWeek = (a: number, b: number): boolean => a - date(a).getUTCDay() === b - date(b).getUTCDay()
  const sameMonth = (a: number, b: number): boolean =>
    date(a).toISOString().slice(0, 7) === date(b).toISOString().slice(0, 7)
  const { daily, weekly, monthly, yearly } = rules
  return [
    ...(daily
      ? [{ named: () => true, same: (a: number, b: number) => a === b, until: (d: number) => d + daily.days }]
      : []),
    ...(weekly
      ? [
          {
            named: (d: number) => weekly.on.includes(WEEKDAYS[date(d).getUTCDay()] ?? 'Sunday'),
            same: sameWeek,
            until: (d: number) => d + weekly.weeks * 7,
          },
        ]
      : []),
    ...(monthly
      ? [
          {
            named: (d: number) => isOn(monthly.on, d),
            same: sameMonth,
            until: (d: number) => monthsLater(d, monthly.months),
          },
        ]
      : []),
    ...(yearly
      ? [
          {
            named: (d: number) => yearly.in.includes(MONTHS[date(d).getUTCMonth()] ?? 'January') && isOn(yearly.on, d),
            same: sameMonth,
            until: (d: number) => monthsLater(d, yearly.years * 12),
          },
        ]
      : []),
  ]
}

/** Until when each point of the machine is kept by the rules alone. */
function modelUntil(points: readonly GfsPoint[], policy: BackupPolicy, point: GfsPoint): number {
  if (point.isOnDemand) return point.expiresMs ?? point.takenMs + 30 * DAY
  const counted = points.filter(({ isOnDemand, softDeleted }) => !isOnDemand && softDeleted?.byUser !== true)
  const slot = (one: GfsPoint): number => one.slotMs ?? one.takenMs
  const later = (a: GfsPoint, b: GfsPoint): boolean =>
    slot(a) > slot(b) ||
    (slot(a) === slot(b) && (a.takenMs > b.takenMs || (a.takenMs === b.takenMs && a.sequence > b.sequence)))
  const day = dayOf(point)
  const timeOfDay = slot(point) - day * DAY
  const ends = [slot(point) + policy.instantDays * DAY]
  const isLast = !counted.some((other) => dayOf(other) === day && other !== point && later(other, point))
  if (isLast)
    for (const rule of rulesOf(policy))
      for (let named = day; named > day - 40; named -= 1) {
        if (!rule.named(named) || !rule.same(named, day)) continue
        const isFirst = !counted.some((other) => dayOf(other) >= named && dayOf(other) < day)
        const isNext = Array.from({ length: day - named }, (_, n) => named + n + 1).some(rule.named)
        if (isFirst && !isNext) ends.push(rule.until(named) * DAY + timeOfDay)
      }
  return Math.max(...ends)
}

const some = <T>(from: readonly T[]): fc.Arbitrary<T[]> => fc.subarray([...from], { minLength: 1 })
const daysOfMonth: fc.Arbitrary<DaysOfMonth> = fc.oneof(
  fc.record({ by: fc.constant('weekday' as const), days: some(WEEKDAYS), weeks: some(WEEKS_OF_MONTH) }),
  fc
    .record({
      by: fc.constant('date' as const),
      dates: fc.uniqueArray(fc.integer({ min: 1, max: 28 }), { maxLength: 3 }),
      last: fc.boolean(),
    })
    .filter(({ dates, last }) => dates.length > 0 || last),
)
const policies: fc.Arbitrary<BackupPolicy> = fc
  .record({
    isHourly: fc.boolean(),
    daily: fc.integer({ min: 7, max: 40 }),
    instantDays: fc.integer({ min: 1, max: 7 }),
    weekly: fc.option(fc.record({ on: some(WEEKDAYS), weeks: fc.integer({ min: 1, max: 20 }) }), { nil: undefined }),
    monthly: fc.option(fc.record({ on: daysOfMonth, months: fc.integer({ min: 1, max: 14 }) }), { nil: undefined }),
    yearly: fc.option(fc.record({ in: some(MONTHS), on: daysOfMonth, years: fc.integer({ min: 1, max: 3 }) }), {
      nil: undefined,
    }),
  })
  .map(({ isHourly, daily, instantDays, weekly, monthly, yearly }) => ({
    version: 'V2',
    timeZone: 'UTC',
    schedule: isHourly
      ? { kind: 'hourly', minute: 120, everyHours: 4, windowHours: 16 }
      : { kind: 'daily', minute: 1320 },
    rules: {
      daily: { days: daily },
      ...(weekly && { weekly }),
      ...(monthly && { monthly }),
      ...(yearly && { yearly }),
    },
    instantDays,
    crashConsistentOnly: false,
  }))

const START = Date.UTC(2027, 11, 1)
/** Points of two years with holes, some asked for, some deleted by name. */
function pointsOf(policy: BackupPolicy, seed: readonly number[], days: number): GfsPoint[] {
  const points: GfsPoint[] = []
  let slot = START
  for (let n = 0; ; n += 1) {
    slot = nextSlot(policy, slot)
    if (slot > START + days * DAY) return points
    const chance = seed[n % seed.length] ?? 0
    if (chance % 5 === 0) continue
    points.push({
      id: `p-${n}`,
      takenMs: slot + (chance % 97) * 60_000,
      sequence: n,
      isOnDemand: chance % 31 === 1,
      ...(chance % 31 !== 1 && { slotMs: slot }),
      ...(chance % 29 === 1 && { softDeleted: { purgeAtMs: slot + 400 * DAY, byUser: true } }),
    })
  }
}
const seeds = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 3, maxLength: 60 })
const kept = (plan: readonly GfsDecision[]): string[] =>
  plan.filter(({ action }) => action === 'keep' || action === 'restore').map(({ point }) => point.id)

test('planGfs() keeps each point exactly as long as the simplest model says', () => {
  fc.assert(
    fc.property(
      policies,
      seeds,
      fc.integer({ min: 20, max: 150 }),
      fc.integer({ min: 0, max: 200 }),
      (policy, seed, days, later) => {
        checkPolicy(policy)
        const points = pointsOf(policy, seed, days)
        const nowMs = START + (days + later) * DAY
        const plan = planGfs(points, policy, { nowMs, mode: 'protected', softDeleteDays: 14 })
        assert.deepEqual(plan.map(({ point }) => point.id).sort(), points.map(({ id }) => id).sort())
        const newest = points
          .filter(({ softDeleted }) => softDeleted === undefined)
          .toSorted((a, b) => b.takenMs - a.takenMs)[0]
        for (const decision of plan) {
          const { point, action } = decision
          if (point.softDeleted !== undefined) continue
          const untilMs = modelUntil(points, policy, point)
          const isKept = untilMs > nowMs || point === newest
          assert.equal(action, isKept ? 'keep' : 'soft-delete', point.id)
          if (decision.action === 'keep') assert.equal(decision.untilMs, untilMs, point.id)
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('planGfs() day by day, doing what it says, leaves what one plan at the end would keep', () => {
  fc.assert(
    fc.property(policies, seeds, fc.integer({ min: 20, max: 120 }), (policy, seed, days) => {
      const all = pointsOf(policy, seed, days).map(({ softDeleted: _none, ...point }) => point)
      const options = (nowMs: number): GfsOptions => ({ nowMs, mode: 'protected', softDeleteDays: 0 })
      let left: GfsPoint[] = []
      for (let day = 0; day <= days + 60; day += 1) {
        const nowMs = START + day * DAY
        const came = all.filter(({ takenMs }) => takenMs <= nowMs && takenMs > nowMs - DAY)
        const ids = new Set(kept(planGfs([...left, ...came], policy, options(nowMs))))
        left = [...left, ...came].filter(({ id }) => ids.has(id))
        const atOnce = kept(
          planGfs(
            all.filter(({ takenMs }) => takenMs <= nowMs),
            policy,
            options(nowMs),
          ),
        )
        assert.deepEqual([...ids].sort(), atOnce.sort(), `day ${day}`)
      }
    }),
    { numRuns: 25 },
  )
})

test('planGfs() under immutability gives up nothing before its promised time, whatever the policy became', () => {
  fc.assert(
    fc.property(policies, policies, seeds, (before, after, seed) => {
      const points = pointsOf(before, seed, 60).map(({ softDeleted: _none, ...point }) => point)
      const nowMs = START + 61 * DAY
      const promised = planGfs(points, before, { nowMs, mode: 'protected', softDeleteDays: 14 })
        .filter(({ action }) => action === 'keep')
        .map(({ point, ...decision }) => ({ ...point, promisedUntilMs: 'untilMs' in decision ? decision.untilMs : 0 }))
      const common = { nowMs, softDeleteDays: 14, immutable: {} } as const
      const check = (from: readonly GfsPoint[]): void => {
        const kept = new Set(
          planGfs(from, after, { ...common, mode: 'protected' }).flatMap(({ point, action }) =>
            action === 'keep' ? [point.id] : [],
          ),
        )
        assert.deepEqual(
          promised.filter(({ id, promisedUntilMs = 0 }) => promisedUntilMs > nowMs && !kept.has(id)),
          [],
        )
      }
      check(promised)
      // Stopping protection, which keeps everything for ever, is no way around it.
      check(
        planGfs(promised, undefined, { ...common, mode: 'forever' }).map(({ point, ...decision }) => ({
          ...point,
          promisedUntilMs: 'untilMs' in decision ? decision.untilMs : undefined,
          isRetained: true,
        })),
      )
    }),
    { numRuns: 40 },
  )
})

const schedules: fc.Arbitrary<BackupPolicy['schedule']> = fc.oneof(
  fc.record({ kind: fc.constant('daily' as const), minute: fc.integer({ min: 0, max: 1439 }) }),
  fc.record({ kind: fc.constant('weekly' as const), days: some(WEEKDAYS), minute: fc.integer({ min: 0, max: 1439 }) }),
  fc
    .record({
      kind: fc.constant('hourly' as const),
      minute: fc.integer({ min: 0, max: 1439 }),
      everyHours: fc.constantFrom(1, 2, 3, 4, 6, 8, 12, 24),
      windowHours: fc.integer({ min: 4, max: 24 }),
    })
    .filter(({ everyHours, windowHours }) => windowHours >= everyHours),
)
const zones = fc.constantFrom('UTC', 'W. Europe Standard Time', 'Pacific Standard Time', 'Lord Howe Standard Time')

test('nextSlot() and lastSlot() agree, stand at the schedule’s times of the wall’s clock, and leave none out', () => {
  const instants = fc.integer({ min: Date.UTC(2026, 0), max: Date.UTC(2029, 0) })
  fc.assert(
    fc.property(schedules, zones, instants, (schedule, timeZone, atMs) => {
      const policy = { schedule, timeZone }
      const next = nextSlot(policy, atMs)
      assert.ok(next > atMs)
      assert.equal(lastSlot(policy, next), next)
      const last = lastSlot(policy, next - 1)
      assert.ok(last <= atMs, 'no slot lies between')
      assert.equal(nextSlot(policy, last), next)
      const { ms } = zoneOf(timeZone).wallTime(next)
      const perDay =
        schedule.kind === 'hourly'
          ? Array.from({ length: 24 / schedule.everyHours }, (_, n) => n * schedule.everyHours * 60)
          : [0]
      const times = perDay.map((more) => (schedule.minute + more) % 1440)
      const isInGap = zoneOf(timeZone).wallTime(next - 1).ms + 1 !== ms && ms !== 0
      assert.ok(isInGap || times.includes(ms / 60_000), `${ms / 60_000} of ${times.join()}`)
    }),
    { numRuns: 400 },
  )
})

test('spreadMs() is the same for one item, below two hours and half an interval, and spreads many evenly', () => {
  const hourly = { schedule: { kind: 'hourly', minute: 0, everyHours: 1, windowHours: 24 } } as const
  const delays = Array.from({ length: 1000 }, (_, n) => spreadMs(`/subscriptions/s/x/vm-${n}`, hourly))
  assert.deepEqual(
    delays,
    Array.from({ length: 1000 }, (_, n) => spreadMs(`/subscriptions/s/x/vm-${n}`, hourly)),
  )
  assert.ok(Math.max(...delays) < 1_800_000)
  const perMinute = Array.from({ length: 30 }, (_, n) => delays.filter((one) => Math.floor(one / 60_000) === n).length)
  assert.ok(Math.max(...perMinute) < 80 && Math.min(...perMinute) > 8, perMinute.join())
  assert.equal(spreadMs('only', hourly, 1), 0)
})

test('mayBegin() lets scheduled backups begin in the policy’s hours only, also over midnight', () => {
  const policy = { timeZone: 'W. Europe Standard Time', limits: { hours: { minute: 22 * 60, hours: 6 } } }
  const at = (text: string): boolean => mayBegin(policy, Date.parse(text))
  assert.deepEqual([at('2026-07-01T20:00Z'), at('2026-07-02T01:59Z')], [true, true])
  assert.deepEqual([at('2026-07-01T19:59Z'), at('2026-07-02T02:00Z')], [false, false])
  assert.equal(mayBegin({ timeZone: 'UTC' }, 0), true)
})
