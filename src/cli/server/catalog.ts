/** holdfast catalog: what the server knows of repositories, and how a lost catalog is filled again. */
import { Command } from 'commander'
import type { ControlClient, KnownRepository, ListedPoint } from '#server'
import { runCommandHandler } from '../command.ts'
import { textTable } from '../text-table.ts'
import { timeText } from '../time-text.ts'
import { type HomeOptions, makeHomeCommand, withControl } from './home-option.ts'
import { startJob } from './job-watch.ts'
import { accessOf, type RepositoryOptions, withRepositoryOptions } from './repository-option.ts'

type Listed = Readonly<{ repositories: readonly KnownRepository[]; points: readonly ListedPoint[] }>

export function catalogCommand(): Command {
  return new Command('catalog')
    .summary('what the server knows; repositories are the truth, the catalog a cache of them')
    .description('Shows the recovery points that the server knows, and fills a lost catalog again.')
    .addHelpText('after', '\nExamples:\n  holdfast catalog list\n  holdfast catalog rebuild --store /srv/backup')
    .addCommand(listCommand())
    .addCommand(rebuildCommand())
}

function listCommand(): Command {
  return makeHomeCommand({
    usage: 'list',
    summary: 'repositories and recovery points that the server knows',
    examples: ['holdfast catalog list', 'holdfast catalog list --output json'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const listed = await readCatalog(control)
        output.result(listed, () => describe(listed))
      }),
    ),
  )
}

export async function readCatalog(control: ControlClient): Promise<Listed> {
  const repositories = (await control.call('catalog.repositories')) as KnownRepository[]
  const points: ListedPoint[] = []
  for (;;) {
    const page = (await control.call('catalog.points', { after: points.length })) as ListedPoint[]
    if (page.length === 0) return { repositories, points }
    points.push(...page)
  }
}

function describe({ repositories, points }: Listed): string {
  if (repositories.length === 0) return 'The catalog knows no repository yet.'
  const locations = new Map(repositories.map(({ id, location }) => [id, location]))
  const rows = points.map(({ pointId, machineName, takenAtMs, consistency, repositoryId }) => [
    pointId.slice(0, 12),
    machineName,
    timeText(takenAtMs),
    consistency,
    locations.get(repositoryId) ?? repositoryId,
  ])
  return textTable(['POINT', 'MACHINE', 'TAKEN AT (UTC)', 'CONSISTENCY', 'REPOSITORY'], rows)
}

function rebuildCommand(): Command {
  const command = makeHomeCommand({
    usage: 'rebuild',
    summary: "bring the catalog into agreement with a repository's own listing",
    description:
      'Lists the repository and replaces what the catalog knows of its points. After a lost catalog, run it once for each repository.',
    examples: ['holdfast catalog rebuild --store /srv/backup --passphrase-file /etc/backup.pass'],
  })
  return withRepositoryOptions(command).action((options: HomeOptions & RepositoryOptions) =>
    runCommandHandler(options, async (context) => {
      const input = await accessOf(options)
      await withControl(options, (control) => startJob(control, { job: 'list-repository', input }, true, context))
    }),
  )
}
