/** holdfast repo copy: points into another repository, which has a key of its own. Safe to break off and run again. */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import type { CopyReport } from '#engine/transfer'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { makeRepoCommand, type OpenRepository, type RepoOptions, withRepository } from './open.ts'
import { whileReading } from './reading.ts'

type CopyCommandOptions = RepoOptions & Readonly<{ machine?: string }>

export function copyCommand(): Command {
  return makeRepoCommand({
    usage: 'copy <store> <target> [points...]',
    summary: 'copy points into another repository',
    description:
      'Copies the named points, or all, that the target lacks, oldest first. The target must exist; its key comes from ' +
      'HOLDFAST_TARGET_KEY_FILE, HOLDFAST_TARGET_PASSPHRASE_FILE, HOLDFAST_TARGET_PASSPHRASE or a prompt. What the target ' +
      'holds already is neither read nor sent. A point that was forgotten in the target comes back only when it is named, and ' +
      'has another id then.',
    examples: [
      'holdfast repo copy /srv/backup s3://offsite/backup',
      'holdfast repo copy /srv/backup /mnt/usb/backup latest --machine web1',
    ],
  })
    .option('--machine <name>', 'only points of this machine')
    .action((location: string, target: string, selectors: string[], options: CopyCommandOptions) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, (from) =>
          withRepository(
            target,
            options,
            context,
            async (to) => {
              const report = await copySelected(from, to, selectors, options, context)
              const { copied, present, givenUp, newBytes, storedBytes } = report
              context.output.result({ schema: 1, copied, present, givenUp, newBytes, storedBytes }, () =>
                reportText(report),
              )
            },
            { prefix: 'TARGET_', question: `Passphrase of ${target}` },
          ),
        ),
      ),
    )
}

async function copySelected(
  from: OpenRepository,
  to: OpenRepository,
  selectors: readonly string[],
  { machine }: CopyCommandOptions,
  { output, signal }: CommandContext,
): Promise<CopyReport> {
  const { copyPoints } = await import('#engine/transfer')
  const { systemRandom } = await import('#runtime')
  const all = from.repository.points().filter((point) => machine === undefined || point.machine === machine)
  const named = new Set(selectors.map((selector) => from.repository.findPoint(selector, machine).id))
  const points = selectors.length === 0 ? all : all.filter(({ id }) => named.has(id))
  const options = { random: systemRandom, again: selectors.length > 0, progress: output.progress, signal }
  return whileReading(from.repository, 'copy', () => copyPoints(from.repository, to.repository, points, options))
}

function reportText({ copied, present, givenUp, newBytes, storedBytes }: CopyReport): string {
  const stored = `${formatBytes(newBytes)} were new there, stored in ${formatBytes(storedBytes)}.`
  const left = givenUp.length === 0 ? '' : ` ${givenUp.length} were forgotten there and are not copied unless named.`
  return `${copied.length} points were copied, ${present.length} were there already. ${stored}${left}`
}
