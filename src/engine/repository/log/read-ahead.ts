/** Reads many objects of a store in the order asked for, several at once. */
import { isHoldfastError } from '#base'
import type { BlobKey, BlobStore } from '../blob-store.ts'

const READS_AT_ONCE = 16

/** The bytes, or undefined when there is no such object. What is too large to be one is none that anybody can read: no bytes. */
export async function getOrNothing(store: BlobStore, key: BlobKey): Promise<Uint8Array | undefined> {
  try {
    return await store.get(key)
  } catch (error) {
    if (isHoldfastError(error, 'blob_not_found')) return undefined
    if (isHoldfastError(error, 'blob_too_large')) return new Uint8Array()
    throw error
  }
}

/** Every key with its bytes; undefined for those that are gone. */
export async function* readAhead(
  store: BlobStore,
  keys: readonly BlobKey[],
): AsyncGenerator<{ at: number; bytes: Uint8Array | undefined }> {
  for (let at = 0; at < keys.length; at += READS_AT_ONCE) {
    const group = await Promise.all(keys.slice(at, at + READS_AT_ONCE).map((key) => getOrNothing(store, key)))
    for (const [i, bytes] of group.entries()) yield { at: at + i, bytes }
  }
}
