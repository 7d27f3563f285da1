/**
 * One HTTPS request: JSON to the API, or bytes to and from a signed URL. The server's certificate is checked against the
 * authority of its home, or of HOLDFAST_CA_FILE; nothing turns the check off.
 */
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { BaseError, errnoOf, messageOf } from '#base'
import { CliError } from '../errors.ts'

export type HttpHeaders = Readonly<Record<string, string>>

export type HttpRequest = Readonly<{
  method: string
  url: string
  headers?: HttpHeaders
  body?: string | Uint8Array | undefined
  signal: AbortSignal
}>

export type HttpAnswer = Readonly<{
  status: number
  headers: Readonly<Record<string, string | undefined>>
  /** Parsed JSON; undefined when there was none. */
  body: unknown
}>

const ANSWER_BYTES_MAX = 64 * 1024 * 1024
const SILENCE_MS_MAX = 90_000

function unreachable(error: unknown, url: string): CliError {
  const endpoint = new URL(url).origin
  const errno = errnoOf(error)
  const isTrust = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_VERIFY/.test(errno ?? '')
  const message = isTrust
    ? `The certificate of ${endpoint} is not trusted: ${messageOf(error)}.`
    : `No server answers at ${endpoint}: ${messageOf(error)}.`
  const hint = isTrust
    ? 'Set HOLDFAST_CA_FILE to the ca.crt of that server.'
    : 'Start it with "holdfast serve"; check --home and HOLDFAST_ENDPOINT.'
  return new CliError('api_unreachable', message, { facts: { endpoint, errno }, retry: 'later', hint, cause: error })
}

export class HttpsClient {
  readonly #agent: Agent

  /** @param ca PEM of the authority to trust; undefined: those that the system trusts */
  constructor(ca: string | undefined) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: 4, ...(ca !== undefined && { ca }) })
  }

  /** The answer as it begins; its body is the caller's to read. @throws CliError `api_unreachable`, `cancelled` */
  open({ method, url, headers = {}, body, signal }: HttpRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
      const sent = request(url, { method, headers: { ...headers, ...length }, agent: this.#agent, signal }, resolve)
      sent.setTimeout(SILENCE_MS_MAX, () => sent.destroy(new Error(`nothing came for ${SILENCE_MS_MAX / 1000} s`)))
      sent.on('error', (error) =>
        reject(signal.aborted ? new BaseError('cancelled', 'Cancelled.', { cause: error }) : unreachable(error, url)),
      )
      sent.end(body)
    })
  }

  /** @throws CliError `api_unreachable`, `api_answer_invalid`, `cancelled` */
  async ask(asked: HttpRequest): Promise<HttpAnswer> {
    const response = await this.open(asked)
    const text = await readText(response, asked)
    const headers = Object.fromEntries(
      Object.entries(response.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]),
    )
    const isJson = (headers['content-type'] ?? '').includes('json')
    return {
      status: response.statusCode ?? 0,
      headers,
      body: isJson && text !== '' ? parsed(text, asked.url) : undefined,
    }
  }

  close(): void {
    this.#agent.destroy()
  }
}

async function readText(response: IncomingMessage, { url, signal }: HttpRequest): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      size += part.length
      if (size > ANSWER_BYTES_MAX)
        throw new CliError('api_answer_invalid', 'The answer is larger than any of Holdfast.')
      parts.push(part)
    }
  } catch (error) {
    if (error instanceof CliError) throw error
    throw signal.aborted ? new BaseError('cancelled', 'Cancelled.', { cause: error }) : unreachable(error, url)
  }
  return Buffer.concat(parts).toString('utf8')
}

function parsed(text: string, url: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CliError('api_answer_invalid', `What ${new URL(url).origin} answered is no JSON.`, {
      retry: 'later',
      cause,
    })
  }
}
