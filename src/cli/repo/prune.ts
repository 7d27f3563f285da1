/** holdfast repo prune: deletes what no point needs any more. Safe while backups, restores and other prunes run. */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import type { PrunePlan, PruneReport } from '#engine/repository'
import { runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'

type PruneCommandOptions = RepoOptions & Readonly<{ dryRun?: boolean; dropPin?: number }>

export function pruneCommand(): Command {
  return makeRepoCommand({
    usage: 'prune <store>',
    summary: 'delete what no point needs any more',
    description:
      'Deletes packs that no point needs and rewrites those that are mostly waste. Backups, restores and other prunes may run ' +
      'meanwhile: what they rely on is held back for the next prune. What is locked is not touched, and a clock that is ' +
      'further ahead of the log than is plausible stops it. A run that died holds it back for an hour; one that a wrong clock ' +
      'dated far ahead, until it is dropped by the number of its entry, which prune tells.',
    examples: [
      'holdfast repo prune /srv/backup --dry-run',
      'holdfast repo prune /srv/backup',
      'holdfast repo prune /srv/backup --drop-pin 1041',
    ],
  })
    .option('-n, --dry-run', 'only say what would be deleted')
    .option('--drop-pin <entry>', 'first drop what holds prune back, of a run that is certainly over', parseCount)
    .action((location: string, options: PruneCommandOptions) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, async ({ repository }) => {
          const { preparePrune, prune } = await import('#engine/repository')
          const { systemClock, systemRandom } = await import('#runtime')
          const { output, signal } = context
          const environment = { clock: systemClock, random: systemRandom, progress: output.progress, signal }
          if (options.dryRun === true) {
            const { plan } = await preparePrune(repository, environment)
            output.result({ schema: 1, dryRun: true, plan: planJson(plan) }, () => planText(plan))
            return
          }
          if (options.dropPin !== undefined) await repository.dropPins([options.dropPin])
          const report = await prune(repository, environment)
          output.result(reportJson(report), () => reportText(report))
        }),
      ),
    )
}

function planJson(plan: PrunePlan): unknown {
  const { drop, rewrite, strays, straysKept, leftovers, locked, lockedBytes, freedBytes, rewrittenBytes, keptBytes } =
    plan
  return { drop, rewrite, strays, straysKept, leftovers, locked, lockedBytes, freedBytes, rewrittenBytes, keptBytes }
}

function reportJson({ plan, deleted, freedBytes, heldByStore, heldBack, heldBy }: PruneReport): unknown {
  return { schema: 1, dryRun: false, deleted, freedBytes, heldByStore, heldBack, heldBy, plan: planJson(plan) }
}

function planText(plan: PrunePlan): string {
  return [
    `${plan.drop.length} packs that nobody needs would go; ${plan.rewrite.length} would be rewritten (${formatBytes(plan.rewrittenBytes)} to copy).`,
    `${plan.strays.length} packs of broken-off backups would go; ${plan.straysKept.length} may belong to running ones.`,
    `${formatBytes(plan.freedBytes)} would be freed, ${formatBytes(plan.keptBytes)} are kept as they are.`,
    ...lockedText(plan),
  ].join('\n')
}

function lockedText({ locked, lockedBytes }: PrunePlan): string[] {
  return locked.length === 0
    ? []
    : [
        `${locked.length} packs that hold ${formatBytes(lockedBytes)} nobody needs are locked; they go when their locks have ended.`,
      ]
}

function reportText({ plan, deleted, freedBytes, heldBack, heldBy }: PruneReport): string {
  const held =
    heldBack === 0
      ? []
      : [
          `${heldBack} more are held back until these end: ${heldBy.join('; ')}. Prune again then; --drop-pin ENTRY drops one that is certainly over.`,
        ]
  const done = `${deleted} packs were deleted and ${plan.rewrite.length} rewritten: ${formatBytes(freedBytes)} freed.`
  return [done, ...held, ...lockedText(plan)].join('\n')
}
