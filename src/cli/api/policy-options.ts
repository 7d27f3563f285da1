/** What the options of `holdfast policy create` and `set` say, as the API takes it. */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { messageOf } from '#base'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'

export type PolicyOptions = Readonly<{
  daily?: string
  weekly?: string
  every?: number
  from: string
  window: number
  timeZone: string
  keepDays?: number
  keepWeeks?: number
  on?: readonly string[]
  keepMonths?: number
  monthDays?: string
  keepYears?: number
  months?: readonly string[]
  yearDays?: string
  instantDays?: number
  crashConsistent?: boolean
  beginFrom?: string
  beginHours?: number
  file?: string
}>

export function withPolicyOptions(command: Command): Command {
  return command
    .option('--daily <HH:MM>', 'a backup each day at this time')
    .option('--weekly <days@HH:MM>', 'on these days: Sunday,Wednesday@22:00')
    .option('--every <hours>', 'a backup every 1, 2, 3, 4, 6, 8, 12 or 24 hours of a window', parseCount)
    .option('--from <HH:MM>', 'when the window begins', '08:00')
    .option('--window <hours>', 'how long the window is', parseCount, 24)
    .option('--time-zone <name>', 'of Windows or of the IANA database; times follow its clock', 'UTC')
    .option('--keep-days <count>', "how long each day's last point is kept", parseCount)
    .option('--keep-weeks <count>', 'how long those of the weekdays of --on are kept', parseCount)
    .option('--on <day...>', 'weekdays of --keep-weeks', ['Sunday'])
    .option('--keep-months <count>', 'how long those of the days of --month-days are kept', parseCount)
    .option('--month-days <days>', '"First Sunday", "Last Friday", or "1,15,last"', 'First Sunday')
    .option('--keep-years <count>', 'how long those of --year-days in --months are kept', parseCount)
    .option('--months <month...>', 'months of --keep-years', ['January'])
    .option('--year-days <days>', 'as --month-days', 'First Sunday')
    .option('--instant-days <count>', 'how long points are in the instant tier', parseCount)
    .option('--crash-consistent', 'never ask the guest')
    .option('--begin-from <HH:MM>', 'scheduled backups begin only from this time ...')
    .option('--begin-hours <count>', '... and within so many hours', parseCount)
    .option('--file <path>', 'a policy in JSON as Azure has it, instead of all of these')
}

type Shape = Readonly<Record<string, unknown>>

function timeOf(text: string): string {
  if (/^([01]\d|2[0-3]):[0-5]\d$/.test(text)) return `2024-01-01T${text}:00Z`
  throw new CliError('usage_invalid', `"${text}" is no time such as 22:00.`)
}

type Schedule = Readonly<{ schedule: Shape; time: string; isV2: boolean; days?: readonly string[] }>

function scheduleOf(options: PolicyOptions): Schedule {
  const { daily, weekly, every, crashConsistent } = options
  if ([daily, weekly, every].filter((one) => one !== undefined).length !== 1)
    throw new CliError('usage_invalid', 'One of --daily, --weekly and --every is needed.')
  const isV2 = every !== undefined || crashConsistent === true
  const schedulePolicyType = isV2 ? 'SimpleSchedulePolicyV2' : 'SimpleSchedulePolicy'
  if (every !== undefined) {
    const time = timeOf(options.from)
    const hourlySchedule = { interval: every, scheduleWindowStartTime: time, scheduleWindowDuration: options.window }
    return { schedule: { schedulePolicyType, scheduleRunFrequency: 'Hourly', hourlySchedule }, time, isV2 }
  }
  const [, names = '', at = ''] = /^([^@]+)@(.+)$/.exec(weekly ?? '') ?? []
  if (weekly !== undefined && at === '')
    throw new CliError('usage_invalid', `"${weekly}" is not like Sunday,Wednesday@22:00.`)
  const time = timeOf(daily ?? at)
  const days = names.split(',').filter((name) => name !== '')
  const runs = { ...(weekly !== undefined && { scheduleRunDays: days }), scheduleRunTimes: [time] }
  const frequency = weekly === undefined ? 'Daily' : 'Weekly'
  const where = isV2 ? { [weekly === undefined ? 'dailySchedule' : 'weeklySchedule']: runs } : runs
  const schedule = { schedulePolicyType, scheduleRunFrequency: frequency, ...where }
  return { schedule, time, isV2, ...(weekly !== undefined && { days }) }
}

