/**
 * The ids that this run has stored itself, shared by all its threads, so that equal chunks of one backup are stored once.
 * Open addressing over shared memory; a slot is claimed by compare-and-set and then filled. 16 of the 32 id bytes are kept:
 * ids are keyed hashes, and two of 2^26 of them agree in 128 bits with a chance below 2^-76.
 *
 * Full is not an error: then chunks look new and are stored twice, which is legal.
 */
import type { ChunkId } from '../crypto.ts'

const STATE_EMPTY = 0
const STATE_FILLING = 1
const STATE_READY = 2
const WORDS_PER_SLOT = 5
const LOAD_MAX = 0.75
/** A set that may run full gives up soon; one that was made large enough never has to. */
const PROBES_MAX = 64

export class SharedIdSet {
  readonly buffer: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #slots: number
  readonly #probesMax: number

  constructor(buffer: SharedArrayBuffer, probesMax = PROBES_MAX) {
    this.buffer = buffer
    this.#probesMax = probesMax
    this.#words = new Int32Array(buffer)
    this.#slots = Math.floor(this.#words.length / WORDS_PER_SLOT)
  }

  /** 20 bytes a slot, three quarters of them usable. */
  static forIds(ids: number): SharedIdSet {
    const slots = Math.max(64, Math.ceil(ids / LOAD_MAX))
    return new SharedIdSet(new SharedArrayBuffer(slots * WORDS_PER_SLOT * 4))
  }

  /** Whether the id was claimed. Only of a set that is large enough for all ids it was asked to hold. */
  has(id: ChunkId): boolean {
    const words = wordsOf(id)
    for (let slot = this.#home(id), probe = 0; probe < this.#slots; probe += 1) {
      const at = slot * WORDS_PER_SLOT
      if (this.#words[at] === STATE_EMPTY) return false
      if (words.every((word, i) => this.#words[at + 1 + i] === word)) return true
      slot = slot + 1 === this.#slots ? 0 : slot + 1
    }
    return false
  }

  /** A set that never gives up: for questions whose wrong answer would lose data. Holds up to `ids`. */
  static exactFor(ids: number): SharedIdSet {
    return new SharedIdSet(SharedIdSet.forIds(ids).buffer, Number.POSITIVE_INFINITY)
  }

  /** Adds the id. true: it was not there, and the caller must store the chunk. false: some thread of this run has it. */
  claim(id: ChunkId): boolean {
    const words = wordsOf(id)
    let slot = this.#home(id)
    for (let probe = 0; probe < this.#probesMax; probe += 1) {
      const at = slot * WORDS_PER_SLOT
      const state = Atomics.compareExchange(this.#words, at, STATE_EMPTY, STATE_FILLING)
      if (state === STATE_EMPTY) {
        words.forEach((word, i) => (this.#words[at + 1 + i] = word))
        Atomics.store(this.#words, at, STATE_READY)
        return true
      }
      while (Atomics.load(this.#words, at) === STATE_FILLING) {
        // another thread is between claiming and filling this slot: a few instructions
      }
      if (words.every((word, i) => this.#words[at + 1 + i] === word)) return false
      slot = slot + 1 === this.#slots ? 0 : slot + 1
    }
    return true
  }

  #home(id: ChunkId): number {
    return Math.floor(
      (new DataView(id.buffer, id.byteOffset, id.byteLength).getUint32(16) / 0x1_0000_0000) * this.#slots,
    )
  }
}

function wordsOf(id: ChunkId): readonly number[] {
  const view = new DataView(id.buffer, id.byteOffset, id.byteLength)
  return [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)]
}
