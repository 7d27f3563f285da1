/**
 * ReplyReader takes the server's replies apart as they arrive. Headers go through a small buffer; the payload of a read
 * goes from the socket straight to its place in the caller's buffer. It never holds more than STATUS_BYTES_MAX.
 *
 * States: `header` (waiting for a whole reply header), `body` (a chunk whose payload is small and taken as a whole),
 * `data` (payload on its way into the request's buffer).
 */
import { assert } from '#base'
import type { PendingRequest } from './pending-request.ts'
import {
  CMD,
  REPLY,
  REPLY_ERROR_BIT,
  REPLY_FLAG_DONE,
  readU64,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STATUS_EXTENTS_MAX,
  STRING_BYTES_MAX,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
  violation,
} from './wire.ts'

export interface ReplyReceiver {
  readonly structured: boolean
  /** The request of a cookie. @throws BlockError nbd_protocol_violation when there is none. */
  requestOf(cookieHigh: number, cookieLow: number): PendingRequest
  /** The reply is whole. `errno` is that of a simple reply; chunks report theirs on the request. */
  replied(cookieLow: number, request: PendingRequest, errno: number): void
}

const SCRATCH_BYTES = 32 * 1024
const STATUS_BYTES_MAX = 4 + 8 * STATUS_EXTENTS_MAX
/** Payload bytes of a data or hole chunk that belong to the header: the offset, and the length of a hole. */
const DATA_PREFIX_BYTES = 8
const HOLE_BODY_BYTES = 12
/** Chunks without bytes in one reply: one per meta context, and errors. */
const IDLE_CHUNKS_MAX = 1024
/** Discarded bytes of an abandoned read land here. */
const DISCARD = new Uint8Array(64 * 1024)

type Chunk = Readonly<{ request: PendingRequest; cookieLow: number; type: number; done: boolean; length: number }>

export class ReplyReader {
  readonly #receiver: ReplyReceiver
  #scratch = Buffer.allocUnsafe(SCRATCH_BYTES)
  #start = 0
  #end = 0
  #chunk: Chunk | undefined
  /** Where the rest of the payload goes, while it is on its way. */
  #target: Uint8Array | undefined
  #targetLeft = 0

  constructor(receiver: ReplyReceiver) {
    this.#receiver = receiver
  }

  /** The request whose buffer is being filled just now. */
  get filling(): PendingRequest | undefined {
    return this.#target === undefined ? undefined : this.#chunk?.request
  }

  next(): Uint8Array {
    if (this.#target !== undefined) return this.#target
    if (this.#start === this.#end) this.#start = this.#end = 0
    const needed = this.#neededBytes()
    if (this.#start + needed > this.#scratch.length) this.#makeRoom(needed)
    return this.#scratch.subarray(this.#end)
  }

  filled(count: number): void {
    if (this.#target === undefined) this.#end += count
    else this.#advanceTarget(count)
    while (this.#target === undefined && this.#end - this.#start >= this.#neededBytes()) this.#step()
  }

  #neededBytes(): number {
    const chunk = this.#chunk
    if (chunk === undefined) {
      if (this.#end - this.#start < 4) return 4
      return this.#scratch.readUInt32BE(this.#start) === STRUCTURED_REPLY_MAGIC
        ? STRUCTURED_REPLY_BYTES
        : SIMPLE_REPLY_BYTES
    }
    return chunk.type === REPLY.OFFSET_DATA ? DATA_PREFIX_BYTES : chunk.length
  }

  #makeRoom(needed: number): void {
    const size = Math.max(SCRATCH_BYTES, needed)
    const moved = size === this.#scratch.length ? this.#scratch : Buffer.allocUnsafe(size)
    this.#scratch.copy(moved, 0, this.#start, this.#end)
    this.#scratch = moved
    this.#end -= this.#start
    this.#start = 0
  }

  #step(): void {
    const at = this.#start
    this.#start += this.#neededBytes()
    if (this.#chunk !== undefined) return this.#body(this.#chunk, this.#scratch.subarray(at, this.#start))
    const magic = this.#scratch.readUInt32BE(at)
    if (magic === STRUCTURED_REPLY_MAGIC && this.#receiver.structured) this.#structured(at)
    else if (magic === SIMPLE_REPLY_MAGIC) this.#simple(at)
    else throw violation('The server sent a reply that does not begin like one.', { magic })
  }

  #simple(at: number): void {
    const errno = this.#scratch.readUInt32BE(at + 4)
    const cookieLow = this.#scratch.readUInt32BE(at + 12)
    const request = this.#receiver.requestOf(this.#scratch.readUInt32BE(at + 8), cookieLow)
    const { type, length } = request.input
    if (this.#receiver.structured && (type === CMD.READ || type === CMD.BLOCK_STATUS)) {
      throw violation('The server sent a simple reply where a structured one was agreed.')
    }
    if (type === CMD.READ && errno === 0) {
      request.cover?.add(0, length)
      this.#aim({ request, cookieLow, type: REPLY.OFFSET_DATA, done: true, length }, 0, length)
    } else {
      this.#receiver.replied(cookieLow, request, errno)
    }
  }

  #structured(at: number): void {
    const flags = this.#scratch.readUInt16BE(at + 4)
    const type = this.#scratch.readUInt16BE(at + 6)
    const cookieLow = this.#scratch.readUInt32BE(at + 12)
    const length = this.#scratch.readUInt32BE(at + 16)
    const request = this.#receiver.requestOf(this.#scratch.readUInt32BE(at + 8), cookieLow)
    const done = (flags & REPLY_FLAG_DONE) !== 0
    checkChunk(request, type, length, done)
    this.#chunk = { request, cookieLow, type, done, length }
  }

  /** A chunk's payload, or for data the offset in front of it. */
  #body(chunk: Chunk, body: Buffer): void {
    const { request } = chunk
    this.#chunk = undefined
    if (chunk.type === REPLY.OFFSET_DATA) {
      const at = readU64(body, 0) - request.input.offset
      request.cover?.add(at, chunk.length - DATA_PREFIX_BYTES)
      return this.#aim(chunk, at, chunk.length - DATA_PREFIX_BYTES)
    }
    if (chunk.type === REPLY.OFFSET_HOLE) {
      const at = readU64(body, 0) - request.input.offset
      const length = body.readUInt32BE(8)
      request.cover?.add(at, length)
      if (!request.abandoned) request.input.data?.fill(0, at, at + length)
    } else if (chunk.type === REPLY.BLOCK_STATUS) readStatus(request, body)
    else if ((chunk.type & REPLY_ERROR_BIT) !== 0) readError(request, chunk.type, body)
    this.#finish(chunk)
  }

  #aim(chunk: Chunk, at: number, length: number): void {
    this.#chunk = chunk
    this.#targetLeft = length
    const { request } = chunk
    const into = request.abandoned ? undefined : request.input.data
    assert(into === undefined || at + length <= into.length, 'RangeCover keeps data inside the buffer')
    const buffered = Math.min(this.#end - this.#start, length)
    if (into !== undefined) this.#scratch.copy(into, at, this.#start, this.#start + buffered)
    this.#start += buffered
    this.#target = into === undefined ? DISCARD.subarray(0, length) : into.subarray(at, at + length)
    this.#advanceTarget(buffered)
  }

  #advanceTarget(count: number): void {
    const target = this.#target
    const chunk = this.#chunk
    assert(target !== undefined && chunk !== undefined, 'Payload only arrives for a chunk')
    this.#targetLeft -= count
    if (this.#targetLeft === 0) {
      this.#target = undefined
      this.#chunk = undefined
      this.#finish(chunk)
    } else if (target.buffer === DISCARD.buffer) this.#target = DISCARD.subarray(0, this.#targetLeft)
    else this.#target = target.subarray(count)
  }

  #finish(chunk: Chunk): void {
    if (chunk.done) this.#receiver.replied(chunk.cookieLow, chunk.request, 0)
  }
}

