/**
 * RangeCover knows which bytes of one read have arrived, whatever the order of the chunks. A byte that arrives twice, or
 * outside the read, is the server's fault (doc/proto.md, NBD_REPLY_TYPE_OFFSET_DATA).
 */
import { violation } from './wire.ts'

/** Separate pieces at one time. In-order servers need one; more than this is an attack on our memory. */
const PIECES_MAX = 4096

export class RangeCover {
  readonly #length: number
  /** Starts and ends of what has arrived, ascending, joined where they touch. */
  readonly #starts: number[] = []
  readonly #ends: number[] = []

  constructor(length: number) {
    this.#length = length
  }

  /** @throws BlockError nbd_protocol_violation */
  add(at: number, length: number): void {
    const end = at + length
    if (length <= 0 || at < 0 || end > this.#length) {
      throw violation('The server sent bytes that were not asked for.', { at, length, asked: this.#length })
    }
    const index = this.#indexAfter(at)
    const previousEnd = this.#ends[index - 1] ?? -1
    const nextStart = this.#starts[index] ?? Number.POSITIVE_INFINITY
    if (previousEnd > at || nextStart < end) throw violation('The server sent the same bytes twice.', { at, length })
    this.#insert(index, at, end, previousEnd === at, nextStart === end)
  }

  get complete(): boolean {
    return this.#length === 0 || (this.#starts.length === 1 && this.#starts[0] === 0 && this.#ends[0] === this.#length)
  }

  #insert(index: number, at: number, end: number, joinsPrevious: boolean, joinsNext: boolean): void {
    if (joinsPrevious && joinsNext) {
      this.#ends.splice(index - 1, 1)
      this.#starts.splice(index, 1)
    } else if (joinsPrevious) this.#ends[index - 1] = end
    else if (joinsNext) this.#starts[index] = at
    else {
      this.#starts.splice(index, 0, at)
      this.#ends.splice(index, 0, end)
    }
    if (this.#starts.length > PIECES_MAX) throw violation('The server shreds a reply into too many pieces.')
  }

  /** Index of the first piece that starts after `at`. */
  #indexAfter(at: number): number {
    let low = 0
    let high = this.#starts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#starts[middle] ?? 0) <= at) low = middle + 1
      else high = middle
    }
    return low
  }
}
