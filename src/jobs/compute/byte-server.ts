/** The worker's side of bytes.ts: an HTTP server on a unix socket. One request, one read or write; errors are JSON shapes. */
import { open, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { assert, errorShapeOf, isHoldfastError, messageOf, MIB, SECTOR_BYTES } from '#base'
import { VHD_FOOTER_BYTES } from '#domain'
import type { Logger } from '#runtime'
import {
  absolutePathOf,
  inputInvalid,
  readRepositoryAccess,
  recordOf,
  type RepositoryHost,
} from '../repository-access.ts'
import { type ByteSource, type DataRange, RANGES_MAX } from './bytes.ts'
import type { MachineService } from './machine/machine-service.ts'
import { type OpenSource, OpenSources } from './open-sources.ts'
import { FILES_PATH, serveFiles } from '../vault/files/file-bytes.ts'
import { PointFiles } from '../vault/files/point-files.ts'

const PIECE_BYTES = MIB
const EXTENTS_SPAN_BYTES = 1024 * MIB
const ZEROS = new Uint8Array(MIB)

export type ByteServerOptions = Readonly<{
  socketPath: string
  host: RepositoryHost
  logger: Logger
  machines: MachineService
}>

export class ByteServer {
  readonly #server: Server
  readonly #sources: OpenSources
  readonly #files: PointFiles
  readonly #logger: Logger
  readonly #machines: MachineService

  private constructor({ host, logger, machines }: ByteServerOptions) {
    this.#machines = machines
    this.#sources = new OpenSources(host)
    this.#files = new PointFiles(host)
    this.#logger = logger
    this.#server = createServer((request, response) => void this.#answer(request, response))
    this.#server.requestTimeout = 0
  }

  /** Listens when it resolves. A socket that a dead worker left is taken away: the worker's lock is ours. */
  static async open(options: ByteServerOptions): Promise<ByteServer> {
    await rm(options.socketPath, { force: true })
    const made = new ByteServer(options)
    await new Promise<void>((resolve, reject) => {
      made.#server.once('error', reject)
      made.#server.listen(options.socketPath, resolve)
    })
    return made
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    await this.#sources.closeAll()
    await this.#files.closeAll()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#serve(request, response)
    } catch (error) {
      if (!isHoldfastError(error) && !response.headersSent)
        this.#logger.warn({ error: messageOf(error), url: request.url }, 'bytes could not be moved')
      if (response.headersSent) return void response.destroy()
      request.resume()
      response.writeHead(500, { 'content-type': 'application/json' })
      response.end(JSON.stringify(errorShapeOf(error, 'job_failed')))
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url?.startsWith(FILES_PATH) === true) return serveFiles(this.#files, request, response)
    switch (`${request.method} ${request.url}`) {
      case 'GET /read': {
        const source = readSource(request)
        const [from, to] = rangeOf(request, source.sizeBytes + VHD_FOOTER_BYTES)
        return this.#sources.with(source, async (opened) => {
          response.writeHead(200, { 'content-length': to - from })
          await pipeline(Readable.from(piecesOf(opened, source.sizeBytes, from, to), { objectMode: false }), response)
        })
      }
      case 'GET /ranges': {
        const source = readSource(request)
        const found = await this.#sources.with(source, ({ source: disk }) => dataRanges(disk))
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify([...found, [source.sizeBytes, VHD_FOOTER_BYTES]]))
        return
      }
      case 'GET /machines':
        return answerJson(response, await this.#machines.look())
      case 'GET /machine/report':
        return answerJson(response, await this.#machines.report(headerOf(request, 'x-machine')))
      case 'GET /machine/serial':
        return answerBytes(response, await this.#machines.serialLog(headerOf(request, 'x-machine')))
      case 'GET /machine/screenshot':
        return answerBytes(response, await this.#machines.screenshot(headerOf(request, 'x-machine')))
      case 'PUT /pages':
        await writePages(request)
        break
      case 'POST /clear':
        await clearPages(request)
        break
      case 'POST /release':
        await this.#sources.release(headerOf(request, 'x-key'))
        break
      default:
        throw inputInvalid('request')
    }
    response.writeHead(204)
    response.end()
  }
}

function answerJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify(value))
}

function answerBytes(response: ServerResponse, bytes: Uint8Array): void {
  response.writeHead(200, { 'content-length': bytes.length })
  response.end(bytes)
}

