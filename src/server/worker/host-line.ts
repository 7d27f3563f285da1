/**
 * The worker's side of the line to a server elsewhere (hosts/host-protocol.ts): dials, stays, and dials again, later each time,
 * for as long as the worker lives. Tasks go on while the line is down; the server attaches to them when it is up again.
 */
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import { type Clock, isHoldfastError, messageOf, PROGRAM_VERSION } from '#base'
import { dial, type Logger, type RpcAddress, RpcClient } from '#runtime'
import type { Home } from '../home.ts'
import { endOf, newKeyPair } from '../hosts/host-certificates.ts'
import {
  BEAT_MS,
  CHANNEL_PROTOCOL,
  type ChannelRequest,
  DOOR_NAME,
  greetChannel,
  isChannelRequest,
  LINE_PROTOCOL,
} from '../hosts/host-protocol.ts'
import { type Joined, readJoined, writeJoined } from './joined.ts'

export type LineParts = Readonly<{
  home: Home
  clock: Clock
  logger: Logger
  /** What the server is told of this host, asked for at each beat. */
  facts: () => Readonly<Record<string, unknown>>
  /** A certificate that ends within so long is made anew. */
  renewBeforeMs?: number
}>

const DAY_MS = 24 * 3_600_000
const RENEW_BEFORE_MS = 30 * DAY_MS
const RENEW_LOOK_MS = 3_600_000
const DIAL_DELAY_MS = 500
const DIAL_DELAY_MS_MAX = 15_000

class Renewed extends Error {}

export class HostLine {
  readonly #parts: LineParts
  readonly #over = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #told = ''

  private constructor(parts: LineParts) {
    this.#parts = parts
  }

  static begin(parts: LineParts): HostLine {
    const line = new HostLine(parts)
    line.#running = line.#stay()
    return line
  }

  async leave(): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  async #stay(): Promise<void> {
    const { clock, logger } = this.#parts
    let delayMs = DIAL_DELAY_MS
    while (!this.#over.signal.aborted) {
      const begunMs = clock.monotonicMs()
      try {
        await this.#once()
      } catch (error) {
        if (error instanceof Renewed) continue
        const why = messageOf(error)
        if (why !== this.#told && !this.#over.signal.aborted)
          logger.warn({ error: why }, 'not connected with the server')
        this.#told = why
      }
      if (clock.monotonicMs() - begunMs > DIAL_DELAY_MS_MAX) delayMs = DIAL_DELAY_MS
      await clock.sleep(delayMs, this.#over.signal).catch(() => {
        // We are to leave: the loop sees it.
      })
      delayMs = Math.min(delayMs * 2, DIAL_DELAY_MS_MAX)
    }
  }

  /** One line, until it ends; by what ended it. */
  async #once(): Promise<never> {
    const { home, logger } = this.#parts
    const joined = await readJoined(home)
    if (joined === undefined) throw new Error('this home has joined no server')
    const client = await RpcClient.open(addressOf(joined, LINE_PROTOCOL), 'worker', PROGRAM_VERSION)
    const over = new AbortController()
    const leave = (): void => client.close()
    this.#over.signal.addEventListener('abort', leave, { once: true })
    try {
      const onEvent = (event: unknown): void => {
        if (isChannelRequest(event)) void this.#channel(joined, event)
      }
      const attended = client.call('host.attend', { facts: this.#parts.facts() }, { onEvent })
      logger.info({ host: joined.host, server: `${joined.address}:${joined.port}` }, 'connected with the server')
      this.#told = ''
      const kept = Promise.all([this.#beat(client, over.signal), this.#renew(client, joined, over.signal)])
      await Promise.race([attended, kept])
      throw new Error('the server ended the line')
    } finally {
      over.abort()
      this.#over.signal.removeEventListener('abort', leave)
      client.close()
    }
  }

  async #beat(client: RpcClient, over: AbortSignal): Promise<void> {
    const { clock, facts } = this.#parts
    for (;;) {
      await clock.sleep(BEAT_MS, over)
      await client.call('host.beat', { facts: facts() }, { signal: AbortSignal.timeout(2 * BEAT_MS) })
    }
  }

  /** @throws Renewed when there is a new certificate, with which to dial anew */
  async #renew(client: RpcClient, joined: Joined, over: AbortSignal): Promise<void> {
    const { clock, home, logger, renewBeforeMs = RENEW_BEFORE_MS } = this.#parts
    for (;;) {
      if (endOf(joined.certificate) - clock.nowMs() < renewBeforeMs) {
        try {
          const { publicKey, privateKey } = newKeyPair()
          const { certificate } = (await client.call('host.renew', { publicKey })) as { certificate: string }
          await writeJoined(home, { ...joined, certificate, privateKey })
          logger.info({ endsMs: endOf(certificate) }, 'the certificate was renewed')
        } catch (error) {
          if (isHoldfastError(error, 'rpc_closed')) throw error
          logger.warn({ error: messageOf(error) }, 'the certificate was not renewed; it is tried again')
          await clock.sleep(RENEW_LOOK_MS, over)
          continue
        }
        throw new Renewed()
      }
      await clock.sleep(RENEW_LOOK_MS, over)
    }
  }

  /** A connection of the server's to one of our sockets. */
  async #channel(joined: Joined, { open, to }: ChannelRequest): Promise<void> {
    const { home, logger } = this.#parts
    try {
      const far = await dial(addressOf(joined, CHANNEL_PROTOCOL))
      far.setKeepAlive(true, 15_000)
      far.setNoDelay(true)
      greetChannel(far, open)
      splice(far, connect(join(home.folder, 'run', `${to}.sock`)))
    } catch (error) {
      logger.warn({ to, error: messageOf(error) }, 'a connection of the server was not made')
    }
  }
}

function addressOf({ address, port, authority, certificate, privateKey }: Joined, protocol: string): RpcAddress {
  const own = { certificate, privateKey }
  return { kind: 'named-tls', dial: { host: address, port, authority, own, serverName: DOOR_NAME, protocol } }
}

/** What one end says the other one hears; the end of one is the end of both. */
function splice(left: Socket, right: Socket): void {
  const ended = (): void => {
    // Whoever speaks through it hears of the end by itself.
  }
  pipeline(left, right, ended)
  pipeline(right, left, ended)
}
