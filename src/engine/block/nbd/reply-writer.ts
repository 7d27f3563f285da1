/**
 * ReplyWriter sends a connection's replies. Small ones are gathered in one buffer and leave in one write; the payload of a
 * large one leaves from where it lies.
 *
 * Promises
 *   1. A reply's header and payload lie next to each other on the wire; replies keep the order in which they were given.
 *   2. While the peer's kernel has not taken one gathered buffer, the next is filled: at most one lies here unfilled.
 *   3. Every reply is told as taken exactly once, when the kernel has it or the connection ended.
 */
import type { BufferPool } from './buffer-pool.ts'
import type { ByteChannel } from './byte-channel.ts'

/** Room for sixteen small replies of 4 KiB. */
const GATHER_BYTES = 128 * 1024
/** Up to here copying a payload is cheaper than a piece of its own in the system call. */
const COPIED_BYTES_MAX = 16 * 1024

/** Writes a header at `at` of `into`. */
export type HeaderWriter = (into: Buffer, at: number) => void

/** `count` replies that held `bytes` of payload were taken. */
export type TakenListener = (count: number, bytes: number) => void

export class ReplyWriter {
  readonly #channel: ByteChannel
  readonly #pool: BufferPool
  readonly #onTaken: TakenListener
  #gathered: Buffer | undefined
  #filledBytes = 0
  #replies = 0
  #heldBytes = 0
  /** Gathered buffers that the kernel has not taken. */
  #underway = 0
  #flushing = false

  constructor(channel: ByteChannel, pool: BufferPool, onTaken: TakenListener) {
    this.#channel = channel
    this.#pool = pool
    this.#onTaken = onTaken
  }

  /** A reply without payload, or whose payload is in it. `heldBytes` are told again when it was taken. */
  sendWhole(reply: readonly Uint8Array[], heldBytes: number): void {
    const length = totalLength(reply)
    if (length > COPIED_BYTES_MAX) return this.#sendParts(reply, () => this.#onTaken(1, heldBytes))
    const into = this.#room(length)
    for (const part of reply) this.#append(into, part)
    this.#note(heldBytes)
  }

  /** A reply of a header and `length` bytes of payload in `parts`, which are free again once `release` was called. */
  sendPayload(
    headerBytes: number,
    writeHeader: HeaderWriter,
    payload: Readonly<{ parts: readonly Uint8Array[]; length: number; release: () => void }>,
  ): void {
    const { parts, length, release } = payload
    const isCopied = length <= COPIED_BYTES_MAX
    const into = this.#room(headerBytes + (isCopied ? length : 0))
    writeHeader(into, this.#filledBytes)
    this.#filledBytes += headerBytes
    if (isCopied) {
      for (const part of parts) this.#append(into, part)
      release()
      return this.#note(length)
    }
    this.#sendParts(parts, () => {
      release()
      this.#onTaken(1, length)
    })
  }

  #append(into: Buffer, part: Uint8Array): void {
    into.set(part, this.#filledBytes)
    this.#filledBytes += part.length
  }

  #note(heldBytes: number): void {
    this.#replies += 1
    this.#heldBytes += heldBytes
    if (this.#flushing || this.#underway > 0) return
    this.#flushing = true
    // All replies of this turn leave together.
    process.nextTick(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  /** What was gathered goes first: the header of these parts is its end. */
  #sendParts(parts: readonly Uint8Array[], onTaken: () => void): void {
    this.#flush()
    for (const [index, part] of parts.entries()) {
      if (index === parts.length - 1) this.#channel.send(part, onTaken)
      else this.#channel.send(part)
    }
  }

  /** The buffer to gather in, with room for `length` bytes behind what is filled. */
  #room(length: number): Buffer {
    if (this.#gathered !== undefined && this.#filledBytes + length > this.#gathered.length) this.#flush()
    this.#gathered ??= this.#pool.take(GATHER_BYTES)
    return this.#gathered
  }

  #flush(): void {
    const buffer = this.#gathered
    if (buffer === undefined) return
    const [replies, heldBytes] = [this.#replies, this.#heldBytes]
    const filled = buffer.subarray(0, this.#filledBytes)
    this.#gathered = undefined
    this.#filledBytes = this.#replies = this.#heldBytes = 0
    this.#underway += 1
    this.#channel.send(filled, () => {
      this.#underway -= 1
      this.#pool.give(buffer)
      if (replies > 0) this.#onTaken(replies, heldBytes)
      if (this.#underway === 0) this.#flush()
    })
  }
}

function totalLength(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0)
}
