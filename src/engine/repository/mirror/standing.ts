/**
 * Where a mirror stands to its repository: how far it has come in the same history, or that the two histories have parted.
 * Nothing here writes.
 *
 * An entry names the hash of the one before it, so two logs that have one entry in common have all before it in common; to
 * compare the mirror's last one is enough. Where that one differs, it is damage (mended by the check) only if it is of the
 * same writing, by its random id, or cannot be read at all; anything else that is whole and other is another history.
 */
import type { BlobStore } from '../blob-store.ts'
import { sha256 } from '../crypto.ts'
import { toHex } from '#base'
import { RepositoryError } from '../errors.ts'
import { decodeEntry, logKey, logNumber } from '../log/entry.ts'
import type { CommitLog } from '../log/log.ts'
import { getOrNothing } from '../log/read-ahead.ts'

/** `head`: the mirror's last entry; 0 when it has none. `isHurt`: that entry's bytes have rotted. */
export type Standing = Readonly<{ head: number; isHurt: boolean }>

/** The last entry of a store's log. @param after an entry that is known to be there, to list less */
export async function lastEntryOf(store: BlobStore, after = 0): Promise<number> {
  let last = after
  for await (const { key } of store.list('log/', after === 0 ? undefined : logKey(after)))
    last = Math.max(last, logNumber(key) ?? 0)
  return last
}

/** @throws mirror_diverged */
export async function standingOf(
  source: BlobStore,
  log: CommitLog,
  target: BlobStore,
  after: number,
): Promise<Standing> {
  const hint = after > 0 && (await target.head(logKey(after))) !== undefined ? after : 0
  const head = await lastEntryOf(target, hint)
  if (head === 0) return { head, isHurt: false }
  if (head > log.state.head)
    throw diverged(source, target, { reason: 'behind', mirrorHead: head, head: log.state.head })
  const [ours, theirs] = await Promise.all([getOrNothing(source, logKey(head)), getOrNothing(target, logKey(head))])
  if (ours === undefined || theirs === undefined || Buffer.compare(ours, theirs) === 0) return { head, isHurt: false }
  const [our, their] = [decodeEntry(ours), decodeEntry(theirs)]
  const expected = log.hashOf(head) ?? toHex(sha256(ours))
  // The mirror's is the right one: then the repository's own has rotted, and the log says so.
  if (their?.hash === expected) return { head, isHurt: false }
  const isSameWriting = their === undefined || their.envelope.entry === our?.envelope.entry
  if (isSameWriting && our?.hash === expected) return { head, isHurt: true }
  throw diverged(source, target, { reason: 'other', mirrorHead: head, head: log.state.head })
}

type Parting = Readonly<{ reason: 'behind' | 'other'; mirrorHead: number; head: number }>

export function diverged(source: BlobStore, target: BlobStore, parting: Parting): RepositoryError {
  const { reason, mirrorHead, head } = parting
  const what =
    reason === 'behind'
      ? `the log of ${source.location} ends at entry ${head}, and its mirror has entry ${mirrorHead}: the repository was put back to an older state`
      : `entry ${mirrorHead} of the mirror is not the one of ${source.location}: each has a history of its own`
  return new RepositoryError('mirror_diverged', `${target.location} is not overwritten: ${what}.`, {
    facts: { source: source.location, mirror: target.location, ...parting },
    retry: 'never',
    hint: 'Find out which of the two is right. If the mirror is: promote it. If the repository is: move the mirror away, and another is made.',
  })
}
