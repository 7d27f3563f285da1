/**
 * Hosts over the server's socket. The host `local` is this one; every other one joins by a token and dials (../hosts).
 *
 *   host.add {region, name, driver, address?, port?, minutes?}   → HostView, elsewhere with its Invitation
 *   host.token {region, name, address?, port?, minutes?}         → HostView & Invitation; what let it in before holds no longer
 *   host.set {region, name, tasksAtOnce?, bytesPerSecond?}       → HostView; null: as the settings say
 *   host.list {region?} → HostView[]    host.show {region, name}    host.remove {region, name, lost?}
 *
 * A removed host is refused at once: its line and all that goes through it is ended with the removal.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isoTime } from '#base'
import {
  type Catalog,
  type CatalogTransaction,
  deleteHost,
  findHostLink,
  type Host,
  type HostLink,
  listHostLinks,
  listHosts,
  listAllPools,
  listRegions,
  putHost,
  putHostLink,
  usesOf,
} from '#catalog'
import type { RpcMethods } from '#runtime'
import {
  type AdminParts,
  fieldsOf,
  numberOf,
  optionalNumber,
  optionalTextOf,
  recordChange,
  textOf,
} from '../access/admin-call.ts'
import { openAuthority } from '../face/certificates.ts'
import { hostKey } from '../hosts/host-key.ts'
import { digestOf, newJoinSecret, writeJoinToken } from '../hosts/join-token.ts'
import { LOCAL_HOST, localHost } from './local-host.ts'
import { exists, inUse, invalidPlace, notFound, regionNamed } from './place-errors.ts'

/** `here`: this one. `invited`: its token waits to be used. `lost`: nothing lets it in; it needs a token. */
export type HostState = 'here' | 'connected' | 'away' | 'invited' | 'lost'

export type HostView = Readonly<{
  region: string
  name: string
  driver: string
  address: string
  state: HostState
  limits: Readonly<Record<string, number>>
  createdAt: string
  /** When it was last heard of; undefined for this one, and before it joined. */
  seenAt: string | undefined
  /** What its worker said of itself: version, hostname, cpus, memoryBytes, accelerator, qemu, from. */
  facts: Readonly<Record<string, unknown>>
}>

/** The token is in the answer that made it and nowhere else. */
export type Invitation = Readonly<{
  token: string
  expiresAt: string
  server: string
  /** The port is bound to an address that no other host reaches. */
  loopback: boolean
}>

const NAME = /^[a-z0-9][a-z0-9-]{0,39}$/
const ADDRESS = /^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$/
const DRIVERS = ['qemu'] as const
const MINUTE_MS = 60_000
const TOKEN_MINUTES = 60
const TOKEN_MINUTES_MAX = 7 * 24 * 60
const TASKS_MAX = 1000
const PORT_MAX = 65_535

function viewOf({ hosts, clock }: AdminParts, { createdMs, ...host }: Host, link: HostLink | undefined): HostView {
  const createdAt = isoTime(createdMs)
  if (link === undefined) {
    // A crash may have kept a host from its first token.
    const state = host.name === LOCAL_HOST ? 'here' : 'lost'
    return { ...host, state, createdAt, seenAt: undefined, facts: {} }
  }
  const line = hosts.state(hostKey(host))
  const seenMs = line?.seenMs ?? link.seenMs
  const facts = line?.facts ?? link.facts
  const from = facts['from']
  return {
    ...host,
    address: typeof from === 'string' ? from : host.address,
    state: line !== undefined ? 'connected' : stateOf(link, clock.nowMs()),
    createdAt,
    seenAt: seenMs === undefined ? undefined : isoTime(seenMs),
    facts,
  }
}

function stateOf({ certificates, join }: HostLink, nowMs: number): HostState {
  if (certificates.length > 0) return 'away'
  return join !== undefined && join.expiresMs > nowMs ? 'invited' : 'lost'
}

export async function hostViews(parts: AdminParts, region?: string): Promise<HostView[]> {
  const links = await listHostLinks(parts.catalog)
  const linkOf = (host: Host): HostLink | undefined =>
    links.find((link) => link.region === host.region && link.name === host.name)
  return (await listHosts(parts.catalog, region)).map((host) => viewOf(parts, host, linkOf(host)))
}

/** @throws ServerError `place_not_found` */
async function findHost(from: Catalog | CatalogTransaction, params: unknown): Promise<Host> {
  const fields = fieldsOf(params)
  const region = regionNamed(await listRegions(from), textOf(fields, 'region'))
  const name = textOf(fields, 'name')
  const found = (await listHosts(from, region.name)).find((host) => host.name === name)
  if (found === undefined) throw notFound('host', `${region.name}/${name}`)
  return found
}

async function oneView(parts: AdminParts, params: unknown): Promise<HostView> {
  const host = await findHost(parts.catalog, params)
  return viewOf(parts, host, await findHostLink(parts.catalog, host.region, host.name))
}

