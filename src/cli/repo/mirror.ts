/**
 * holdfast repo mirror: keeps another store that holds the same repository, object for object. Without the key: what the mirror needs to
 * know stands in the open.
 */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import type { BlobStore, PassReport } from '#engine/repository'
import type { MirrorCheck, SideReport } from '#engine/transfer'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { EXIT } from '../exit-code.ts'
import { CliError } from '../errors.ts'
import { makeEnvironment, makeRepoCommand, type RepoOptions } from './open.ts'

type MirrorOptions = RepoOptions & Readonly<{ check?: boolean; adopt?: boolean; promote?: boolean }>

export function mirrorCommand(): Command {
  return makeRepoCommand({
    usage: 'mirror <store> [target]',
    summary: 'keep a second store that holds the same repository',
    description:
      'Brings the target up to the store, without the key: packs first, each held against its name, then the log, in order. A target that is ' +
      'not a beginning of the same history is never overwritten. The mirror is read with the same key and written to by nobody else. With --check every byte of both ' +
      'is read, and what is hurt on one side is put back from the other; exits 1 when something stays hurt. With --promote the store named is a mirror and ' +
      'becomes a repository of its own.',
    examples: [
      'holdfast repo mirror /srv/backup /mnt/second/backup',
      'holdfast repo mirror /srv/backup s3://offsite/backup --check',
      'holdfast repo mirror /mnt/second/backup --promote',
    ],
  })
    .option('--check', 'read every byte of both and heal either from the other, then mirror')
    .option('--adopt', 'take a copy that was made by other means as the mirror')
    .option('--promote', 'make the mirror named a repository of its own')
    .action((location: string, target: string | undefined, options: MirrorOptions) =>
      runCommandHandler(options, async (context) => {
        if (options.promote === true) return promote(location, target, context)
        if (target === undefined)
          throw new CliError('usage_invalid', 'Say where the mirror lies: "holdfast repo mirror STORE TARGET".')
        return mirror(location, target, options, context)
      }),
    )
}

async function promote(location: string, target: string | undefined, { output }: CommandContext): Promise<number> {
  if (target !== undefined) throw new CliError('usage_invalid', '--promote takes the mirror alone.')
  const { openStore, promoteMirror } = await import('#engine/repository')
  const store = await openStore(location)
  try {
    const wasMirror = await promoteMirror(store)
    output.result({ schema: 1, promoted: wasMirror }, () =>
      wasMirror ? `${location} is a repository of its own now.` : `${location} was no mirror; nothing was changed.`,
    )
    return EXIT.ok
  } finally {
    await store.close()
  }
}

async function mirror(
  location: string,
  targetLocation: string,
  options: MirrorOptions,
  context: CommandContext,
): Promise<number> {
  const { openStore, parseStoreLocation } = await import('#engine/repository')
  const source = await openStore(location)
  try {
    const target = await openStore(parseStoreLocation(targetLocation), { create: options.check !== true })
    try {
      const check =
        options.check === true ? await checkBoth(source, target, { location, targetLocation }, context) : undefined
      const pass = check?.ok === false ? undefined : await passOnce(source, target, options, context)
      context.output.result(
        {
          schema: 1,
          ...(check !== undefined && { check: checkJson(check) }),
          ...(pass !== undefined && { pass: passJson(pass) }),
        },
        () =>
          [...(check === undefined ? [] : checkText(check)), ...(pass === undefined ? [] : [passText(pass)])].join(
            '\n',
          ),
      )
      return check?.ok === false || (pass?.owed.length ?? 0) > 0 ? EXIT.damage : EXIT.ok
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

async function passOnce(
  source: BlobStore,
  target: BlobStore,
  options: MirrorOptions,
  context: CommandContext,
): Promise<PassReport> {
  const { Mirror } = await import('#engine/repository')
  const environment = await makeEnvironment(options, context)
  const { output, signal } = context
  const parts = { source, target, ...environment, progress: output.progress, signal }
  return (await Mirror.open(parts)).pass({ adopt: options.adopt === true })
}

async function checkBoth(
  source: BlobStore,
  target: BlobStore,
  { location, targetLocation }: Readonly<{ location: string; targetLocation: string }>,
  { output, signal }: CommandContext,
): Promise<MirrorCheck> {
  const { parseStoreLocation } = await import('#engine/repository')
  const { checkMirror } = await import('#engine/transfer')
  const { systemClock: clock, systemRandom: random } = await import('#runtime')
  const places = { source: parseStoreLocation(location), target: parseStoreLocation(targetLocation) }
  return checkMirror({ source, target, places, clock, random, progress: output.progress, signal })
}

function passJson({ head, entries, packs, bytes, owed, deleted, condemned, lag }: PassReport): unknown {
  return { head, entries, packs, bytes, owed, deleted, condemned, pointsBehind: lag.points.length }
}

function checkJson({ ok, head, source, target }: MirrorCheck): unknown {
  return { ok, head, source, target }
}

function passText({ entries, packs, bytes, owed, lag }: PassReport): string {
  const done =
    entries + packs === 0
      ? 'The mirror has everything.'
      : `Mirrored: ${entries} entries of the log, ${packs} packs of ${formatBytes(bytes)}.`
  if (owed.length === 0) return done
  return `${done}\n${owed.length} packs are not whole in the repository itself and so not in the mirror; ${lag.points.length} points need them.`
}

function checkText({ source, target }: MirrorCheck): string[] {
  return [sideText('The repository', source), sideText('The mirror', target)]
}

function sideText(side: string, { checkedBytes, packs, hurt, healed, damage }: SideReport): string {
  const checked = `${side}: ${formatBytes(checkedBytes)} in ${packs} packs were checked`
  if (hurt.length === 0) return `${checked}; nothing is hurt.`
  const lost = damage.map(({ kind, object }) => `\n  ${kind} ${object}`).join('')
  return `${checked}; ${hurt.length} objects were hurt, ${healed.length} are whole again.${lost}`
}
