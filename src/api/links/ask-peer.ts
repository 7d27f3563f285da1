/**
 * One message to a linked server and its answer, over TLS 1.3 whose certificate is checked against that server's own authority.
 * A connection for each: no answer is ever lost to one that the other side had closed.
 */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { isHoldfastError, messageOf } from '#base'
import { LINK_ERROR_CODES, LinkError, messageInvalid } from './errors.ts'

export type PeerAddress = Readonly<{ endpoint: string; authority: string }>

export type PeerMessage = Readonly<{
  path: string
  authorization: string
  body: string
  /** How long the answer may take. */
  answerMsMax: number
  signal?: AbortSignal
}>

const CONNECT_MS_MAX = 5000
const ANSWER_BYTES_MAX = 64 * 1024 * 1024

function unreachable(endpoint: string, cause: unknown): LinkError {
  return new LinkError('link_unreachable', `The linked server at ${endpoint} does not answer: ${messageOf(cause)}.`, {
    facts: { endpoint },
    retry: 'later',
    hint: 'Is it running, can its address be reached from here, and has its certificate that name?',
    cause,
  })
}

function lost(endpoint: string, cause: unknown): LinkError {
  return new LinkError(
    'link_answer_lost',
    `The linked server at ${endpoint} was asked, but its answer did not come: ${messageOf(cause)}.`,
    {
      facts: { endpoint },
      retry: 'later',
      hint: 'What was asked for may have been done: look before you repeat it.',
      cause,
    },
  )
}

/** What the other server refused, in its own words. */
function refusalOf(endpoint: string, value: unknown, status: number): LinkError {
  const error = (typeof value === 'object' && value !== null ? value : {}) as Readonly<Record<string, unknown>>
  const { code, message, facts } = (error['error'] ?? {}) as Readonly<Record<string, unknown>>
  const known = LINK_ERROR_CODES.find((one) => one === code) ?? 'link_refused'
  const says = typeof message === 'string' ? message.slice(0, 500) : `It answered with status ${status}.`
  const told = typeof facts === 'object' && facts !== null ? (facts as Record<string, string>) : {}
  return new LinkError(known, `The server at ${endpoint} refuses: ${says}`, { facts: { ...told, endpoint } })
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length
    if (size > ANSWER_BYTES_MAX) throw messageInvalid('it is larger than any answer')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** Sends; tells whether it had connected when it failed. */
function responseTo(
  { endpoint, authority }: PeerAddress,
  { path, authorization, body, signal }: PeerMessage,
  asked: (sent: ClientRequest) => void,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { authorization, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const options = { method: 'POST', agent: false, ca: authority, minVersion: 'TLSv1.3', headers } as const
    const sent = request(`${endpoint}${path}`, { ...options, ...(signal !== undefined && { signal }) }, resolve)
    let connected = false
    const late = setTimeout(() => sent.destroy(new Error(`no connection in ${CONNECT_MS_MAX} ms`)), CONNECT_MS_MAX)
    sent.on('socket', (socket) =>
      socket.once('secureConnect', () => {
        connected = true
        clearTimeout(late)
      }),
    )
    sent.on('error', (cause) => {
      clearTimeout(late)
      reject(connected ? lost(endpoint, cause) : unreachable(endpoint, cause))
    })
    asked(sent)
    sent.end(body)
  })
}

/** @throws LinkError; `link_unreachable` when nothing was asked, `link_answer_lost` when it may have been done */
export async function askPeer(address: PeerAddress, message: PeerMessage): Promise<unknown> {
  const { endpoint } = address
  let timer: NodeJS.Timeout | undefined
  try {
    const response = await responseTo(address, message, (sent) => {
      const silent = new Error(`nothing in ${message.answerMsMax} ms`)
      timer = setTimeout(() => sent.destroy(silent), message.answerMsMax)
    })
    const text = await textOf(response)
    const value: unknown = text === '' ? {} : JSON.parse(text)
    const status = response.statusCode ?? 0
    if (status !== 200) throw refusalOf(endpoint, value, status)
    return value
  } catch (error) {
    if (isHoldfastError(error)) throw error
    throw lost(endpoint, error)
  } finally {
    clearTimeout(timer)
  }
}
