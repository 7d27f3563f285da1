/**
 * Who may do what to a storage account: its keys (SharedKey), or what a key signed (service and account SAS).
 * Source: Azure Storage, "Authorize with Shared Key" and "Create a service SAS", "Create an account SAS".
 *
 * The two keys are derived from the server's access key and the account's id, so that they are kept nowhere; renewing one
 * counts its generation up. Anything that the signature covers and that is not heeded here is refused by name.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { ResourceRecord } from '#catalog'
import type { ArmHost } from '../arm/call.ts'
import { BlobRefusal, type BlobRequest, notSupported } from './blob-http.ts'

/** r read, a add, c create, w write, d delete, l list: the letters of a SAS. */
export type Permission = 'r' | 'a' | 'c' | 'w' | 'd' | 'l'
export const KEY_NAMES = ['key1', 'key2'] as const

/** A request is fresh for a quarter of an hour. */
const SKEW_MS = 15 * 60 * 1000

/** base64 of 64 bytes, as Azure's keys are. */
export function accountKey(host: ArmHost, account: ResourceRecord, index: number): string {
  const generations = account.backing['generations'] as readonly number[] | undefined
  const text = ['holdfast storage key 1', String(account.backing['uniqueId']), index, generations?.[index] ?? 0].join(
    '\n',
  )
  return createHmac('sha512', host.disks.accessKey).update(text).digest('base64')
}

function denied(message: string): BlobRefusal {
  return new BlobRefusal(403, 'AuthenticationFailed', message)
}

function isSignedBy(host: ArmHost, account: ResourceRecord, text: string, given: string): boolean {
  const signature = Buffer.from(given)
  return KEY_NAMES.some((_, index) => {
    const key = Buffer.from(accountKey(host, account, index), 'base64')
    const right = Buffer.from(createHmac('sha256', key).update(text, 'utf8').digest('base64'))
    return signature.length === right.length && timingSafeEqual(signature, right)
  })
}

/** @throws BlobRefusal unless the request may do this */
export function authorize(
  host: ArmHost,
  account: ResourceRecord,
  call: BlobRequest,
  wanted: readonly Permission[],
): void {
  const authorization = call.header('authorization')
  if (authorization !== undefined) return checkSharedKey(host, account, call, authorization)
  if (call.url.searchParams.has('sig')) return checkSas(host, account, call, wanted)
  throw new BlobRefusal(401, 'NoAuthenticationInformation', 'The request carries no SharedKey and no SAS.')
}

function checkSharedKey(host: ArmHost, account: ResourceRecord, call: BlobRequest, authorization: string): void {
  const [, name, signature = ''] = /^SharedKey ([^:]+):(\S+)$/.exec(authorization) ?? []
  if (name === undefined) throw denied('Only SharedKey and SAS are taken here; a token of Microsoft Entra ID is not.')
  if (name !== account.name) throw denied('The account of the signature is another one.')
  const date = globalThis.Date.parse(call.header('x-ms-date') ?? call.header('date') ?? '')
  if (!(Math.abs(date - host.clock.nowMs()) <= SKEW_MS)) throw denied('The date of the request is missing or not now.')
  if (isSignedBy(host, account, sharedKeyText(call, account.name), signature)) return
  throw denied('The signature of the request is not that of a key of the account.')
}

const SIGNED_HEADERS = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-type',
  'date',
  'if-modified-since',
  'if-match',
  'if-none-match',
  'if-unmodified-since',
  'range',
] as const

function sharedKeyText({ method, header, request, url }: BlobRequest, account: string): string {
  const values = SIGNED_HEADERS.map((name) => {
    const value = header(name) ?? ''
    if (name === 'content-length' && value === '0') return ''
    return name === 'date' && header('x-ms-date') !== undefined ? '' : value
  })
  const own = Object.keys(request.headers)
    .filter((name) => name.startsWith('x-ms-'))
    .sort()
    .map((name) => `${name}:${(header(name) ?? '').trim()}\n`)
  const query = [...new Set(url.searchParams.keys())]
    .sort()
    .map((name) => `\n${name.toLowerCase()}:${url.searchParams.getAll(name).sort().join(',')}`)
  return `${method}\n${values.join('\n')}\n${own.join('')}/${account}${url.pathname}${query.join('')}`
}

const SAS_REFUSED = ['si', 'sip', 'skoid', 'saoid', 'suoid', 'sdd'] as const

function checkSas(host: ArmHost, account: ResourceRecord, call: BlobRequest, wanted: readonly Permission[]): void {
  const query = call.url.searchParams
  for (const name of SAS_REFUSED) if (query.has(name)) throw notSupported(`'${name}' in a SAS`)
  const text = query.has('ss') ? accountSasText(account.name, query, call) : serviceSasText(account.name, query, call)
  if (!isSignedBy(host, account, text, query.get('sig') ?? '')) throw denied('The signature of the SAS is not valid.')
  const nowMs = host.clock.nowMs()
  const [start, expiry] = [query.get('st'), query.get('se')]
  if (!(globalThis.Date.parse(expiry ?? '') > nowMs)) throw denied('The SAS has expired.')
  if (start !== null && !(globalThis.Date.parse(start) <= nowMs + SKEW_MS)) throw denied('The SAS does not hold yet.')
  const permissions = query.get('sp') ?? ''
  if (wanted.some((one) => permissions.includes(one))) return
  throw new BlobRefusal(403, 'AuthorizationPermissionMismatch', 'The SAS does not allow this.')
}

/** Fields that came with a version are signed from it on. */
function isSince(query: URLSearchParams, version: string): boolean {
  return (query.get('sv') ?? '') >= version
}

function fields(query: URLSearchParams, names: readonly string[]): string[] {
  return names.map((name) => query.get(name) ?? '')
}

function serviceSasText(account: string, query: URLSearchParams, { url }: BlobRequest): string {
  if (!isSince(query, '2018-11-09')) throw notSupported('a SAS older than version 2018-11-09')
  const [, , container = '', ...blob] = decodeURIComponent(url.pathname).split('/')
  const sr = query.get('sr')
  if (sr !== 'b' && sr !== 'c') throw notSupported(`a SAS for '${sr ?? ''}'`)
  if (sr === 'b' && blob.length === 0) throw denied('The SAS is for one blob.')
  const resource = `/blob/${account}/${container}${sr === 'b' ? `/${blob.join('/')}` : ''}`
  return [
    ...fields(query, ['sp', 'st', 'se']),
    resource,
    ...fields(query, ['si', 'sip', 'spr', 'sv', 'sr']),
    '',
    ...(isSince(query, '2020-12-06') ? fields(query, ['ses']) : []),
    ...fields(query, ['rscc', 'rscd', 'rsce', 'rscl', 'rsct']),
  ].join('\n')
}

function accountSasText(account: string, query: URLSearchParams, { url }: BlobRequest): string {
  if (!(query.get('ss') ?? '').includes('b')) throw denied('The SAS is not for blobs.')
  const level = url.pathname.split('/').length
  const type = level > 3 ? 'o' : level === 3 ? 'c' : 's'
  const isOfContainer = url.searchParams.get('restype') === 'container'
  if (!(query.get('srt') ?? '').includes(isOfContainer ? 'c' : type))
    throw denied('The SAS is not for this kind of resource.')
  const text = [account, ...fields(query, ['sp', 'ss', 'srt', 'st', 'se', 'sip', 'spr', 'sv'])]
  return `${[...text, ...(isSince(query, '2020-12-06') ? fields(query, ['ses']) : [])].join('\n')}\n`
}
