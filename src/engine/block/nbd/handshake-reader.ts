/**
 * HandshakeReader lets negotiation be written as one sequence: `await reader.take(20)`. It holds at most one option of the
 * largest size that is accepted; while it is full the channel does not read.
 */
import { assert, HoldfastError } from '#base'
import { streamError } from './stream-error.ts'
import type { ByteChannel, ByteSink } from './byte-channel.ts'
import { OPTION_BYTES_MAX, OPTION_REPLY_HEADER_BYTES } from './wire.ts'

const BUFFER_BYTES = OPTION_BYTES_MAX + OPTION_REPLY_HEADER_BYTES

type Waiter = Readonly<{ length: number; resolve: (bytes: Buffer) => void; reject: (error: Error) => void }>

export class HandshakeReader implements ByteSink {
  /** Set by whoever joins the reader to its channel. */
  channel: ByteChannel | undefined
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES)
  #start = 0
  #end = 0
  #waiter: Waiter | undefined
  #failure: Error | undefined

  /** The next `length` bytes, a copy. @throws BlockError nbd_disconnected, or the reason why the channel ended. */
  take(length: number): Promise<Buffer> {
    assert(length <= BUFFER_BYTES && this.#waiter === undefined, 'One bounded read at a time')
    return new Promise((resolve, reject) => {
      this.#waiter = { length, resolve, reject }
      this.#serve()
      this.channel?.resume()
    })
  }

  /** What was received beyond what was taken; the reader is done with. */
  leftover(): Buffer {
    const rest = Buffer.from(this.#buffer.subarray(this.#start, this.#end))
    this.#start = this.#end
    return rest
  }

  next(): Uint8Array {
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end)
      this.#end -= this.#start
      this.#start = 0
    }
    return this.#buffer.subarray(this.#end)
  }

  filled(count: number): void {
    this.#end += count
    this.#serve()
  }

  ended(error: Error | undefined): void {
    this.#failure = error instanceof HoldfastError ? error : streamError(error)
    this.#serve()
  }

  #serve(): void {
    const waiter = this.#waiter
    if (waiter === undefined) return
    if (this.#end - this.#start >= waiter.length) {
      this.#waiter = undefined
      this.#start += waiter.length
      waiter.resolve(Buffer.from(this.#buffer.subarray(this.#start - waiter.length, this.#start)))
    } else if (this.#failure !== undefined) {
      this.#waiter = undefined
      waiter.reject(this.#failure)
    }
  }
}
