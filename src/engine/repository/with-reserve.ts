/**
 * Work that frees space goes on where there is none left: when it fails because the store is full, the store's reserve is given
 * back and the work is begun again; afterwards, when space is free, the reserve is made again. Stores without a reserve
 * (buckets) are not concerned.
 *
 * Two who do so at once share what the reserve gave: each begins again a few times. A crash leaves the store without its
 * reserve until the next prune.
 */
import { isHoldfastError } from '#base'
import type { BlobStore } from './blob-store.ts'

/** What init keeps in reserve: room for the entries and rewritten packs of a prune. */
export const RESERVE_BYTES_DEFAULT = 64 * 1024 * 1024
const ATTEMPTS_MAX = 3

/** @param work is told how many bytes it may store at most; undefined at first, when nothing is known to be scarce */
export async function withReserve<T>(
  store: BlobStore,
  reserveBytes: number,
  work: (scarceBytes?: number) => Promise<T>,
): Promise<T> {
  const { reserve } = store
  if (reserve === undefined || reserveBytes === 0) return work()
  try {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work(attempt === 1 ? undefined : Math.floor(reserveBytes / 2))
      } catch (error) {
        if (!isHoldfastError(error, 'store_full') || attempt === ATTEMPTS_MAX) throw error
        await reserve.release()
      }
    }
  } finally {
    await reserve.make(reserveBytes).catch(() => {
      // Without a reserve the next full store has less to work with; what was done here is done.
    })
  }
}
