/**
 * Backup policies as Azure writes them, to and from what they say (src/domain/vault/backup-policy.ts). Times of a schedule are
 * `2026-11-22T22:00:00Z`: hour and minute are those of the wall's clock in the policy's time zone, whatever the Z says; the date says
 * nothing, and is given back as it came.
 */
import { ArmError } from '#contract'
import {
  type BackupPolicy,
  type DaysOfMonth,
  type GfsRules,
  instantDaysDefault,
  MONTHS,
  type PolicyLimits,
  type Schedule,
  WEEKDAYS,
  WEEKS_OF_MONTH,
} from '#domain'
import { checkFields, fieldAt } from '../../arm/field-table.ts'
import { POLICY_FIELDS } from './policy-fields.ts'
import { wordOf } from './word-of.ts'

const TIME = /^\d{4}-\d{2}-\d{2}T(\d{2}):(\d{2})(?::00(?:\.0+)?)?(?:Z|\+00:?00)?$/

export type PolicyRequest = Readonly<{
  policy: BackupPolicy
  /** The date that times are written with. */
  date: string
  instantDetails: unknown
}>

function invalid(target: string, message: string): ArmError {
  return new ArmError('BMSUserErrorInvalidPolicyInput', message, { target })
}

function listAt(body: unknown, path: string): readonly unknown[] {
  const given = fieldAt(body, path)
  if (given === undefined) return []
  if (Array.isArray(given)) return given
  throw invalid(path, `'${path}' must be a list.`)
}

function wordsAt<T extends string>(body: unknown, path: string, words: readonly T[]): T[] {
  return listAt(body, path).map((given) => {
    const found = words.find((word) => word.toLowerCase() === wordOf(given).toLowerCase())
    if (found === undefined) throw invalid(path, `'${wordOf(given)}' in '${path}' is none of ${words.join(', ')}.`)
    return found
  })
}

function numberAt(body: unknown, path: string): number {
  const given = fieldAt(body, path)
  if (typeof given === 'number' && Number.isSafeInteger(given)) return given
  throw invalid(path, `'${path}' must be a whole number.`)
}

/** Minutes of the day. */
function minuteOf(given: unknown, path: string): number {
  const [, hours, minutes] = (typeof given === 'string' ? TIME.exec(given) : null) ?? []
  const minute = Number(hours) * 60 + Number(minutes)
  if (Number(hours) <= 23 && Number(minutes) <= 59) return minute
  throw invalid(
    path,
    `'${wordOf(given)}' in '${path}' is not a time like 2026-11-22T22:00:00Z, of whole minutes and in UTC.`,
  )
}

function oneTime(body: unknown, path: string): string {
  const times = listAt(body, path)
  if (times.length !== 1 || typeof times[0] !== 'string')
    throw invalid(
      path,
      `'${path}' must hold one time; there is one scheduled backup a day, or several by an hourly schedule.`,
    )
  return times[0]
}

type ReadSchedule = Readonly<{ schedule: Schedule; time: string; isV2: boolean }>

function readSchedule(body: unknown): ReadSchedule {
  const S = 'properties.schedulePolicy'
  const type = fieldAt(body, `${S}.schedulePolicyType`)
  if (type === undefined) throw invalid(S, `'${S}.schedulePolicyType' is missing.`)
  const isV2 = wordOf(type).toLowerCase() === 'simpleschedulepolicyv2'
  const frequency = wordOf(fieldAt(body, `${S}.scheduleRunFrequency`)).toLowerCase()
  if (frequency === 'hourly') {
    const H = `${S}.hourlySchedule`
    const time = wordOf(fieldAt(body, `${H}.scheduleWindowStartTime`))
    const schedule: Schedule = {
      kind: 'hourly',
      minute: minuteOf(time, `${H}.scheduleWindowStartTime`),
      everyHours: numberAt(body, `${H}.interval`),
      windowHours: numberAt(body, `${H}.scheduleWindowDuration`),
    }
    return { schedule, time, isV2 }
  }
  const where = isV2 ? `${S}.${frequency === 'weekly' ? 'weekly' : 'daily'}Schedule` : S
  if (frequency !== 'daily' && frequency !== 'weekly')
    throw invalid(`${S}.scheduleRunFrequency`, `'${S}.scheduleRunFrequency' must be Daily, Weekly or Hourly.`)
  const time = oneTime(body, `${where}.scheduleRunTimes`)
  const minute = minuteOf(time, `${where}.scheduleRunTimes`)
  if (frequency === 'daily') return { schedule: { kind: 'daily', minute }, time, isV2 }
  return { schedule: { kind: 'weekly', days: wordsAt(body, `${where}.scheduleRunDays`, WEEKDAYS), minute }, time, isV2 }
}

