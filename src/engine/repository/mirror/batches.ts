/**
 * Cuts the entries that a mirror lacks into batches: first all packs of a batch become durable in the mirror, then its entries,
 * in their order. Pure.
 *
 * A pack that a later one of these entries deletes is not copied, since the repository may have it no longer. So a batch never ends
 * between such a pack's naming and its deletion: wherever the mirror stands still, every pack that its log says is there, is.
 */
import type { Envelope, PackAdded } from '../log/entry.ts'

/** `hashes`: of the entries from `first` to `last`, in their order. */
export type Batch = Readonly<{
  first: number
  last: number
  packs: readonly PackAdded[]
  hashes: readonly string[]
  /** Packs are named in it that are not copied: its entries are taken in all or none (incoming.ts). */
  isWhole: boolean
}>

/** An entry as it is read for this. */
export type Listed = Readonly<{ envelope: Pick<Envelope, 'number' | 'packs' | 'deletions'>; hash: string }>

export type BatchLimits = Readonly<{ entriesMax: number; bytesMax: number }>

export const BATCH_LIMITS: BatchLimits = { entriesMax: 512, bytesMax: 512 * 1024 * 1024 }

/**
 * @param entries ascending, without gaps
 * @param isGone whether the log, at its head, has given the pack up for good
 */
export async function* cutBatches(
  entries: AsyncIterable<Listed> | Iterable<Listed>,
  isGone: (name: string) => boolean,
  limits: BatchLimits = BATCH_LIMITS,
): AsyncGenerator<Batch> {
  /** Packs named in the open batch that are passed over: none may be left when it ends. */
  const passed = new Set<string>()
  const named = new Map<string, PackAdded>()
  let hashes: string[] = []
  let isWhole = false
  let [first, last, bytes] = [0, 0, 0]
  const close = (): Batch => {
    const batch = { first, last, packs: [...named.values()], hashes, isWhole }
    named.clear()
    hashes = []
    bytes = 0
    isWhole = false
    return batch
  }
  for await (const { envelope, hash } of entries) {
    if (hashes.length === 0) first = envelope.number
    last = envelope.number
    hashes.push(hash)
    for (const pack of envelope.packs ?? []) {
      if (isGone(pack.name)) {
        passed.add(pack.name)
        isWhole = true
      } else if (!named.has(pack.name)) {
        named.set(pack.name, pack)
        bytes += pack.lengthBytes
      }
    }
    for (const name of envelope.deletions ?? []) passed.delete(name)
    const isEnough = bytes >= limits.bytesMax || hashes.length >= limits.entriesMax
    if (passed.size === 0 && isEnough) yield close()
  }
  if (hashes.length > 0) yield close()
}
