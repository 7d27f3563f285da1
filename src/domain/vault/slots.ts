/**
 * When a policy's backups are due. A slot is the instant that names one of them. Pure: the same policy and instant give the same
 * slots. Each backup is due at its time on the wall's clock, so one of 22:00 stays one of 22:00 when the clocks change; over the
 * change to summer time, one whose time does not exist is due at the first instant after the gap.
 */
import { weekdayOf } from '../civil-days.ts'
import { type BackupPolicy, type Schedule, WEEKDAYS } from './backup-policy.ts'
import { type Zone, zoneOf } from './zone.ts'

const DAY_MINUTES = 24 * 60
/** A week, and the days that a window or a zone's changes may shift. */
const SEARCH_DAYS = 10
const SPREAD_MS_MAX = 2 * 3_600_000
const SPREAD_MS_PER_ITEM = 20_000

/** Minutes from the midnight that the day begins with; they may lie beyond its end. */
function minutesOf(schedule: Schedule): number[] {
  if (schedule.kind !== 'hourly') return [schedule.minute]
  const every = schedule.everyHours * 60
  const count = Math.min(Math.floor((schedule.windowHours * 60) / every), Math.ceil(DAY_MINUTES / every) - 1)
  return Array.from({ length: count + 1 }, (_, index) => schedule.minute + index * every)
}

/** Ascending. */
function slotsOfDay(schedule: Schedule, zone: Zone, day: number): number[] {
  if (schedule.kind === 'weekly' && !schedule.days.some((name) => WEEKDAYS[weekdayOf(day)] === name)) return []
  return minutesOf(schedule).map((minute) => zone.instant(day, minute))
}

/** The first slot after `afterMs`. */
export function nextSlot({ schedule, timeZone }: Pick<BackupPolicy, 'schedule' | 'timeZone'>, afterMs: number): number {
  const zone = zoneOf(timeZone)
  const today = zone.wallTime(afterMs).day
  for (let day = today - 2; day <= today + SEARCH_DAYS; day += 1) {
    const slot = slotsOfDay(schedule, zone, day).find((one) => one > afterMs)
    if (slot !== undefined) return slot
  }
  throw new RangeError('A schedule has a slot in every week')
}

/** The newest slot at `atMs` or before. */
export function lastSlot({ schedule, timeZone }: Pick<BackupPolicy, 'schedule' | 'timeZone'>, atMs: number): number {
  const zone = zoneOf(timeZone)
  const today = zone.wallTime(atMs).day
  for (let day = today + 1; day >= today - SEARCH_DAYS; day -= 1) {
    const slot = slotsOfDay(schedule, zone, day).findLast((one) => one <= atMs)
    if (slot !== undefined) return slot
  }
  throw new RangeError('A schedule has a slot in every week')
}

/** Where an instant stands in the schedule's days: an hourly window that passes midnight belongs to the day that it began on. */
export type BackupDay = Readonly<{
  /** Days since 1970-01-01. */
  day: number
  /** Minutes from that day's midnight; beyond its end where the window passes it. */
  minute: number
}>

export function backupDayOf(schedule: Schedule, zone: Zone, atMs: number): BackupDay {
  const { day, ms } = zone.wallTime(atMs)
  const minute = Math.floor(ms / 60_000)
  const belongsBefore = schedule.kind === 'hourly' && minute < schedule.minute
  return belongsBefore ? { day: day - 1, minute: minute + DAY_MINUTES } : { day, minute }
}

/** FNV-1a over UTF-16 units, and the last mixing of MurmurHash3: names that differ in their end only lie far apart. No secret. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * How long after its slot the backup of this item is begun, always the same: no more than two hours, as Azure has it, and less where
 * few items or a short interval need no more.
 */
export function spreadMs(itemKey: string, { schedule }: Pick<BackupPolicy, 'schedule'>, items = 1000): number {
  const half = schedule.kind === 'hourly' ? (schedule.everyHours * 3_600_000) / 2 : SPREAD_MS_MAX
  const width = Math.min(SPREAD_MS_MAX, half, Math.max(0, items - 1) * SPREAD_MS_PER_ITEM)
  return Math.floor((hashOf(itemKey) / 0x1_0000_0000) * width)
}

/** Whether the policy's hours let a scheduled backup begin now. */
export function mayBegin({ limits, timeZone }: Pick<BackupPolicy, 'limits' | 'timeZone'>, atMs: number): boolean {
  if (limits?.hours === undefined) return true
  const minute = Math.floor(zoneOf(timeZone).wallTime(atMs).ms / 60_000)
  const since = (minute - limits.hours.minute + DAY_MINUTES) % DAY_MINUTES
  return since < limits.hours.hours * 60
}
