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
const PROBES_MAX = 64

export class SharedIdSet {
  readonly buffer: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #slots: number

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.#words = new Int32Array(buffer)
    this.#slots = Math.floor(this.#words.length / WORDS_PER_SLOT)
  }

  /** 20 bytes a slot, three quarters of them usable. */
  static forIds(ids: number): SharedIdSet {
    const slots = Math.max(64, Math.ceil(ids / LOAD_MAX))
    return new SharedIdSet(new SharedArrayBuffer(slots * WORDS_PER_SLOT * 4))
  }

  /** Adds the id. true: it was not there, and the caller must store the chunk. false: some thread of this run has it. */
  claim(id: ChunkId): boolean {
    const view = new DataView(id.buffer, id.byteOffset, id.byteLength)
    const words = [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)] as const
    let slot = Math.floor((view.getUint32(16) / 0x1_0000_0000) * this.#slots)
    for (let probe = 0; probe < PROBES_MAX; probe += 1) {
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
}
