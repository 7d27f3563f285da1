/**
 * ServerConnection answers the requests of one negotiated client: many at once, in whatever order they finish.
 *
 * Bounds: REQUESTS_MAX requests and IN_FLIGHT_BYTES_MAX of payload (plus one request) are held until the client has taken
 * the reply; until then nothing more is read from it. A request outside the export, with unknown flags or of an unknown
 * type gets EINVAL; one whose framing is wrong ends the connection. An error of the device is the client's EIO (ENOSPC
 * when it is full), never the end of the server.
 */
import { isHoldfastError, messageOf, MIB } from '#base'
import { BlockError } from '../errors.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { ByteChannel } from './byte-channel.ts'
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
  REPLY,
  REPLY_FLAG_DONE,
  type Request,
  STRUCTURED_REPLY_BYTES,
  writeU64,
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
    const held = payloadBytes(request)
    this.#requests += 1
    this.#bytes += held
    const refusal = this.#refusalOf(request)
    const work = refusal === undefined ? this.#run(request, data) : this.#refuse(request, refusal)
    work.then(
      () => {
        if (data !== undefined) this.#pool.give(data)
        this.#done(held)
      },
      (error: unknown) => {
        // Only our own failure to answer comes here: what the device throws is answered in #run.
        this.#channel.destroy(error instanceof Error ? error : new Error(messageOf(error)))
      },
    )
    return true
  }

  ended(error: Error | undefined): void {
    this.#gone.abort()
    this.#onEnd(error)
  }

  #done(held: number): void {
    this.#requests -= 1
    this.#bytes -= held
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

  /** Validated by #refusalOf. Resolves when the client's kernel has the reply. */
  async #run(request: Request, data: Buffer | undefined): Promise<void> {
    try {
      if (request.type === CMD.READ) return await this.#read(request)
      if (request.type === CMD.BLOCK_STATUS) {
        const chunks = await statusChunks(this.#agreement, request, this.#gone.signal)
        return await this.#send(...chunks)
      }
      await this.#change(request, data)
    } catch (error) {
      return await this.#refuse(request, refusalFor(error))
    }
    await this.#send(this.#success(request))
  }

  async #read(request: Request): Promise<void> {
    if (request.length === 0) return await this.#send(this.#success(request))
    const payload = this.#pool.take(request.length)
    try {
      await this.#agreement.export.source.read(request.offset, payload, this.#gone.signal)
    } catch (error) {
      this.#pool.give(payload)
      throw error
    }
    await this.#send(this.#readHeader(request), payload)
    this.#pool.give(payload)
  }

  #readHeader(request: Request): Buffer {
    if (!this.#agreement.structured) return encodeSimpleReply(request, 0)
    const header = encodeChunkHeader(request, REPLY.OFFSET_DATA, REPLY_FLAG_DONE, 8 + request.length, 8)
    writeU64(header, request.offset, STRUCTURED_REPLY_BYTES)
    return header
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

  #refuse(request: Request, refusal: Refusal): Promise<void> {
    const { structured } = this.#agreement
    return this.#send(
      structured
        ? encodeErrorChunk(request, refusal.errno, refusal.message)
        : encodeSimpleReply(request, refusal.errno),
    )
  }

  /** Resolves when the last part was taken by the kernel, or the connection ended. */
  #send(...parts: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve) => {
      for (const [index, part] of parts.entries()) {
        if (index === parts.length - 1) this.#channel.send(part, resolve)
        else this.#channel.send(part)
      }
    })
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
