/**
 * NbdConnection is one negotiated connection of the client: many requests in flight, each matched to its reply.
 *
 *   open ──> dead        the peer broke the protocol, went away, or let a request pass its deadline
 *     └────> closed      close() was called
 *
 * Dead is a state with a reason: every request in flight and every later one fails with it. Nothing is retried here.
 * In flight at most REQUESTS_MAX requests with IN_FLIGHT_BYTES_MAX of payload; the others wait in order.
 */
import { assert, BaseError, type Clock, HoldfastError, MIB } from '#base'
import { BlockError } from '../errors.ts'
import type { ByteChannel, ByteSink } from './byte-channel.ts'
import type { NbdExportInfo } from './client-handshake.ts'
import { timeoutError, withDeadline } from './deadline.ts'
import { PendingRequest, type RequestInput } from './pending-request.ts'
import { ReplyReader } from './reply-reader.ts'
import { streamError } from './stream-error.ts'
import { CMD, encodeRequest, ERRNO, violation } from './wire.ts'

const REQUESTS_MAX = 64
const IN_FLIGHT_BYTES_MAX = 64 * MIB
const LEAVE_TIMEOUT_MS = 1000
/** A mark of our own in the upper half of every cookie: a reply to somebody else's request cannot be taken for ours. */
const COOKIE_HIGH = 0x68_66_62_64

export class NbdConnection implements ByteSink {
  readonly info: NbdExportInfo
  readonly #channel: ByteChannel
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #reader: ReplyReader
  readonly #inFlight = new Map<number, PendingRequest>()
  #queue: PendingRequest[] = []
  #inFlightBytes = 0
  #cookie = 0
  #end: Error | undefined
  readonly #watch = new AbortController()
  #watching = false