function daysOf(text: string): Shape {
  const [, weeks = '', weekdays = ''] = /^([A-Za-z,]+) +([A-Za-z,]+)$/.exec(text.trim()) ?? []
  if (weekdays !== '')
    return {
      retentionScheduleFormatType: 'Weekly',
      retentionScheduleWeekly: { daysOfTheWeek: weekdays.split(','), weeksOfTheMonth: weeks.split(',') },
    }
  const dates = text.split(',').map((part) => part.trim())
  if (!dates.every((date) => /^(\d{1,2}|last)$/i.test(date)))
    throw new CliError('usage_invalid', `"${text}" is neither like "First Sunday" nor like "1,15,last".`)
  const daysOfTheMonth = dates.map((date) =>
    date.toLowerCase() === 'last' ? { date: 0, isLast: true } : { date: Number(date), isLast: false },
  )
  return { retentionScheduleFormatType: 'Daily', retentionScheduleDaily: { daysOfTheMonth } }
}

function retentionOf(options: PolicyOptions, { time, days }: Schedule): Shape {
  const { keepDays, keepWeeks, keepMonths, keepYears } = options
  const lasts = (count: number, durationType: string): Shape => ({
    retentionTimes: [time],
    retentionDuration: { count, durationType },
  })
  return {
    retentionPolicyType: 'LongTermRetentionPolicy',
    ...(keepDays !== undefined && { dailySchedule: lasts(keepDays, 'Days') }),
    ...(keepWeeks !== undefined && {
      weeklySchedule: { daysOfTheWeek: days ?? options.on, ...lasts(keepWeeks, 'Weeks') },
    }),
    ...(keepMonths !== undefined && {
      monthlySchedule: { ...daysOf(options.monthDays ?? ''), ...lasts(keepMonths, 'Months') },
    }),
    ...(keepYears !== undefined && {
      yearlySchedule: { monthsOfYear: options.months, ...daysOf(options.yearDays ?? ''), ...lasts(keepYears, 'Years') },
    }),
  }
}

async function fromFile(path: string): Promise<unknown> {
  try {
    const given: unknown = JSON.parse(await readFile(path, 'utf8'))
    const isWhole = typeof given === 'object' && given !== null && 'properties' in given
    return isWhole ? given : { properties: given }
  } catch (cause) {
    throw new CliError('usage_invalid', `${path} cannot be read as JSON: ${messageOf(cause)}`, { cause })
  }
}

/** @throws CliError `usage_invalid` */
export async function policyBody(options: PolicyOptions): Promise<unknown> {
  if (options.file !== undefined) return fromFile(options.file)
  const read = scheduleOf(options)
  const { instantDays, crashConsistent, beginFrom, beginHours } = options
  const limits = {
    ...(beginFrom !== undefined && { startTime: beginFrom }),
    ...(beginHours !== undefined && { hours: beginHours }),
  }
  return {
    properties: {
      backupManagementType: 'AzureIaasVM',
      policyType: read.isV2 ? 'V2' : 'V1',
      timeZone: options.timeZone,
      schedulePolicy: read.schedule,
      retentionPolicy: retentionOf(options, read),
      ...(instantDays !== undefined && { instantRpRetentionRangeInDays: instantDays }),
      ...(crashConsistent === true && { snapshotConsistencyType: 'OnlyCrashConsistent' }),
      ...(Object.keys(limits).length > 0 && { holdfastLimits: limits }),
    },
  }
}
