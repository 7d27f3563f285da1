/** Asks the Azure face of a home whose server is a process of its own. After a restart the same client finds the new port. */
import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import type { FaceRecord } from '#server'

export type FaceAnswer<T> = Readonly<{
  status: number
  headers: Readonly<Record<string, string | string[] | undefined>>
  body: T
}>
type Raw = Readonly<{ method: string; path: string; body?: string; headers: Readonly<Record<string, string>> }>

export class FaceClient {
  readonly #home: string

  constructor(home: string) {
    this.#home = home
  }

  async record(): Promise<FaceRecord> {
    return JSON.parse(await readFile(join(this.#home, 'run', 'face.json'), 'utf8')) as FaceRecord
  }

  /** Rejects when the connection breaks. */
  async ask<T>(method: string, path: string, body?: unknown): Promise<FaceAnswer<T>> {
    const headers = { authorization: `Bearer ${await this.#token()}`, 'content-type': 'application/json' }
    return this.#raw<T>({ method, path, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
  }

  async #token(): Promise<string> {
    const record = await this.record()
    const secret = (await readFile(record.clientSecretFile, 'utf8')).trim()
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: record.clientId,
      client_secret: secret,
      scope: `${record.endpoint}//.default`,
    })
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const sent = { method: 'POST', path: '/adfs/oauth2/token', body: form.toString(), headers }
    return (await this.#raw<{ access_token: string }>(sent)).body.access_token
  }

  async #raw<T>({ method, path, body, headers }: Raw): Promise<FaceAnswer<T>> {
    const { endpoint, caFile } = await this.record()
    const ca = await readFile(caFile, 'utf8')
    return new Promise((resolve, reject) => {
      const sent = request(`${endpoint}${path}`, { method, headers, ca, agent: false }, (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('error', reject)
        response.on('end', () => {
          const text = Buffer.concat(parts).toString('utf8')
          const parsed = (text === '' ? undefined : JSON.parse(text)) as T
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed })
        })
      })
      sent.on('error', reject)
      sent.end(body)
    })
  }
}
