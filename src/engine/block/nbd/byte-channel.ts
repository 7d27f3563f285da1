/**
 * ByteChannel joins a stream (socket, TLS, in-memory pair) to one receiver that says where the next bytes go, so that a
 * payload lands in its final buffer.
 *
 * Promises
 *   1. Bytes reach the sink in order, each once; none is delivered after `destroy` returned.
 *   2. While the sink has no room the stream is not read: a fast peer waits in its own kernel, not in our memory.
 *   3. The sink hears of the end exactly once, with the reason; an error that the sink throws ends the channel.
 *
 * A socket of `connectChannel` (connect.ts) reads straight into the sink's buffers; other streams cost one copy.
 */
import type { Duplex } from 'node:stream'
import { messageOf } from '#base'
import { BlockError } from '../errors.ts'

export interface ByteSink {
  /** Where the next bytes go; empty while there is no room, until `ByteChannel.resume`. The same until `filled`. */
  next(): Uint8Array
  /** `count` bytes were put at the start of what next() gave last. @throws BlockError when the peer broke the protocol. */
  filled(count: number): void
  /** No more bytes come: undefined when the peer ended the stream in order. */
  ended(error: Error | undefined): void
}

const NOTHING = new Uint8Array(0)

export class ByteChannel {
  readonly stream: Duplex
  #sink: ByteSink
  /** Received, but not yet wanted by the sink. */
  #pending: Uint8Array = NOTHING
  /** The sink's buffer that the socket reads into at present, if it is one. */
  #given: Uint8Array | undefined
  #ended = false
  #reason: Error | undefined
  #endsAfterPending = false
  #corked = false

  constructor(stream: Duplex, sink: ByteSink) {
    this.stream = stream
    this.#sink = sink
    stream.on('end', this.#onEnd)
    stream.on('error', (error: Error) => this.destroy(error))
    stream.on('close', this.#onClose)
  }

  /** Reads by 'data' events. Not for sockets of `connectChannel`, which read by themselves. */
  readByEvents(): this {
    this.stream.on('data', this.#onData)
    return this
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Hands the bytes to the stream without copying; they must not change until `onSent`, which also hears of failure. */
  send(bytes: Uint8Array, onSent?: () => void): void {
    if (this.#ended) {
      onSent?.()
      return
    }
    this.#cork()
    this.stream.write(bytes, onSent)
  }

  /** From now on `sink` receives, beginning with `leftover`, which the former one had taken beyond its need. */
  handOver(sink: ByteSink, leftover: Uint8Array): void {
    this.#sink = sink
    this.#given = undefined
    // The peer may have gone between the last byte of the negotiation and now; the new sink has to hear of it.
    if (this.#ended) return sink.ended(this.#reason)
    this.#pending = Buffer.concat([leftover, this.#pending])
    this.resume()
  }

  /** The sink has room again. */
  resume(): void {
    if (this.#ended) return
    // Also with nothing pending the sink is asked: it may itself hold bytes that it had no room to act on.
    if (this.#pending.length > 0) this.#deliver(this.#pending)
    else if (this.#given === undefined) this.#guard(() => this.#sink.next())
    if (this.#ended || this.#pending.length > 0) return
    if (this.#endsAfterPending) this.#finish(undefined)
    else this.stream.resume()
  }

  /** Stops listening and gives the stream back, paused, for TLS to take it over. @throws when plain bytes are waiting. */
  detach(): Duplex {
    this.stream.off('data', this.#onData)
    this.stream.off('end', this.#onEnd)
    this.stream.off('close', this.#onClose)
    this.stream.pause()
    this.#ended = true
    if (this.#pending.length > 0) {
      throw new BlockError('nbd_protocol_violation', 'The peer sent plain bytes where TLS has to begin.')
    }
    return this.stream
  }

  /** Ends the channel at once; the sink hears `error`. Harmless when it has ended. */
  destroy(error: Error | undefined): void {
    this.stream.destroy()
    this.#finish(error)
  }

  /** Sends what was handed in, then closes; the sink hears nothing more. `destroy` cuts it short. */
  closeGently(): void {
    this.#ended = true
    this.stream.resume()
    this.stream.end(() => this.stream.destroy())
  }

  /** Where the socket may put the next bytes by itself; undefined while there is no room. */
  place(): Uint8Array | undefined {
    this.#given = undefined
    if (this.#ended || this.#pending.length > 0) return undefined
    const into = this.#guard(() => this.#sink.next())
    if (into.length > 0) this.#given = into
    return this.#given
  }

  /** The socket put `count` bytes into `into`, which place() gave or which is its own. */
  arrived(into: Uint8Array, count: number): void {
    if (this.#ended) return
    if (into === this.#given) this.#guard(() => this.#filled(count))
    else this.#deliver(Buffer.concat([this.#pending, into.subarray(0, count)]))
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#deliver(this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]))
    if (this.#pending.length > 0) this.stream.pause()
  }

  readonly #onEnd = (): void => {
    if (this.#pending.length > 0) this.#endsAfterPending = true
    else this.#finish(undefined)
  }

  readonly #onClose = (): void => this.#finish(undefined)

  /** Everything that is sent in one turn leaves in one system call. */
  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.stream.cork()
    process.nextTick(() => {
      this.#corked = false
      this.stream.uncork()
    })
  }

  #deliver(bytes: Uint8Array): void {
    let rest = bytes
    this.#pending = NOTHING
    while (rest.length > 0 && !this.#ended) {
      const into = this.#guard(() => this.#sink.next())
      if (into.length === 0) break
      const count = Math.min(into.length, rest.length)
      into.set(count === rest.length ? rest : rest.subarray(0, count))
      rest = rest.subarray(count)
      this.#guard(() => this.#filled(count))
    }
    if (!this.#ended) this.#pending = rest
  }

  #filled(count: number): Uint8Array {
    this.#sink.filled(count)
    return NOTHING
  }

  #guard(act: () => Uint8Array): Uint8Array {
    try {
      return act()
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(messageOf(error)))
      return NOTHING
    }
  }

  #finish(error: Error | undefined): void {
    if (this.#ended) return
    this.#ended = true
    this.#reason = error
    this.#pending = NOTHING
    this.#sink.ended(error)
  }
}
