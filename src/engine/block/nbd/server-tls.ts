/** The server's side of STARTTLS. */
import { readFile } from 'node:fs/promises'
import { createServer, type TlsOptions, type TLSSocket } from 'node:tls'
import { messageOf } from '#base'
import { BlockError } from '../errors.ts'
import { fileError } from '../file-errors.ts'
import { ByteChannel } from './byte-channel.ts'
import { HandshakeReader } from './handshake-reader.ts'

/** PEM files. With `clientCaFile` only clients that show a certificate of that authority are served. */
export type NbdServerTls = Readonly<{ certFile: string; keyFile: string; clientCaFile?: string }>

/** Read once at start, so that a bad path fails then and not at the first client. */
export async function loadServerTls(tls: NbdServerTls): Promise<TlsOptions> {
  try {
    const [cert, key] = await Promise.all([readFile(tls.certFile), readFile(tls.keyFile)])
    const client =
      tls.clientCaFile === undefined
        ? {}
        : { ca: await readFile(tls.clientCaFile), requestCert: true, rejectUnauthorized: true }
    return { cert, key, minVersion: 'TLSv1.2', ...client }
  } catch (error) {
    throw fileError('open', tls.certFile, error)
  }
}

/** Wraps the channel's stream. @throws BlockError nbd_tls_failed */
export function acceptTls(
  channel: ByteChannel,
  options: TlsOptions,
): Promise<{ channel: ByteChannel; reader: HandshakeReader }> {
  const socket = channel.detach()
  // A TLS server of its own per connection, never listening: it is the documented way to have certificates checked.
  const server = createServer(options)
  return new Promise((resolve, reject) => {
    const fail = (cause?: Error): void => {
      socket.destroy()
      const message = `TLS with an NBD client failed: ${messageOf(cause ?? 'the client went away')}`
      reject(new BlockError('nbd_tls_failed', message, { cause }))
    }
    server.once('secureConnection', (stream: TLSSocket) => {
      const reader = new HandshakeReader()
      const secured = new ByteChannel(stream, reader).readByEvents()
      reader.channel = secured
      resolve({ channel: secured, reader })
    })
    server.once('tlsClientError', fail)
    socket.once('close', () => fail())
    server.emit('connection', socket)
  })
}
