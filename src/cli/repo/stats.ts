/** holdfast repo stats: what a repository holds and what it costs. */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import type { RepositoryStats } from '#engine/repository'
import { runCommandHandler } from '../command.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'

export function statsCommand(): Command {
  return makeRepoCommand({
    usage: 'stats <store>',
    summary: 'what a repository holds and what it costs',
    examples: ['holdfast repo stats /srv/backup', 'holdfast repo stats /srv/backup --output json'],
  }).action((location: string, options: RepoOptions) =>
    runCommandHandler(options, (context) =>
      withRepository(location, options, context, async ({ repository }) => {
        const { repositoryStats } = await import('#engine/repository')
        const { systemClock } = await import('#runtime')
        const stats = repositoryStats(repository, systemClock.nowMs())
        const { id, chunkSizeBytes, createdAt } = repository.config
        context.output.result({ schema: 1, id, createdAt, chunkSizeBytes, ...stats }, () => statsText(id, stats))
      }),
    ),
  )
}

function statsText(id: string, stats: RepositoryStats): string {
  const rows: readonly (readonly [string, string])[] = [
    ['Repository', id],
    ['Points', `${stats.points} of ${stats.machines} machines`],
    [
      'Disks',
      `${formatBytes(stats.virtualBytes)}, used ${formatBytes(stats.usedBytes)}, as if each point were kept by itself`,
    ],
    ['Stored', `${formatBytes(stats.storedBytes)} in ${stats.packs} packs, ${stats.ratio.toFixed(1)} times less`],
    ['Given up', `${formatBytes(stats.doomedBytes)}, until the next prunes`],
    ['Log', `${stats.logEntries} entries, ${stats.activePins} at work now`],
  ]
  return rows.map(([name, value]) => `${`${name}:`.padEnd(12)}${value}`).join('\n')
}
