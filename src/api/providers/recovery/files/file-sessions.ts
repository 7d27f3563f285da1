/**
 * Sessions in which somebody looks into a recovery point without a token of the API: by the script that `az backup restore files
 * mount-rp` writes. A session is a record that lives for twelve hours at most, or until it is revoked. Its password is derived from
 * the server's access key and the session's id, so that it is kept nowhere; a stolen catalog opens nothing.
 *
 * One point has one session: asking again ends the one before and begins a new one, in one transaction. A point's sessions are found by
 * what its own record says it is held by; their records belong to no other, so that a vault is moved and deleted without them, and
 * whoever opens one removes those that are over. A crash before the point is let go of leaves a hold that lapses with its time.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { randomUuid } from '#base'
import {
  type CatalogTransaction,
  deleteResource,
  findResource,
  findVaultPoint,
  insertResource,
  listResources,
  type ResourceRecord,
  type VaultPoint,
} from '#catalog'
import { holdPoint, releasePoint } from '#jobs'
import type { ArmCall, ArmHost } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import type { NamedPoint } from '../restore/named-point.ts'

export const FILE_SESSION_TYPE = 'Holdfast.Protection/fileSessions'
export const SESSION_MS = 12 * 3600 * 1000
const PASSWORD_CHARS = 15
const LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789'
const HOLD = 'files '

export type FileSession = Readonly<{
  id: string
  vaultKey: string
  itemKey: string
  point: string
  expiresMs: number
  /** Under which the script finds the server. */
  baseUrl: string
}>

function idOf(session: string): string {
  return `/providers/${FILE_SESSION_TYPE}/${session}`
}

function sessionOf(record: ResourceRecord): FileSession {
  return { id: record.name, ...(record.backing as Omit<FileSession, 'id'>) }
}

/** The session if it still holds. */
export async function findSession({ catalog, clock }: ArmHost, id: string): Promise<FileSession | undefined> {
  const record = await findResource(catalog, idOf(id))
  const session = record?.type === FILE_SESSION_TYPE ? sessionOf(record) : undefined
  return session !== undefined && session.expiresMs > clock.nowMs() ? session : undefined
}

export function passwordOf(host: Pick<ArmHost, 'disks'>, session: string): string {
  const bytes = createHmac('sha512', host.disks.accessKey).update(`holdfast file session 1\0${session}`).digest()
  return Array.from(bytes.subarray(0, PASSWORD_CHARS), (byte) => LETTERS[byte % LETTERS.length]).join('')
}

/** In constant time. */
export function isPassword(host: Pick<ArmHost, 'disks'>, session: string, given: string): boolean {
  const digest = (text: string): Buffer => createHmac('sha256', host.disks.accessKey).update(text).digest()
  return timingSafeEqual(digest(given), digest(passwordOf(host, session)))
}

type Held = Pick<VaultPoint, 'facts'>

function holdsOf({ facts }: Held): Readonly<Record<string, number | null>> {
  return (facts['holds'] ?? {}) as Readonly<Record<string, number | null>>
}

/** Whether somebody may look into the point now: what Azure shows as `isInstantIlrSessionActive`. */
export function hasFileSession(point: Held, nowMs: number): boolean {
  return Object.entries(holdsOf(point)).some(
    ([by, untilMs]) => by.startsWith(HOLD) && (untilMs === null || untilMs > nowMs),
  )
}

/** Ids of the sessions that hold the point, some of which may be over. */
export function sessionsOn(point: Held): string[] {
  return Object.keys(holdsOf(point)).flatMap((by) => (by.startsWith(HOLD) ? [by.slice(HOLD.length)] : []))
}

/** Removes the records of the point's sessions. Their ids. */
async function endSessions(trx: CatalogTransaction, { item, point }: NamedPoint): Promise<string[]> {
  const now = await findVaultPoint(trx, item.key, point.name)
  const sessions = now === undefined ? [] : sessionsOn(now)
  for (const session of sessions) await deleteResource(trx, idOf(session))
  return sessions
}

async function removeExpired(trx: CatalogTransaction, nowMs: number): Promise<void> {
  for (const record of await listResources(trx, { type: FILE_SESSION_TYPE }))
    if (sessionOf(record).expiresMs <= nowMs) await deleteResource(trx, record.id)
}

/** Ends what those sessions read right now, and lets go of the point. */
async function letGo(host: ArmHost, { item, point }: NamedPoint, sessions: readonly string[]): Promise<void> {
  for (const session of sessions) {
    host.disks.streams.end(idOf(session))
    await releasePoint(host.catalog, { itemKey: item.key, point: point.name }, HOLD + session)
  }
}

/** Opens a session on the point; those that it had are over. */
export async function openSession(call: ArmCall, named: NamedPoint): Promise<FileSession> {
  const { host } = call
  const { vault, item, point } = named
  const session: FileSession = {
    id: randomUuid(host.random),
    vaultKey: vault.key,
    itemKey: item.key,
    point: point.name,
    expiresMs: host.clock.nowMs() + SESSION_MS,
    // Asked through a linked server the script still asks this one, whose certificate it trusts.
    baseUrl: call.bytesUrl === call.baseUrl ? call.baseUrl : await host.links.endpoint(),
  }
  const { id: name, ...backing } = session
  const ended = await host.catalog.write(async (trx) => {
    const before = await endSessions(trx, named)
    await removeExpired(trx, host.clock.nowMs())
    await insertResource(
      trx,
      {
        id: idOf(name),
        name,
        subscription: host.subscriptionId,
        group: undefined,
        type: FILE_SESSION_TYPE,
        location: undefined,
        tags: {},
        state: 'Succeeded',
        body: {},
        backing,
      },
      changeSourceOf(host),
    )
    await holdPoint(trx, { itemKey: item.key, point: point.name }, HOLD + name, session.expiresMs)
    return before
  })
  await letGo(host, named, ended)
  return session
}

/** Ends all sessions on the point, and what they read right now. */
export async function closeSessions(host: ArmHost, named: NamedPoint): Promise<void> {
  await letGo(host, named, await host.catalog.write((trx) => endSessions(trx, named)))
}

/** Streams of the session, so that revoking ends them. */
export function streamsKey(session: string): string {
  return idOf(session)
}
