/**
 * The object `incoming`: entries that a mirror is about to take in, all of them or none. Written where packs that the first of them name are
 * gone by the last of them: between, the log would name packs that the mirror never had. It is put when all packs are there and
 * before the first of its entries, and deleted after the last.
 *
 *   a crash                        what is left                    who goes on
 *   before it is put               packs that nobody names         the next pass
 *   after it, before the last put  some of its entries             whoever opens the mirror next, to read, to mirror or to promote it:
 *                                                                  the repository need not be there any more
 *
 * Bytes: for each entry its length in 4 bytes, little-endian, then the entry.
 */
import { isHoldfastError } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { decodeEntry, logKey } from '../log/entry.ts'
import { getOrNothing } from '../log/read-ahead.ts'

export const INCOMING_KEY = 'incoming'
/** More are taken in without; a year of a large vault is far less. */
const INCOMING_BYTES_MAX = 512 * 1024 * 1024

export async function writeIncoming(target: BlobStore, entries: readonly Uint8Array[]): Promise<void> {
  const total = entries.reduce((sum, { length }) => sum + length + 4, 0)
  if (total > INCOMING_BYTES_MAX) return
  const parts = entries.flatMap((entry) => {
    const length = new Uint8Array(4)
    new DataView(length.buffer).setUint32(0, entry.length, true)
    return [length, entry]
  })
  await target.put(INCOMING_KEY, parts)
}

export function removeIncoming(target: BlobStore): Promise<void> {
  return target.delete(INCOMING_KEY)
}

/** Takes in what was left in the middle. A store that cannot be written shows its log as it is. */
export async function finishIncoming(target: BlobStore): Promise<void> {
  const bytes = await getOrNothing(target, INCOMING_KEY)
  if (bytes === undefined) return
  try {
    for (const entry of entriesIn(bytes)) {
      const number = decodeEntry(entry)?.envelope.number
      if (number !== undefined) await target.put(logKey(number), [entry])
    }
    await removeIncoming(target)
  } catch (error) {
    if (!isHoldfastError(error, 'store_read_only', 'store_full')) throw error
  }
}

function* entriesIn(bytes: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint32(at, true)
    yield bytes.subarray(at + 4, at + 4 + length)
    at += 4 + length
  }
}