/** Opens the door and makes a token for the host, whose digest alone is kept. */
async function invite(parts: AdminParts, host: Host, params: unknown): Promise<Invitation> {
  const { hosts, catalog, clock, random, home } = parts
  const fields = fieldsOf(params)
  const minutes = optionalNumber(fields, 'minutes', TOKEN_MINUTES_MAX) ?? TOKEN_MINUTES
  const address = optionalTextOf(fields, 'address') ?? hosts.address
  if (!ADDRESS.test(address)) throw invalidPlace('host', address, 'Give a name or IP address, and the port by itself.')
  const port = optionalNumber(fields, 'port', PORT_MAX) ?? (await hosts.openDoor()).port
  const authority = await readFile(await openAuthority(join(home.folder, 'tls')), 'utf8')
  const secret = newJoinSecret(random)
  const expiresMs = clock.nowMs() + minutes * MINUTE_MS
  const { region, name } = host
  await catalog.write(async (trx) => {
    const link = (await findHostLink(trx, region, name)) ?? { region, name, seenMs: undefined, facts: {} }
    const invited = { hash: digestOf(secret), expiresMs, usedFor: undefined }
    await putHostLink(trx, { ...link, join: invited, certificates: [] })
  })
  hosts.lines.end(hostKey(host), 'it was given another token')
  const token = writeJoinToken({ host: hostKey(host), address, port, authority, secret, expiresMs })
  const { address: bound } = parts.config.hosts
  const loopback = /^127\.|^::1$/.test(bound)
  return { token, expiresAt: isoTime(expiresMs), server: `${address}:${port}`, loopback }
}

async function addHost(parts: AdminParts, params: unknown): Promise<HostView & Partial<Invitation>> {
  const fields = fieldsOf(params)
  const [given, name, driver] = ['region', 'name', 'driver'].map((field) => textOf(fields, field)) as [
    string,
    string,
    string,
  ]
  if (!NAME.test(name)) throw invalidPlace('host', name, 'Up to 40 small letters, digits and hyphens.')
  if (!DRIVERS.some((known) => known === driver))
    throw invalidPlace('driver', driver, `There is ${DRIVERS.join(', ')}.`)
  if (name !== LOCAL_HOST) await parts.hosts.openDoor() // Before there is a host that could not get in.
  const host = await parts.catalog.write(async (trx) => {
    const region = regionNamed(await listRegions(trx), given)
    if ((await listHosts(trx, region.name)).some((other) => other.name === name)) throw exists('host', name)
    const local = localHost(region.name, parts.clock.nowMs())
    const host = name === LOCAL_HOST ? local : { ...local, name, address: '' }
    await putHost(trx, host)
    return host
  })
  const invitation = name === LOCAL_HOST ? {} : await invite(parts, host, params)
  await recordChange(parts, 'Holdfast.Places/hosts/write', `/regions/${host.region}/hosts/${name}`)
  return { ...(await oneView(parts, params)), ...invitation }
}

async function newToken(parts: AdminParts, params: unknown): Promise<HostView & Invitation> {
  const host = await findHost(parts.catalog, params)
  if (host.name === LOCAL_HOST) throw invalidPlace('host', host.name, 'This host needs no token.')
  const invitation = await invite(parts, host, params)
  await recordChange(parts, 'Holdfast.Places/hosts/token/action', `/regions/${host.region}/hosts/${host.name}`)
  return { ...(await oneView(parts, params)), ...invitation }
}

async function setLimits(parts: AdminParts, params: unknown): Promise<HostView> {
  const fields = fieldsOf(params)
  const host = await findHost(parts.catalog, params)
  const limits: Record<string, number> = { ...host.limits }
  for (const [name, max] of [
    ['tasksAtOnce', TASKS_MAX],
    ['bytesPerSecond', Number.MAX_SAFE_INTEGER],
  ] as const) {
    if (fields[name] === null) delete limits[name]
    else if (fields[name] !== undefined) limits[name] = numberOf(fields, name, max)
  }
  if (limits['tasksAtOnce'] === 0) throw invalidPlace('host', '0', 'At least one task at once.')
  await parts.catalog.write((trx) => putHost(trx, { ...host, limits }))
  await recordChange(parts, 'Holdfast.Places/hosts/write', `/regions/${host.region}/hosts/${host.name}`, { limits })
  await parts.hosts.tellLimits(host.region, host.name)
  return oneView(parts, params)
}

async function checkHostUnused(trx: CatalogTransaction, host: Host): Promise<void> {
  const pool = (await listAllPools(trx, host.region)).find((one) => one.host === host.name)
  if (pool !== undefined) throw inUse('host', host.name, `the pool ${pool.name} is there; remove that first`)
  const names = [JSON.stringify(host.name), JSON.stringify(hostKey(host))]
  const user = (await usesOf(trx, host.region)).find(({ backing }) => names.some((name) => backing.includes(name)))
  if (user !== undefined) throw inUse('host', host.name, `${user.id} is there`)
}

/** `lost`: it does not come back; disks and pools that name it can be deleted then, and are out of reach until it is added again. */
async function removeHost(parts: AdminParts, params: unknown): Promise<HostView> {
  const isLost = fieldsOf(params)['lost'] === true
  const view = await oneView(parts, params)
  const host = await parts.catalog.write(async (trx) => {
    const found = await findHost(trx, params)
    if (!isLost || found.name === LOCAL_HOST) await checkHostUnused(trx, found)
    await deleteHost(trx, found.region, found.name)
    return found
  })
  parts.hosts.lines.end(hostKey(host), 'it was removed')
  await recordChange(parts, 'Holdfast.Places/hosts/delete', `/regions/${host.region}/hosts/${host.name}`, {
    lost: isLost,
  })
  return view
}

export function hostMethods(parts: AdminParts): RpcMethods {
  return {
    'host.add': (params) => addHost(parts, params),
    'host.token': (params) => newToken(parts, params),
    'host.set': (params) => setLimits(parts, params),
    'host.list': async (params) => {
      const given = optionalTextOf(fieldsOf(params), 'region')
      const region = given === undefined ? undefined : regionNamed(await listRegions(parts.catalog), given).name
      return hostViews(parts, region)
    },
    'host.show': (params) => oneView(parts, params),
    'host.remove': (params) => removeHost(parts, params),
  }
}