function headerOf(request: IncomingMessage, name: string): string {
  const value = request.headers[name]
  if (typeof value === 'string' && value !== '') return value
  throw inputInvalid(name)
}

function readSource(request: IncomingMessage): ByteSource {
  const given = recordOf(JSON.parse(decodeURIComponent(headerOf(request, 'x-source'))), 'source')
  const bytes = recordOf(given['bytes'], 'bytes')
  if (bytes['kind'] === 'version') readRepositoryAccess(recordOf(bytes['access'], 'access'))
  else absolutePathOf(bytes['path'], 'path')
  return given as unknown as ByteSource
}

function rangeOf(request: IncomingMessage, sizeBytes: number): readonly [number, number] {
  const [from = Number.NaN, to = Number.NaN] = headerOf(request, 'x-range').split('-').map(Number)
  if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && from <= to && to <= sizeBytes)
    return [from, to]
  throw inputInvalid('x-range')
}

/** The bytes [from, to) of disk and footer; one piece is read while the one before it is sent. */
async function* piecesOf(opened: OpenSource, diskBytes: number, from: number, to: number): AsyncGenerator<Uint8Array> {
  const { source, footer } = opened
  const read = async (at: number, end: number): Promise<Uint8Array> => {
    const piece = Buffer.allocUnsafe(end - at)
    await source.read(at, piece)
    return piece
  }
  const diskEnd = Math.min(to, diskBytes)
  const endOf = (at: number): number => Math.min(at + PIECE_BYTES, diskEnd)
  let next = from < diskEnd ? read(from, endOf(from)) : undefined
  for (let at = from; next !== undefined;) {
    const end = endOf(at)
    const piece = await next
    next = end < diskEnd ? read(end, endOf(end)) : undefined
    // It is awaited in the next round, unless the reader goes away before.
    next?.catch(() => undefined)
    yield piece
    at = end
  }
  if (to > diskBytes) yield footer.subarray(Math.max(0, from - diskBytes), to - diskBytes)
}

/** Ranges that hold data, in order; many small ones are told as fewer large ones. */
async function dataRanges(source: OpenSource['source']): Promise<DataRange[]> {
  let found: [number, number][] = []
  let gapMin = 0
  for (let at = 0; at < source.sizeBytes; at += EXTENTS_SPAN_BYTES) {
    const extents = await source.extents(at, Math.min(EXTENTS_SPAN_BYTES, source.sizeBytes - at))
    for (const { offset, length, kind } of extents) if (kind === 'data') join(found, offset, length, gapMin)
    while (found.length > RANGES_MAX) {
      gapMin = Math.max(2 * gapMin, MIB)
      const before: [number, number][] = found
      found = []
      for (const [offset, length] of before) join(found, offset, length, gapMin)
    }
  }
  return found
}

function join(found: [number, number][], offset: number, length: number, gapMin: number): void {
  const last = found.at(-1)
  if (last !== undefined && offset - (last[0] + last[1]) <= gapMin) last[1] = offset + length - last[0]
  else found.push([offset, length])
}

async function writePages(request: IncomingMessage): Promise<void> {
  const path = absolutePathOf(decodeURIComponent(headerOf(request, 'x-path')), 'x-path')
  const offset = Number(headerOf(request, 'x-offset'))
  const length = Number(headerOf(request, 'content-length'))
  const file = await open(path, 'r+')
  try {
    const { size } = await file.stat()
    if (!(offset >= 0) || offset % SECTOR_BYTES !== 0 || !(offset + length <= size)) throw inputInvalid('x-offset')
    let at = offset
    for await (const part of request as AsyncIterable<Buffer>) {
      assert(at + part.length <= offset + length, 'HTTP gives no more than was announced')
      for (let done = 0; done < part.length;)
        done += (await file.write(part, done, part.length - done, at + done)).bytesWritten
      at += part.length
    }
    if (at !== offset + length) throw inputInvalid('body: it ended early')
  } finally {
    await file.close()
  }
}

async function clearPages(request: IncomingMessage): Promise<void> {
  const path = absolutePathOf(decodeURIComponent(headerOf(request, 'x-path')), 'x-path')
  const file = await open(path, 'r+')
  try {
    const [from, to] = rangeOf(request, (await file.stat()).size)
    for (let at = from; at < to;) {
      const part = ZEROS.subarray(0, Math.min(ZEROS.length, to - at))
      at += (await file.write(part, 0, part.length, at)).bytesWritten
    }
  } finally {
    await file.close()
  }
}
