/**
 * Which recovery points of one machine are kept, and why. Pure: the plan is a value, to be shown, stored, and then run.
 *
 * A rule "daily: 7" keeps the newest point of each of the newest seven days *that have a point*; so a machine that was off
 * for a month loses nothing by it. Days, weeks (from Monday), months and years are those of the rule's time zone.
 *
 * Invariants:
 *   - every point is in the plan once, newest first, with at least one reason;
 *   - what any rule keeps is kept; a point under legal hold, or locked, is kept whatever the rules say;
 *   - the newest point is never dropped: rules that keep nothing are a mistake more often than a wish;
 *   - order comes from `sequence`; the clock (`takenAtMs`) only says in which period a point lies.
 */
import { unreachable } from '#base'
import { DomainError } from '../errors.ts'
import { localCalendar, type PeriodKind } from './local-calendar.ts'

export type RetentionPoint = Readonly<{
  id: string
  /** Position in the repository's log; greater is newer. */
  sequence: number
  /** ms since the epoch, the hypervisor's clock. */
  takenAtMs: number
  legalHold: boolean
  /** Not before this may the store delete it; ms since the epoch. */
  lockedUntilMs?: number | undefined
}>

export type RetentionRules = Readonly<{
  /** IANA name. */
  timeZone: string
  last?: number
  hourly?: number
  daily?: number
  weekly?: number
  monthly?: number
  yearly?: number
  /** Keeps every point not older than this against the newest one, in ms. */
  withinMs?: number
}>

export type KeepReason =
  | Readonly<{ kind: 'last'; nth: number }>
  | Readonly<{ kind: PeriodRule; period: string; nth: number }>
  | Readonly<{ kind: 'within' | 'legal-hold' | 'locked' | 'newest' }>

export type PeriodRule = 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly'

export type DropReason =
  | Readonly<{ kind: 'superseded'; by: string; rule: PeriodRule; period: string }>
  | Readonly<{ kind: 'beyond-rules' }>

export type RetentionDecision =
  | Readonly<{ action: 'keep'; point: RetentionPoint; reasons: readonly KeepReason[] }>
  | Readonly<{ action: 'drop'; point: RetentionPoint; reasons: readonly DropReason[] }>

export type RetentionPlan = Readonly<{ decisions: readonly RetentionDecision[] }>

const PERIOD_RULES: readonly (readonly [PeriodRule, PeriodKind])[] = [
  ['hourly', 'hour'],
  ['daily', 'day'],
  ['weekly', 'week'],
  ['monthly', 'month'],
  ['yearly', 'year'],
]

type Kept = Map<string, KeepReason[]>
type Dropped = Map<string, DropReason[]>

function note<T>(into: Map<string, T[]>, id: string, reason: T): void {
  const reasons = into.get(id)
  if (reasons === undefined) into.set(id, [reason])
  else reasons.push(reason)
}

function checkRules(rules: RetentionRules): void {
  for (const name of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly', 'withinMs'] as const) {
    const value = rules[name]
    if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) continue
    throw new DomainError('retention_invalid', `The retention rule "${name}" must be a whole number, not ${value}.`, {
      facts: { rule: name, value },
    })
  }
}

function checkPoints(points: readonly RetentionPoint[]): void {
  const ids = new Set(points.map(({ id }) => id))
  const sequences = new Set(points.map(({ sequence }) => sequence))
  if (ids.size === points.length && sequences.size === points.length) return
  throw new DomainError('retention_invalid', 'Two recovery points have one id or one place in the order.')
}

function applyPeriods(
  newestFirst: readonly RetentionPoint[],
  rules: RetentionRules,
  kept: Kept,
  dropped: Dropped,
): void {
  const calendar = localCalendar(rules.timeZone)
  const periods = newestFirst.map((point) => calendar(point.takenAtMs))
  for (const [rule, kind] of PERIOD_RULES) {
    const wanted = rules[rule] ?? 0
    const holders = new Map<string, string>()
    for (const [index, point] of newestFirst.entries()) {
      const period = periods[index]?.[kind] ?? ''
      const holder = holders.get(period)
      if (holder !== undefined) note(dropped, point.id, { kind: 'superseded', by: holder, rule, period })
      else if (holders.size < wanted) {
        holders.set(period, point.id)
        note(kept, point.id, { kind: rule, period, nth: holders.size })
      }
    }
  }
}

function applyOthers(newestFirst: readonly RetentionPoint[], rules: RetentionRules, nowMs: number, kept: Kept): void {
  const newest = newestFirst[0]
  for (const [index, point] of newestFirst.entries()) {
    if (index < (rules.last ?? 0)) note(kept, point.id, { kind: 'last', nth: index + 1 })
    const ageMs = (newest?.takenAtMs ?? 0) - point.takenAtMs
    if (rules.withinMs !== undefined && ageMs <= rules.withinMs) note(kept, point.id, { kind: 'within' })
    if (point.legalHold) note(kept, point.id, { kind: 'legal-hold' })
    if (point.lockedUntilMs !== undefined && point.lockedUntilMs > nowMs) note(kept, point.id, { kind: 'locked' })
  }
  if (newest !== undefined && !kept.has(newest.id)) note(kept, newest.id, { kind: 'newest' })
}

/** Decides over all points of one machine. `nowMs` only tells whether a lock still holds. @throws DomainError */
export function planRetention(points: readonly RetentionPoint[], rules: RetentionRules, nowMs: number): RetentionPlan {
  checkRules(rules)
  checkPoints(points)
  const newestFirst = points.toSorted((a, b) => b.sequence - a.sequence)
  const kept: Kept = new Map()
  const dropped: Dropped = new Map()
  applyPeriods(newestFirst, rules, kept, dropped)
  applyOthers(newestFirst, rules, nowMs, kept)
  const decisions = newestFirst.map((point): RetentionDecision => {
    const reasons = kept.get(point.id)
    if (reasons !== undefined) return { action: 'keep', point, reasons }
    return { action: 'drop', point, reasons: dropped.get(point.id) ?? [{ kind: 'beyond-rules' }] }
  })
  return { decisions }
}

/** The reason in the user's words: "newest of 2026-11-22 (daily 1)". */
export function explainRetention(reason: KeepReason | DropReason): string {
  switch (reason.kind) {
    case 'last':
      return `one of the last (${reason.nth})`
    case 'hourly':
    case 'daily':
    case 'weekly':
    case 'monthly':
    case 'yearly':
      return `newest of ${reason.period} (${reason.kind} ${reason.nth})`
    case 'within':
      return 'young enough'
    case 'legal-hold':
      return 'under legal hold'
    case 'locked':
      return 'locked by the store'
    case 'newest':
      return 'the newest point is never dropped'
    case 'superseded':
      return `${reason.by} is newer in ${reason.period} (${reason.rule})`
    case 'beyond-rules':
      return 'older than every rule reaches'
    default:
      return unreachable(reason)
  }
}
