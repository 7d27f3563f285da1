/**
 * What reading and writing blobs by HTTP has in common: ranges, headers, errors.
 * Source: Azure Blob Storage REST API, "Specifying the range header", "Status and error codes".
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { messageOf } from '#base'

export const BLOB_VERSION = '2021-08-06'

/** An answer that is an error, in the storage services' own shape. */
export class BlobRefusal extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export function escapeXml(text: string): string {
  const names: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return text.replace(/[&<>"]/g, (one) => names[one] ?? one)
}

/** Characters that XML 1.0 does not have cannot stand in it. */
export function xmlText(text: string): string {
  return escapeXml(text.replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]/g, '?'))
}

export type BlobRequest = Readonly<{
  method: string
  url: URL
  request: IncomingMessage
  response: ServerResponse
  requestId: string
  /** Lower-case name. */
  header: (name: string) => string | undefined
  /** Aborts when the client goes away. */
  signal: AbortSignal
}>

export function commonHeaders(requestId: string): Record<string, string> {
  return {
    'x-ms-request-id': requestId,
    'x-ms-version': BLOB_VERSION,
    'strict-transport-security': 'max-age=31536000; includeSubDomains',
    'x-content-type-options': 'nosniff',
  }
}

export function answer(
  { response, requestId }: Pick<BlobRequest, 'response' | 'requestId'>,
  status: number,
  headers: Readonly<Record<string, string | number>> = {},
  body?: string,
): void {
  const type = body === undefined ? {} : { 'content-type': 'application/xml' }
  const length = status === 204 ? {} : { 'content-length': Buffer.byteLength(body ?? '') }
  response.writeHead(status, { ...commonHeaders(requestId), ...length, ...type, ...headers })
  response.end(body)
}

export function answerError(
  call: Pick<BlobRequest, 'response' | 'requestId' | 'method' | 'request'>,
  error: BlobRefusal,
): void {
  const { response, request } = call
  if (response.headersSent) return void response.destroy()
  // What is left of a body that was refused is let through the socket, which then closes.
  if (!request.complete) response.setHeader('connection', 'close')
  request.resume()
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${error.code}</Code><Message>${xmlText(error.message)}</Message></Error>`
  answer(call, error.status, { 'x-ms-error-code': error.code }, call.method === 'HEAD' ? undefined : body)
}

export function notSupported(what: string): BlobRefusal {
  return new BlobRefusal(400, 'UnsupportedOperation', `Holdfast does not support ${messageOf(what)}.`)
}

export type ByteRange = Readonly<{ from: number; to: number; isPart: boolean }>

/**
 * The range that is asked for, `to` excluded. `x-ms-range` comes before `Range`; a range that cannot be read is the whole,
 * as RFC 9110 (14.2) has it.
 */
export function rangeOf(header: BlobRequest['header'], sizeBytes: number): ByteRange {
  const whole = { from: 0, to: sizeBytes, isPart: false }
  const text = header('x-ms-range') ?? header('range')
  const [, first, last] = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(text?.trim() ?? '') ?? []
  if (text === undefined || first === undefined || last === undefined || (first === '' && last === '')) return whole
  const suffix = first === ''
  const from = suffix ? Math.max(0, sizeBytes - Number(last)) : Number(first)
  const to = suffix || last === '' ? sizeBytes : Math.min(sizeBytes, Number(last) + 1)
  if (!suffix && last !== '' && Number(last) < Number(first)) return whole
  if (from >= sizeBytes || to <= from)
    throw new BlobRefusal(416, 'InvalidRange', 'The range specified is invalid for the current size of the resource.')
  return { from, to, isPart: true }
}

/** A range of whole pages for writing. @throws BlobRefusal */
export function pageRangeOf(header: BlobRequest['header'], sizeBytes: number, lengthMax: number): ByteRange {
  const text = header('x-ms-range') ?? header('range') ?? ''
  const [, first, last] = /^bytes=(\d{1,16})-(\d{1,16})$/.exec(text.trim()) ?? []
  const [from, to] = [Number(first), Number(last) + 1]
  const isWhole = from % 512 === 0 && to % 512 === 0 && to > from
  if (!isWhole) throw new BlobRefusal(416, 'InvalidPageRange', 'The page range specified is invalid.')
  if (to > sizeBytes) throw new BlobRefusal(416, 'InvalidPageRange', 'The page range lies outside the blob.')
  if (to - from > lengthMax) throw new BlobRefusal(413, 'RequestBodyTooLarge', 'At most 4 MiB are written at once.')
  return { from, to, isPart: true }
}

/** If-Match and If-None-Match over an etag. @throws BlobRefusal */
export function checkConditions(header: BlobRequest['header'], etag: string): void {
  const lists = (name: string): string[] | undefined =>
    header(name)
      ?.split(',')
      .map((one) => one.trim())
  const match = lists('if-match')
  if (match !== undefined && !match.includes('*') && !match.includes(etag))
    throw new BlobRefusal(
      412,
      'ConditionNotMet',
      'The condition specified using HTTP conditional header(s) is not met.',
    )
  const noneMatch = lists('if-none-match')
  if (noneMatch === undefined || !(noneMatch.includes('*') || noneMatch.includes(etag))) return
  throw new BlobRefusal(304, 'ConditionNotMet', 'The blob has not changed.')
}

/** The body, at most so long. @throws BlobRefusal */
export async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > bytesMax) throw new BlobRefusal(413, 'RequestBodyTooLarge', `At most ${bytesMax} bytes are taken here.`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}
