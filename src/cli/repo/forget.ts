/** holdfast repo forget: gives points up, by name or by rules. What they alone needed is deleted by the next prune. */
import type { Command } from 'commander'
import type { RetentionRules } from '#domain'
import type { PointRecord, Repository } from '#engine/repository'
import { runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { textTable } from '../text-table.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { lockText, shortId, timeText } from './point-json.ts'

const RULES = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
type Rule = (typeof RULES)[number]
type ForgetCommandOptions = RepoOptions &
  Readonly<{ machine?: string; timeZone: string; dryRun?: boolean; expired?: boolean }> &
  Readonly<Partial<Record<`keep${Capitalize<Rule>}`, number>>>
type Verdict = Readonly<{ point: PointRecord; forget: boolean; reasons: readonly string[] }>

export function forgetCommand(): Command {
  const command = makeRepoCommand({
    usage: 'forget <store> [points...]',
    summary: 'give points up, by id or by rules',
    description:
      'Gives the named points up, or with --keep-... all that no rule keeps, machine by machine. A rule "--keep-daily 7" keeps ' +
      'the newest point of each of the newest seven days that have one. The newest point of a machine is never dropped by ' +
      'rules, nor is one that is locked or has not expired. --expired gives up what has. Naming a locked point is an ' +
      'error. Space is freed by the next "holdfast repo prune".',
    examples: [
      'holdfast repo forget /srv/backup 4f1c 8d20',
      'holdfast repo forget /srv/backup --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run',
    ],
  })
  for (const rule of RULES) {
    const what = rule === 'last' ? 'the newest points' : `the newest of so many ${PERIODS[rule]}`
    command.option(`--keep-${rule} <count>`, `keep ${what}`, parseCount)
  }
  return command
    .option('--expired', 'give up the points whose expiry ("backup --keep-until") has passed')
    .option('--machine <name>', 'only points of this machine')
    .option('--time-zone <name>', 'whose days, weeks and months the rules mean', 'UTC')
    .option('-n, --dry-run', 'only say what would be given up')
    .action((location: string, selectors: string[], options: ForgetCommandOptions) =>
      runCommandHandler(options, async (context) => {
        const rules = rulesOf(options)
        const ways = [rules !== undefined, selectors.length > 0, options.expired === true]
        if (ways.filter((way) => way).length !== 1) {
          throw new CliError(
            'usage_invalid',
            'Name the points to give up, or rules by which points are kept, or --expired.',
            {
              hint: 'As in "holdfast repo forget STORE 4f1c" or "holdfast repo forget STORE --keep-daily 7".',
            },
          )
        }
        await withRepository(location, options, context, async ({ repository }) => {
          const verdicts =
            options.expired === true
              ? await expired(repository, options.machine)
              : rules === undefined
                ? named(repository, selectors, options.machine)
                : await ruled(repository, rules, options.machine)
          const ids = verdicts.filter(({ forget }) => forget).map(({ point }) => point.id)
          const dryRun = options.dryRun === true
          if (!dryRun && ids.length > 0) await repository.forget(ids)
          context.output.result(resultJson(verdicts, dryRun), () => resultText(verdicts, dryRun))
        })
      }),
    )
}

const PERIODS: Readonly<Record<Exclude<Rule, 'last'>, string>> = {
  hourly: 'hours',
  daily: 'days',
  weekly: 'weeks',
  monthly: 'months',
  yearly: 'years',
}

function rulesOf(options: ForgetCommandOptions): RetentionRules | undefined {
  const { keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly, timeZone } = options
  const given = Object.entries({
    last: keepLast,
    hourly: keepHourly,
    daily: keepDaily,
    weekly: keepWeekly,
    monthly: keepMonthly,
    yearly: keepYearly,
  }).filter(([, count]) => count !== undefined)
  return given.length === 0 ? undefined : { timeZone, ...Object.fromEntries(given) }
}

function named(repository: Repository, selectors: readonly string[], machine: string | undefined): Verdict[] {
  const points = new Set(selectors.map((selector) => repository.findPoint(selector, machine)))
  return [...points].map((point) => ({ point, forget: true, reasons: ['named'] }))
}

/** @throws clock_doubted: no point expires by a clock that is not believed */
async function expired(repository: Repository, machine: string | undefined): Promise<Verdict[]> {
  const hold = await holder(repository)
  return repository
    .points()
    .filter((point) => point.expiresAtMs !== undefined && (machine === undefined || point.machine === machine))
    .map((point) => {
      const held = hold(point)
      return { point, forget: held === undefined, reasons: [held ?? 'expired'] }
    })
}

/** Why no rule may give a point up, if there is a reason. */
async function holder(repository: Repository): Promise<(point: PointRecord) => string | undefined> {
  const { immutability } = repository
  const passedMs = await immutability.passedMs()
  return ({ id, expiresAtMs = 0 }) => {
    const lockedMs = immutability.lockedUntilMs(id) ?? 0
    if (lockedMs > passedMs) return `locked until ${lockText(lockedMs)}`
    return expiresAtMs > passedMs ? `expires ${lockText(expiresAtMs)}` : undefined
  }
}

async function ruled(repository: Repository, rules: RetentionRules, machine: string | undefined): Promise<Verdict[]> {
  const { planRetention } = await import('#domain')
  const { systemClock } = await import('#runtime')
  const points = repository.points().map((point, sequence) => ({ point, sequence }))
  const machines = Map.groupBy(points, ({ point }) => point.machine)
  const verdicts: Verdict[] = []
  const hold = await holder(repository)
  for (const [name, own] of machines) {
    if (machine !== undefined && name !== machine) continue
    const given = own.map(({ point, sequence }) => ({
      id: point.id,
      sequence,
      takenAtMs: globalThis.Date.parse(point.takenAt),
      legalHold: false,
    }))
    const { decisions } = planRetention(given, rules, systemClock.nowMs())
    for (const { action, point, reasons } of decisions.toReversed()) {
      const found = own.find((candidate) => candidate.point.id === point.id)
      if (found === undefined) continue
      const held = action === 'drop' ? hold(found.point) : undefined
      const why = held === undefined ? reasons.map(reasonText) : [held]
      verdicts.push({ point: found.point, forget: action === 'drop' && held === undefined, reasons: why })
    }
  }
  return verdicts
}

function reasonText(reason: Readonly<{ kind: string; period?: string; rule?: string; nth?: number }>): string {
  return [reason.kind, reason.rule, reason.period].filter((part) => part !== undefined).join(' ')
}

function resultJson(verdicts: readonly Verdict[], dryRun: boolean): unknown {
  const shown = (forget: boolean): unknown[] =>
    verdicts
      .filter((verdict) => verdict.forget === forget)
      .map(({ point, reasons }) => ({ id: point.id, machine: point.machine, takenAt: point.takenAt, reasons }))
  return { schema: 1, dryRun, forgotten: shown(true), kept: shown(false) }
}

function resultText(verdicts: readonly Verdict[], dryRun: boolean): string {
  const rows = verdicts.map(({ point, forget, reasons }) => [
    forget ? 'forget' : 'keep',
    shortId(point),
    point.machine,
    timeText(point.takenAt),
    reasons.join(', '),
  ])
  const count = verdicts.filter(({ forget }) => forget).length
  const sum = `${count} ${count === 1 ? 'point' : 'points'} ${dryRun ? 'would be' : count === 1 ? 'was' : 'were'} given up.`
  return rows.length === 0 ? sum : `${textTable(['', 'POINT', 'MACHINE', 'TAKEN AT (UTC)', 'WHY'], rows)}\n\n${sum}`
}
