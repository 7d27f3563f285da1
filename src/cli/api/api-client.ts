/**
 * The API as our commands ask it: paths of Azure Resource Manager in, parsed JSON out, errors with Azure's codes.
 *
 * The token lives in this process only. What the server refuses for the moment (429, 503) is asked again after the time that
 * it says; a POST only after 429, which says that nothing was begun. The token goes to the server's own address, nowhere else.
 */
import type { Clock } from '#base'
import type { Page } from '#contract'
import { CliError } from '../errors.ts'
import { apiErrorOf } from './api-error.ts'
import { readClientSecret, type ServerAddress } from './find-server.ts'
import { type HttpAnswer, HttpsClient } from './https.ts'
import { retryAfterMs } from './retry-after.ts'

export type ApiMethod = 'GET' | 'PUT' | 'PATCH' | 'POST' | 'DELETE'

const API_VERSION = '2025-04-01'
const ATTEMPTS_MAX = 8
const RENEW_BEFORE_MS = 60_000
const TOKEN_MS = 3_600_000

type Token = Readonly<{ text: string; endsMs: number }>

function mayRepeat(method: ApiMethod, status: number): boolean {
  return status === 429 || (status === 503 && method !== 'POST')
}

export class ApiClient {
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly http: HttpsClient
  readonly #address: ServerAddress
  #token: Token | undefined
  #subscription: string | undefined

  constructor(address: ServerAddress, parts: Readonly<{ clock: Clock; signal: AbortSignal; http?: HttpsClient }>) {
    this.clock = parts.clock
    this.signal = parts.signal
    this.http = parts.http ?? new HttpsClient(address.ca)
    this.#address = address
    this.#subscription = address.subscriptionId
  }

  /** The same server and login, cancelled by another signal. Closing either closes both. */
  withSignal(signal: AbortSignal): ApiClient {
    const other = new ApiClient(this.#address, { clock: this.clock, signal, http: this.http })
    other.#token = this.#token
    other.#subscription = this.#subscription
    return other
  }

  get endpoint(): string {
    return this.#address.endpoint
  }

  /** @throws CliError `usage_invalid` when there are several to choose from */
  async subscription(): Promise<string> {
    if (this.#subscription !== undefined) return this.#subscription
    const all = await this.list<{ subscriptionId: string }>('/subscriptions')
    const [first, second] = all
    if (first === undefined || second !== undefined)
      throw new CliError('usage_invalid', `This client sees ${all.length} subscriptions.`, {
        facts: { subscriptions: all.map(({ subscriptionId }) => subscriptionId) },
        hint: 'Name one with HOLDFAST_SUBSCRIPTION_ID.',
      })
    this.#subscription = first.subscriptionId
    return first.subscriptionId
  }

  /** @param path of the API, or an absolute URL that it gave. @throws ApiError, CliError */
  async ask(method: ApiMethod, path: string, body?: unknown): Promise<HttpAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#askOnce(method, path, body)
      if (answer.status < 400) return answer
      if (answer.status === 401 && attempt === 1) this.#token = undefined
      else if (!mayRepeat(method, answer.status) || attempt >= ATTEMPTS_MAX) throw apiErrorOf(answer)
      else await this.clock.sleep(retryAfterMs(answer), this.signal)
    }
  }

  async get<T>(path: string): Promise<T> {
    return (await this.ask('GET', path)).body as T
  }

  /** Undefined when there is no such thing. */
  async find<T>(path: string): Promise<T | undefined> {
    const answer = await this.#askOnce('GET', path)
    if (answer.status === 404) return undefined
    return answer.status < 400 ? (answer.body as T) : this.get<T>(path)
  }

  /** All pages of a list. */
  async list<T>(path: string): Promise<T[]> {
    return Array.fromAsync(this.each<T>(path))
  }

  /** A list, one by one: pages are asked for as far as it is read. */
  async *each<T>(path: string): AsyncGenerator<T> {
    for (let next: string | undefined = path; next !== undefined;) {
      const page: Page<T> = await this.get<Page<T>>(next)
      yield* page.value
      next = page.nextLink
    }
  }

  close(): void {
    this.http.close()
  }

  async #askOnce(method: ApiMethod, path: string, body?: unknown): Promise<HttpAnswer> {
    const url = this.#urlOf(path)
    const authorization = `Bearer ${await this.#tokenText()}`
    const content = body === undefined ? {} : { 'content-type': 'application/json' }
    return this.http.ask({
      method,
      url,
      headers: { authorization, accept: 'application/json', ...content },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: this.signal,
    })
  }

  #urlOf(path: string): string {
    const { endpoint } = this.#address
    const url = new URL(path, endpoint)
    if (url.origin !== endpoint)
      throw new CliError('api_answer_invalid', `The server named an address elsewhere: ${url.origin}.`, {
        facts: { endpoint, named: url.origin },
      })
    if (!url.searchParams.has('api-version')) url.searchParams.set('api-version', API_VERSION)
    return url.href
  }

  async #tokenText(): Promise<string> {
    const nowMs = this.clock.monotonicMs()
    if (this.#token === undefined || this.#token.endsMs - RENEW_BEFORE_MS < nowMs)
      this.#token = await this.#login(nowMs)
    return this.#token.text
  }

  async #login(nowMs: number): Promise<Token> {
    const { endpoint, clientId, clientSecretFile } = this.#address
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: clientId,
      client_secret: await readClientSecret(this.#address),
      scope: `${endpoint}//.default`,
    })
    const url = `${endpoint}/adfs/oauth2/token`
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const answer = await this.http.ask({ method: 'POST', url, headers, body: form.toString(), signal: this.signal })
    const { access_token: text, expires_in: seconds, error_description: reason } = (answer.body ?? {}) as LoginAnswer
    if (answer.status === 200 && text !== undefined)
      return { text, endsMs: nowMs + (seconds === undefined ? TOKEN_MS : seconds * 1000) }
    if (answer.status >= 500 || reason === undefined) throw apiErrorOf(answer)
    throw new CliError('api_login_refused', `The server refused the login: ${reason}`, {
      facts: { endpoint, clientId, clientSecretFile },
      hint: 'Check HOLDFAST_CLIENT_ID and the file of its secret.',
    })
  }
}

type LoginAnswer = Readonly<{ access_token?: string; expires_in?: number; error_description?: string }>
