/** The control process's side of bytes.ts, for disks and for machines. */
import { type IncomingMessage, request as httpRequest } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { buffer, json } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { type ErrorShape, isHoldfastError, messageOf, reviveError } from '#base'
import { JobsError } from '../errors.ts'
import type { FileListing, FileService, FilesOf, PackFormat } from '../vault/files/file-service.ts'
import type { ByteSource, DataRange, WorkerBytes } from './bytes.ts'
import type { MachineReport, MachineService, MachineSighting } from './machine/machine-service.ts'

type Ask = Readonly<{
  method: string
  path: string
  headers: Readonly<Record<string, string>>
  body?: Readable
  signal?: AbortSignal
}>

function lost(cause: unknown): JobsError {
  return new JobsError('bytes_unreachable', `The worker cannot be reached: ${messageOf(cause)}.`, {
    retry: 'later',
    cause,
  })
}

function sourceHeader(source: ByteSource): string {
  return encodeURIComponent(JSON.stringify(source))
}

export class ByteClient implements WorkerBytes, MachineService, FileService {
  readonly #open: () => Promise<Socket>

  /** @param open a connection to the worker's socket for bytes; one is made for each request */
  constructor(open: () => Promise<Socket>) {
    this.#open = open
  }

  read(source: ByteSource, from: number, to: number, signal: AbortSignal): Promise<Readable> {
    const headers = { 'x-source': sourceHeader(source), 'x-range': `${from}-${to}` }
    return this.#ask({ method: 'GET', path: '/read', headers, signal })
  }

  async ranges(source: ByteSource): Promise<readonly DataRange[]> {
    const answer = await this.#ask({ method: 'GET', path: '/ranges', headers: { 'x-source': sourceHeader(source) } })
    return (await json(answer)) as DataRange[]
  }

  async writePages(path: string, offset: number, length: number, body: Readable, signal: AbortSignal): Promise<void> {
    const headers = { 'x-path': encodeURIComponent(path), 'x-offset': String(offset), 'content-length': String(length) }
    const answer = await this.#ask({ method: 'PUT', path: '/pages', headers, body, signal })
    answer.resume()
  }

  async clearPages(path: string, from: number, to: number): Promise<void> {
    const headers = { 'x-path': encodeURIComponent(path), 'x-range': `${from}-${to}` }
    const answer = await this.#ask({ method: 'POST', path: '/clear', headers })
    answer.resume()
  }

  async release(key: string): Promise<void> {
    const answer = await this.#ask({ method: 'POST', path: '/release', headers: { 'x-key': key } })
    answer.resume()
  }

  async look(): Promise<readonly MachineSighting[]> {
    return (await json(await this.#ask({ method: 'GET', path: '/machines', headers: {} }))) as MachineSighting[]
  }

  async report(name: string): Promise<MachineReport> {
    return (await json(await this.#ofMachine('report', name))) as MachineReport
  }

  async serialLog(name: string): Promise<Uint8Array> {
    return buffer(await this.#ofMachine('serial', name))
  }

  async screenshot(name: string): Promise<Uint8Array> {
    return buffer(await this.#ofMachine('screenshot', name))
  }

  async listFiles(of: FilesOf, path: string): Promise<FileListing> {
    return (await json(await this.#ofFiles('list', of, path))) as FileListing
  }

  readFile(of: FilesOf, path: string, [from, to]: readonly [number, number], signal: AbortSignal): Promise<Readable> {
    return this.#ofFiles('read', of, path, { 'x-range': `${from}-${to}` }, signal)
  }

  packFiles(of: FilesOf, path: string, format: PackFormat, signal: AbortSignal): Promise<Readable> {
    return this.#ofFiles('pack', of, path, { 'x-format': format }, signal)
  }

  async releaseFiles(key: string): Promise<void> {
    const answer = await this.#ask({
      method: 'GET',
      path: '/files/release',
      headers: { 'x-key': encodeURIComponent(key) },
    })
    answer.resume()
  }

  #ofFiles(
    what: 'list' | 'read' | 'pack',
    of: FilesOf,
    path: string,
    more: Readonly<Record<string, string>> = {},
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    const headers = { 'x-files': encodeURIComponent(JSON.stringify(of)), 'x-path': encodeURIComponent(path), ...more }
    return this.#ask({ method: 'GET', path: `/files/${what}`, headers, ...(signal && { signal }) })
  }

  #ofMachine(what: string, name: string): Promise<IncomingMessage> {
    return this.#ask({ method: 'GET', path: `/machine/${what}`, headers: { 'x-machine': name } })
  }

  async #ask({ method, path, headers, body, signal }: Ask): Promise<IncomingMessage> {
    const socket = await this.#open().catch((error: unknown) => {
      throw isHoldfastError(error, 'host_away') ? error : lost(error)
    })
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const asked = httpRequest(
        { createConnection: () => socket, method, path, headers, ...(signal && { signal }) },
        resolve,
      )
      asked.on('error', (error) => reject(lost(error)))
      if (body === undefined) asked.end()
      // A failure of either end ends the request, whose error is the one that is told.
      else pipeline(body, asked).catch((error: unknown) => asked.destroy(error as Error))
    })
    if ((answer.statusCode ?? 500) < 300) return answer
    throw reviveError((await json(answer)) as ErrorShape)
  }
}