/** How many units. The times of a rule must be those of the schedule: another would say that another backup is kept. */
function readCount(body: unknown, rule: string, unit: string, minute: number): number {
  const type = fieldAt(body, `${rule}.retentionDuration.durationType`)
  if (wordOf(type).toLowerCase() !== unit.toLowerCase())
    throw invalid(`${rule}.retentionDuration.durationType`, `'${rule}.retentionDuration.durationType' must be ${unit}.`)
  const path = `${rule}.retentionTimes`
  const other = listAt(body, path).find((time) => minuteOf(time, path) !== minute)
  if (other !== undefined)
    throw invalid(
      path,
      `'${path}' is ${wordOf(other)}, at which no backup is scheduled; it must be the schedule's time.`,
    )
  return numberAt(body, `${rule}.retentionDuration.count`)
}

function readDays(body: unknown, rule: string): DaysOfMonth {
  const format = fieldAt(body, `${rule}.retentionScheduleFormatType`)
  if (wordOf(format).toLowerCase() === 'weekly')
    return {
      by: 'weekday',
      days: wordsAt(body, `${rule}.retentionScheduleWeekly.daysOfTheWeek`, WEEKDAYS),
      weeks: wordsAt(body, `${rule}.retentionScheduleWeekly.weeksOfTheMonth`, WEEKS_OF_MONTH),
    }
  if (wordOf(format).toLowerCase() !== 'daily')
    throw invalid(
      `${rule}.retentionScheduleFormatType`,
      `'${rule}.retentionScheduleFormatType' must be Weekly or Daily.`,
    )
  const path = `${rule}.retentionScheduleDaily.daysOfTheMonth`
  const days = listAt(body, path)
  const isLast = (day: unknown): boolean => fieldAt(day, 'isLast') === true
  const dates = days.filter((day) => !isLast(day)).map((day) => numberAt(day, 'date'))
  return { by: 'date', dates, last: days.some(isLast) }
}

function readRules(body: unknown, minute: number): GfsRules {
  const R = 'properties.retentionPolicy'
  if (fieldAt(body, `${R}.retentionPolicyType`) === undefined)
    throw invalid(R, `'${R}.retentionPolicyType' is missing: LongTermRetentionPolicy.`)
  const has = (rule: string): boolean => fieldAt(body, `${R}.${rule}`) !== undefined
  const count = (rule: string, unit: string): number => readCount(body, `${R}.${rule}`, unit, minute)
  return {
    ...(has('dailySchedule') && { daily: { days: count('dailySchedule', 'Days') } }),
    ...(has('weeklySchedule') && {
      weekly: {
        on: wordsAt(body, `${R}.weeklySchedule.daysOfTheWeek`, WEEKDAYS),
        weeks: count('weeklySchedule', 'Weeks'),
      },
    }),
    ...(has('monthlySchedule') && {
      monthly: { on: readDays(body, `${R}.monthlySchedule`), months: count('monthlySchedule', 'Months') },
    }),
    ...(has('yearlySchedule') && {
      yearly: {
        in: wordsAt(body, `${R}.yearlySchedule.monthsOfYear`, MONTHS),
        on: readDays(body, `${R}.yearlySchedule`),
        years: count('yearlySchedule', 'Years'),
      },
    }),
  }
}

function readLimits(body: unknown): PolicyLimits | undefined {
  const L = 'properties.holdfastLimits'
  const [start, hours] = [fieldAt(body, `${L}.startTime`), fieldAt(body, `${L}.hours`)]
  if (start === undefined && hours === undefined) return undefined
  if (start === undefined || hours === undefined)
    throw invalid(L, `'${L}.startTime' and '${L}.hours' are given together.`)
  const minute = minuteOf(`2000-01-01T${wordOf(start)}:00Z`, `${L}.startTime`)
  return { hours: { minute, hours: numberAt(body, `${L}.hours`) } }
}

function checkTiering(body: unknown): void {
  const tiers = fieldAt(body, 'properties.tieringPolicy')
  for (const tier of Object.values(typeof tiers === 'object' && tiers !== null ? tiers : {})) {
    const mode = fieldAt(tier, 'tieringMode')
    if (mode !== undefined && !['donottier', 'invalid'].includes(wordOf(mode).toLowerCase()))
      throw invalid('properties.tieringPolicy', 'There is no archive tier: the tieringMode can only be DoNotTier.')
  }
}

