/**
 * How long each recovery point of one machine is kept, and why. Pure: the plan is a value that is shown, stored and then done.
 *
 * A day stands for itself by the last point that was scheduled on it. Each of the policy's rules (daily, weekly, monthly, yearly)
 * names days, and keeps the point of each for its time, counted on the calendar from the time that the point was scheduled for.
 * Was no point made on a day that a rule names, the next day that has one stands in for it: until the rule's next day, and within the
 * same week (from Sunday) or month. A point that stands in is kept no longer than the one that it stands in for.
 *
 * Points of an hourly schedule that are not the last of their day are kept for the days of the instant tier; so are those whose day
 * no rule names, as after a change of the policy.
 *
 * Invariants:
 *   - every point is in the plan once, with its reasons;
 *   - planned later, or again after what is to go has gone, the plan keeps no point longer than before, and none for another reason;
 *   - the newest point that is not given up is kept, whatever the rules say;
 *   - a point that is cut off before the time that it was promised is soft-deleted; one whose time is over goes;
 *   - what is soft-deleted is brought back before its purge is due, and not after;
 *   - under immutability nothing goes before the time that it was promised, though protection was stopped and resumed meanwhile.
 */
import { addMonths, civilOf, daysOf, lengthOfMonth, weekdayOf } from '../civil-days.ts'
import {
  type BackupPolicy,
  type DaysOfMonth,
  type GfsRules,
  MONTHS,
  ON_DEMAND_DAYS_DEFAULT,
  WEEKDAYS,
} from './backup-policy.ts'
import { type BackupDay, backupDayOf } from './slots.ts'
import { DAY_MS, type Zone, zoneOf } from './zone.ts'

export type GfsPoint = Readonly<{
  id: string
  takenMs: number
  /** Greater is newer, where two were taken at one time. */
  sequence: number
  /** The slot that it was taken for. */
  slotMs?: number | undefined
  isOnDemand: boolean
  /** Of one that was asked for: how long it was asked to be kept. */
  expiresMs?: number | undefined
  /** How long the last plan said that it is kept. */
  promisedUntilMs?: number | undefined
  /** The last plan kept it for ever, whatever it was promised before. */
  isRetained?: boolean | undefined
  /** `byUser`: it was deleted by name, so that no rule brings it back. */
  softDeleted?: Readonly<{ purgeAtMs: number; byUser: boolean }> | undefined
}>

export type GfsOptions = Readonly<{
  nowMs: number
  /** `protected`, and `suspended` (backups stopped, data kept by the policy): the rules hold. `forever`: nothing goes. */
  mode: 'protected' | 'suspended' | 'forever'
  /** How long what is cut off is kept; 0: not at all. */
  softDeleteDays: number
  /** `days`: from when it was taken, whatever was promised. */
  immutable?: Readonly<{ days?: number | undefined }> | undefined
}>

export type GfsRule =
  | 'Daily'
  | 'Weekly'
  | 'Monthly'
  | 'Yearly'
  /** The days of the instant tier. */
  | 'Instant'
  | 'OnDemand'
  | 'Latest'
  | 'Immutable'
  /** Protection was stopped, and the data is kept. */
  | 'Retained'

export type GfsDecision = Readonly<{ point: GfsPoint }> &
  (
    | Readonly<{
        /** `restore`: it was cut off, and is kept again. */
        action: 'keep' | 'restore'
        rules: readonly GfsRule[]
        /** None: for ever. Past, where it is only kept as the newest. Of one that is retained: what it was promised before. */
        untilMs: number | undefined
      }>
    | Readonly<{ action: 'soft-delete' | 'wait'; purgeAtMs: number }>
    | Readonly<{ action: 'delete' }>
  )

type Reason = Readonly<{ rule: GfsRule; untilMs: number }>
type Day = BackupDay & Readonly<{ wallMinute: number; wallDay: number }>
type Scheduled = Readonly<{ point: GfsPoint; at: Day }>

