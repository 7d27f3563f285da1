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
import { BaseError, errnoOf, messageOf, MIB } from '#base'
import { BlockError } from '../errors.ts'
import { BufferPool } from './buffer-pool.ts'
import { serveStream, type ServeStreamOptions } from './serve-stream.ts'
import { loadServerTls, type NbdServerTls } from './server-tls.ts'
import { listenOnSocketFile } from './socket-file.ts'

/** Where to listen: a unix socket of mode 0600, or TCP (plain on loopback addresses only). */
export type NbdListen =
  | Readonly<{ socketPath: string }>
  /** `port` 0 takes a free one; see `NbdServer.port`. */
  | Readonly<{ host: string; port: number; tls?: NbdServerTls | undefined }>

/** `connectionsMax` is 64 unless told otherwise; a client beyond it is dropped. */
export type ServeNbdOptions = ServeStreamOptions & Readonly<{ listen: NbdListen; connectionsMax?: number }>

/** A running server. */
export type NbdServer = Readonly<{
  /** The TCP port, or undefined on a unix socket. */
  port: number | undefined
  /** Clients connected at present. */
  clients: () => number
  close: () => Promise<void>
}>

const CONNECTIONS_MAX = 64
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
    // Never rejects: serveStream reports through onClientEnd.
    void serveStream(socket, options, { tls, pool })
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
