/** Opens one connection of the client: the stream, the negotiation on it (with TLS where asked for), under one deadline. */
import { assert, type Clock } from '#base'
import { systemClock } from '#runtime'
import type { ByteChannel, ByteSink } from './byte-channel.ts'
import { ClientHandshake } from './client-handshake.ts'
import { connectChannel, type NbdAddress, tlsOf, upgradeToTls } from './connect.ts'
import { NbdConnection } from './connection.ts'
import { withDeadline } from './deadline.ts'
import { HandshakeReader } from './handshake-reader.ts'
import { BASE_ALLOCATION, violation } from './wire.ts'

export type OpenConnectionOptions = Readonly<{
  exportName: string
  /** Besides base:allocation, which is asked for unless `allocation` is false; such as `qemu:dirty-bitmap:NAME`. */
  metaContexts?: readonly string[]
  /** false for an instant of QEMU that allows access to dirty areas only: its allocation cannot be asked for (EINVAL). */
  allocation?: boolean
  clock?: Clock
  connectTimeoutMs?: number
  requestTimeoutMs?: number
  signal?: AbortSignal
}>

/** Gives the stream; `connected` settles when it is open or refused. */
export type ConnectStream = (sink: ByteSink) => Readonly<{ channel: ByteChannel; connected: Promise<void> }>

const CONNECT_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 60_000

/** @throws BlockError nbd_unreachable, nbd_refused, nbd_export_not_found, nbd_tls_failed, nbd_timed_out, … */
export async function openConnection(
  address: NbdAddress,
  options: OpenConnectionOptions,
  connect: ConnectStream = (sink) => connectChannel(address, sink),
): Promise<NbdConnection> {
  const reader = new HandshakeReader()
  const { channel, connected } = connect(reader)
  reader.channel = channel
  const attempt = new Attempt(channel, reader)
  const clock = options.clock ?? systemClock
  const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
  const what = 'Opening an NBD export'
  const stop = (error: Error): void => attempt.stop(error)
  try {
    return await withDeadline({ clock, timeoutMs, what, signal: options.signal }, stop, async () => {
      await connected
      return await attempt.negotiate(address, options, clock)
    })
  } catch (error) {
    stop(error instanceof Error ? error : violation('The negotiation failed.'))
    throw error
  }
}

/** The channel of the moment: the plain one, then that of TLS on top of it. */
class Attempt {
  readonly #plain: ByteChannel
  #channel: ByteChannel
  #reader: HandshakeReader

  constructor(channel: ByteChannel, reader: HandshakeReader) {
    this.#plain = channel
    this.#channel = channel
    this.#reader = reader
  }

  stop(error: Error): void {
    this.#channel.destroy(error)
    this.#plain.destroy(error)
  }

  async negotiate(address: NbdAddress, options: OpenConnectionOptions, clock: Clock): Promise<NbdConnection> {
    const handshake = new ClientHandshake(this.#channel, this.#reader)
    await handshake.greet()
    if (tlsOf(address) !== undefined) await this.#startTls(handshake, address)
    const allocation = options.allocation === false ? [] : [BASE_ALLOCATION]
    const contexts = [...new Set([...allocation, ...(options.metaContexts ?? [])])]
    const info = await handshake.enter(options.exportName, contexts)
    const requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS
    const connection = new NbdConnection(this.#channel, info, { clock, requestTimeoutMs })
    this.#channel.handOver(connection, this.#reader.leftover())
    return connection
  }

  async #startTls(handshake: ClientHandshake, address: NbdAddress): Promise<void> {
    assert('host' in address && address.tls !== undefined, 'Only TCP addresses have TLS')
    await handshake.startTls()
    this.#reader = new HandshakeReader()
    this.#channel = await upgradeToTls(this.#plain, address.tls, address.host, this.#reader)
    this.#reader.channel = this.#channel
    handshake.moveTo(this.#channel, this.#reader)
  }
}