function isNamed(on: DaysOfMonth, day: number): boolean {
  const { year, month, day: date } = civilOf(day)
  const length = lengthOfMonth(year, month)
  if (on.by === 'date') return on.dates.includes(date) || (on.last && date === length)
  const name = WEEKDAYS[weekdayOf(day)]
  if (!on.days.some((one) => one === name)) return false
  const isLast = date + 7 > length
  const week = (['First', 'Second', 'Third', 'Fourth'] as const)[Math.floor((date - 1) / 7)]
  return on.weeks.some((one) => one === week || (one === 'Last' && isLast))
}

type Named = Readonly<{
  rule: GfsRule
  names: (day: number) => boolean
  /** The first day of the week or month that the day lies in. */
  begin: (day: number) => number
  until: (day: number) => number
}>

const weekBegin = (day: number): number => day - weekdayOf(day)
const monthBegin = (day: number): number => {
  const { year, month } = civilOf(day)
  return daysOf(year, month, 1)
}

function namedBy({ daily, weekly, monthly, yearly }: GfsRules): Named[] {
  const named: Named[] = []
  if (daily !== undefined)
    named.push({ rule: 'Daily', names: () => true, begin: (day) => day, until: (day) => day + daily.days })
  if (weekly !== undefined)
    named.push({
      rule: 'Weekly',
      names: (day) => weekly.on.some((name) => name === WEEKDAYS[weekdayOf(day)]),
      begin: weekBegin,
      until: (day) => day + 7 * weekly.weeks,
    })
  if (monthly !== undefined)
    named.push({
      rule: 'Monthly',
      names: (day) => isNamed(monthly.on, day),
      begin: monthBegin,
      until: (day) => addMonths(day, monthly.months),
    })
  if (yearly !== undefined)
    named.push({
      rule: 'Yearly',
      names: (day) => yearly.in.some((name) => name === MONTHS[civilOf(day).month - 1]) && isNamed(yearly.on, day),
      begin: monthBegin,
      until: (day) => addMonths(day, 12 * yearly.years),
    })
  return named
}

/** The nearest day of the rule at `day` or before, in the same week or month; undefined where there is none. */
function namedDay({ names, begin }: Named, day: number): number | undefined {
  for (let one = day; one >= begin(day); one -= 1) if (names(one)) return one
  return undefined
}

function order(a: GfsPoint, b: GfsPoint): number {
  return a.takenMs - b.takenMs || a.sequence - b.sequence
}

function scheduledOf(points: readonly GfsPoint[], policy: BackupPolicy, zone: Zone): Scheduled[] {
  return points
    .filter(({ isOnDemand, softDeleted }) => !isOnDemand && softDeleted?.byUser !== true)
    .map((point) => {
      const slotMs = point.slotMs ?? point.takenMs
      const { day, ms } = zone.wallTime(slotMs)
      const at = { ...backupDayOf(policy.schedule, zone, slotMs), wallDay: day, wallMinute: ms / 60_000 }
      return { point, at }
    })
    .sort((a, b) => a.at.day - b.at.day || a.at.minute - b.at.minute || order(a.point, b.point))
}

/** Why each scheduled point is kept. */
function reasonsOf(scheduled: readonly Scheduled[], policy: BackupPolicy, zone: Zone): Map<string, Reason[]> {
  const rules = namedBy(policy.rules)
  const reasons = new Map<string, Reason[]>()
  let dayBefore: number | undefined
  for (const [index, { point, at }] of scheduled.entries()) {
    // A window's hours after midnight count from the date that they fall on.
    const end = (day: number): number => zone.instant(day + (at.wallDay - at.day), at.wallMinute)
    const found: Reason[] = [{ rule: 'Instant', untilMs: end(at.day + policy.instantDays) }]
    const isLastOfDay = scheduled[index + 1]?.at.day !== at.day
    if (isLastOfDay) {
      for (const rule of rules) {
        const day = namedDay(rule, at.day)
        if (day === undefined || (dayBefore !== undefined && dayBefore >= day)) continue
        found.push({ rule: rule.rule, untilMs: end(rule.until(day)) })
      }
      dayBefore = at.day
    }
    reasons.set(point.id, found)
  }
  return reasons
}

