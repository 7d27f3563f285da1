/**
 * Deletes in a mirror what the repository's log has given up: packs that it names as deleted, or does not name any more. Nothing
 * else is ever deleted from a mirror. By then the entry that deletes them is in the mirror too; a crash leaves objects without a
 * meaning, which the next sweep finds by looking.
 *
 * Who reads from a mirror cannot pin anything there. So a pack stays for a while after it is known here to be given up (`graceMs`): a
 * restore that began before goes on. What is locked stays until the store lets go of it, and nothing goes by a clock that is
 * not believed.
 */
import { isHoldfastError } from '#base'
import type { BlobStore } from '../blob-store.ts'
import type { CommitLog } from '../log/log.ts'
import { packNameOf } from '../pack-format.ts'

export const MIRROR_GRACE_MS = 24 * 60 * 60_000

export type Sweep = Readonly<{ condemned: Readonly<Record<string, number>>; deleted: number; heldByStore: number }>

/** @param nowMs the time that may be taken for passed */
export async function sweepMirror(
  target: BlobStore,
  { state }: CommitLog,
  before: Readonly<Record<string, number>>,
  { nowMs, graceMs }: Readonly<{ nowMs: number; graceMs: number }>,
): Promise<Sweep> {
  const condemned: Record<string, number> = {}
  let [deleted, heldByStore] = [0, 0]
  const locked = new Set([...state.lockedPacks(nowMs)].map((ordinal) => state.packs[ordinal]?.name ?? ''))
  for await (const { key } of target.list('packs/')) {
    const name = packNameOf(key)
    if (name === undefined || locked.has(name)) continue
    const known = state.packNamed(name)
    if (known !== undefined && known.status !== 'deleted') continue
    // A clock that was put back makes it wait anew rather than for ever.
    const sinceMs = Math.min(before[name] ?? nowMs, nowMs)
    if (nowMs - sinceMs >= graceMs && (await mayDelete(target, key))) deleted += 1
    else {
      condemned[name] = sinceMs
      heldByStore += nowMs - sinceMs >= graceMs ? 1 : 0
    }
  }
  return { condemned, deleted, heldByStore }
}

async function mayDelete(target: BlobStore, key: string): Promise<boolean> {
  try {
    await target.delete(key)
    return true
  } catch (error) {
    if (isHoldfastError(error, 'blob_locked')) return false
    throw error
  }
}
