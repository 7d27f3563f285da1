/** holdfast repo list: the recovery points of a repository, newest last. */
import type { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { EXIT } from '../exit-code.ts'
import { textTable } from '../text-table.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { lockText, pointJson, shortId, sumOf, timeText } from './point-json.ts'

export function listCommand(): Command {
  return makeRepoCommand({
    usage: 'list <store>',
    summary: 'recovery points, newest last',
    description: 'Lists recovery points. Exits 1 when the log is damaged, so that points may be missing from the list.',
    examples: ['holdfast repo list /srv/backup', 'holdfast repo list /srv/backup --machine web1 --output json'],
  })
    .option('--machine <name>', 'only points of this machine')
    .action((location: string, options: RepoOptions & Readonly<{ machine?: string }>) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, async ({ repository }) => {
          const { machine } = options
          const points = repository.points().filter((point) => machine === undefined || point.machine === machine)
          const headings = [
            'POINT',
            'MACHINE',
            'TAKEN AT (UTC)',
            'CONSISTENCY',
            'MODE',
            'DISKS',
            'USED',
            'STORED',
            'LOCKED UNTIL',
          ]
          const rows = points.map((point) => [
            shortId(point),
            point.machine,
            timeText(point.takenAt),
            point.consistency,
            point.mode,
            String(point.disks.length),
            sumOf(point, 'usedBytes'),
            sumOf(point, 'storedBytes'),
            lockText(repository.immutability.lockedUntilMs(point.id)),
          ])
          context.output.result(
            points.map((point) => pointJson(point, repository.immutability.lockedUntilMs(point.id))),
            () => (points.length === 0 ? 'There is no point here.' : textTable(headings, rows)),
          )
          // Points may be missing from what is shown.
          return repository.log.damage.length === 0 ? EXIT.ok : EXIT.damage
        }),
      ),
    )
}
