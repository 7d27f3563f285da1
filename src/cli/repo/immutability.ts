/** holdfast repo immutability: how long points are locked, by whom, and what time this repository goes by. */
import { type Command, Option } from 'commander'
import type { ImmutabilityPolicy, ImmutabilityState, ImmutabilityStatus, Repository } from '#engine/repository'
import { runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { isoTime, timeText } from './point-json.ts'

type ImmutabilityOptions = RepoOptions &
  Readonly<{ state?: ImmutabilityState; days?: number; acceptTime?: boolean; extend?: boolean }>

const STATES = ['disabled', 'unlocked', 'locked']

export function immutabilityCommand(): Command {
  return makeRepoCommand({
    usage: 'immutability <store>',
    summary: 'show or set how long points are locked against deletion',
    description:
      'A locked point, with all the data, log entries and key slots that it needs, can be neither given up nor deleted before ' +
      'its lock ends. "unlocked" locks every new point for --days and may be changed; "locked" can only be made longer, for ' +
      'ever. Locks that were given stay whatever becomes of this. In a bucket with object lock the server keeps them against ' +
      'everyone. In a folder Holdfast keeps them: root, and whoever may write to the folder by other means, is outside the promise.',
    examples: [
      'holdfast repo immutability /srv/backup',
      'holdfast repo immutability s3://backup/site-a --state unlocked --days 30',
      'holdfast repo immutability s3://backup/site-a --state locked --days 30',
      'holdfast repo immutability /srv/backup --accept-time',
    ],
  })
    .addOption(new Option('--state <state>', 'set the policy').choices(STATES))
    .option('--days <count>', 'how long new points are locked', parseCount)
    .option('--accept-time', "say that this host's clock is right although the log was silent for long")
    .option('--extend', 'ask the store once more for every lock that was promised')
    .action((location: string, options: ImmutabilityOptions) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, async ({ repository }) => {
          const policy = await wantedPolicy(repository, options)
          if (policy !== undefined) await repository.immutability.setPolicy(policy)
          if (options.acceptTime === true) await repository.immutability.acceptTime()
          const asked = options.extend === true ? await repository.immutability.locks.extend() : undefined
          const status = await repository.immutability.status()
          context.output.result(statusJson(status, asked), () => statusText(status, asked))
        }),
      ),
    )
}

async function wantedPolicy(
  repository: Repository,
  { state, days }: ImmutabilityOptions,
): Promise<ImmutabilityPolicy | undefined> {
  const { LOCK_DAYS_MAX } = await import('#engine/repository')
  const now = repository.log.state.immutability
  if (state === undefined && days === undefined) return undefined
  const next = state ?? now.state
  const wrong =
    next === 'disabled'
      ? days !== undefined && 'Days make sense with --state unlocked or locked.'
      : (days ?? now.days) === 0
        ? 'Say for how many days points are locked, with --days.'
        : (days ?? now.days) > LOCK_DAYS_MAX && `At most ${LOCK_DAYS_MAX} days can be asked for.`
  if (wrong !== false)
    throw new CliError('usage_invalid', wrong, {
      hint: 'As in "holdfast repo immutability STORE --state unlocked --days 30".',
    })
  return { state: next, days: next === 'disabled' ? 0 : (days ?? now.days) }
}

function statusJson({ policy, clock, ...status }: ImmutabilityStatus, asked: number | undefined): unknown {
  const { keptBy, lockedPoints, lastLockEndsAtMs, observedMs } = status
  return {
    schema: 1,
    state: policy.state,
    days: policy.days,
    keptBy,
    lockedPoints,
    ...(lastLockEndsAtMs === 0 ? {} : { lastLockEndsAt: isoTime(lastLockEndsAtMs) }),
    ...(observedMs === 0 ? {} : { observedAt: isoTime(observedMs) }),
    clock: clock.plausible ? 'plausible' : 'doubted',
    ...(clock.plausible ? {} : { clockSays: isoTime(clock.saysMs) }),
    ...(asked === undefined ? {} : { locksAsked: asked }),
  }
}

const KEEPERS = {
  store: 'the store, against everyone',
  program: 'Holdfast alone: root, and whoever may write to the folder by other means, is outside the promise',
  none: 'nobody: this store cannot lock objects',
} as const

function statusText(status: ImmutabilityStatus, asked: number | undefined): string {
  const { policy, keptBy, lockedPoints, lastLockEndsAtMs, observedMs, clock } = status
  const until = lastLockEndsAtMs === 0 ? '' : `, the last until ${timeText(isoTime(lastLockEndsAtMs))} UTC`
  const rows: readonly (readonly [string, string])[] = [
    ['State', policy.state === 'disabled' ? 'disabled' : `${policy.state}, ${policy.days} days`],
    ['Kept by', KEEPERS[keptBy]],
    ['Locked now', `${lockedPoints} ${lockedPoints === 1 ? 'point' : 'points'}${until}`],
    ['Observed time', observedMs === 0 ? 'nothing was written yet' : `${timeText(isoTime(observedMs))} UTC`],
    [
      'Clock',
      clock.plausible
        ? 'plausible'
        : `says ${timeText(isoTime(clock.saysMs))} UTC, which is not believed: nothing is pruned. Put it right, or say that it is with --accept-time.`,
    ],
    ...(asked === undefined ? [] : ([['Locks asked', String(asked)]] as const)),
  ]
  return rows.map(([name, value]) => `${`${name}:`.padEnd(15)}${value}`).join('\n')
}
