/**
 * The lines of hosts elsewhere that are up, and the channels through them. In memory: after a restart the hosts dial again.
 *
 * A line is one RPC call that lasts; when it ends, its channels end, so that whoever waits for an answer hears of it at once.
 * A host that dials anew takes the place of its older line: after a break of the network the older one may look alive.
 */
import type { Socket } from 'node:net'
import { type Clock, messageOf, type Random, toHex } from '#base'
import type { Logger, RpcAddress } from '#runtime'
import { ServerError } from '../errors.ts'
import type { HostKey } from './host-key.ts'
import { CHANNEL_MS_MAX, type ChannelRequest, type ChannelTarget, SILENT_MS_MAX } from './host-protocol.ts'

type Facts = Readonly<Record<string, unknown>>
type Line = {
  readonly key: HostKey
  readonly send: (request: ChannelRequest) => void
  readonly over: AbortController
  readonly channels: Set<Socket>
  facts: Facts
  seenMs: number
  beatMonotonicMs: number
}
type Wanted = Readonly<{ line: Line; take: (socket: Socket) => void }>

export type LineState = Readonly<{ seenMs: number; facts: Facts }>

export type LinesParts = Readonly<{
  clock: Clock
  random: Random
  logger: Logger
  /** A line is up. What it raises is told in the log and ends nothing. */
  onUp: (key: HostKey) => Promise<void>
}>

const CHANNEL_ID_BYTES = 16

export function hostAway(key: HostKey, cause?: unknown): ServerError {
  return new ServerError('host_away', `The host ${key} is not connected.`, {
    facts: { host: key },
    retry: 'later',
    hint: 'Start "holdfast worker" there; it dials this server by itself. What waits for it goes on then.',
    cause,
  })
}

export class HostLines {
  readonly #parts: LinesParts
  readonly #lines = new Map<HostKey, Line>()
  readonly #wanted = new Map<string, Wanted>()

  constructor(parts: LinesParts) {
    this.#parts = parts
  }

  /** Undefined: not connected. */
  state(key: HostKey): LineState | undefined {
    const line = this.#lines.get(key)
    return line === undefined ? undefined : { seenMs: line.seenMs, facts: line.facts }
  }

  /** The host's line, until it ends. @param ended aborts when the host's connection ended */
  async attend(key: HostKey, facts: Facts, send: Line['send'], ended: AbortSignal): Promise<void> {
    const { clock, logger } = this.#parts
    this.end(key, 'it dialled anew')
    const over = new AbortController()
    const beat = { seenMs: clock.nowMs(), beatMonotonicMs: clock.monotonicMs() }
    const line: Line = { key, send, over, channels: new Set(), facts, ...beat }
    this.#lines.set(key, line)
    logger.info({ host: key }, 'a host is connected')
    void this.#parts.onUp(key).catch((error: unknown) => {
      logger.warn({ host: key, error: messageOf(error) }, 'a host was not told everything; it is when it dials again')
    })
    const signal = AbortSignal.any([ended, over.signal])
    try {
      while (!signal.aborted && clock.monotonicMs() - line.beatMonotonicMs < SILENT_MS_MAX)
        await clock.sleep(SILENT_MS_MAX / 4, signal).catch(() => {
          // The line is over: the loop sees it.
        })
    } finally {
      if (this.#lines.get(key) === line) this.#lines.delete(key)
      over.abort()
      for (const channel of line.channels) channel.destroy()
      logger.info({ host: key }, 'a host is not connected any more')
    }
  }

  beat(key: HostKey, facts: Facts): void {
    const line = this.#lines.get(key)
    if (line === undefined) throw hostAway(key)
    line.facts = facts
    line.seenMs = this.#parts.clock.nowMs()
    line.beatMonotonicMs = this.#parts.clock.monotonicMs()
  }

  /** A way to one of the host's sockets. Dialling it raises `host_away` when the host is not connected. */
  address(key: HostKey, to: ChannelTarget): RpcAddress {
    return { kind: 'through', name: `the host ${key}`, open: () => this.open(key, to) }
  }

  /** @throws ServerError `host_away` */
  async open(key: HostKey, to: ChannelTarget): Promise<Socket> {
    const line = this.#lines.get(key)
    if (line === undefined) throw hostAway(key)
    const id = toHex(this.#parts.random.bytes(CHANNEL_ID_BYTES))
    const came = Promise.withResolvers<Socket>()
    this.#wanted.set(id, { line, take: came.resolve })
    const timer = setTimeout(() => came.reject(hostAway(key)), CHANNEL_MS_MAX)
    const left = (): void => came.reject(hostAway(key))
    line.over.signal.addEventListener('abort', left, { once: true })
    try {
      line.send({ open: id, to })
      return await came.promise
    } finally {
      clearTimeout(timer)
      line.over.signal.removeEventListener('abort', left)
      this.#wanted.delete(id)
    }
  }

  /** A channel that a host dialled. False: nobody asked for it; the caller ends it. */
  takeChannel(key: HostKey, id: string, socket: Socket): boolean {
    const wanted = this.#wanted.get(id)
    if (wanted === undefined || wanted.line.key !== key) return false
    const { channels } = wanted.line
    channels.add(socket)
    socket.on('close', () => channels.delete(socket))
    wanted.take(socket)
    return true
  }

  end(key: HostKey, why: string): void {
    const line = this.#lines.get(key)
    if (line === undefined) return
    this.#lines.delete(key)
    line.over.abort(new ServerError('host_away', `The line of ${key} was ended: ${why}.`, { retry: 'later' }))
  }

  endAll(): void {
    for (const key of Array.from(this.#lines.keys())) this.end(key, 'the server ends')
  }
}
