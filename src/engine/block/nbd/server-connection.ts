/**
 * ServerConnection answers the requests of one negotiated client: many at once, in whatever order they finish.
 *
 * Bounds: REQUESTS_MAX requests and IN_FLIGHT_BYTES_MAX of payload (plus one request) are held until the client has taken
 * the reply; until then nothing more is read from it. A request outside the export, with unknown flags or of an unknown
 * type gets EINVAL; one whose framing is wrong ends the connection. An error of the device is the client's EIO (ENOSPC
 * when it is full), never the end of the server.
 */
import { isHoldfastError, messageOf, MIB } from '#base'
import type { Loan } from '../device.ts'
import { BlockError } from '../errors.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { ByteChannel } from './byte-channel.ts'
import { ReplyWriter } from './reply-writer.ts'
import { RequestReader, type RequestReceiver } from './request-reader.ts'
import type { Agreement } from './server-handshake.ts'
import { statusChunks } from './status-reply.ts'
import {
  CMD,
  CMD_FLAG,
  encodeChunkHeader,
  encodeErrorChunk,
  encodeSimpleReply,
  ERRNO,
  PAYLOAD_BYTES_MAX,
  READ_CHUNK_HEADER_BYTES,
  REPLY,
  REPLY_FLAG_DONE,
  type Request,
  SIMPLE_REPLY_BYTES,
  writeReadChunkHeader,
  writeSimpleReply,
} from './wire.ts'

const REQUESTS_MAX = 128
const IN_FLIGHT_BYTES_MAX = 32 * MIB

/** Flags that each command may carry (doc/proto.md, "Command flags"). */
const FLAGS_ALLOWED: Readonly<Record<number, number>> = {
  [CMD.READ]: CMD_FLAG.DF | CMD_FLAG.FUA,
  [CMD.WRITE]: CMD_FLAG.FUA,
  [CMD.FLUSH]: CMD_FLAG.FUA,
  [CMD.TRIM]: CMD_FLAG.FUA,
  [CMD.CACHE]: CMD_FLAG.FUA,
  [CMD.WRITE_ZEROES]: CMD_FLAG.FUA | CMD_FLAG.NO_HOLE,
  [CMD.BLOCK_STATUS]: CMD_FLAG.REQ_ONE | CMD_FLAG.FUA,
}

type Refusal = Readonly<{ errno: number; message: string }>

export class ServerConnection implements RequestReceiver {
  readonly reader: RequestReader
  readonly #channel: ByteChannel
  readonly #agreement: Agreement
  readonly #pool: BufferPool
  readonly #writer: ReplyWriter
  readonly #gone = new AbortController()
  readonly #onEnd: (error: Error | undefined) => void
  #requests = 0
  #bytes = 0
  #leaving = false

  constructor(channel: ByteChannel, agreement: Agreement, pool: BufferPool, onEnd: (error: Error | undefined) => void) {
    this.#channel = channel
    this.#agreement = agreement
    this.#pool = pool
    this.#onEnd = onEnd
    this.reader = new RequestReader(this, pool)
    this.#writer = new ReplyWriter(channel, pool, this.#taken)
  }

  hasRoom(): boolean {
    return this.#requests < REQUESTS_MAX && this.#bytes < IN_FLIGHT_BYTES_MAX
  }

  requested(request: Request, data: Buffer | undefined): boolean {
    if (request.type === CMD.DISC) {
      this.#leaving = true
      this.#leaveWhenIdle()
      return false
    }
    this.#requests += 1
    this.#bytes += payloadBytes(request)
    const refusal = this.#refusalOf(request)
    if (refusal !== undefined) this.#refuse(request, refusal)
    else if (request.type === CMD.READ && request.length > 0) this.#read(request)
    else void this.#run(request, data)
    if (refusal !== undefined && data !== undefined) this.#pool.give(data)
    return true
  }

  ended(error: Error | undefined): void {
    this.#gone.abort()
    this.#onEnd(error)
  }

  readonly #taken = (count: number, bytes: number): void => {
    this.#requests -= count
    this.#bytes -= bytes
    if (this.#leaving) this.#leaveWhenIdle()
    else this.#channel.resume()
  }

  #leaveWhenIdle(): void {
    if (this.#requests > 0) return
    this.#channel.closeGently()
    this.ended(undefined)
  }

