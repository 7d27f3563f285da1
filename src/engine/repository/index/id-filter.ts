/**
 * A Bloom filter over chunk ids (Bloom 1970), in memory that threads share. Ids are keyed hashes, so their own bytes
 * serve as the hash functions (double hashing: Kirsch and Mitzenmacher 2006). 12 bits and 6 probes an id: 0.4 % of
 * unknown ids pass and cost one read of a run; a known id always passes.
 */
import { assert } from '#base'
import type { ChunkId } from '../crypto.ts'

const BITS_PER_ID = 12
const PROBES = 6
const TWO_32 = 0x1_0000_0000

export function filterBytesFor(ids: number): number {
  return Math.max(8, Math.ceil((ids * BITS_PER_ID) / 8))
}

function word(id: Uint8Array, at: number): number {
  return ((id[at] ?? 0) | ((id[at + 1] ?? 0) << 8) | ((id[at + 2] ?? 0) << 16) | ((id[at + 3] ?? 0) << 24)) >>> 0
}

export class IdFilter {
  readonly bits: Uint8Array
  readonly #bitCount: number

  constructor(bits: Uint8Array) {
    assert(bits.length > 0 && bits.length * 8 < TWO_32, 'A filter has between 8 and 2^32 bits')
    this.bits = bits
    this.#bitCount = bits.length * 8
  }

  add(id: ChunkId): void {
    const step = word(id, 12) | 1
    for (let probe = 0, hash = word(id, 8); probe < PROBES; probe += 1, hash = (hash + step) >>> 0) {
      const bit = Math.floor((hash / TWO_32) * this.#bitCount)
      this.bits[bit >>> 3] = (this.bits[bit >>> 3] ?? 0) | (1 << (bit & 7))
    }
  }

  mayHave(id: ChunkId): boolean {
    const step = word(id, 12) | 1
    for (let probe = 0, hash = word(id, 8); probe < PROBES; probe += 1, hash = (hash + step) >>> 0) {
      const bit = Math.floor((hash / TWO_32) * this.#bitCount)
      if (((this.bits[bit >>> 3] ?? 0) & (1 << (bit & 7))) === 0) return false
    }
    return true
  }
}
