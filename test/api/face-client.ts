/** Asks the Azure face of a home whose server is a process of its own. After a restart the same client finds the new port. */
import { readFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import type { FaceRecord } from '#server'
import { eventually } from '../rig/deadline.ts'
import type { Answer } from './api-world.ts'

/** Below the 5 s after which the server ends a connection that is idle. */
const IDLE_MS_MAX = 3_000
const POLL_MS = 20
const RUNNING = ['InProgress', 'Accepted', 'Running']

type Raw = Readonly<{
  method: string
  path: string
  body?: string | Uint8Array
  headers: Readonly<Record<string, string>>
}>

export class FaceClient {
  readonly #home: string
  readonly #agent = new Agent({ keepAlive: true, timeout: IDLE_MS_MAX })
  /** For one address: a server that was started again may listen elsewhere. */
  #login: Readonly<{ endpoint: string; token: Promise<string> }> | undefined

  constructor(home: string) {
    this.#home = home
  }

  async record(): Promise<FaceRecord> {
    return JSON.parse(await readFile(join(this.#home, 'run', 'face.json'), 'utf8')) as FaceRecord
  }

  /** Rejects when the connection breaks. */
  async ask<T>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    const headers = { authorization: `Bearer ${await this.#token()}`, 'content-type': 'application/json' }
    return this.#raw<T>({ method, path, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
  }

  /** Follows the operation over restarts of the server: its URL by its path. */
  async followed<T>(
    answer: Answer<unknown>,
    { timeoutMs = 120_000, pollMs = POLL_MS }: Readonly<{ timeoutMs?: number; pollMs?: number }> = {},
  ): Promise<T> {
    const { pathname, search } = new URL(String(answer.headers['azure-asyncoperation']))
    const look = async (): Promise<T | undefined> => {
      const polled = await this.ask<T & { status: string }>('GET', `${pathname}${search}`).catch(() => undefined)
      return polled?.status === 200 && !RUNNING.includes(polled.body.status) ? polled.body : undefined
    }
    return eventually('the end of the operation', timeoutMs, look, pollMs)
  }

  /** Into an upload, by a signed URL of any of its servers. */
  async writePages(url: string, from: number, body: Uint8Array): Promise<void> {
    const { pathname, search } = new URL(url)
    const range = { 'x-ms-range': `bytes=${from}-${from + body.length - 1}`, 'content-length': String(body.length) }
    const headers = { 'x-ms-page-write': 'update', ...range }
    const answer = await this.#raw({ method: 'PUT', path: `${pathname}${search}&comp=page`, headers, body })
    if (answer.status !== 201) throw new Error(`The pages were not taken: ${answer.status} ${answer.text}`)
  }

  async #token(): Promise<string> {
    const { endpoint } = await this.record()
    if (this.#login?.endpoint !== endpoint) this.#login = { endpoint, token: this.#newToken() }
    const login = this.#login
    try {
      return await login.token
    } catch (error) {
      if (this.#login === login) this.#login = undefined
      throw error
    }
  }

  async #newToken(): Promise<string> {
    const record = await this.record()
    const secret = (await readFile(record.clientSecretFile, 'utf8')).trim()
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: record.clientId,
      client_secret: secret,
      scope: `${record.endpoint}//.default`,
    })
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const answer = await this.#raw<{ access_token: string }>({
      method: 'POST',
      path: '/adfs/oauth2/token',
      body: form.toString(),
      headers,
    })
    return answer.body.access_token
  }

  async #raw<T>({ method, path, body, headers }: Raw): Promise<Answer<T>> {
    const { endpoint, caFile } = await this.record()
    const ca = await readFile(caFile, 'utf8')
    return new Promise((resolve, reject) => {
      const sent = request(`${endpoint}${path}`, { method, headers, ca, agent: this.#agent }, (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('error', reject)
        response.on('end', () => {
          const bytes = Buffer.concat(parts)
          const text = bytes.toString('utf8')
          const isJson = (response.headers['content-type'] ?? '').includes('json')
          const parsed = (isJson && text !== '' ? JSON.parse(text) : undefined) as T
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed, text, bytes })
        })
      })
      sent.on('error', reject)
      sent.end(body)
    })
  }
}
