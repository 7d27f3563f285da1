/**
 * Makes the logs of a repository and its mirror whole again from each other: every entry that both should have is compared, and
 * the one that is not what the chain says is replaced by the other. Then checkpoints that are not those of the repository go from the
 * mirror: they are shortcuts.
 *
 * Works with the key and without. A crash between deletion and put of an entry leaves it missing there, and running it again
 * mends that.
 */
import { toHex } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { sha256 } from '../crypto.ts'
import { checkpointKey } from '../log/checkpoint.ts'
import { listCheckpoints } from '../log/choose-checkpoint.ts'
import { logKey } from '../log/entry.ts'
import type { CommitLog } from '../log/log.ts'
import { getOrNothing, readAhead } from '../log/read-ahead.ts'
import { replace } from '../mirror-repair.ts'

export type HealedLog = Readonly<{
  /** Entries of the mirror that were not those of the repository: numbers, and which of them are now. */
  hurt: readonly number[]
  mended: readonly number[]
}>

/**
 * Mends the mirror's entries up to `head`, by a log of the repository that was read entry by entry and is whole. Without the key nobody
 * vouches for the repository's very last entry: where it differs it is named and left, until another one follows it.
 */
export async function healMirrorLog(
  source: BlobStore,
  target: BlobStore,
  whole: CommitLog,
  { head, hasKey }: Readonly<{ head: number; hasKey: boolean }>,
): Promise<HealedLog> {
  const numbers = Array.from({ length: head }, (_, i) => i + 1)
  const [hurt, mended]: [number[], number[]] = [[], []]
  for await (const { at, bytes } of readAhead(target, numbers.map(logKey))) {
    const number = at + 1
    const expected = whole.hashOf(number)
    if (expected === undefined || (bytes !== undefined && toHex(sha256(bytes)) === expected)) continue
    hurt.push(number)
    if (!hasKey && number === whole.state.head) continue
    const right = await getOrNothing(source, logKey(number))
    const isRight = right !== undefined && toHex(sha256(right)) === expected
    if (isRight && (await replace(target, logKey(number), right))) mended.push(number)
  }
  return { hurt, mended }
}

/** Removes checkpoints of the mirror that the repository has not, or has with other bytes. Gives their keys. */
export async function removeOtherCheckpoints(source: BlobStore, target: BlobStore): Promise<string[]> {
  const removed: string[] = []
  for (const key of (await listCheckpoints(target)).map(checkpointKey)) {
    const [ours, theirs] = [await getOrNothing(source, key), await getOrNothing(target, key)]
    if (theirs === undefined || (ours !== undefined && Buffer.compare(ours, theirs) === 0)) continue
    await target.delete(key)
    removed.push(key)
  }
  return removed
}
