/**
 * Where hosts elsewhere dial: one TLS listener, which nobody gets past without a certificate on record or a join token.
 *
 * A certificate is good only while its fingerprint stands in the catalog: whoever is removed is refused at the next
 * connection, and the connections that are open are ended with the removal. That it is of our authority is not enough.
 *
 *   host.join dies                         what is left                     what goes on
 *   before the certificate is on record    the token, unused                the host asks again
 *   after                                  the token, used for this key     the host asks again with the same key, and gets
 *                                                                           another certificate; any other key is refused
 */
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { type Clock, messageOf, PROGRAM_VERSION } from '#base'
import { type Catalog, findHostLink, type HostLink, listHostLinks, putHostLink } from '#catalog'
import { answerRpc, type Logger, refuseRpc, type RpcCall, type RpcMethods } from '#runtime'
import { ServerError } from '../errors.ts'
import { openAuthority } from '../face/certificates.ts'
import { parameterReader } from '../parameters.ts'
import { fingerprintOf, issueForDoor, issueForHost, type OwnKey, readPublicKey } from './host-certificates.ts'
import { hostKey } from './host-key.ts'
import type { HostLines } from './host-lines.ts'
import { CHANNEL_PROTOCOL, GREETING_MS_MAX, JOIN_PROTOCOL, LINE_PROTOCOL, readGreeting } from './host-protocol.ts'
import { digestOf, hasDigest } from './join-token.ts'

export type DoorParts = Readonly<{
  /** `tls` of the home. */
  tlsFolder: string
  catalog: Catalog
  clock: Clock
  logger: Logger
  lines: HostLines
}>

const CONNECTIONS_MAX = 512
const JOIN_MS_MAX = 30_000

function invalid(what: string): ServerError {
  return new ServerError('request_invalid', `The request has no valid ${what}.`, { facts: { what } })
}

const { fields: fieldsOf, text: textOf } = parameterReader(invalid)

/** One answer for all reasons: who is not let in learns nothing. */
function joinRefused(): ServerError {
  return new ServerError(
    'join_refused',
    'The join token does not hold: it was used, has ended, or is not of this server.',
    {
      hint: 'Make another with "holdfast host token REGION NAME" on the server.',
    },
  )
}

function hostRefused(): ServerError {
  return new ServerError(
    'host_refused',
    'The server does not let this host in: its certificate is not on record there, or has ended.',
    { hint: 'Make a join token with "holdfast host token REGION NAME" on the server, and join again.' },
  )
}

function factsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

function keep(socket: TLSSocket): void {
  socket.setKeepAlive(true, 15_000)
  socket.setNoDelay(true)
}

export class HostDoor {
  readonly port: number
  readonly #server: Server
  readonly #parts: DoorParts
  readonly #sockets: Set<Socket>

  private constructor(server: Server, port: number, parts: DoorParts, sockets: Set<Socket>) {
    this.#server = server
    this.port = port
    this.#parts = parts
    this.#sockets = sockets
  }

