/**
 * serveNbd offers exports on a unix socket or on TCP (with TLS, except on loopback).
 *
 * Promises
 *   1. Whatever a client sends, the worst is the end of its own connection; `onClientEnd` hears why.
 *   2. At most CONNECTIONS_MAX clients are served, each with bounded memory (server-connection.ts); a client must be done
 *      negotiating within `handshakeTimeoutMs`.
 *   3. close() ends every connection and removes the socket file. It does not close the exports' devices.
 */
import { createServer, isIP, type AddressInfo, type Server, type Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { BaseError, type Clock, errnoOf, messageOf, MIB } from '#base'
import { systemClock } from '#runtime'
import { BlockError } from '../errors.ts'
import { BufferPool } from './buffer-pool.ts'
import { ByteChannel } from './byte-channel.ts'
import { withDeadline } from './deadline.ts'
import { HandshakeReader } from './handshake-reader.ts'
import { ServerConnection } from './server-connection.ts'
import { type ExportLookup, ServerHandshake } from './server-handshake.ts'
import { acceptTls, loadServerTls, type NbdServerTls } from './server-tls.ts'
import { listenOnSocketFile } from './socket-file.ts'

export type NbdListen =
  | Readonly<{ socketPath: string }>
  /** `port` 0 takes a free one; see `NbdServer.port`. */
  | Readonly<{ host: string; port: number; tls?: NbdServerTls | undefined }>

export type ServeNbdOptions = Readonly<{
  listen: NbdListen
  /** Looked up for every client; undefined means that there is no such export. */
  exports: ExportLookup
  /** Names to tell clients that ask; without it they are refused. */
  list?: () => readonly string[]
  clock?: Clock
  connectionsMax?: number
  handshakeTimeoutMs?: number
  /** Hears of every client that left: undefined when it left in order. */
  onClientEnd?: (error: Error | undefined) => void
}>

export type NbdServer = Readonly<{
  /** The TCP port, or undefined on a unix socket. */
  port: number | undefined
  /** Clients connected at present. */
  clients: () => number
  close: () => Promise<void>
}>

const CONNECTIONS_MAX = 64
const HANDSHAKE_TIMEOUT_MS = 15_000
const POOL_BYTES_MAX = 64 * MIB

/** @throws BlockError nbd_address_in_use, image_not_found (TLS files), or `invalid_argument` for TCP without TLS. */
export async function serveNbd(options: ServeNbdOptions): Promise<NbdServer> {
  const { listen } = options
  const pool = new BufferPool(POOL_BYTES_MAX)
  const sockets = new Set<Socket>()
  const tls = 'host' in listen ? await tlsFor(listen) : undefined
  const server = createServer((socket) => {
    if (sockets.size >= (options.connectionsMax ?? CONNECTIONS_MAX)) {
      socket.destroy()
      return
    }
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.once('close', () => sockets.delete(socket))
    // Never rejects: serveClient reports through onClientEnd.
    void serveClient(socket, options, tls, pool)
  })
  const removeSocket =
    'host' in listen ? await listenOnTcp(server, listen) : await listenOnSocketFile(server, listen.socketPath)
  // After listening an 'error' is a failed accept (out of descriptors): that client is lost, the server goes on.
  server.on('error', (error) => options.onClientEnd?.(error))
  const address: AddressInfo | string | null = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : undefined,
    clients: () => sockets.size,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of sockets) socket.destroy()
      await closed
      await removeSocket()
    },
  }
}

async function tlsFor(listen: Extract<NbdListen, { host: string }>): Promise<TlsOptions | undefined> {
  if (listen.tls !== undefined) return await loadServerTls(listen.tls)
  if ((isIP(listen.host) === 4 && listen.host.startsWith('127.')) || listen.host === '::1') return undefined
  throw new BaseError('invalid_argument', 'NBD over TCP without TLS is served on loopback addresses only.', {
    facts: { host: listen.host },
    hint: 'Give a certificate, or listen on 127.0.0.1 or a unix socket.',
  })
}

function listenOnTcp(server: Server, listen: Extract<NbdListen, { host: string }>): Promise<() => Promise<void>> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      const busy = errnoOf(cause) === 'EADDRINUSE'
      const message = `Cannot listen on ${listen.host}:${listen.port}: ${messageOf(cause)}`
      const facts = { host: listen.host, port: listen.port }
      reject(new BlockError(busy ? 'nbd_address_in_use' : 'block_io_error', message, { facts, retry: 'later', cause }))
    }
    server.once('error', fail)
    server.listen(listen.port, listen.host, () => {
      server.off('error', fail)
      resolve(() => Promise.resolve())
    })
  })
}

async function serveClient(
  socket: Socket,
  options: ServeNbdOptions,
  tls: TlsOptions | undefined,
  pool: BufferPool,
): Promise<void> {
  const reader = new HandshakeReader()
  const channel = new ByteChannel(socket, reader).readByEvents()
  reader.channel = channel
  const startTls = tls === undefined ? undefined : (plain: ByteChannel) => acceptTls(plain, tls)
  const handshake = new ServerHandshake(channel, reader, { exports: options.exports, list: options.list, startTls })
  const stop = (error: Error): void => {
    handshake.channel.destroy(error)
    socket.destroy()
  }
  const clock = options.clock ?? systemClock
  const timeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS
  let left = false
  const onEnd = (error: Error | undefined): void => {
    if (!left) options.onClientEnd?.(error)
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
