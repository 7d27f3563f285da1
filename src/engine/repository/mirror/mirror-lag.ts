/** How far a mirror is behind its repository: in points, since that is what would be lost, and since when. */
import type { BlobStore } from '../blob-store.ts'
import { decodeEntry, logKey } from '../log/entry.ts'
import type { CommitLog } from '../log/log.ts'
import { getOrNothing } from '../log/read-ahead.ts'
import type { PointId } from '../point.ts'
import type { MirrorHints } from './mirror-hints.ts'

export type MirrorLag = Readonly<{
  /** Entries of the log that the mirror lacks. */
  entries: number
  /** Live points that the mirror could not restore, oldest first. */
  points: readonly PointId[]
  /** How long ago the oldest of them was committed; 0 when there is none. */
  behindMs: number
}>

export async function lagOf(
  source: BlobStore,
  { state }: CommitLog,
  { head, owed }: MirrorHints,
  nowMs: number,
): Promise<MirrorLag> {
  const missing = new Set(owed.flatMap((name) => state.packNamed(name)?.ordinal ?? []))
  const isBehind = ({ number, header }: { number: number; header: Parameters<typeof state.closureOf>[0] }): boolean =>
    number > head || (missing.size > 0 && !state.closureOf(header).isDisjointFrom(missing))
  const behind = [...state.points].filter(([, point]) => isBehind(point)).sort(([, a], [, b]) => a.number - b.number)
  const [first] = behind
  const bytes = first === undefined ? undefined : await getOrNothing(source, logKey(first[1].number))
  const atMs = bytes === undefined ? undefined : decodeEntry(bytes)?.envelope.atMs
  return {
    entries: Math.max(0, state.head - head),
    points: behind.map(([id]) => id),
    behindMs: first === undefined ? 0 : Math.max(0, nowMs - (atMs ?? state.time.observedMs)),
  }
}
