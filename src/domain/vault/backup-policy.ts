/**
 * What a backup policy says: when a machine is backed up, and how long each recovery point is kept. Normalised: what the wire has
 * in several ways stands here once. Times are those of the wall's clock in the policy's time zone.
 *
 * Bounds are Azure's. Ours: backups every 1, 2 or 3 hours, and days of the month 1 to 28 or the last (Azure's portal has the same).
 */
import { DomainError } from '../errors.ts'
import { zoneOf } from './zone.ts'

export const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const
export type Weekday = (typeof WEEKDAYS)[number]
export const WEEKS_OF_MONTH = ['First', 'Second', 'Third', 'Fourth', 'Last'] as const
export type WeekOfMonth = (typeof WEEKS_OF_MONTH)[number]
export const MONTHS = [
  ...(['January', 'February', 'March', 'April', 'May', 'June'] as const),
  ...(['July', 'August', 'September', 'October', 'November', 'December'] as const),
] as const
export type Month = (typeof MONTHS)[number]

export type Schedule =
  | Readonly<{ kind: 'daily'; minute: number }>
  | Readonly<{ kind: 'weekly'; days: readonly Weekday[]; minute: number }>
  /** A window that begins each day at `minute`, and a backup in it every so many hours. */
  | Readonly<{ kind: 'hourly'; minute: number; everyHours: number; windowHours: number }>

/** Days of a month: by their place among the weekdays, or by date. */
export type DaysOfMonth =
  | Readonly<{ by: 'weekday'; days: readonly Weekday[]; weeks: readonly WeekOfMonth[] }>
  | Readonly<{ by: 'date'; dates: readonly number[]; last: boolean }>

export type GfsRules = Readonly<{
  daily?: Readonly<{ days: number }>
  weekly?: Readonly<{ on: readonly Weekday[]; weeks: number }>
  monthly?: Readonly<{ on: DaysOfMonth; months: number }>
  yearly?: Readonly<{ in: readonly Month[]; on: DaysOfMonth; years: number }>
}>

/** Ours, not Azure's: scheduled backups begin only within these hours of the day. How fast bytes are moved is a setting of the host. */
export type PolicyLimits = Readonly<{
  hours?: Readonly<{ minute: number; hours: number }>
}>

export type BackupPolicy = Readonly<{
  version: 'V1' | 'V2'
  /** As it was given: a name of Windows or of the IANA database. */
  timeZone: string
  schedule: Schedule
  rules: GfsRules
  /** How long a point is shown in the instant tier, and how long those of an hourly schedule are kept that no rule names. */
  instantDays: number
  crashConsistentOnly: boolean
  limits?: PolicyLimits
}>

export const POINTS_PER_ITEM_MAX = 9999
export const DAYS_MIN = 7
export const DAYS_MAX = 9999
const WEEKS_MAX = 5163
const MONTHS_MAX = 1188
const YEARS_MAX = 99
export const ON_DEMAND_DAYS_DEFAULT = 30

/** Of Azure for 4 hours and more; for less, so that no more instants are kept than there. */
const INSTANT_DAYS_MAX: Readonly<Record<number, number>> = { 1: 4, 2: 8, 3: 12, 4: 17, 6: 22, 8: 30, 12: 30, 24: 30 }

export function instantDaysDefault(version: BackupPolicy['version'], kind: Schedule['kind']): number {
  if (version === 'V2') return 7
  return kind === 'weekly' ? 5 : 2
}

function refuse(field: string, message: string): never {
  throw new DomainError('policy_invalid', message, { facts: { field } })
}

function checkCount(field: string, value: number, min: number, max: number, unit: string): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return
  refuse(field, `The retention of ${field} must be from ${min} to ${max} ${unit}, not ${value}.`)
}

function checkSome(field: string, list: readonly unknown[], what: string): void {
  if (list.length === 0) refuse(field, `${field} names no ${what}.`)
  if (new Set(list).size !== list.length) refuse(field, `${field} names one ${what} twice.`)
}

