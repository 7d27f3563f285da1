/**
 * Signed URLs to bytes of a linked server, reached through this one: `/linked/{subscription}/blob/...` is asked of its server as
 * `/blob/...`, files of recovery points likewise, streaming both ways. The signature is that server's to judge; nothing else of it can be reached this way.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { request as requestHttps } from 'node:https'
import { pipeline } from 'node:stream/promises'
import { messageOf } from '#base'
import type { Logger } from '#runtime'
import { LINKED_BYTES, type LinkedServers } from '../arm/linked-servers.ts'

const SILENCE_MS_MAX = 120_000
const PASSED_ON = ['blob', 'recovery-files']
/** Of one connection only (RFC 9110, section 7.6.1). */
const HOP_HEADERS = ['connection', 'keep-alive', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'host', 'expect']

function passedOn(headers: IncomingMessage['headers']): Record<string, string | string[]> {
  const kept = Object.entries(headers).filter(([name, value]) => value !== undefined && !HOP_HEADERS.includes(name))
  return Object.fromEntries(kept) as Record<string, string | string[]>
}

function refuse(response: ServerResponse, status: number, says: string): void {
  if (response.headersSent) return void response.destroy()
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' }).end(`${says}\n`)
}

export class LinkedBytes {
  readonly #links: LinkedServers
  readonly #logger: Logger

  constructor(links: LinkedServers, logger: Logger) {
    this.#links = links
    this.#logger = logger
  }

  /** Whether the path is one of these; then it has been answered. Never rejects. */
  async take(request: IncomingMessage, response: ServerResponse, hijack: () => void): Promise<boolean> {
    const [, first, subscription = '', ...rest] = (request.url ?? '').split('/')
    if (first !== LINKED_BYTES) return false
    hijack()
    try {
      const owner = await this.#links.ownerOf(subscription)
      if (owner === undefined || !PASSED_ON.includes(rest[0] ?? ''))
        refuse(response, 404, 'There is nothing at this path.')
      else await this.#pass(request, response, { ...owner, path: `/${rest.join('/')}` })
    } catch (error) {
      this.#logger.warn({ subscription, error: messageOf(error) }, 'bytes of a linked server were not had')
      refuse(response, 503, `The linked server does not answer: ${messageOf(error)}.`)
    }
    return true
  }

  async #pass(
    request: IncomingMessage,
    response: ServerResponse,
    to: Readonly<{ endpoint: string; authority: string; path: string }>,
  ): Promise<void> {
    const { method = 'GET' } = request
    const headers = passedOn(request.headers)
    const options = { method, headers, ca: to.authority, minVersion: 'TLSv1.3', agent: false } as const
    const sent = requestHttps(`${to.endpoint}${to.path}`, { ...options, timeout: SILENCE_MS_MAX })
    sent.on('timeout', () => sent.destroy(new Error('it is silent')))
    response.once('close', () => sent.destroy())
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', resolve)
      sent.once('error', reject)
    })
    // An answer may come before all was sent, such as a refusal: then the rest of the body is of no use.
    pipeline(request, sent).catch((error: unknown) => sent.destroy(error instanceof Error ? error : undefined))
    const answer = await answered
    response.writeHead(answer.statusCode ?? 502, passedOn(answer.headers))
    await pipeline(answer, response)
  }
}