  constructor(
    channel: ByteChannel,
    info: NbdExportInfo,
    options: Readonly<{ clock: Clock; requestTimeoutMs: number }>,
  ) {
    this.info = info
    this.#channel = channel
    this.#clock = options.clock
    this.#timeoutMs = options.requestTimeoutMs
    this.#reader = new ReplyReader({
      structured: info.structured,
      requestOf: (high, low) => this.#requestOf(high, low),
      replied: (low, request, errno) => this.#replied(low, request, errno),
    })
  }

  /** Requests that were accepted and are not answered yet; the client gives the next one to the least busy connection. */
  get load(): number {
    return this.#inFlight.size + this.#queue.length
  }

  /** Why the connection is dead or closed; undefined while it is open. */
  get failure(): Error | undefined {
    return this.#end
  }

  /** Sends a request and waits for its whole reply. @throws BlockError, or `cancelled`. */
  request(input: RequestInput): Promise<PendingRequest> {
    const request = new PendingRequest(input)
    if (this.#end !== undefined) request.fail(this.#end)
    else if (input.signal?.aborted === true) request.fail(cancelled())
    else {
      this.#queue.push(request)
      this.#watchSignal(request)
      this.#pump()
    }
    return request.settled.then(() => request)
  }

  /** Takes leave of the server. Requests in flight fail; callers have awaited theirs before. */
  async close(): Promise<void> {
    if (this.#end !== undefined) return
    const isIdle = this.load === 0
    const closed = new BlockError('nbd_disconnected', 'The NBD connection was closed.')
    this.#die(closed)
    // With nothing in flight an honest peer's kernel takes the leave at once; else it is left without one.
    const take = (): Promise<void> =>
      new Promise((done) => this.#channel.send(this.#encode(CMD.DISC, 0, 0, 0, 0), done))
    const limits = { clock: this.#clock, timeoutMs: LEAVE_TIMEOUT_MS, what: 'The leave' }
    if (isIdle) await withDeadline(limits, (error) => this.#channel.destroy(error), take)
    this.#channel.destroy(closed)
  }

  next(): Uint8Array {
    return this.#reader.next()
  }

  filled(count: number): void {
    this.#reader.filled(count)
  }

  ended(error: Error | undefined): void {
    this.#die(error instanceof HoldfastError ? error : streamError(error))
  }

  #pump(): void {
    while (this.#inFlight.size < REQUESTS_MAX) {
      const request = this.#queue[0]
      if (request === undefined) return
      const bytes = request.input.data?.length ?? 0
      if (this.#inFlight.size > 0 && this.#inFlightBytes + bytes > IN_FLIGHT_BYTES_MAX) return
      this.#queue.shift()
      this.#send(request, bytes)
    }
  }

  #send(request: PendingRequest, bytes: number): void {
    const { type, flags, offset, length, data } = request.input
    do this.#cookie = (this.#cookie + 1) >>> 0
    while (this.#inFlight.has(this.#cookie))
    this.#inFlight.set(this.#cookie, request)
    this.#inFlightBytes += bytes
    request.startedMs = this.#clock.monotonicMs()
    this.#channel.send(this.#encode(type, flags, this.#cookie, offset, length))
    if (type === CMD.WRITE && data !== undefined) this.#channel.send(data)
    this.#watchDeadlines()
  }

  #encode(type: number, flags: number, cookieLow: number, offset: number, length: number): Buffer {
    return encodeRequest({ type, flags, cookieHigh: COOKIE_HIGH, cookieLow, offset, length })
  }

  #requestOf(cookieHigh: number, cookieLow: number): PendingRequest {
    const request = cookieHigh === COOKIE_HIGH ? this.#inFlight.get(cookieLow) : undefined
    if (request === undefined) throw violation('The server answered a request that was not made.', { cookieLow })
    return request
  }

  #replied(cookieLow: number, request: PendingRequest, errno: number): void {
    if (errno !== 0) request.serverError ??= { errno, message: '' }
    const failed = request.serverError
    if (failed === undefined && request.cover !== undefined && !request.cover.complete) {
      throw violation('The server ended a reply before it sent all bytes.', { length: request.input.length })
    }
    assert(this.#inFlight.delete(cookieLow), 'A request is answered once')
    this.#inFlightBytes -= request.input.data?.length ?? 0
    if (request.abandoned) request.fail(cancelled())
    else if (failed !== undefined) request.fail(serverError(request, failed))
    else request.succeed()
    this.#pump()
  }

  /** An aborted request fails at once, unless its bytes are just arriving or leaving: then when that is over. */
  #watchSignal(request: PendingRequest): void {
    const signal = request.input.signal
    if (signal === undefined) return
    const onAbort = (): void => {
      const queued = this.#queue.indexOf(request)
      if (queued >= 0) this.#queue.splice(queued, 1)
      else request.abandoned = true
      const holdsBuffer = request.input.type === CMD.WRITE || this.#reader.filling === request
      if (queued >= 0 || !holdsBuffer) request.fail(cancelled())
    }
    signal.addEventListener('abort', onAbort, { once: true })
    const forget = (): void => signal.removeEventListener('abort', onAbort)
    request.settled.then(forget, forget)
  }

  /** One sleep for all requests: the oldest one is the first to be late. */
  #watchDeadlines(): void {
    if (this.#watching || this.#end !== undefined) return
    const oldest = this.#inFlight.values().next().value
    if (oldest === undefined) return
    this.#watching = true
    const leftMs = Math.max(1, oldest.startedMs + this.#timeoutMs - this.#clock.monotonicMs())
    this.#clock.sleep(leftMs, this.#watch.signal).then(
      () => {
        this.#watching = false
        const late = this.#inFlight.values().next().value
        const lateMs = late === undefined ? 0 : this.#clock.monotonicMs() - late.startedMs
        if (lateMs >= this.#timeoutMs)
          this.#channel.destroy(timeoutError('A request to the NBD server', this.#timeoutMs))
        else this.#watchDeadlines()
      },
      () => {
        // The connection ended, and its requests with it.
      },
    )
  }

  #die(reason: Error): void {
    if (this.#end !== undefined) return
    this.#end = reason
    this.#watch.abort()
    const lost = [...this.#inFlight.values(), ...this.#queue]
    this.#inFlight.clear()
    this.#queue = []
    for (const request of lost) request.fail(request.abandoned ? cancelled() : reason)
  }
}

function cancelled(): BaseError {
  return new BaseError('cancelled', 'The request to the NBD server was cancelled.')
}

function serverError(request: PendingRequest, failed: Readonly<{ errno: number; message: string }>): BlockError {
  const { type, offset, length } = request.input
  const facts = { command: type, offset, length, errno: failed.errno, said: failed.message }
  if (failed.errno === ERRNO.ENOSPC && type !== CMD.READ) {
    return new BlockError('target_full', 'The NBD server has no space left.', { facts, retry: 'later' })
  }
  if (failed.errno === ERRNO.EPERM)
    return new BlockError('nbd_refused', 'The NBD server forbids the request.', { facts })
  const retry = failed.errno === ERRNO.ESHUTDOWN ? 'later' : 'never'
  const said = failed.message === '' ? `error ${failed.errno}` : failed.message
  const hint = 'The disk behind the NBD server cannot be read or written there: see the log of that server.'
  return new BlockError('nbd_io_error', `The NBD server failed a request: ${said}`, { facts, retry, hint })
}
