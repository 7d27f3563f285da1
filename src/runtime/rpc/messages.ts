/**
 * The messages: one JSON object a line (RFC 8259, UTF-8, ended by a line feed), at most MESSAGE_BYTES_MAX long.
 *
 *   client                                     server
 *   {"holdfast":1,"role":"control",...}   ──>
 *                                         <──  {"holdfast":1,"role":"worker",...} | {"error":{...}} and the end
 *   {"id":7,"method":"task.run","params"} ──>
 *                                         <──  {"id":7,"event":{...}}  any number
 *   {"id":7,"leave":true}                 ──>  (the caller does not want the answer any more)
 *                                         <──  {"id":7,"result":...} | {"id":7,"error":{...}}
 *
 * What comes from the other side is checked by shape before it is used; anything else ends the connection.
 */
import type { Socket } from 'node:net'
import { type ErrorShape, MIB } from '#base'
import { RpcError } from './errors.ts'

export const RPC_PROTOCOL = 1
export const MESSAGE_BYTES_MAX = MIB
/** Events are left out while this much waits to be sent: a slow reader gets fewer, not later ones. */
export const UNSENT_BYTES_MAX = MIB

export type Hello = Readonly<{
  holdfast: number
  role: string
  version: string
  facts: Readonly<Record<string, unknown>>
}>
export type Message = Readonly<Record<string, unknown>>

function violation(message: string): RpcError {
  return new RpcError('rpc_protocol_violation', message)
}

function parse(line: Buffer): Message {
  let value: unknown
  try {
    value = JSON.parse(line.toString('utf8'))
  } catch (cause) {
    throw new RpcError('rpc_protocol_violation', 'A message is not JSON.', { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw violation('A message is no object.')
  return value as Message
}

/** Cuts a stream into messages, however it was cut on the way. */
export class MessageReader {
  #parts: Buffer[] = []
  #bytes = 0

  /** The messages that `data` completes. @throws RpcError */
  push(data: Buffer): Message[] {
    const messages: Message[] = []
    let from = 0
    for (let at = data.indexOf(10); at !== -1; at = data.indexOf(10, from)) {
      this.#keep(data.subarray(from, at))
      messages.push(parse(Buffer.concat(this.#parts)))
      this.#parts = []
      this.#bytes = 0
      from = at + 1
    }
    this.#keep(data.subarray(from))
    return messages
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length
    if (this.#bytes > MESSAGE_BYTES_MAX) {
      throw new RpcError('rpc_message_too_large', `A message has more than ${MESSAGE_BYTES_MAX} bytes.`)
    }
    if (part.length > 0) this.#parts.push(part)
  }
}

/** Sends a message. @throws RpcError `rpc_message_too_large` before anything is sent */
export function send(socket: Socket, message: Message): void {
  const line = Buffer.from(`${JSON.stringify(message)}\n`)
  if (line.length > MESSAGE_BYTES_MAX) {
    throw new RpcError('rpc_message_too_large', `A message of ${line.length} bytes was to be sent.`)
  }
  if (!socket.destroyed) socket.write(line)
}

/** The other side's greeting. @throws RpcError */
export function readHello(message: Message): Hello {
  const { holdfast, role, version, facts } = message
  if (typeof holdfast !== 'number' || typeof role !== 'string' || typeof version !== 'string') {
    throw violation('The other side did not say hello.')
  }
  if (holdfast !== RPC_PROTOCOL) {
    throw new RpcError(
      'rpc_version_unknown',
      `The other side speaks version ${holdfast}; this program ${RPC_PROTOCOL}.`,
      {
        facts: { theirs: holdfast, ours: RPC_PROTOCOL },
      },
    )
  }
  const known = typeof facts === 'object' && facts !== null ? (facts as Record<string, unknown>) : {}
  return { holdfast, role, version, facts: known }
}

/** An error's shape from the wire. @throws RpcError */
export function readError(value: unknown): ErrorShape {
  if (typeof value !== 'object' || value === null) throw violation('An error has no shape.')
  const { code, message, facts, retry, hint } = value as Record<string, unknown>
  if (typeof code !== 'string' || typeof message !== 'string') throw violation('An error has no code.')
  return {
    code,
    message,
    facts: typeof facts === 'object' && facts !== null ? (facts as ErrorShape['facts']) : {},
    retry: retry === 'now' || retry === 'later' ? retry : 'never',
    ...(typeof hint === 'string' ? { hint } : {}),
  }
}

/** The number of a request. @throws RpcError */
export function readId(message: Message): number {
  const { id } = message
  if (typeof id === 'number' && Number.isSafeInteger(id)) return id
  throw violation('A message has no number.')
}
