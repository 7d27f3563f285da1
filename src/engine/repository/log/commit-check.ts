/**
 * Whether a commit may take the next number, decided after reading everything before it. Pure.
 *
 * A point rests on the packs that its writer stored or found (`packNames`) and on the trees of its `base`. Tombstoned packs
 * come back to life by being named; deleted ones do not. So a commit is refused exactly when
 *   - a pack that it stored or found has been deleted since, or
 *   - its base is gone and some pack of the base's closure was deleted after that. (While a base is live nothing that it
 *     needs is deleted; when the writer began does not matter, since it may have chosen its base long before.)
 * The writer then stores again what it needs (it still has the source) and commits anew.
 */
import type { PointId } from '../point.ts'
import type { LogState } from './state.ts'

export type CommitClaim = Readonly<{
  packNames: readonly string[]
  base?: PointId
}>

/** Names of the packs that forbid the commit; empty when it may go ahead. */
export function deletedUnder(state: LogState, claim: CommitClaim): string[] {
  const own = claim.packNames.filter((name) => state.isDeleted(name))
  return claim.base === undefined ? own : [...own, ...lostWithBase(state, claim.base)]
}

function lostWithBase(state: LogState, id: PointId): string[] {
  const base = state.everKnown(id)
  if (base === undefined && state.horizon > 0) return [`every pack of point ${id}`] // given up before the horizon
  if (base !== undefined && base.forgottenIn === undefined) return []
  const closure = base === undefined ? state.packs.keys() : state.closureOf(base.header)
  const since = base?.forgottenIn ?? 0
  return [...closure].flatMap((ordinal) => {
    const name = state.packs[ordinal]?.name ?? ''
    return state.deletedIn(name) > since ? [name] : []
  })
}