function checkSchedule({ version, schedule }: BackupPolicy): void {
  const isMinute = Number.isSafeInteger(schedule.minute) && schedule.minute >= 0 && schedule.minute < 24 * 60
  if (!isMinute) refuse('schedulePolicy', 'A time of the schedule must be a whole minute of the day.')
  if (schedule.kind === 'weekly') checkSome('scheduleRunDays', schedule.days, 'day')
  if (schedule.kind !== 'hourly') return
  if (version === 'V1')
    refuse('scheduleRunFrequency', 'A policy of type V1 has no hourly schedule; make it of type V2.')
  if (INSTANT_DAYS_MAX[schedule.everyHours] === undefined)
    refuse(
      'hourlySchedule.interval',
      'The interval of an hourly schedule must be 4, 6, 8, 12 or 24 hours; or 1, 2 or 3.',
    )
  const { windowHours } = schedule
  if (!Number.isSafeInteger(windowHours) || windowHours < Math.max(4, schedule.everyHours) || windowHours > 24)
    refuse(
      'hourlySchedule.scheduleWindowDuration',
      'The window of an hourly schedule must be whole hours, from 4 and from the interval to 24.',
    )
}

function checkDays(field: string, { schedule }: BackupPolicy, on: DaysOfMonth): void {
  if (on.by === 'weekday') {
    checkSome(`${field}.daysOfTheWeek`, on.days, 'day')
    checkSome(`${field}.weeksOfTheMonth`, on.weeks, 'week')
    return checkScheduled(`${field}.daysOfTheWeek`, schedule, on.days)
  }
  if (schedule.kind === 'weekly')
    refuse(field, 'A weekly schedule can be kept by weekday only: the day of a date need not be one of its days.')
  if (on.dates.length === 0 && !on.last) refuse(`${field}.daysOfTheMonth`, `${field} names no day of the month.`)
  if (new Set(on.dates).size !== on.dates.length) refuse(`${field}.daysOfTheMonth`, `${field} names one date twice.`)
  const bad = on.dates.find((date) => !Number.isSafeInteger(date) || date < 1 || date > 28)
  if (bad !== undefined)
    refuse(
      `${field}.daysOfTheMonth`,
      `A day of the month must be from 1 to 28, not ${bad}; the last of any month is {"date": 0, "isLast": true}.`,
    )
}

function checkScheduled(field: string, schedule: Schedule, days: readonly Weekday[]): void {
  if (schedule.kind !== 'weekly') return
  const other = days.find((day) => !schedule.days.includes(day))
  if (other !== undefined) refuse(field, `${field} names ${other}, on which no backup is scheduled.`)
}

function checkRules(policy: BackupPolicy): void {
  const { schedule, rules } = policy
  const { daily, weekly, monthly, yearly } = rules
  if (schedule.kind === 'weekly') {
    if (daily !== undefined) refuse('dailySchedule', 'A weekly schedule has no daily retention.')
    if (weekly === undefined) refuse('weeklySchedule', 'A weekly schedule needs a weekly retention.')
    if (weekly.on.length !== schedule.days.length)
      refuse('weeklySchedule.daysOfTheWeek', 'The weekly retention must name every day of the weekly schedule.')
  } else if (daily === undefined) refuse('dailySchedule', 'A daily or hourly schedule needs a daily retention.')
  if (daily !== undefined) checkCount('dailySchedule', daily.days, DAYS_MIN, DAYS_MAX, 'days')
  if (weekly !== undefined) {
    checkSome('weeklySchedule.daysOfTheWeek', weekly.on, 'day')
    checkScheduled('weeklySchedule.daysOfTheWeek', schedule, weekly.on)
    checkCount('weeklySchedule', weekly.weeks, 1, WEEKS_MAX, 'weeks')
  }
  if (monthly !== undefined) {
    checkDays('monthlySchedule', policy, monthly.on)
    checkCount('monthlySchedule', monthly.months, 1, MONTHS_MAX, 'months')
  }
  if (yearly !== undefined) {
    checkSome('yearlySchedule.monthsOfYear', yearly.in, 'month')
    checkDays('yearlySchedule', policy, yearly.on)
    checkCount('yearlySchedule', yearly.years, 1, YEARS_MAX, 'years')
  }
}