function checkChunk(request: PendingRequest, type: number, length: number, done: boolean): void {
  const facts = { type, length, command: request.input.type }
  const isRead = request.input.type === CMD.READ
  if (type === REPLY.OFFSET_DATA) {
    if (!isRead || length <= DATA_PREFIX_BYTES || length > DATA_PREFIX_BYTES + request.input.length) {
      throw violation('The server sent a data chunk that cannot answer the request.', facts)
    }
    return
  }
  if (type === REPLY.OFFSET_HOLE) {
    if (!isRead || length !== HOLE_BODY_BYTES) throw violation('The server sent a hole that cannot be one.', facts)
    return
  }
  request.idleChunks += 1
  if (request.idleChunks > IDLE_CHUNKS_MAX) throw violation('The server answers one request without end.', facts)
  if (type === REPLY.NONE) {
    if (length !== 0 || !done) throw violation('The server sent an empty chunk that ends nothing.', facts)
  } else if (type === REPLY.BLOCK_STATUS) {
    const whole = length >= 12 && (length - 4) % 8 === 0 && length <= STATUS_BYTES_MAX
    if (request.input.type !== CMD.BLOCK_STATUS || !whole) {
      throw violation('The server sent a block status that cannot be one.', facts)
    }
  } else if ((type & REPLY_ERROR_BIT) !== 0) {
    if (length < 6 || length > 6 + STRING_BYTES_MAX + 8) throw violation('The server sent an odd error.', facts)
  } else throw violation('The server sent a chunk of an unknown type.', facts)
}

function readError(request: PendingRequest, type: number, body: Buffer): void {
  const errno = body.readUInt32BE(0)
  const messageBytes = body.readUInt16BE(4)
  const expected = 6 + messageBytes + (type === REPLY.ERROR_OFFSET ? 8 : 0)
  const known = type === REPLY.ERROR || type === REPLY.ERROR_OFFSET
  if (errno === 0 || messageBytes > body.length - 6 || (known && expected !== body.length)) {
    throw violation('The server sent an error that contradicts itself.', { errno, messageBytes })
  }
  request.serverError ??= { errno, message: body.subarray(6, 6 + messageBytes).toString('utf8') }
}

function readStatus(request: PendingRequest, body: Buffer): void {
  const contextId = body.readUInt32BE(0)
  if (request.statuses.some((chunk) => chunk.contextId === contextId)) {
    throw violation('The server reports one meta context twice.', { contextId })
  }
  const lengths: number[] = []
  const flags: number[] = []
  let total = 0
  for (let at = 4; at < body.length; at += 8) {
    const length = body.readUInt32BE(at)
    if (length === 0 || total >= request.input.length) {
      throw violation('The server reports extents that are empty or were not asked for.', { length })
    }
    total += length
    lengths.push(length)
    flags.push(body.readUInt32BE(at + 4))
  }
  request.statuses.push({ contextId, lengths, flags })
}
