/**
 * A snapshot of a linked server as a device to read from: its fixed VHD behind a URL, by the list of written pages and by ranges,
 * so that neither holes nor the footer are fetched. The server's certificate is checked against the authority of the link.
 *
 * Path and query stand in a file, for they are signed, and the catalog holds nothing that opens. Where the server is, is said anew
 * at each attempt: it may have moved.
 */
import { readFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { DISK_BYTES_MAX, isHoldfastError, messageOf, MIB, SECTOR_BYTES } from '#base'
import type { BlockSource, ByteRange, Extent } from '#engine/block'
import { VHD_FOOTER_BYTES } from '#domain'
import { JobsError } from '../errors.ts'

const CONNECTIONS = 4
const SILENCE_MS_MAX = 60_000
const LIST_BYTES_MAX = 256 * MIB

function gone(url: URL, why: string, cause?: unknown): JobsError {
  return new JobsError('disk_not_there', `The snapshot at ${url.origin} cannot be read: ${why}.`, {
    facts: { server: url.origin },
    retry: 'later',
    hint: 'Look at the linked server and at the way to it ("holdfast region list").',
    cause,
  })
}

type Place = Readonly<{ url: URL; agent: Agent }>

export type LinkedBytes = Readonly<{ endpoint: string; authority: string; pathFile: string }>

async function openPlace({ endpoint, authority, pathFile }: LinkedBytes): Promise<Place> {
  const url = new URL((await readFile(pathFile, 'utf8')).trim(), endpoint)
  if (url.origin !== endpoint) throw new TypeError(`${pathFile} leads elsewhere`)
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, ca: authority, minVersion: 'TLSv1.3' })
  return { url, agent }
}

function responseTo(
  { url, agent }: Place,
  more: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = { method: 'GET', agent, headers, timeout: SILENCE_MS_MAX, ...(signal !== undefined && { signal }) }
    const sent = request(`${url.href}${more}`, options, resolve)
    sent.on('timeout', () => sent.destroy(new Error('it is silent')))
    sent.on('error', reject)
    sent.end()
  })
}

/** The body, which has exactly the status and, where that is known, the length. */
async function bodyOf(
  place: Place,
  ask: Readonly<{ more?: string; range?: string; status: number }>,
  signal?: AbortSignal,
) {
  const { more = '', range, status } = ask
  try {
    const response = await responseTo(place, more, range === undefined ? {} : { range }, signal)
    const parts: Buffer[] = []
    let size = 0
    for await (const part of response as AsyncIterable<Buffer>) {
      size += part.length
      if (size > LIST_BYTES_MAX) throw new Error('the answer is too large')
      parts.push(part)
    }
    if (response.statusCode !== status) throw new Error(`it answers with status ${response.statusCode ?? 0}`)
    return { bytes: Buffer.concat(parts), headers: response.headers }
  } catch (error) {
    if (signal?.aborted === true || isHoldfastError(error)) throw error
    throw gone(place.url, messageOf(error), error)
  }
}

/** The written ranges of the disk. @throws when the list is not ascending, or leaves the disk */
function rangesIn(list: string, sizeBytes: number): ByteRange[] {
  const found: ByteRange[] = []
  let end = 0
  for (const [, first = '', last = ''] of list.matchAll(
    /<PageRange><Start>(\d+)<\/Start><End>(\d+)<\/End><\/PageRange>/g,
  )) {
    const [from, to] = [Number(first), Math.min(Number(last) + 1, sizeBytes)]
    if (from >= sizeBytes) break // The footer.
    if (from < end || to <= from) throw new Error('its list of pages is not in order')
    found.push({ offset: from, length: to - from })
    end = to
  }
  return found
}

/** @throws JobsError `disk_not_there` */
export async function openLinkedSource(from: LinkedBytes, signal?: AbortSignal): Promise<BlockSource> {
  const place = await openPlace(from)
  const { bytes, headers } = await bodyOf(place, { more: '&comp=pagelist', status: 200 }, signal)
  const sizeBytes = Number(headers['x-ms-blob-content-length']) - VHD_FOOTER_BYTES
  if (!(sizeBytes > 0) || sizeBytes > DISK_BYTES_MAX || sizeBytes % SECTOR_BYTES !== 0)
    throw gone(place.url, 'it is no disk')
  let written: ByteRange[]
  try {
    written = rangesIn(bytes.toString('utf8'), sizeBytes)
  } catch (cause) {
    throw gone(place.url, messageOf(cause), cause)
  }
  return {
    sizeBytes,
    parallelism: CONNECTIONS,
    read: async (offset, into, signal) => {
      const range = `bytes=${offset}-${offset + into.length - 1}`
      const part = await bodyOf(place, { range, status: 206 }, signal)
      if (part.bytes.length !== into.length) throw gone(place.url, 'a part of it is not as long as it should be')
      into.set(part.bytes)
    },
    extents: (offset, length) => Promise.resolve(extentsOf(written, offset, offset + length)),
    close: () => {
      place.agent.destroy()
      return Promise.resolve()
    },
  }
}

/** The states of [from, to), by what is written. */
export function extentsOf(written: readonly ByteRange[], from: number, to: number): Extent[] {
  const found: Extent[] = []
  let at = from
  for (const { offset, length } of written) {
    const [start, end] = [Math.max(offset, from), Math.min(offset + length, to)]
    if (end <= start) continue
    if (start > at) found.push({ offset: at, length: start - at, kind: 'hole' })
    found.push({ offset: start, length: end - start, kind: 'data' })
    at = end
  }
  if (at < to) found.push({ offset: at, length: to - at, kind: 'hole' })
  return found
}
