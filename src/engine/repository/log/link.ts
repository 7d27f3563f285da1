/**
 * Whether an entry that a reader has seen before stands in the history that it reads now, although it lies before the
 * checkpoint that the reader went on from: the entries from there to the next anchor must follow one another. (That the entry
 * itself is still in the store proves nothing: it could have been left lying when the log was put back.)
 */
import { toHex } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { sha256 } from '../crypto.ts'
import { decodeEntry, logKey } from './entry.ts'
import { readAhead } from './read-ahead.ts'
import type { Anchor } from './state-snapshot.ts'

export type Link = 'same' | 'other' | Readonly<{ missing: number }>

/** @param anchors of the history that is read now, ascending, the last at or after `seen` */
export async function linkTo(store: BlobStore, seen: Anchor, anchors: readonly Anchor[]): Promise<Link> {
  const anchor = anchors.find(({ number }) => number >= seen.number)
  if (anchor === undefined) return 'other'
  const numbers = Array.from({ length: anchor.number - seen.number + 1 }, (_, i) => seen.number + i)
  let expected = seen.hash
  for await (const { at, bytes } of readAhead(store, numbers.map(logKey))) {
    const number = seen.number + at
    if (bytes === undefined) return { missing: number }
    if (at > 0) {
      if (decodeEntry(bytes)?.envelope.previous !== expected) return 'other'
      expected = toHex(sha256(bytes))
    } else if (toHex(sha256(bytes)) !== expected) return 'other'
  }
  return expected === anchor.hash ? 'same' : 'other'
}
