/**
 * Mending a repository's frame from a mirror: another store that holds the same repository (same id, same objects). What is
 * taken over is checked first by what the repository itself says of it: a pack by its name, a log entry by the entry after it.
 *
 * Objects are create-once, so a damaged one is deleted before the good one is put. The good bytes are in hand by then; a
 * crash between the two leaves the object missing, and running the repair again mends that.
 */
import { isHoldfastError, toHex } from '#base'
import type { BlobKey, BlobStore } from './blob-store.ts'
import { CONFIG_KEY } from './config.ts'
import { sha256 } from './crypto.ts'
import { decodeEntry, logKey } from './log/entry.ts'
import type { CommitLog } from './log/log.ts'
import { getOrNothing } from './log/read-ahead.ts'
import type { PackRef } from './pack-reader.ts'
import { packKeyOf } from './pack-format.ts'
import type { WholeLog } from './verify/whole-log.ts'

/**
 * Whether the object has these bytes now. What is locked is mended in its place, where the store can do that; it cannot where a server
 * keeps the lock, and not when somebody else was faster.
 */
export async function replace(store: BlobStore, key: BlobKey, bytes: Uint8Array): Promise<boolean> {
  try {
    await store.delete(key)
  } catch (error) {
    if (isHoldfastError(error, 'blob_locked')) return (await store.mend?.(key, bytes, toHex(sha256(bytes)))) ?? false
    throw error
  }
  if ((await store.put(key, [bytes])) === 'created') return true
  const present = await getOrNothing(store, key)
  return present !== undefined && Buffer.compare(present, bytes) === 0
}

/** Puts back the configuration and key slots that are missing; gives their keys. Works before the repository can be opened. */
export async function repairFrame(store: BlobStore, mirror: BlobStore): Promise<BlobKey[]> {
  const mended: BlobKey[] = []
  const config = await getOrNothing(store, CONFIG_KEY)
  const theirs = await getOrNothing(mirror, CONFIG_KEY)
  if (theirs === undefined || (config !== undefined && Buffer.compare(config, theirs) !== 0)) return mended
  if ((await store.put(CONFIG_KEY, [theirs])) === 'created') mended.push(CONFIG_KEY)
  for await (const { key } of mirror.list('keys/')) {
    if ((await store.put(key, [await mirror.get(key)])) === 'created') mended.push(key)
  }
  return mended
}

/** Puts damaged or missing log entries back; gives the numbers that were mended. The log must then be opened anew. */
export async function repairLog(store: BlobStore, mirror: BlobStore, log: CommitLog): Promise<number[]> {
  const mended: number[] = []
  const numbers = new Set(
    log.damage.flatMap(({ kind, number }) => (kind === 'log_chain_broken' ? [number, number - 1] : [number])),
  )
  for (const number of [...numbers].filter((one) => one > 0).sort((a, b) => b - a)) {
    const theirs = await getOrNothing(mirror, logKey(number))
    const entry = theirs === undefined ? undefined : decodeEntry(theirs)
    if (theirs === undefined || entry?.envelope.number !== number) continue
    const next = await getOrNothing(store, logKey(number + 1))
    const expected = next === undefined ? undefined : decodeEntry(next)?.envelope.previous
    if (expected !== undefined && expected !== entry.hash) continue
    if (await replace(store, logKey(number), theirs)) mended.push(number)
  }
  return mended
}

/** Puts a pack back if the mirror has it whole. */
export async function repairPack(store: BlobStore, mirror: BlobStore, ref: PackRef): Promise<boolean> {
  const theirs = await getOrNothing(mirror, packKeyOf(ref.name))
  if (theirs === undefined || toHex(sha256(theirs)) !== ref.name) return false
  return replace(store, packKeyOf(ref.name), theirs)
}

/**
 * Removes checkpoints that say other than the entries, when all entries could be read: they are shortcuts, and readers go on
 * from an older one, or from the first entry. Gives their keys.
 */
export async function removeCheckpoints(store: BlobStore, { log, checkpointDamage }: WholeLog): Promise<BlobKey[]> {
  if (log.damage.length > 0) return []
  const keys = checkpointDamage.filter(({ kind }) => kind === 'checkpoint_corrupt').map(({ object }) => object)
  for (const key of keys) await store.delete(key)
  return keys
}