function onDemandReason(point: GfsPoint): Reason {
  return { rule: 'OnDemand', untilMs: point.expiresMs ?? point.takenMs + ON_DEMAND_DAYS_DEFAULT * DAY_MS }
}

function immutableReason(point: GfsPoint, { immutable }: GfsOptions): Reason | undefined {
  if (immutable === undefined) return undefined
  const byDays = immutable.days === undefined ? 0 : point.takenMs + immutable.days * DAY_MS
  return { rule: 'Immutable', untilMs: Math.max(point.promisedUntilMs ?? 0, byDays) }
}

type Found = Readonly<{ rules: readonly GfsRule[]; untilMs: number }>

/** The reasons that hold now, and the end of all of them; none: the end is past. */
function holding(reasons: readonly Reason[], nowMs: number): Found {
  const rules = reasons.filter(({ untilMs }) => untilMs > nowMs).map(({ rule }) => rule)
  // Immutability is told where nothing else keeps the point.
  const told = rules.filter((rule) => rule !== 'Immutable')
  return { rules: told.length > 0 ? told : rules, untilMs: Math.max(...reasons.map(({ untilMs }) => untilMs)) }
}

function decideDeleted(point: GfsPoint, found: Found, nowMs: number): GfsDecision {
  const { purgeAtMs, byUser } = point.softDeleted ?? { purgeAtMs: 0, byUser: true }
  // It may be going in this very moment: what is due is brought back no more.
  if (purgeAtMs <= nowMs) return { point, action: 'delete' }
  if (!byUser && found.rules.length > 0) return { point, action: 'restore', ...found }
  return { point, action: 'wait', purgeAtMs }
}

function decide(point: GfsPoint, found: Found, isNewest: boolean, options: GfsOptions): GfsDecision {
  const { nowMs, softDeleteDays } = options
  if (point.softDeleted !== undefined) return decideDeleted(point, found, nowMs)
  if (found.rules.length > 0) return { point, action: 'keep', ...found }
  if (isNewest) return { point, action: 'keep', rules: ['Latest'], untilMs: found.untilMs }
  const isOver = point.isRetained !== true && point.promisedUntilMs !== undefined && point.promisedUntilMs <= nowMs
  if (isOver || softDeleteDays === 0) return { point, action: 'delete' }
  return { point, action: 'soft-delete', purgeAtMs: nowMs + softDeleteDays * DAY_MS }
}

/** Decides over all points of one machine, the newest first. `policy` may be absent in the mode `forever` only. */
export function planGfs(
  points: readonly GfsPoint[],
  policy: BackupPolicy | undefined,
  options: GfsOptions,
): GfsDecision[] {
  const newestFirst = points.toSorted((a, b) => order(b, a))
  if (options.mode === 'forever' || policy === undefined)
    return newestFirst.map((point) => {
      // The promise is kept through it: protection that is resumed under immutability is held to it.
      if (point.softDeleted === undefined)
        return { point, action: 'keep', rules: ['Retained'], untilMs: point.promisedUntilMs }
      return decideDeleted(point, { rules: [], untilMs: 0 }, options.nowMs)
    })
  const zone = zoneOf(policy.timeZone)
  const reasons = reasonsOf(scheduledOf(points, policy, zone), policy, zone)
  const newest = newestFirst.find(({ softDeleted }) => softDeleted === undefined)
  return newestFirst.map((point) => {
    const byRules = reasons.get(point.id) ?? (point.isOnDemand ? [onDemandReason(point)] : [])
    const immutable = point.softDeleted === undefined ? immutableReason(point, options) : undefined
    const all = immutable === undefined ? byRules : [...byRules, immutable]
    return decide(point, holding(all, options.nowMs), point === newest, options)
  })
}
