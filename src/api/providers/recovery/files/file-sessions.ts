/**
 * Sessions in which somebody looks into a recovery point without a token of the API: by the script that `az backup restore files
 * mount-rp` writes. A session is a record that lives for twelve hours at most, or until it is revoked. Its password is derived from
 * the server's access key and the session's id, so that it is kept nowhere; a stolen catalog opens nothing.
 *
 * One point has one session; asking again gives the same one, renewed (`renewExistingRegistration`), or a new one.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { randomUuid } from '#base'
import {
  deleteResource,
  findResource,
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

/** Whether somebody may look into the point now: what Azure shows as `isInstantIlrSessionActive`. */
export function hasFileSession({ facts }: Pick<VaultPoint, 'facts'>, nowMs: number): boolean {
  const holds = (facts['holds'] ?? {}) as Readonly<Record<string, number | null>>
  return Object.entries(holds).some(([by, untilMs]) => by.startsWith(HOLD) && (untilMs === null || untilMs > nowMs))
}

async function sessionsOf({ catalog }: ArmHost, { vault, item, point }: NamedPoint): Promise<FileSession[]> {
  const rows = await listResources(catalog, { type: FILE_SESSION_TYPE, parent: vault.id })
  return rows.map(sessionOf).filter(({ itemKey, point: name }) => itemKey === item.key && name === point.name)
}

/** Opens a session on the point; those that it had are over. */
export async function openSession(call: ArmCall, named: NamedPoint): Promise<FileSession> {
  const { host } = call
  const { vault, item, point } = named
  await closeSessions(host, named)
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
  await host.catalog.write(async (trx) => {
    await insertResource(
      trx,
      {
        id: idOf(name),
        name,
        subscription: host.subscriptionId,
        group: undefined,
        parentId: vault.id,
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
  })
  return session
}

/** Ends all sessions on the point, and what they read right now. How many there were. */
export async function closeSessions(host: ArmHost, named: NamedPoint): Promise<number> {
  const sessions = await sessionsOf(host, named)
  for (const { id, itemKey, point } of sessions) {
    await host.catalog.write((trx) => deleteResource(trx, idOf(id)))
    await releasePoint(host.catalog, { itemKey, point }, HOLD + id)
    host.disks.streams.end(idOf(id))
  }
  return sessions.length
}

/** Streams of the session, so that revoking ends them. */
export function streamsKey(session: string): string {
  return idOf(session)
}
