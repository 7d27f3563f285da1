/**
 * holdfast repo repair: mends what verify found. First from a mirror, object by object; then good chunks of hurt packs are
 * saved, and lost ones are fetched from another repository with the same content.
 */
import type { Command } from 'commander'
import type { RepairReport } from '#engine/transfer'
import type { BlobStore, Repository } from '#engine/repository'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { EXIT } from '../exit-code.ts'
import { makeRepoCommand, type OpenRepository, type RepoOptions, withRepository } from './open.ts'

type RepairCommandOptions = RepoOptions & Readonly<{ mirror?: string; source?: string }>
type Mended = RepairReport &
  Readonly<{ frame: readonly string[]; logEntries: readonly number[]; checkpoints: readonly string[] }>

export function repairCommand(): Command {
  return makeRepoCommand({
    usage: 'repair <store>',
    summary: 'mend what verify found',
    description:
      'Puts damaged or missing objects back from a mirror (--mirror: a copy of this very store), saves the good chunks of ' +
      'packs that stay hurt, and fetches the others from another repository that has the same content (--source; its key ' +
      'comes from HOLDFAST_SOURCE_KEY_FILE, HOLDFAST_SOURCE_PASSPHRASE_FILE, HOLDFAST_SOURCE_PASSPHRASE or a prompt). ' +
      'Nothing hurt is removed before what could be saved of it is durable. Exits 1 when something stays lost: a later ' +
      'backup of the same machine brings it back where the disk still has it.',
    examples: [
      'holdfast repo repair /srv/backup --mirror /mnt/mirror/backup',
      'holdfast repo repair /srv/backup --source s3://offsite/backup',
    ],
  })
    .option('--mirror <store>', 'another store that holds this same repository')
    .option('--source <store>', 'another repository that has the same content')
    .action((location: string, options: RepairCommandOptions) =>
      runCommandHandler(options, async (context) => {
        const mended = await withMirror(options.mirror, (mirror) => repair(location, mirror, options, context))
        context.output.result({ schema: 1, ...mended }, () => mendedText(mended))
        return mended.chunksLost > 0 ? EXIT.damage : EXIT.ok
      }),
    )
}

async function withMirror<T>(
  location: string | undefined,
  use: (mirror: BlobStore | undefined) => Promise<T>,
): Promise<T> {
  if (location === undefined) return use(undefined)
  const { openStore } = await import('#engine/repository')
  const mirror = await openStore(location)
  try {
    return await use(mirror)
  } finally {
    await mirror.close()
  }
}

/** Configuration and key slots first, else nothing opens; then the log, which is opened anew; then packs. */
async function repair(
  location: string,
  mirror: BlobStore | undefined,
  options: RepairCommandOptions,
  context: CommandContext,
): Promise<Mended> {
  const { removeCheckpoints, repairLog } = await import('#engine/repository')
  const frame = mirror === undefined ? [] : await mendFrame(location, mirror)
  const logEntries: number[] = []
  const checkpoints: string[] = []
  for (;;) {
    const mended = await withRepository(location, options, context, async (opened) => {
      const whole = await opened.repository.readWholeLog()
      const numbers = mirror === undefined ? [] : await repairLog(opened.store, mirror, whole.log)
      const fresh = numbers.filter((number) => !logEntries.includes(number))
      logEntries.push(...fresh)
      checkpoints.push(...(await removeCheckpoints(opened.store, whole)))
      return fresh.length > 0
        ? undefined
        : withSource(options, context, (source) => mendPacks(opened, mirror, source, context))
    })
    if (mended !== undefined) return { frame, logEntries, checkpoints, ...mended }
  }
}

async function mendFrame(location: string, mirror: BlobStore): Promise<string[]> {
  const { openStore, repairFrame } = await import('#engine/repository')
  const store = await openStore(location)
  try {
    return await repairFrame(store, mirror)
  } finally {
    await store.close()
  }
}

function withSource<T>(
  options: RepairCommandOptions,
  context: CommandContext,
  use: (source: Repository | undefined) => Promise<T>,
): Promise<T> {
  if (options.source === undefined) return use(undefined)
  const request = { prefix: 'SOURCE_', question: `Passphrase of ${options.source}` }
  return withRepository(options.source, options, context, ({ repository }) => use(repository), request)
}

async function mendPacks(
  { repository, descriptor }: OpenRepository,
  mirror: BlobStore | undefined,
  source: Repository | undefined,
  { output, signal }: CommandContext,
): Promise<RepairReport> {
  const { repairPacks } = await import('#engine/transfer')
  const { systemRandom } = await import('#runtime')
  return repairPacks(repository, {
    store: descriptor,
    random: systemRandom,
    progress: output.progress,
    signal,
    ...(mirror === undefined ? {} : { mirror }),
    ...(source === undefined ? {} : { source }),
  })
}

function mendedText(mended: Mended): string {
  const { frame, logEntries, checkpoints, hurtPacks, packsFromMirror, chunksSaved, chunksFromSource, chunksLost } =
    mended
  if (frame.length + logEntries.length + checkpoints.length + hurtPacks === 0) return 'Nothing was hurt.'
  return [
    `Put back from the mirror: ${frame.length} objects of the frame, ${logEntries.length} log entries, ${packsFromMirror} of ${hurtPacks} hurt packs.`,
    ...(checkpoints.length === 0
      ? []
      : [`Removed: ${checkpoints.length} checkpoints that were not what the log says.`]),
    `Saved from hurt packs: ${chunksSaved} chunks; fetched from the source: ${chunksFromSource}.`,
    chunksLost === 0 ? 'Nothing is lost.' : `${chunksLost} chunks are lost. Verify names the points that need them.`,
  ].join('\n')
}
