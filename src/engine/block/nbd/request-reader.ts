/**
 * RequestReader takes the client's requests apart as they arrive. The payload of a write goes straight into the buffer
 * that is written from. While the receiver has no room it takes nothing, so that the client waits in its own kernel.
 */
import type { BufferPool } from './buffer-pool.ts'
import type { ByteSink } from './byte-channel.ts'
import { CMD, decodeRequest, PAYLOAD_BYTES_MAX, REQUEST_BYTES, type Request, violation } from './wire.ts'

export interface RequestReceiver {
  /** Whether one more request may begin. */
  hasRoom(): boolean
  /** A request is whole; `data` is the payload of a write, to be given back to the pool. Returns false when no further request is to be read. */
  requested(request: Request, data: Buffer | undefined): boolean
  ended(error: Error | undefined): void
}

/** Room for many headers, so that a burst of small requests costs one read. */
const SCRATCH_BYTES = 16 * 1024

export class RequestReader implements ByteSink {
  readonly #receiver: RequestReceiver
  readonly #pool: BufferPool
  readonly #scratch = Buffer.allocUnsafe(SCRATCH_BYTES)
  #start = 0
  #end = 0
  #write: { request: Request; data: Buffer; filledBytes: number } | undefined
  #stopped = false

  constructor(receiver: RequestReceiver, pool: BufferPool) {
    this.#pool = pool
    this.#receiver = receiver
  }

  next(): Uint8Array {
    // After the last request nothing that the client says matters; it is thrown away.
    if (this.#stopped) return this.#scratch
    if (this.#write !== undefined) return this.#write.data.subarray(this.#write.filledBytes)
    this.#parse()
    if (this.#write !== undefined || this.#stopped) return this.next()
    if (this.#end - this.#start >= REQUEST_BYTES) return this.#scratch.subarray(0, 0)
    if (this.#start > 0) {
      this.#scratch.copyWithin(0, this.#start, this.#end)
      this.#end -= this.#start
      this.#start = 0
    }
    return this.#scratch.subarray(this.#end)
  }

  filled(count: number): void {
    if (this.#stopped) return
    if (this.#write === undefined) this.#end += count
    else this.#filledWrite(count)
    this.#parse()
  }

  ended(error: Error | undefined): void {
    this.#receiver.ended(error)
  }

  #parse(): void {
    while (this.#write === undefined && !this.#stopped) {
      if (this.#end - this.#start < REQUEST_BYTES || !this.#receiver.hasRoom()) return
      const request = decodeRequest(this.#scratch.subarray(this.#start, this.#start + REQUEST_BYTES))
      this.#start += REQUEST_BYTES
      if (request.type === CMD.WRITE && request.length > 0) this.#beginWrite(request)
      else this.#deliver(request, undefined)
    }
  }

  #beginWrite(request: Request): void {
    if (request.length > PAYLOAD_BYTES_MAX) {
      throw violation('The client wants to write more at once than was agreed.', { length: request.length })
    }
    const data = this.#pool.take(request.length)
    const buffered = Math.min(this.#end - this.#start, request.length)
    this.#scratch.copy(data, 0, this.#start, this.#start + buffered)
    this.#start += buffered
    this.#write = { request, data, filledBytes: 0 }
    this.#filledWrite(buffered)
  }

  #filledWrite(count: number): void {
    const write = this.#write
    if (write === undefined) return
    write.filledBytes += count
    if (write.filledBytes < write.data.length) return
    this.#write = undefined
    this.#deliver(write.request, write.data)
  }

  #deliver(request: Request, data: Buffer | undefined): void {
    if (!this.#receiver.requested(request, data)) this.#stopped = true
  }
}
