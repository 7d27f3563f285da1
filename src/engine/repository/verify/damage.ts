/** What verify can find, each with the object that is damaged and the points that it touches. */
import { isHoldfastError } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { CONFIG_KEY } from '../config.ts'
import { listKeySlots } from '../key-slots.ts'
import { decodeHeader, PACK_HEADER_BYTES, packNameOf } from '../pack-format.ts'
import { logKey } from '../log/entry.ts'
import type { LogLoss } from '../log/fold.ts'
import type { CommitLog } from '../log/log.ts'
import type { PointId } from '../point.ts'

/**
 * config_damaged, key_slots_missing, key_slot_corrupt  the repository's own objects
 * log_entry_missing, log_entry_corrupt, log_chain_broken, log_rolled_back
 * checkpoint_corrupt                 it is unreadable, or says other than the entries; readers pass it over or did not need it
 * pack_missing, pack_corrupt         `points`: exact with the key, an upper bound without
 * chunk_missing                      a manifest names a chunk that is in no pack, although no pack is damaged
 */
export type DamageKind =
  | 'config_damaged'
  | 'key_slots_missing'
  | 'key_slot_corrupt'
  | 'log_entry_missing'
  | 'log_entry_corrupt'
  | 'log_chain_broken'
  | 'log_rolled_back'
  | 'checkpoint_corrupt'
  | 'pack_missing'
  | 'pack_corrupt'
  | 'chunk_missing'

export type Damage = Readonly<{ kind: DamageKind; object: string; points: readonly PointId[] }>

/**
 * Damage of the log itself. Which points an unreadable entry committed nobody can know; but what later points took over from
 * it is known by the ordinals that it took: `restsOn` says of a live point whether it needs any of these. By default the
 * point's closure answers, an upper bound.
 */
export function logDamages(log: CommitLog, restsOn = restsOnByClosure(log)): Damage[] {
  return log.damage.map(({ kind, number }) => {
    const loss =
      kind === 'log_chain_broken' ? undefined : log.losses.find((one) => one.first <= number && number <= one.last)
    const points = loss === undefined ? [] : [...log.state.points.keys()].filter((id) => restsOn(id, loss))
    return { kind, object: logKey(number), points }
  })
}

/** Whether the point's closure holds an ordinal of the gap, or ends at a base that was never read and may stand in it. */
export function restsOnByClosure(log: CommitLog): (id: PointId, loss: LogLoss) => boolean {
  const { state } = log
  return (id, loss) => {
    const point = state.points.get(id)
    if (point === undefined || point.number < loss.first) return false
    return (
      state.hasUnknownBase(point.header) ||
      [...state.closureOf(point.header)].some((o) => loss.from <= o && o < loss.to)
    )
  }
}

/**
 * A pack whose writer had read further in the log than the log now goes proves that the log was rolled back: the number
 * of its session's pin stands in its header. `sessions` are those of all packs that were looked at.
 */
export function rollBackDamage(log: CommitLog, sessions: Iterable<number>): Damage[] {
  const ahead = [...sessions].filter((session) => session > log.state.head)
  if (ahead.length === 0) return []
  const furthest = Math.max(...ahead)
  return [{ kind: 'log_rolled_back', object: logKey(furthest), points: [] }]
}

/** Objects of the repository's own frame. Slots that are unreadable, or of another repository, are as good as none. */
export async function frameDamages(store: BlobStore, repositoryId: string): Promise<Damage[]> {
  const { length: slots } = await listKeySlots(store, repositoryId)
  const config = await store.head(CONFIG_KEY)
  return [
    ...(config === undefined ? [{ kind: 'config_damaged' as const, object: CONFIG_KEY, points: [] }] : []),
    ...(slots === 0 ? [{ kind: 'key_slots_missing' as const, object: 'keys/', points: [] }] : []),
  ]
}

export type Stray = Readonly<{ name: string; sizeBytes: number; session: number }>

/**
 * Packs in the store that the log does not name, or names as deleted: garbage of dead writers and interrupted prunes, or
 * the work of live ones.
 */
export async function findStrays(store: BlobStore, log: CommitLog): Promise<Stray[]> {
  const strays: Stray[] = []
  for await (const { key, sizeBytes } of store.list('packs/')) {
    const name = packNameOf(key)
    if (name === undefined) continue
    const known = log.state.packNamed(name)
    if (known !== undefined && known.status !== 'deleted') continue
    const session = await sessionOf(store, key, sizeBytes)
    if (session !== 'gone') strays.push({ name, sizeBytes, session })
  }
  return strays
}

async function sessionOf(store: BlobStore, key: string, sizeBytes: number): Promise<number | 'gone'> {
  if (sizeBytes < PACK_HEADER_BYTES) return 0
  try {
    return decodeHeader(await store.getRange(key, 0, PACK_HEADER_BYTES))?.session ?? 0
  } catch (error) {
    if (isHoldfastError(error, 'blob_not_found')) return 'gone' // a prune beside us was faster
    throw error
  }
}
