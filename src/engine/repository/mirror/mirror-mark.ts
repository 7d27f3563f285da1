/**
 * The object `mirror` says of a store that what lies in it is the mirror of a repository: whoever holds the key reads it, and
 * nobody but the mirroring writes. A pin that a reader left in its log would already make it another history.
 *
 * It is the first object that mirroring writes and the only one that promoting removes; neither touches what is mirrored. A crash
 * between leaves the store marked, or not, and either can be done again.
 */
import type { Clock } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { RepositoryError } from '../errors.ts'
import { finishIncoming } from './incoming.ts'
import { parseObject, toJsonBytes } from '../json.ts'
import { getOrNothing } from '../log/read-ahead.ts'

export const MIRROR_KEY = 'mirror'

export type MirrorMark = Readonly<{
  format: 'holdfast-mirror'
  /** The repository that is mirrored. */
  repository: string
  sinceMs: number
  writer: string
}>

/** A mark that cannot be read is one all the same: what is a mirror must not be written to because of one bad byte. */
export async function readMirrorMark(store: BlobStore): Promise<MirrorMark | undefined> {
  const bytes = await getOrNothing(store, MIRROR_KEY)
  if (bytes === undefined) return undefined
  const mark = parseObject(bytes) as Partial<MirrorMark> | undefined
  const { repository = '', sinceMs = 0, writer = '' } = mark?.format === 'holdfast-mirror' ? mark : {}
  return { format: 'holdfast-mirror', repository, sinceMs, writer }
}

export async function writeMirrorMark(
  store: BlobStore,
  repository: string,
  { clock, writer }: Readonly<{ clock: Clock; writer: string }>,
): Promise<void> {
  const mark: MirrorMark = { format: 'holdfast-mirror', repository, sinceMs: clock.nowMs(), writer }
  await store.put(MIRROR_KEY, [toJsonBytes(mark)])
}

/** Makes a mirror a repository of its own. From here on its history and that of the repository that it mirrored part. */
export async function promoteMirror(store: BlobStore): Promise<boolean> {
  const isMarked = (await store.head(MIRROR_KEY)) !== undefined
  if (isMarked) await finishIncoming(store)
  if (isMarked) await store.delete(MIRROR_KEY)
  return isMarked
}

export function isMirrorError(location: string): RepositoryError {
  return new RepositoryError(
    'repository_is_mirror',
    `${location} is the mirror of a repository: it is read, and nothing but the mirroring writes to it.`,
    {
      facts: { location },
      retry: 'never',
      hint: 'Work on the repository that it mirrors. If that one is lost, make this one a repository of its own with "holdfast repo mirror --promote".',
    },
  )
}
