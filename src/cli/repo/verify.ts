/** holdfast repo verify: whether everything that is kept can be given back. Damage is the result, and exit code 1. */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import type { VerifyReport } from '#engine/transfer'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { EXIT } from '../exit-code.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { textTable } from '../text-table.ts'
import { makeEnvironment, makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { whileReading } from './reading.ts'

type VerifyCommandOptions = RepoOptions & Readonly<{ withoutKey?: boolean; threads?: number }>

export function verifyCommand(): Command {
  return makeRepoCommand({
    usage: 'verify <store> [point]',
    summary: 'check that everything that is kept can be given back',
    description:
      'Reads every pack. With the key every chunk and every manifest is checked, and damage is told with exactly the points ' +
      'that it touches; without it names, lengths and the chain of the log are, and the points are an upper bound. ' +
      'Exits 1 when there is damage.',
    examples: [
      'holdfast repo verify /srv/backup',
      'holdfast repo verify /srv/backup latest',
      'holdfast repo verify s3://backup/site-a --without-key --output json',
    ],
  })
    .option('--without-key', 'check what can be checked without passphrase or key file')
    .option('--threads <count>', 'threads that read (default: by the number of processors)', parseCount)
    .action((location: string, point: string | undefined, options: VerifyCommandOptions) =>
      runCommandHandler(options, async (context) => {
        if (options.withoutKey === true && point !== undefined) {
          throw new CliError('usage_invalid', 'Without the key, points cannot be verified one by one.')
        }
        const report =
          options.withoutKey === true
            ? await verifyBlind(location, options, context)
            : await verifyOpened(location, point, options, context)
        context.output.result(reportJson(report), () => reportText(report))
        return report.ok ? EXIT.ok : EXIT.damage
      }),
    )
}

async function verifyBlind(
  location: string,
  options: VerifyCommandOptions,
  context: CommandContext,
): Promise<VerifyReport> {
  const { output, signal } = context
  const { openStore, parseStoreLocation } = await import('#engine/repository')
  const { verifyWithoutKey } = await import('#engine/transfer')
  const descriptor = parseStoreLocation(location)
  const store = await openStore(descriptor)
  try {
    return await verifyWithoutKey(store, await makeEnvironment(options, context), {
      store: descriptor,
      progress: output.progress,
      signal,
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    })
  } finally {
    await store.close()
  }
}

function verifyOpened(
  location: string,
  selector: string | undefined,
  options: VerifyCommandOptions,
  context: CommandContext,
): Promise<VerifyReport> {
  const loading = import('#engine/transfer') // while the key is derived
  return withRepository(location, options, context, async ({ repository, descriptor }) => {
    const { verifyWithKey } = await loading
    const only = selector === undefined ? undefined : [repository.findPoint(selector)]
    return whileReading(repository, 'verify', () =>
      verifyWithKey(repository, {
        store: descriptor,
        progress: context.output.progress,
        signal: context.signal,
        ...(options.threads === undefined ? {} : { threads: options.threads }),
        ...(only === undefined ? {} : { only }),
      }),
    )
  })
}

function reportJson({ ok, checkedBytes, packs, damage }: VerifyReport): unknown {
  return {
    schema: 1,
    ok,
    checkedBytes,
    packs,
    damage: damage.map(({ kind, object, points }) => ({ kind, object, points })),
  }
}

function reportText({ ok, checkedBytes, packs, damage }: VerifyReport): string {
  const checked = `${formatBytes(checkedBytes)} in ${packs} packs were checked`
  if (ok) return `No damage: ${checked}.`
  const rows = damage.map(({ kind, object, points }) => [
    kind,
    object,
    points.map((id) => id.slice(0, 12)).join(' ') || '-',
  ])
  return `${textTable(['DAMAGE', 'OBJECT', 'POINTS'], rows)}\n\nDamaged: ${checked}, ${damage.length} injuries found.`
}