  #refusalOf(request: Request): Refusal | undefined {
    const allowed = FLAGS_ALLOWED[request.type]
    if (allowed === undefined) return { errno: ERRNO.EINVAL, message: 'Unknown command.' }
    if ((request.flags & ~allowed) !== 0) return { errno: ERRNO.EINVAL, message: 'Unknown command flag.' }
    const { source, target } = this.#agreement.export
    const writes = [CMD.WRITE, CMD.TRIM, CMD.WRITE_ZEROES].some((type) => type === request.type)
    if (writes && target === undefined) return { errno: ERRNO.EPERM, message: 'The export is read-only.' }
    if (request.type === CMD.FLUSH) return undefined
    if (request.offset + request.length > source.sizeBytes) {
      const errno = writes ? ERRNO.ENOSPC : ERRNO.EINVAL
      return { errno, message: 'The request ends after the end of the disk.' }
    }
    if (request.type === CMD.READ && request.length > PAYLOAD_BYTES_MAX) {
      return { errno: ERRNO.EOVERFLOW, message: 'More than the largest block size was asked for.' }
    }
    const noStatus = this.#agreement.contexts.size === 0 || request.length === 0
    if (request.type === CMD.BLOCK_STATUS && noStatus) {
      return { errno: ERRNO.EINVAL, message: 'No meta context was agreed, or an empty range was asked for.' }
    }
    return undefined
  }

  /** Validated by #refusalOf. What is not a read: its reply is short. */
  async #run(request: Request, data: Buffer | undefined): Promise<void> {
    try {
      if (request.type === CMD.BLOCK_STATUS) {
        const chunks = await statusChunks(this.#agreement, request, this.#gone.signal)
        return this.#writer.sendWhole(chunks, 0)
      }
      await this.#change(request, data)
      this.#writer.sendWhole([this.#success(request)], payloadBytes(request))
    } catch (error) {
      this.#refuse(request, refusalFor(error))
    } finally {
      if (data !== undefined) this.#pool.give(data)
    }
  }

  /** Bytes that the source has in memory are answered in the same turn; the others when they are there. */
  #read(request: Request): void {
    let loan: Loan | Promise<Loan>
    try {
      const { source } = this.#agreement.export
      loan = source.lend?.(request.offset, request.length, this.#gone.signal) ?? this.#copyOf(request)
    } catch (error) {
      return this.#refuse(request, refusalFor(error))
    }
    if (!(loan instanceof Promise)) return this.#sendRead(request, loan)
    loan.then(
      (ready) => this.#sendRead(request, ready),
      (error: unknown) => this.#refuse(request, refusalFor(error)),
    )
  }

  /** Of a source that lends nothing: a copy of ours. */
  async #copyOf(request: Request): Promise<Loan> {
    const payload = this.#pool.take(request.length)
    const release = (): void => this.#pool.give(payload)
    try {
      await this.#agreement.export.source.read(request.offset, payload, this.#gone.signal)
    } catch (error) {
      release()
      throw error
    }
    return { parts: [payload], release }
  }

  #sendRead(request: Request, loan: Loan): void {
    const payload = { parts: loan.parts, length: request.length, release: loan.release }
    if (this.#agreement.structured) {
      this.#writer.sendPayload(READ_CHUNK_HEADER_BYTES, (into, at) => writeReadChunkHeader(into, at, request), payload)
    } else {
      this.#writer.sendPayload(SIMPLE_REPLY_BYTES, (into, at) => writeSimpleReply(into, at, request, 0), payload)
    }
  }

  async #change(request: Request, data: Buffer | undefined): Promise<void> {
    const { target } = this.#agreement.export
    if (target === undefined) return
    if (request.type === CMD.WRITE && data !== undefined) await target.write(request.offset, data)
    // Bytes that were trimmed may read as anything; zeros are the safest anything.
    if (request.type === CMD.WRITE_ZEROES || request.type === CMD.TRIM) {
      await target.writeZeroes(request.offset, request.length)
    }
    const durable = (request.flags & CMD_FLAG.FUA) !== 0 && request.type !== CMD.CACHE
    if (durable || request.type === CMD.FLUSH) await target.flush()
  }

  #success(request: Request): Buffer {
    const chunked = this.#agreement.structured && request.type === CMD.READ
    return chunked ? encodeChunkHeader(request, REPLY.NONE, REPLY_FLAG_DONE, 0) : encodeSimpleReply(request, 0)
  }

  #refuse(request: Request, refusal: Refusal): void {
    const { structured } = this.#agreement
    const reply = structured
      ? encodeErrorChunk(request, refusal.errno, refusal.message)
      : encodeSimpleReply(request, refusal.errno)
    this.#writer.sendWhole([reply], payloadBytes(request))
  }
}

function payloadBytes(request: Request): number {
  return request.type === CMD.READ || request.type === CMD.WRITE ? Math.min(request.length, PAYLOAD_BYTES_MAX) : 0
}

function refusalFor(error: unknown): Refusal {
  const full = error instanceof BlockError && error.code === 'target_full'
  if (isHoldfastError(error, 'cancelled')) return { errno: ERRNO.ESHUTDOWN, message: 'The connection ended.' }
  return { errno: full ? ERRNO.ENOSPC : ERRNO.EIO, message: messageOf(error) }
}
