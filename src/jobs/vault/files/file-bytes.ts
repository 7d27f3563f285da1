/** Files of recovery points over the worker's socket for bytes: the requests below `/files/` (../../compute/bytes.ts). */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type FilePiece, type FileTree, tarArchive, TransferError, zipArchive } from '#engine/transfer'
import { inputInvalid } from '../../repository-access.ts'
import { PACK_FORMATS, readFilesOf } from './file-service.ts'
import type { PointFiles } from './point-files.ts'
import type { VolumePlace, Volumes } from './volumes.ts'

export const FILES_PATH = '/files/'
const ZEROS = Buffer.alloc(1024 * 1024)

function headerOf(request: IncomingMessage, name: string): string {
  const value = request.headers[name]
  if (typeof value === 'string' && value !== '') return decodeURIComponent(value)
  throw inputInvalid(name)
}

function placeOf(volumes: Volumes, path: string): VolumePlace {
  const place = volumes.find(path)
  if (place !== undefined) return place
  throw new TransferError('files_unsupported', 'The volumes together are no file or folder: name one of them.')
}

function rangeOf(request: IncomingMessage): readonly [number, number] {
  const [from = Number.NaN, to = Number.NaN] = headerOf(request, 'x-range').split('-').map(Number)
  if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && from <= to) return [from, to]
  throw inputInvalid('x-range')
}

function* zeros(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, Math.min(left, ZEROS.length))
}

/** The part of a piece that lies in [from, to). */
function inRange({ offset, data }: FilePiece, from: number, to: number): Buffer {
  return data.subarray(Math.max(0, from - offset), Math.max(0, to - offset))
}

/** The bytes [from, to) of a file; holes as zeros. */
async function* bytesOf(tree: FileTree, path: string, from: number, to: number): AsyncGenerator<Buffer> {
  let at = from
  for await (const piece of tree.readPieces(path)) {
    if (piece.offset >= to) break
    const part = inRange(piece, at, to)
    if (part.length === 0) continue
    yield* zeros(Math.max(at, piece.offset) - at)
    yield part
    at = Math.max(at, piece.offset) + part.length
  }
  yield* zeros(to - at)
}

async function send(response: ServerResponse, bytes: AsyncIterable<Buffer>): Promise<void> {
  await pipeline(Readable.from(bytes, { objectMode: false }), response)
}

/** Answers a request below `/files/`. @throws what the files raise; nothing was sent then, or the answer is cut off */
export async function serveFiles(files: PointFiles, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === '/files/release') {
    await files.release(headerOf(request, 'x-key'))
    response.writeHead(204)
    return void response.end()
  }
  const of = readFilesOf(JSON.parse(headerOf(request, 'x-files')))
  const path = headerOf(request, 'x-path')
  await files.with(of, async (volumes) => {
    switch (request.url ?? '') {
      case '/files/list': {
        const listing = await volumes.list(path)
        response.writeHead(200, { 'content-type': 'application/json' })
        return void response.end(JSON.stringify(listing))
      }
      case '/files/read': {
        const place = placeOf(volumes, path)
        const { kind, sizeBytes } = await place.tree.stat(place.path)
        if (kind !== 'file')
          throw new TransferError('files_not_a_file', `${path} is a ${kind}.`, { facts: { path, kind } })
        const [from, wanted] = rangeOf(request)
        const to = Math.min(wanted, sizeBytes)
        response.writeHead(200, { 'content-length': Math.max(0, to - from) })
        return send(response, bytesOf(place.tree, place.path, from, Math.max(from, to)))
      }
      case '/files/pack': {
        const place = placeOf(volumes, path)
        const format = PACK_FORMATS.find((one) => one === headerOf(request, 'x-format'))
        if (format === undefined) throw inputInvalid('x-format')
        await place.tree.stat(place.path)
        response.writeHead(200)
        const archive = format === 'tar' ? tarArchive : zipArchive
        return send(response, archive(place.tree, place.path))
      }
      default:
        throw inputInvalid('request')
    }
  })
}
