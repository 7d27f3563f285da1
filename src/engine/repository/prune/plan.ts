/**
 * What a prune would do, as a value: shown by `--dry-run`, tested, then run by act.ts. Pure.
 *
 *   a pack that nobody needs       goes
 *   a pack that is needed in part  its needed chunks move to a new pack when the waste is worth it, then it goes
 *   a pack that is locked          stays as it is, needed or not
 *   a stray (in the store, in no log entry)  goes, unless its session may still commit it
 */
import type { PackState, LogState } from '../log/state.ts'
import type { Stray } from '../verify/damage.ts'

export type PruneOptions = Readonly<{
  /** A pack is rewritten when more than this share of it is not needed. */
  wasteShareMax: number
  /** At most so many bytes are rewritten in one run; the most wasteful packs first. */
  rewriteBytesMax: number
}>
export const PRUNE_DEFAULTS: PruneOptions = { wasteShareMax: 0.25, rewriteBytesMax: 64 * 1024 ** 3 }

export type PrunePlan = Readonly<{
  drop: readonly string[]
  rewrite: readonly string[]
  strays: readonly string[]
  /** Strays of sessions that may still be at work. */
  straysKept: readonly string[]
  /** Deleted by the log already; their objects were still there (a prune was interrupted). */
  leftovers: readonly string[]
  /** Packs that would go, or be rewritten, if they were not locked. */
  locked: readonly string[]
  lockedBytes: number
  freedBytes: number
  rewrittenBytes: number
  keptBytes: number
}>

export function planPrune(
  state: LogState,
  neededBytes: ReadonlyMap<number, number>,
  found: readonly Stray[],
  options: PruneOptions & Readonly<{ passedMs: number; head: number }>,
): PrunePlan {
  // What was added after the marks were made, by a writer or another prune, is not judged by them.
  const packs = state.packs.filter(({ status, addedIn }) => status !== 'deleted' && addedIn <= options.head)
  const needed = (pack: PackState): number => neededBytes.get(pack.ordinal) ?? 0
  const isWasteful = (pack: PackState): boolean =>
    (pack.lengthBytes - needed(pack)) / pack.lengthBytes > options.wasteShareMax
  const lockedPacks = state.lockedPacks(options.passedMs)
  const free = packs.filter(({ ordinal }) => !lockedPacks.has(ordinal))
  const locked = packs.filter((pack) => lockedPacks.has(pack.ordinal) && (needed(pack) === 0 || isWasteful(pack)))
  const drop = free.filter((pack) => needed(pack) === 0)
  const wasteful = free
    .filter((pack) => needed(pack) > 0 && isWasteful(pack))
    .sort((a, b) => needed(a) / a.lengthBytes - needed(b) / b.lengthBytes)
  const rewrite: PackState[] = []
  let rewrittenBytes = 0
  for (const pack of wasteful) {
    if (rewrittenBytes + needed(pack) > options.rewriteBytesMax) break
    rewrite.push(pack)
    rewrittenBytes += needed(pack)
  }
  const active = new Set(state.pins.active(options.passedMs).map(([number, { session }]) => session ?? number))
  const leftovers = [...new Set(found.filter(({ name }) => state.isDeleted(name)).map(({ name }) => name))]
  const strays = found.filter(({ name }) => !state.isDeleted(name))
  const mayCommit = (stray: Stray): boolean => active.has(stray.session) || stray.session > state.head
  const gone = [...drop, ...rewrite]
  return {
    drop: drop.map(({ name }) => name),
    rewrite: rewrite.map(({ name }) => name),
    strays: strays.filter((stray) => !mayCommit(stray)).map(({ name }) => name),
    straysKept: strays.filter(mayCommit).map(({ name }) => name),
    leftovers,
    locked: locked.map(({ name }) => name),
    lockedBytes: locked.reduce((sum, pack) => sum + pack.lengthBytes - needed(pack), 0),
    freedBytes:
      gone.reduce((sum, pack) => sum + pack.lengthBytes, 0) -
      rewrittenBytes +
      strays.filter((stray) => !mayCommit(stray)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    rewrittenBytes,
    keptBytes: packs.filter((pack) => !gone.includes(pack)).reduce((sum, pack) => sum + pack.lengthBytes, 0),
  }
}
