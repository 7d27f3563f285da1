/**
 * Signed URLs to the bytes of a disk or snapshot. What a URL allows stands in it and is signed; that it still holds stands in
 * the resource's record (its grant), which revoking takes away. So a stolen catalog opens nothing without the key, and a key
 * opens nothing that was revoked.
 *
 *   https://host:port/blob/{uniqueId}/{grant}?sv=..&sr=b&si={grant}&se={expiry}&sp=r|rw&sig={HMAC-SHA-256, base64url}
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { isoTime } from '#base'
import type { ResourceRecord } from '#catalog'
import type { DiskGrant } from '#domain'
import { propertiesOf } from '#jobs'
import type { ArmHost } from '../arm/call.ts'

const VERSION = '2018-03-28'

export function grantOf(record: Pick<ResourceRecord, 'backing'>): DiskGrant | undefined {
  return record.backing['grant'] as DiskGrant | undefined
}

/** The grant if it still holds. */
export function openGrantOf(record: Pick<ResourceRecord, 'backing'>, nowMs: number): DiskGrant | undefined {
  const grant = grantOf(record)
  return grant !== undefined && grant.expiresMs > nowMs ? grant : undefined
}

function permissionsOf(grant: DiskGrant): string {
  return grant.access === 'Read' ? 'r' : 'rw'
}

function signatureOf(key: Uint8Array, uniqueId: string, grant: DiskGrant): string {
  const text = ['holdfast disk access 1', uniqueId, grant.id, permissionsOf(grant), isoTime(grant.expiresMs)].join('\n')
  return createHmac('sha256', key).update(text).digest('base64url')
}

const LINKED = 'link-'

/** The grant that a linked server's URL names: it reads, until then. Undefined when the URL names none. */
export function linkedGrantOf(
  grantId: string,
  query: URLSearchParams,
): (DiskGrant & { subscription: string }) | undefined {
  if (!grantId.startsWith(LINKED)) return undefined
  const expiresMs = globalThis.Date.parse(query.get('se') ?? '')
  return { id: grantId, access: 'Read', expiresMs, subscription: grantId.slice(LINKED.length) }
}

/** A URL by which a linked server reads the bytes. */
export function linkedReadUrl(
  from: Readonly<{ host: ArmHost; bytesUrl: string }>,
  record: ResourceRecord,
  subscription: string,
  expiresMs: number,
): string {
  return urlOf(from, record, { id: `${LINKED}${subscription}`, access: 'Read', expiresMs })
}

/** `{accessSAS}` as the clients are answered; undefined when the grant has gone. */
export function accessOf(
  from: Readonly<{ host: ArmHost; bytesUrl: string }>,
  record: ResourceRecord,
): Readonly<{ accessSAS: string }> | undefined {
  const grant = openGrantOf(record, from.host.clock.nowMs())
  return grant === undefined ? undefined : { accessSAS: urlOf(from, record, grant) }
}

function urlOf(
  { host, bytesUrl }: Readonly<{ host: ArmHost; bytesUrl: string }>,
  record: ResourceRecord,
  grant: DiskGrant,
): string {
  const uniqueId = String(propertiesOf(record)['uniqueId'])
  const query = new URLSearchParams({
    sv: VERSION,
    sr: 'b',
    si: grant.id,
    se: isoTime(grant.expiresMs),
    sp: permissionsOf(grant),
    sig: signatureOf(host.disks.accessKey, uniqueId, grant),
  })
  return `${bytesUrl}/blob/${uniqueId}/${grant.id}?${query.toString()}`
}

/** Whether the query is what `accessOf` made for this grant. In constant time over the signature. */
export function isSigned(key: Uint8Array, uniqueId: string, grant: DiskGrant, query: URLSearchParams): boolean {
  const given = Buffer.from(query.get('sig') ?? '')
  const right = Buffer.from(signatureOf(key, uniqueId, grant))
  const isSame = given.length === right.length && timingSafeEqual(given, right)
  return isSame && query.get('si') === grant.id && query.get('sp') === permissionsOf(grant)
}
