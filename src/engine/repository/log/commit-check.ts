/**
 * Whether a commit may take the next number, decided after reading everything before it. Pure.
 *
 * A point rests on the packs that its writer stored or found (`packNames`) and on the tree of its `base`. Tombstoned packs
 * come back to life by being named; deleted ones do not. So a commit is refused exactly when
 *   - a pack that it stored or found has been deleted since, or
 *   - its base is gone and some pack of the base's closure was deleted after the writer began (`sinceNumber`).
 * The writer then stores again what it needs (it still has the source) and commits anew.
 */
import type { PointId } from '../point.ts'
import type { LogState } from './state.ts'

export type CommitClaim = Readonly<{
  packNames: readonly string[]
  base?: PointId
  baseUses?: ReadonlySet<number>
  sinceNumber: number
}>

/** Names of the packs that forbid the commit; empty when it may go ahead. */
export function deletedUnder(state: LogState, claim: CommitClaim): string[] {
  const own = claim.packNames.filter((name) => state.isDeleted(name))
  if (claim.base === undefined || state.points.has(claim.base)) return own
  const inherited = [...(claim.baseUses ?? [])]
    .map((ordinal) => state.packs[ordinal])
    .filter((pack) => pack !== undefined && state.deletedIn(pack.name) > claim.sinceNumber)
    .map((pack) => pack?.name ?? '')
  return [...own, ...inherited]
}