  /** @throws ServerError `hosts_port_unusable` */
  static async open(parts: DoorParts, at: Readonly<{ address: string; port: number }>): Promise<HostDoor> {
    const own = await issueForDoor(parts.tlsFolder)
    const authority = await authorityOf(parts.tlsFolder)
    const sockets = new Set<Socket>()
    const server = createServer(
      {
        cert: own.certificate,
        key: own.privateKey,
        ca: authority,
        requestCert: true,
        rejectUnauthorized: false, // Who joins has none yet; everyone else is judged below.
        minVersion: 'TLSv1.3',
        ALPNProtocols: [JOIN_PROTOCOL, LINE_PROTOCOL, CHANNEL_PROTOCOL],
        handshakeTimeout: GREETING_MS_MAX,
      },
      (socket) => void door.#accept(socket),
    )
    server.maxConnections = CONNECTIONS_MAX
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    })
    const port = await listenAt(server, at)
    const door = new HostDoor(server, port, parts, sockets)
    return door
  }

  /** Shows a new certificate from now on. */
  async renew(): Promise<void> {
    const own: OwnKey = await issueForDoor(this.#parts.tlsFolder)
    const ca = await authorityOf(this.#parts.tlsFolder)
    this.#server.setSecureContext({ cert: own.certificate, key: own.privateKey, ca, minVersion: 'TLSv1.3' })
  }

  close(): Promise<void> {
    this.#parts.lines.endAll()
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      for (const socket of this.#sockets) socket.destroy()
    })
  }

  async #accept(socket: TLSSocket): Promise<void> {
    socket.on('error', () => socket.destroy()) // 'close' follows and says all that there is to say.
    keep(socket)
    try {
      const protocol = socket.alpnProtocol
      if (protocol === JOIN_PROTOCOL) return this.#join(socket)
      const link = await this.#known(socket)
      if (link === undefined) return refuseRpc(socket, hostRefused())
      if (protocol === LINE_PROTOCOL) return answerRpc(socket, this.#answers(this.#lineMethods(link, socket)))
      if (protocol === CHANNEL_PROTOCOL) return await this.#channel(socket, link)
      socket.destroy()
    } catch (error) {
      this.#parts.logger.warn({ error: messageOf(error) }, 'a host’s connection was ended')
      socket.destroy()
    }
  }

  #answers(methods: RpcMethods) {
    return { role: 'control', version: PROGRAM_VERSION, facts: {}, methods }
  }

  /** Whose certificate it is. */
  async #known(socket: TLSSocket): Promise<HostLink | undefined> {
    const { raw } = socket.getPeerCertificate()
    if (!socket.authorized || raw === undefined) return undefined
    const fingerprint = fingerprintOf(raw)
    const links = await listHostLinks(this.#parts.catalog)
    return links.find(({ certificates }) => certificates.includes(fingerprint))
  }

  #join(socket: TLSSocket): void {
    const timer = setTimeout(() => socket.destroy(), JOIN_MS_MAX)
    socket.on('close', () => clearTimeout(timer))
    answerRpc(socket, this.#answers({ 'host.join': (params) => this.#admit(params, socket.remoteAddress) }))
  }

  async #admit(params: unknown, from: string | undefined): Promise<Readonly<{ certificate: string }>> {
    const fields = fieldsOf(params)
    const [host, secret] = [textOf(fields['host'], 'host'), textOf(fields['secret'], 'secret')]
    const publicKey = readPublicKey(fields['publicKey'])
    const { catalog, clock, logger, tlsFolder } = this.#parts
    const [region = '', name = ''] = host.split('/')
    const usable = (link: HostLink | undefined): link is HostLink & { join: NonNullable<HostLink['join']> } => {
      if (link?.join === undefined || !hasDigest(secret, link.join.hash)) return false
      const { expiresMs, usedFor } = link.join
      return clock.nowMs() < expiresMs && (usedFor === undefined || usedFor === digestOf(publicKey))
    }
    if (!usable(await findHostLink(catalog, region, name))) {
      logger.warn({ host: host.slice(0, 120), from }, 'somebody who wanted to join was refused')
      throw joinRefused()
    }
    const certificate = await issueForHost(tlsFolder, { region, name }, publicKey)
    const admitted = await catalog.write(async (trx) => {
      const link = await findHostLink(trx, region, name)
      if (!usable(link)) return false
      const join = { ...link.join, usedFor: digestOf(publicKey) }
      await putHostLink(trx, { ...link, join, certificates: [fingerprintOf(certificate)] })
      return true
    })
    if (!admitted) throw joinRefused()
    logger.info({ host, from }, 'a host joined')
    return { certificate }
  }

  #lineMethods(link: HostLink, socket: TLSSocket): RpcMethods {
    const { lines } = this.#parts
    const key = hostKey(link)
    const attend = async (params: unknown, call: RpcCall): Promise<null> => {
      const facts = { ...factsOf(fieldsOf(params)['facts']), from: socket.remoteAddress }
      await this.#firstSeen(link, socket, facts)
      try {
        await lines.attend(key, facts, (request) => call.event(request), call.signal)
      } finally {
        await this.#seen(link, facts)
        socket.destroy()
      }
      return null
    }
    return {
      'host.attend': attend,
      'host.beat': (params) => {
        lines.beat(key, { ...factsOf(fieldsOf(params)['facts']), from: socket.remoteAddress })
        return null
      },
      'host.renew': (params) => this.#renewHost(link, readPublicKey(fieldsOf(params)['publicKey'])),
    }
  }

  async #renewHost(of: HostLink, publicKey: string): Promise<Readonly<{ certificate: string }>> {
    const { catalog, tlsFolder } = this.#parts
    const certificate = await issueForHost(tlsFolder, of, publicKey)
    await catalog.write(async (trx) => {
      const link = await findHostLink(trx, of.region, of.name)
      const [present] = link?.certificates ?? []
      // The present one holds until the new one is used: the host may die before it has kept the new one.
      if (link === undefined || present === undefined) throw hostRefused()
      await putHostLink(trx, { ...link, certificates: [present, fingerprintOf(certificate)] })
    })
    return { certificate }
  }

  /** Certificates older than the one in use hold no longer, nor does the token. */
  async #firstSeen(of: HostLink, socket: TLSSocket, facts: HostLink['facts']): Promise<void> {
    const seenMs = this.#parts.clock.nowMs()
    const used = fingerprintOf(socket.getPeerCertificate().raw)
    await this.#parts.catalog.write(async (trx) => {
      const link = await findHostLink(trx, of.region, of.name)
      const at = link?.certificates.indexOf(used) ?? -1
      if (link === undefined || at === -1) throw hostRefused()
      const certificates = link.certificates.slice(at)
      await putHostLink(trx, { ...link, join: undefined, certificates, seenMs, facts })
    })
  }

  async #seen(of: HostLink, facts: Readonly<Record<string, unknown>>): Promise<void> {
    const { catalog, clock } = this.#parts
    await catalog.write(async (trx) => {
      const link = await findHostLink(trx, of.region, of.name)
      if (link !== undefined) await putHostLink(trx, { ...link, seenMs: clock.nowMs(), facts })
    })
  }

  async #channel(socket: TLSSocket, link: HostLink): Promise<void> {
    const id = await readGreeting(socket)
    if (id === undefined || !this.#parts.lines.takeChannel(hostKey(link), id, socket)) socket.destroy()
  }
}

async function authorityOf(tlsFolder: string): Promise<string> {
  return readFile(await openAuthority(tlsFolder), 'utf8')
}

function listenAt(server: Server, { address, port }: Readonly<{ address: string; port: number }>): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new ServerError(
          'hosts_port_unusable',
          `Hosts cannot be listened for at ${address}:${port}: ${messageOf(cause)}.`,
          {
            facts: { address, port },
            hint: 'Set hosts.address and hosts.port in the settings.',
            cause,
          },
        ),
      ),
    )
    server.listen(port, address, () => {
      const bound = server.address()
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port)
    })
  })
}
