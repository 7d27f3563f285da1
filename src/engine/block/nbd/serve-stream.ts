/** Serves one client on one stream, from the greeting to its end; whatever it sends, this never rejects. */
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import { type Clock, HoldfastError, messageOf } from '#base'
import { systemClock } from '#runtime'
import type { BufferPool } from './buffer-pool.ts'
import { ByteChannel } from './byte-channel.ts'
import { withDeadline } from './deadline.ts'
import { HandshakeReader } from './handshake-reader.ts'
import { ServerConnection } from './server-connection.ts'
import { type ExportLookup, ServerHandshake } from './server-handshake.ts'
import { acceptTls } from './server-tls.ts'
import { streamError } from './stream-error.ts'

export type ServeStreamOptions = Readonly<{
  /** Looked up for every client; undefined means that there is no such export. */
  exports: ExportLookup
  /** Names to tell clients that ask; without it they are refused. */
  list?: () => readonly string[]
  clock?: Clock
  handshakeTimeoutMs?: number
  /** Hears of every client that left: undefined when it left in order. */
  onClientEnd?: (error: Error | undefined) => void
}>

const HANDSHAKE_TIMEOUT_MS = 15_000

/** Resolves when the negotiation is over; the requests go on by themselves. */
export async function serveStream(
  stream: Duplex,
  options: ServeStreamOptions,
  shared: Readonly<{ tls: TlsOptions | undefined; pool: BufferPool }>,
): Promise<void> {
  const reader = new HandshakeReader()
  const channel = new ByteChannel(stream, reader).readByEvents()
  reader.channel = channel
  const { tls, pool } = shared
  const startTls = tls === undefined ? undefined : (plain: ByteChannel) => acceptTls(plain, tls)
  const handshake = new ServerHandshake(channel, reader, { exports: options.exports, list: options.list, startTls })
  const stop = (error: Error): void => {
    handshake.channel.destroy(error)
    stream.destroy()
  }
  const clock = options.clock ?? systemClock
  const timeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS
  let left = false
  const onEnd = (error: Error | undefined): void => {
    const isOurs = error === undefined || error instanceof HoldfastError
    if (!left) options.onClientEnd?.(isOurs ? error : streamError(error))
    left = true
  }
  try {
    const what = 'The negotiation with an NBD client'
    const agreement = await withDeadline({ clock, timeoutMs, what }, stop, () => handshake.run())
    if (agreement === undefined) {
      handshake.channel.closeGently()
      onEnd(undefined)
      return
    }
    const connection = new ServerConnection(handshake.channel, agreement, pool, onEnd)
    handshake.channel.handOver(connection.reader, handshake.leftover())
  } catch (error) {
    const reason = error instanceof Error ? error : new Error(messageOf(error))
    stop(reason)
    onEnd(reason)
  }
}
