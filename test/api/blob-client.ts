/** A client of a storage account's blobs, for tests. */
import { createHmac } from 'node:crypto'
import { systemClock } from '#runtime'
import type { Answer } from './api-world.ts'
import type { DiskWorld } from './disk-world.ts'

type Headers = Record<string, string>

/** A client of the blob service that signs as the Azure SDKs do ("Authorize with Shared Key"). */
export class BlobClient {
  readonly #world: DiskWorld
  readonly #account: string
  key: string

  constructor(world: DiskWorld, account: string, key: string) {
    this.#world = world
    this.#account = account
    this.key = key
  }

  ask(method: string, path: string, body?: Uint8Array, given: Headers = {}): Promise<Answer<undefined>> {
    const headers: Headers = {
      'x-ms-date': new globalThis.Date(systemClock.nowMs()).toUTCString(),
      'x-ms-version': '2021-08-06',
      ...(body !== undefined && { 'content-length': String(body.length) }),
      ...given,
    }
    headers['authorization'] = `SharedKey ${this.#account}:${this.#sign(method, path, headers)}`
    return this.#world.api.raw({
      method,
      path: `/${this.#account}${path}`,
      headers,
      ...(body !== undefined && { body }),
    })
  }

  #sign(method: string, path: string, headers: Headers): string {
    const url = new URL(`https://x/${this.#account}${path}`)
    const names = ['content-encoding', 'content-language', 'content-length', 'content-md5', 'content-type', 'date']
    const conditions = ['if-modified-since', 'if-match', 'if-none-match', 'if-unmodified-since', 'range']
    const values = [...names, ...conditions].map((name) => {
      const value = headers[name] ?? ''
      return name === 'content-length' && value === '0' ? '' : value
    })
    const own = Object.keys(headers)
      .filter((name) => name.startsWith('x-ms-'))
      .sort()
    const query = [...url.searchParams.keys()].sort().map((name) => `\n${name}:${url.searchParams.get(name)}`)
    const text = `${method}\n${values.join('\n')}\n${own.map((name) => `${name}:${headers[name]}\n`).join('')}/${this.#account}${url.pathname}${query.join('')}`
    return createHmac('sha256', Buffer.from(this.key, 'base64')).update(text).digest('base64')
  }

  /** A service SAS of version 2021-08-06 ("Create a service SAS"). */
  sas(resource: string, kind: 'b' | 'c', permissions: string, expiryMs: number): string {
    const expiry = new globalThis.Date(expiryMs).toISOString()
    const text = [
      permissions,
      '',
      expiry,
      `/blob/${this.#account}${resource}`,
      '',
      '',
      '',
      '2021-08-06',
      kind,
      '',
      '',
      '',
      '',
      '',
      '',
      '',
    ]
    const sig = createHmac('sha256', Buffer.from(this.key, 'base64')).update(text.join('\n')).digest('base64')
    return new URLSearchParams({ sp: permissions, se: expiry, sv: '2021-08-06', sr: kind, sig }).toString()
  }
}
