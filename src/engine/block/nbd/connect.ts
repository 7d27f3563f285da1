/**
 * Opens the stream to an NBD server: a unix socket or TCP. A plain socket reads straight into the sink's buffers
 * (`onread` of node:net); one that is to become TLS reads by events until TLS takes it over.
 */
import { readFile } from 'node:fs/promises'
import { connect as connectSocket, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { errnoOf, KIB, messageOf } from '#base'
import { BlockError } from '../errors.ts'
import { fileError } from '../file-errors.ts'
import { ByteChannel, type ByteSink } from './byte-channel.ts'

/** The certificate authorities that are trusted (PEM file); serverName defaults to the host. Client certificate optional. */
export type NbdTls = Readonly<{ caFile: string; serverName?: string; certFile?: string; keyFile?: string }>

/** Where a server answers: a unix socket, or TCP, with TLS where `tls` is given and then never without. */
export type NbdAddress =
  | Readonly<{ socketPath: string }>
  | Readonly<{ host: string; port: number; tls?: NbdTls | undefined }>

/** Catches what arrives while the sink has no room. */
const SPILL_BYTES = 16 * KIB

/** The address as a person writes it; for messages. */
export function describeAddress(address: NbdAddress): string {
  return 'socketPath' in address ? address.socketPath : `${address.host}:${address.port}`
}

export function tlsOf(address: NbdAddress): NbdTls | undefined {
  return 'socketPath' in address ? undefined : address.tls
}

/** Begins to connect; `connected` settles when the stream is open or refused. The channel may be destroyed meanwhile. */
export function connectChannel(
  address: NbdAddress,
  sink: ByteSink,
): Readonly<{ channel: ByteChannel; connected: Promise<void> }> {
  const spill = new Uint8Array(SPILL_BYTES)
  let channel: ByteChannel | undefined
  const onread = {
    buffer: () => channel?.place() ?? spill,
    callback: (count: number, into: Uint8Array) => {
      channel?.arrived(into, count)
      return channel?.place() !== undefined
    },
  }
  const target = 'socketPath' in address ? { path: address.socketPath } : { host: address.host, port: address.port }
  const direct = tlsOf(address) === undefined
  const socket = connectSocket(direct ? { ...target, onread } : target)
  socket.setNoDelay(true)
  const connected = connectedOf(socket, address)
  channel = new ByteChannel(socket, sink)
  if (!direct) channel.readByEvents()
  return { channel, connected }
}

function connectedOf(socket: Socket, address: NbdAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error | undefined): void => {
      const where = describeAddress(address)
      reject(
        new BlockError('nbd_unreachable', `No NBD server answers at ${where}: ${messageOf(cause ?? 'closed')}`, {
          facts: { address: where, errno: errnoOf(cause) },
          retry: 'later',
          hint: 'Start the NBD server, or correct the address; this user must be allowed to connect to it.',
          cause,
        }),
      )
    }
    socket.once('connect', resolve)
    socket.once('error', fail)
    socket.once('close', () => fail(undefined))
  })
}

/** Wraps a channel's stream in TLS; nothing but TLS is spoken on it afterwards. @throws BlockError nbd_tls_failed */
export async function upgradeToTls(
  channel: ByteChannel,
  tls: NbdTls,
  host: string,
  sink: ByteSink,
): Promise<ByteChannel> {
  const files = await readTlsFiles(tls)
  const socket = channel.detach()
  const name = tls.serverName ?? host
  const stream = connectTls({
    socket,
    ...files,
    minVersion: 'TLSv1.2',
    host: name,
    ...(isIP(name) === 0 ? { servername: name } : {}),
  })
  await new Promise<void>((resolve, reject) => {
    const fail = (cause: Error | undefined): void => {
      const message = `TLS with the NBD server ${name} failed: ${messageOf(cause ?? 'the server closed the connection')}`
      stream.destroy()
      reject(new BlockError('nbd_tls_failed', message, { facts: { serverName: name, errno: errnoOf(cause) }, cause }))
    }
    stream.once('secureConnect', resolve)
    stream.once('error', fail)
    stream.once('close', () => fail(undefined))
  })
  return new ByteChannel(stream, sink).readByEvents()
}

async function readTlsFiles(tls: NbdTls): Promise<{ ca: Buffer; cert?: Buffer; key?: Buffer }> {
  const read = async (path: string): Promise<Buffer> => {
    try {
      return await readFile(path)
    } catch (error) {
      throw fileError('open', path, error)
    }
  }
  return {
    ca: await read(tls.caFile),
    ...(tls.certFile === undefined ? {} : { cert: await read(tls.certFile) }),
    ...(tls.keyFile === undefined ? {} : { key: await read(tls.keyFile) }),
  }
}