function checkInstant({ version, schedule, rules, instantDays }: BackupPolicy): void {
  const field = 'instantRpRetentionRangeInDays'
  const between = (min: number, max: number, why: string): void => {
    if (Number.isSafeInteger(instantDays) && instantDays >= min && instantDays <= max) return
    const bounds = min === max ? `${min}` : `from ${min} to ${max}`
    refuse(field, `${field} must be ${bounds} ${why}, not ${instantDays}.`)
  }
  if (version === 'V1')
    return schedule.kind === 'weekly'
      ? between(5, 5, 'for a weekly schedule of type V1')
      : between(1, 5, 'for a daily schedule of type V1')
  const max = schedule.kind === 'hourly' ? (INSTANT_DAYS_MAX[schedule.everyHours] ?? 30) : 30
  between(1, max, schedule.kind === 'hourly' ? `for a backup every ${schedule.everyHours} hours` : 'for type V2')
  if (rules.daily !== undefined && instantDays > rules.daily.days)
    refuse(field, `${field} must not be longer than the daily retention of ${rules.daily.days} days.`)
}

function datesPerMonth(on: DaysOfMonth): number {
  return on.by === 'weekday' ? on.days.length * on.weeks.length : on.dates.length + (on.last ? 1 : 0)
}

/** How many points of one machine the policy keeps when it has run long enough, at most. */
export function pointsKeptMax({ schedule, rules, instantDays }: BackupPolicy): number {
  const { daily, weekly, monthly, yearly } = rules
  const perDay = schedule.kind === 'hourly' ? Math.floor(24 / schedule.everyHours) : 1
  return (
    (daily?.days ?? 0) +
    (perDay - 1) * instantDays +
    (weekly === undefined ? 0 : weekly.on.length * weekly.weeks) +
    (monthly === undefined ? 0 : datesPerMonth(monthly.on) * monthly.months) +
    (yearly === undefined ? 0 : datesPerMonth(yearly.on) * yearly.in.length * yearly.years)
  )
}

function checkLimits({ limits }: BackupPolicy): void {
  if (limits?.hours === undefined) return
  const { minute, hours } = limits.hours
  const isHours = Number.isSafeInteger(hours) && hours >= 1 && hours <= 24
  if (!isHours || !Number.isSafeInteger(minute) || minute < 0 || minute >= 24 * 60)
    refuse('holdfastLimits', 'The hours of a policy are a time of day, and from 1 to 24 hours.')
}

/** Passes, or says what is wrong. @throws DomainError `policy_invalid`, `time_zone_unknown` */
export function checkPolicy(policy: BackupPolicy): void {
  zoneOf(policy.timeZone)
  checkSchedule(policy)
  checkRules(policy)
  checkInstant(policy)
  checkLimits(policy)
  if (policy.crashConsistentOnly && policy.version === 'V1')
    refuse('snapshotConsistencyType', 'Only a policy of type V2 can be crash-consistent only.')
  const most = pointsKeptMax(policy)
  if (most > POINTS_PER_ITEM_MAX)
    refuse(
      'retentionPolicy',
      `The policy would keep ${most} recovery points of a machine; ${POINTS_PER_ITEM_MAX} are the most.`,
    )
}

/** The policies that a new vault holds, as Azure's does. */
export const DEFAULT_POLICIES: Readonly<Record<'DefaultPolicy' | 'EnhancedPolicy', BackupPolicy>> = {
  DefaultPolicy: {
    version: 'V1',
    timeZone: 'UTC',
    schedule: { kind: 'daily', minute: 150 },
    rules: { daily: { days: 30 } },
    instantDays: 2,
    crashConsistentOnly: false,
  },
  EnhancedPolicy: {
    version: 'V2',
    timeZone: 'UTC',
    schedule: { kind: 'hourly', minute: 480, everyHours: 4, windowHours: 24 },
    rules: { daily: { days: 30 } },
    instantDays: 7,
    crashConsistentOnly: false,
  },
}
