/**
 * What a host elsewhere and its server say to each other. The host dials; the server never does, so only the server's port
 * has to be reachable, and a host needs no open port at all.
 *
 *   ALPN               the caller shows             what is spoken
 *   holdfast-join      nothing                      RPC: host.join {host, secret, publicKey} → {certificate}
 *   holdfast-line      a certificate on record      RPC: host.attend {facts}, which lasts as long as the line does, with
 *                                                   events {open, to}; host.beat {facts}; host.renew {publicKey} → {certificate}
 *   holdfast-channel   a certificate on record      one line {"channel": id}, then the bytes of a connection to the socket
 *                                                   that the event asked for
 *
 * For each connection that the server wants to the worker it sends an event; the host dials a channel and joins it to its
 * own worker's socket. So worker and server speak what they speak on one host, unchanged.
 */
import type { Socket } from 'node:net'

export const JOIN_PROTOCOL = 'holdfast-join'
export const LINE_PROTOCOL = 'holdfast-line'
export const CHANNEL_PROTOCOL = 'holdfast-channel'
/** The name in the certificate that the server shows to hosts, whatever its address. */
export const DOOR_NAME = 'hosts.holdfast.internal'

/** The worker's sockets: its RPC, and its bytes. */
export type ChannelTarget = 'worker' | 'bytes'

export type ChannelRequest = Readonly<{ open: string; to: ChannelTarget }>

export function isChannelRequest(event: unknown): event is ChannelRequest {
  if (typeof event !== 'object' || event === null) return false
  const { open, to } = event as Record<string, unknown>
  return typeof open === 'string' && (to === 'worker' || to === 'bytes')
}

export const BEAT_MS = 10_000
/** Without a beat for so long the line is held to be dead. */
export const SILENT_MS_MAX = 35_000
/** How long a channel may take to come. */
export const CHANNEL_MS_MAX = 10_000
/** A connection that has not said what it is by then is ended. */
export const GREETING_MS_MAX = 15_000

const GREETING_BYTES_MAX = 200

export function greetChannel(socket: Socket, id: string): void {
  socket.write(`${JSON.stringify({ channel: id })}\n`)
}

/** The id that a channel says first; what follows stays in the socket. Undefined: it said something else, or nothing. */
export function readGreeting(socket: Socket, timeoutMs = GREETING_MS_MAX): Promise<string | undefined> {
  return new Promise((resolve) => {
    let said = Buffer.alloc(0)
    const end = (id: string | undefined): void => {
      clearTimeout(timer)
      socket.off('readable', take)
      socket.off('close', close)
      resolve(id)
    }
    const close = (): void => end(undefined)
    const take = (): void => {
      for (let part = socket.read() as Buffer | null; part !== null; part = socket.read() as Buffer | null) {
        said = Buffer.concat([said, part])
        const at = said.indexOf(10)
        if (at !== -1) {
          if (at + 1 < said.length) socket.unshift(said.subarray(at + 1))
          return end(idIn(said.subarray(0, at)))
        }
        if (said.length > GREETING_BYTES_MAX) return end(undefined)
      }
    }
    const timer = setTimeout(close, timeoutMs)
    timer.unref()
    socket.on('readable', take)
    socket.on('close', close)
    take()
  })
}

function idIn(line: Buffer): string | undefined {
  try {
    const { channel } = JSON.parse(line.toString('utf8')) as { channel?: unknown }
    return typeof channel === 'string' ? channel : undefined
  } catch {
    return undefined // Not one of ours.
  }
}
