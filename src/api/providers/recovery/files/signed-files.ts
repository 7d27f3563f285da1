/**
 * Signed URLs to files of a recovery point: what one allows stands in it and is signed with the server's access key. It holds for a
 * quarter of an hour, which is for beginning the download, not for its end.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { isoTime } from '#base'
import { PACK_FORMATS } from '#jobs'
import type { ArmCall, ArmHost } from '../../../arm/call.ts'

export const DOWNLOAD_FORMATS = ['file', ...PACK_FORMATS] as const
export type DownloadFormat = (typeof DOWNLOAD_FORMATS)[number]
export type SignedFile = Readonly<{ itemKey: string; point: string; path: string; format: DownloadFormat }>

const SIGNED_MS = 15 * 60 * 1000
export const FILES_PREFIX = 'recovery-files'
export const SIGNED_SEGMENT = 'signed'

function signatureOf({ disks }: Pick<ArmHost, 'disks'>, file: SignedFile, until: string): string {
  const { itemKey, point, path, format } = file
  const text = JSON.stringify(['holdfast file 1', itemKey, point, path, format, until])
  return createHmac('sha256', disks.accessKey).update(text).digest('base64url')
}

export function signedFileUrl(call: ArmCall, file: SignedFile): Readonly<{ url: string; expiresMs: number }> {
  const expiresMs = call.host.clock.nowMs() + SIGNED_MS
  const until = isoTime(expiresMs)
  const query = new URLSearchParams({ ...file, se: until, sig: signatureOf(call.host, file, until) })
  return { url: `${call.bytesUrl}/${FILES_PREFIX}/${SIGNED_SEGMENT}?${query.toString()}`, expiresMs }
}

/** What the URL allows; undefined unless it was signed here and still holds. */
export function readSignedFile(host: ArmHost, query: URLSearchParams): SignedFile | undefined {
  const text = (name: string): string => query.get(name) ?? ''
  const format = DOWNLOAD_FORMATS.find((one) => one === text('format'))
  if (format === undefined) return undefined
  const file: SignedFile = { itemKey: text('itemKey'), point: text('point'), path: text('path'), format }
  const right = Buffer.from(signatureOf(host, file, text('se')))
  const given = Buffer.from(text('sig'))
  const isSigned = given.length === right.length && timingSafeEqual(given, right)
  return isSigned && globalThis.Date.parse(text('se')) > host.clock.nowMs() ? file : undefined
}