/** What the body says; whether it makes sense is the domain's to judge. @throws ArmError */
export function readPolicy(body: unknown): PolicyRequest {
  checkFields(POLICY_FIELDS, body)
  checkTiering(body)
  const { schedule, time, isV2 } = readSchedule(body)
  const type = fieldAt(body, 'properties.policyType')
  const version = type === undefined ? (isV2 ? 'V2' : 'V1') : wordOf(type).toUpperCase() === 'V2' ? 'V2' : 'V1'
  if ((version === 'V2') !== isV2)
    throw invalid(
      'properties.policyType',
      `A policy of type ${version} has a schedule of type ${version === 'V2' ? 'SimpleSchedulePolicyV2' : 'SimpleSchedulePolicy'}.`,
    )
  const timeZone = fieldAt(body, 'properties.timeZone') ?? 'UTC'
  if (typeof timeZone !== 'string') throw invalid('properties.timeZone', "'properties.timeZone' must be a text.")
  const instant = 'properties.instantRpRetentionRangeInDays'
  const limits = readLimits(body)
  const policy: BackupPolicy = {
    version,
    timeZone,
    schedule,
    rules: readRules(body, schedule.minute),
    instantDays:
      fieldAt(body, instant) === undefined ? instantDaysDefault(version, schedule.kind) : numberAt(body, instant),
    crashConsistentOnly: fieldAt(body, 'properties.snapshotConsistencyType') !== undefined,
    ...(limits !== undefined && { limits }),
  }
  return { policy, date: time.slice(0, 10), instantDetails: fieldAt(body, 'properties.instantRPDetails') ?? {} }
}

type Shown = Readonly<Record<string, unknown>>

function showSchedule({ version, schedule }: BackupPolicy, time: string): Shown {
  const schedulePolicyType = version === 'V2' ? 'SimpleSchedulePolicyV2' : 'SimpleSchedulePolicy'
  const times = { scheduleRunTimes: [time] }
  if (schedule.kind === 'hourly')
    return {
      schedulePolicyType,
      scheduleRunFrequency: 'Hourly',
      hourlySchedule: {
        interval: schedule.everyHours,
        scheduleWindowStartTime: time,
        scheduleWindowDuration: schedule.windowHours,
      },
    }
  const isWeekly = schedule.kind === 'weekly'
  const runs = { ...(isWeekly && { scheduleRunDays: schedule.days }), ...times }
  const scheduleRunFrequency = isWeekly ? 'Weekly' : 'Daily'
  if (version === 'V1') return { schedulePolicyType, scheduleRunFrequency, ...runs, scheduleWeeklyFrequency: 0 }
  return { schedulePolicyType, scheduleRunFrequency, [isWeekly ? 'weeklySchedule' : 'dailySchedule']: runs }
}

function showDays(on: DaysOfMonth): Shown {
  if (on.by === 'weekday')
    return {
      retentionScheduleFormatType: 'Weekly',
      retentionScheduleWeekly: { daysOfTheWeek: on.days, weeksOfTheMonth: on.weeks },
    }
  const dates = on.dates.map((date) => ({ date, isLast: false }))
  const daysOfTheMonth = on.last ? [...dates, { date: 0, isLast: true }] : dates
  return { retentionScheduleFormatType: 'Daily', retentionScheduleDaily: { daysOfTheMonth } }
}

function showRules({ rules }: BackupPolicy, time: string): Shown {
  const lasts = (count: number, durationType: string) => ({
    retentionTimes: [time],
    retentionDuration: { count, durationType },
  })
  const { daily, weekly, monthly, yearly } = rules
  return {
    retentionPolicyType: 'LongTermRetentionPolicy',
    ...(daily && { dailySchedule: lasts(daily.days, 'Days') }),
    ...(weekly && { weeklySchedule: { daysOfTheWeek: weekly.on, ...lasts(weekly.weeks, 'Weeks') } }),
    ...(monthly && { monthlySchedule: { ...showDays(monthly.on), ...lasts(monthly.months, 'Months') } }),
    ...(yearly && {
      yearlySchedule: { monthsOfYear: yearly.in, ...showDays(yearly.on), ...lasts(yearly.years, 'Years') },
    }),
  }
}

function clock(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`
}

function showLimits({ hours }: PolicyLimits): Shown {
  return hours === undefined ? {} : { startTime: clock(hours.minute), hours: hours.hours }
}

/** The policy's properties as Azure shows them. */
export function showPolicyProperties(
  { policy, date, instantDetails }: PolicyRequest,
  protectedItemsCount: number,
): Shown {
  const time = `${date}T${clock(policy.schedule.minute)}:00Z`
  return {
    backupManagementType: 'AzureIaasVM',
    policyType: policy.version,
    instantRPDetails: instantDetails,
    schedulePolicy: showSchedule(policy, time),
    retentionPolicy: showRules(policy, time),
    tieringPolicy: { ArchivedRP: { tieringMode: 'DoNotTier', duration: 0, durationType: 'Invalid' } },
    instantRpRetentionRangeInDays: policy.instantDays,
    timeZone: policy.timeZone,
    ...(policy.crashConsistentOnly && { snapshotConsistencyType: 'OnlyCrashConsistent' }),
    ...(policy.limits !== undefined && { holdfastLimits: showLimits(policy.limits) }),
    protectedItemsCount,
  }
}
