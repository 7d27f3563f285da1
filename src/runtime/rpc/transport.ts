/**
 * What the RPC runs over: a unix socket on one host (mode 0600: the file system says who may speak), mutual TLS between
 * hosts (both sides show a certificate of the same authority; there is no other way in), or whatever somebody else opened.
 */
import { chmodSync, rmSync } from 'node:fs'
import { connect as connectUnix, createServer, type Server, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions, createServer as createTlsServer } from 'node:tls'
import { messageOf } from '#base'
import { RpcError } from './errors.ts'

export type TlsIdentity = Readonly<{ certificate: string; privateKey: string; authority: string }>

/** Who dials where, over TLS. */
export type TlsDial = Readonly<{
  host: string
  port: number
  /** PEM: whom the other side's certificate must be of. */
  authority: string
  /** What we show; undefined: nothing. */
  own?: Readonly<{ certificate: string; privateKey: string }>
  /** The name that the other side's certificate must have, whatever the address. */
  serverName: string
  /** ALPN: what is to be spoken. */
  protocol: string
}>

export type RpcAddress =
  | Readonly<{ kind: 'unix'; path: string }>
  | Readonly<{ kind: 'tls'; host: string; port: number; identity: TlsIdentity }>
  | Readonly<{ kind: 'named-tls'; dial: TlsDial }>
  /** To dial only. */
  | Readonly<{ kind: 'through'; name: string; open: () => Promise<Socket> }>

export type ListenAddress = Extract<RpcAddress, { kind: 'unix' | 'tls' }>

/** sun_path of unix(7) has 108 bytes, the last one is zero; longer names are cut by the kernel or refused. */
export const UNIX_PATH_BYTES_MAX = 107
const CONNECT_TIMEOUT_MS = 10_000

function nameOf(address: RpcAddress): string {
  if (address.kind === 'unix') return address.path
  if (address.kind === 'through') return address.name
  const { host, port } = address.kind === 'tls' ? address : address.dial
  return `${host}:${port}`
}

function unreachable(address: RpcAddress, cause: unknown): RpcError {
  return new RpcError('rpc_unreachable', `Nothing answers at ${nameOf(address)}: ${messageOf(cause)}.`, {
    facts: { address: nameOf(address) },
    retry: 'later',
    cause,
  })
}

function tlsOptions(identity: TlsIdentity) {
  return {
    cert: identity.certificate,
    key: identity.privateKey,
    ca: identity.authority,
    minVersion: 'TLSv1.3' as const,
  }
}

function namedOptions({ host, port, authority, own, serverName, protocol }: TlsDial): ConnectionOptions {
  return {
    host,
    port,
    ca: authority,
    ...(own !== undefined && { cert: own.certificate, key: own.privateKey }),
    servername: serverName,
    ALPNProtocols: [protocol],
    minVersion: 'TLSv1.3',
  }
}

function begin(address: Exclude<RpcAddress, { kind: 'through' }>): Socket {
  if (address.kind === 'unix') return connectUnix(address.path)
  if (address.kind === 'named-tls') return connectTls(namedOptions(address.dial))
  return connectTls({ host: address.host, port: address.port, ...tlsOptions(address.identity) })
}

/** An open connection. @throws RpcError `rpc_unreachable`; what opening a `through` raises */
export function dial(address: RpcAddress): Promise<Socket> {
  if (address.kind === 'through') return address.open()
  return new Promise((resolve, reject) => {
    const socket = begin(address)
    const fail = (cause: unknown): void => {
      socket.destroy()
      reject(unreachable(address, cause))
    }
    const late = (): void => fail(new Error(`no answer within ${CONNECT_TIMEOUT_MS} ms`))
    socket.setTimeout(CONNECT_TIMEOUT_MS, late)
    socket.once('error', fail)
    socket.once(address.kind === 'unix' ? 'connect' : 'secureConnect', () => {
      socket.setTimeout(0)
      socket.off('timeout', late)
      socket.off('error', fail)
      resolve(socket)
    })
  })
}

/**
 * Listens; gives the server and the address that it really has. A unix socket's leftover file is removed first: whoever
 * listens holds the lock that says that nobody else does.
 */
export function listen(
  address: ListenAddress,
  onConnection: (socket: Socket) => void,
): Promise<Readonly<{ server: Server; address: ListenAddress }>> {
  return new Promise((resolve, reject) => {
    const server =
      address.kind === 'unix'
        ? createServer(onConnection)
        : createTlsServer(
            { ...tlsOptions(address.identity), requestCert: true, rejectUnauthorized: true },
            onConnection,
          )
    server.once('error', (cause) => reject(unreachable(address, cause)))
    const listening = (): void => {
      if (address.kind === 'unix') {
        chmodSync(address.path, 0o600)
        return resolve({ server, address })
      }
      const bound = server.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : address.port
      resolve({ server, address: { ...address, port } })
    }
    if (address.kind === 'tls') return void server.listen(address.port, address.host, listening)
    if (Buffer.byteLength(address.path) > UNIX_PATH_BYTES_MAX) {
      return reject(unreachable(address, new Error(`a socket's path has at most ${UNIX_PATH_BYTES_MAX} bytes`)))
    }
    rmSync(address.path, { force: true })
    const mask = process.umask(0o177)
    server.listen(address.path, listening)
    process.umask(mask)
  })
}
