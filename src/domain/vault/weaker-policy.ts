/**
 * Whether one policy keeps less than another: what immutability forbids, for an edit of a policy and for a machine that is given
 * another. Pure. A rule may name more days and keep them longer; whatever it named before it must still name.
 */
import type { BackupPolicy, DaysOfMonth } from './backup-policy.ts'

function missing<T>(before: readonly T[], after: readonly T[]): T | undefined {
  return before.find((one) => !after.includes(one))
}

function namesLess(before: DaysOfMonth, after: DaysOfMonth): boolean {
  if (before.by === 'weekday')
    return (
      after.by !== 'weekday' ||
      missing(before.days, after.days) !== undefined ||
      missing(before.weeks, after.weeks) !== undefined
    )
  return after.by !== 'date' || missing(before.dates, after.dates) !== undefined || (before.last && !after.last)
}

type Rule = 'daily' | 'weekly' | 'monthly' | 'yearly'

function whyRule(rule: Rule, before: BackupPolicy['rules'], after: BackupPolicy['rules']): string | undefined {
  const [was, is] = [before[rule], after[rule]]
  if (was === undefined) return undefined
  if (is === undefined) return `it has no ${rule} retention any more`
  const count = (rules: NonNullable<BackupPolicy['rules'][Rule]>): number =>
    Object.values(rules).find((value): value is number => typeof value === 'number') ?? 0
  if (count(is) < count(was)) return `its ${rule} retention is ${count(is)} instead of ${count(was)}`
  return undefined
}

/** Why `after` keeps less than `before`; undefined when it does not. */
export function whyWeaker(before: BackupPolicy, after: BackupPolicy): string | undefined {
  for (const rule of ['daily', 'weekly', 'monthly', 'yearly'] as const) {
    const why = whyRule(rule, before.rules, after.rules)
    if (why !== undefined) return why
  }
  const [was, is] = [before.rules, after.rules]
  if (was.weekly !== undefined && is.weekly !== undefined && missing(was.weekly.on, is.weekly.on) !== undefined)
    return 'its weekly retention names fewer days'
  if (was.monthly !== undefined && is.monthly !== undefined && namesLess(was.monthly.on, is.monthly.on))
    return 'its monthly retention names fewer days'
  if (was.yearly !== undefined && is.yearly !== undefined) {
    if (missing(was.yearly.in, is.yearly.in) !== undefined) return 'its yearly retention names fewer months'
    if (namesLess(was.yearly.on, is.yearly.on)) return 'its yearly retention names fewer days'
  }
  if (before.schedule.kind === 'hourly' && after.instantDays < before.instantDays)
    return `it keeps the points between the days' last for ${after.instantDays} days instead of ${before.instantDays}`
  return undefined
}

/** Why a policy of type V2 cannot become this one. */
export function whyNotVersion(before: BackupPolicy, after: BackupPolicy): string | undefined {
  return before.version === 'V2' && after.version === 'V1'
    ? 'A policy of type V2 cannot be changed to type V1.'
    : undefined
}
