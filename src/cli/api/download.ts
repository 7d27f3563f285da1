/**
 * The bytes behind a signed URL as a file: only the pages that hold something are fetched, the rest stays a hole.
 *
 * Crash story: what is unfinished is called `FILE.holdfast-part` and is removed when the download fails; FILE itself appears
 * whole and durable, or not at all.
 */
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoOf, isHoldfastError, MIB, type ProgressSink } from '#base'
import { syncFolder } from '#runtime'
import { CliError } from '../errors.ts'
import type { ApiClient } from './api-client.ts'

export type ImageFile = Readonly<{ path: string; format: 'vhd' | 'raw'; force: boolean }>
export type Downloaded = Readonly<{ path: string; format: 'vhd' | 'raw'; sizeBytes: number; fetchedBytes: number }>

type Piece = Readonly<{ from: number; to: number }>

const PIECE_BYTES = 4 * MIB
const FOOTER_BYTES = 512
const ATTEMPTS_MAX = 5

/** The pages that hold something, of a Get Page Ranges answer. Ends are exclusive. */
export function pagesIn(xml: string): Piece[] {
  const found = xml.matchAll(/<PageRange>\s*<Start>(\d+)<\/Start>\s*<End>(\d+)<\/End>\s*<\/PageRange>/g)
  return Array.from(found, ([, start, end]) => ({ from: Number(start), to: Number(end) + 1 }))
}

/** Pieces to fetch, none beyond `sizeBytes`. */
export function piecesOf(pages: readonly Piece[], sizeBytes: number): Piece[] {
  return pages.flatMap(({ from, to }) => {
    const end = Math.min(to, sizeBytes)
    const count = Math.max(0, Math.ceil((end - from) / PIECE_BYTES))
    return Array.from({ length: count }, (_, i) => ({
      from: from + i * PIECE_BYTES,
      to: Math.min(from + (i + 1) * PIECE_BYTES, end),
    }))
  })
}

function incomplete(message: string, facts = {}): CliError {
  return new CliError('download_failed', message, { facts, retry: 'later', hint: 'Run it again.' })
}

async function bytesOf(
  client: ApiClient,
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<[Buffer, number]> {
  const response = await client.http.open({ method: 'GET', url, headers, signal: client.signal })
  const parts: Buffer[] = []
  for await (const part of response as AsyncIterable<Buffer>) parts.push(part)
  const status = response.statusCode ?? 0
  const whole = Number(response.headers['x-ms-blob-content-length'] ?? 0)
  if (status === 200 || status === 206) return [Buffer.concat(parts), whole]
  const code = String(response.headers['x-ms-error-code'] ?? '')
  throw incomplete(`The bytes were refused with status ${status}.`, { status, code })
}

/** A piece is asked for again while the server is away or busy. */
async function fetchPiece(client: ApiClient, url: string, { from, to }: Piece): Promise<Buffer> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const [bytes] = await bytesOf(client, url, { range: `bytes=${from}-${to - 1}`, 'x-ms-version': '2018-03-28' })
      if (bytes.length === to - from) return bytes
      throw incomplete(`The server gave ${bytes.length} bytes where ${to - from} were asked for.`)
    } catch (error) {
      const passing = isHoldfastError(error, 'api_unreachable', 'download_failed') && error.facts['status'] !== 403
      if (client.signal.aborted || attempt >= ATTEMPTS_MAX || !(passing || errnoOf(error) === 'ECONNRESET')) throw error
      await client.clock.sleep(1000 * attempt, client.signal)
    }
  }
}

async function fill(
  client: ApiClient,
  url: string,
  target: Readonly<{ file: FileHandle; format: ImageFile['format'] }>,
  progress: ProgressSink,
): Promise<Readonly<{ sizeBytes: number; fetchedBytes: number }>> {
  const [list, whole] = await bytesOf(client, `${url}&comp=pagelist`, { 'x-ms-version': '2018-03-28' })
  if (whole <= FOOTER_BYTES) throw incomplete('The server did not say how large the image is.')
  const sizeBytes = target.format === 'vhd' ? whole : whole - FOOTER_BYTES
  const pieces = piecesOf(pagesIn(list.toString('utf8')), whole - FOOTER_BYTES)
  // The footer is always there, whatever the list says of it.
  if (target.format === 'vhd') pieces.push({ from: whole - FOOTER_BYTES, to: whole })
  const totalBytes = pieces.reduce((sum, { from, to }) => sum + to - from, 0)
  await target.file.truncate(sizeBytes)
  let fetchedBytes = 0
  for (const piece of pieces) {
    const bytes = await fetchPiece(client, url, piece)
    await target.file.write(bytes, 0, bytes.length, piece.from)
    fetchedBytes += bytes.length
    progress({ task: 'Fetching', doneBytes: fetchedBytes, totalBytes })
  }
  return { sizeBytes, fetchedBytes }
}

/** @throws CliError `file_exists` */
export async function checkFree({ path, force }: ImageFile): Promise<void> {
  if (force) return
  try {
    await stat(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw error
  }
  throw new CliError('file_exists', `The file ${path} exists already.`, {
    facts: { path },
    hint: 'Say --force to replace it.',
  })
}

/** @throws CliError `download_failed`, `api_unreachable`, `cancelled` */
export async function downloadImage(
  client: ApiClient,
  url: string,
  target: ImageFile,
  progress: ProgressSink,
): Promise<Downloaded> {
  const { path, format } = target
  const part = `${path}.holdfast-part`
  const file = await open(part, 'w', 0o600)
  try {
    const { sizeBytes, fetchedBytes } = await fill(client, url, { file, format }, progress)
    await file.sync()
    await file.close()
    await rename(part, path)
    await syncFolder(dirname(path))
    return { path, format, sizeBytes, fetchedBytes }
  } catch (error) {
    await file.close().catch(() => {
      // Closed already: the rename failed.
    })
    await rm(part, { force: true })
    throw error
  }
}
