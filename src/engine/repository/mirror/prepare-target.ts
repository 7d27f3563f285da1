/**
 * Makes a store ready to be a mirror, and keeps its frame (`config`, `keys/`) that of the repository.
 *
 *   step                       a crash right after it leaves
 *   1 the mark                 a marked store with nothing in it
 *   2 key slots, then config   a frame without a log: a repository without points, which nobody may write to
 *
 * Only an empty store, or one that is marked as this repository's mirror, is taken. A slot that the repository has no longer goes
 * from the mirror too, as long as another one stays that both have: a key that was withdrawn opens no copy. A slot or a
 * configuration that differs is damage on one side, and is left to the check.
 */
import { isHoldfastError } from '#base'
import type { Clock } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { CONFIG_KEY, decodeConfig } from '../config.ts'
import { RepositoryError } from '../errors.ts'
import { getOrNothing } from '../log/read-ahead.ts'
import { readMirrorMark, writeMirrorMark } from './mirror-mark.ts'

export type TargetParts = Readonly<{ repositoryId: string; clock: Clock; writer: string }>

/** Whether the store may be the repository's mirror. `isMarked`: it is marked as that already. @throws mirror_foreign, mirror_promoted */
export async function judgeTarget(
  target: BlobStore,
  { repositoryId }: TargetParts,
  adopt: boolean,
): Promise<{ isMarked: boolean }> {
  const mark = await readMirrorMark(target)
  const config = await getOrNothing(target, CONFIG_KEY)
  const its = config === undefined ? undefined : idOf(config, target.location)
  const other = [mark?.repository, its].find((id) => id !== undefined && id !== '' && id !== repositoryId)
  if (other !== undefined) throw foreign(target, `it holds the repository ${other}`)
  if (mark !== undefined) return { isMarked: true }
  if (its !== undefined && !adopt) throw promoted(target)
  if (its === undefined && !adopt && (await holdsAnything(target))) throw foreign(target, 'it is not empty')
  return { isMarked: false }
}

export async function markTarget(target: BlobStore, { repositoryId, clock, writer }: TargetParts): Promise<void> {
  await writeMirrorMark(target, repositoryId, { clock, writer })
}

/** Brings key slots and configuration up to those of the repository. */
export async function copyFrame(source: BlobStore, target: BlobStore): Promise<void> {
  const theirs = new Set<string>()
  for await (const { key } of source.list('keys/')) theirs.add(key)
  const ours = new Set<string>()
  for await (const { key } of target.list('keys/')) ours.add(key)
  for (const key of theirs.difference(ours)) {
    const bytes = await getOrNothing(source, key)
    if (bytes !== undefined) await target.put(key, [bytes])
  }
  if (theirs.size > 0) for (const key of ours.difference(theirs)) await deleteUnlessLocked(target, key)
  if ((await target.head(CONFIG_KEY)) === undefined) await target.put(CONFIG_KEY, [await source.get(CONFIG_KEY)])
}

async function deleteUnlessLocked(store: BlobStore, key: string): Promise<void> {
  try {
    await store.delete(key)
  } catch (error) {
    if (!isHoldfastError(error, 'blob_locked')) throw error
  }
}

/** A damaged configuration of a mirror says nothing; the check mends it. */
function idOf(bytes: Uint8Array, location: string): string | undefined {
  try {
    return decodeConfig(bytes, location).id
  } catch (error) {
    if (isHoldfastError(error, 'repository_damaged')) return undefined
    throw error
  }
}

async function holdsAnything(target: BlobStore): Promise<boolean> {
  for (const prefix of ['log/', 'packs/', 'keys/']) for await (const _ of target.list(prefix)) return true
  return false
}

function foreign(target: BlobStore, what: string): RepositoryError {
  return new RepositoryError('mirror_foreign', `${target.location} cannot be the mirror: ${what}.`, {
    facts: { location: target.location },
    retry: 'never',
    hint: 'Give an empty place. Nothing was changed.',
  })
}

function promoted(target: BlobStore): RepositoryError {
  return new RepositoryError(
    'mirror_promoted',
    `${target.location} holds this repository, but is not marked as its mirror: it was made a repository of its own, or copied by other means.`,
    {
      facts: { location: target.location },
      retry: 'never',
      hint: 'If nothing was written to it since, take it as the mirror with "holdfast repo mirror --adopt"; else give another place.',
    },
  )
}
