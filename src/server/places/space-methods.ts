/**
 * Pools (folders where disks lie) and stores (repositories where versions lie) of regions, over the server's socket.
 *
 *   pool.add {region, name, path, host?, reserveBytes?} → PoolView store.add {region, name, location, shared?, failureDomains?} → StoreView
 *   pool.list {region?}  pool.show {region, name}                  store.list {region?}  store.show {region, name}
 *   pool.reserve {region, name, reserveBytes} → PoolView
 *   pool.remove {region, name}                                     store.remove {region, name}
 *
 * A folder is made where it is missing, and tried before it is taken. Removing forgets the place and deletes nothing in it.
 * A pool of a host elsewhere is looked at by that host's worker.
 */
import { isAbsolute, resolve } from 'node:path'
import { isoTime } from '#base'
import {
  deletePool,
  deleteStore,
  findHostLink,
  listAllPools,
  listRegions,
  listStores,
  type Pool,
  putPool,
  putStore,
  type RegionStore,
  usesOf,
} from '#catalog'
import { formatStoreLocation, openStore, parseStoreLocation } from '#engine/repository'
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
import { type Folders, foldersHere, overlap } from './check-folder.ts'
import { LOCAL_HOST } from './local-host.ts'
import { exists, invalidPlace, inUse, notFound, regionNamed } from './place-errors.ts'

export type Space = Readonly<{ totalBytes: number; freeBytes: number; device: string }>
export type PoolView = Readonly<{
  region: string
  name: string
  path: string
  /** The host elsewhere where it lies; undefined: this one. */
  host: string | undefined
  reserveBytes: number
  createdAt: string
  /** Undefined when the folder cannot be read, or its host is away. */
  space: Space | undefined
}>
export type StoreView = Readonly<{
  region: string
  name: string
  location: string
  repositoryId: string | undefined
  /** Hosts elsewhere see the same folder at this path. */
  shared: boolean
  createdAt: string
  /** Undefined for a bucket, and when the folder cannot be read. */
  space: Space | undefined
}>
/** The ways to the folders of hosts. */
type Reach = Pick<AdminParts, 'hosts'>

export type Added<View> = View & Readonly<{ warnings: readonly string[] }>

const NAME = /^[a-z0-9][a-z0-9-]{0,39}$/
/** What the owner of a store may declare: of how many parts, each of which may fail alone, it survives the loss of one. */
const FAILURE_DOMAINS_MAX = 100
const NAME_HINT = 'Up to 40 small letters, digits and hyphens.'

async function spaceOf(path: string | undefined, folders: Folders = foldersHere): Promise<Space | undefined> {
  if (path === undefined) return undefined
  try {
    const { totalBytes, freeBytes, device } = await folders.facts(path)
    return { totalBytes, freeBytes, device }
  } catch {
    return undefined // The view says so; doctor says why.
  }
}

/** The folder of a store, if it is one. */
export function folderOf(location: string): string | undefined {
  const descriptor = parseStoreLocation(location)
  return descriptor.kind === 'folder' ? descriptor.path : undefined
}

async function poolView({ hosts }: Reach, { createdMs, ...pool }: Pool): Promise<PoolView> {
  const space = await spaceOf(pool.path, hosts.folders(pool.region, pool.host))
  return { ...pool, createdAt: isoTime(createdMs), space }
}

async function storeView({ createdMs, ...store }: RegionStore): Promise<StoreView> {
  return { ...store, createdAt: isoTime(createdMs), space: await spaceOf(folderOf(store.location)) }
}

export async function poolViews(parts: Reach & Pick<AdminParts, 'catalog'>, region?: string): Promise<PoolView[]> {
  return Promise.all((await listAllPools(parts.catalog, region)).map((pool) => poolView(parts, pool)))
}

export async function storeViews({ catalog }: Pick<AdminParts, 'catalog'>, region?: string): Promise<StoreView[]> {
  return Promise.all((await listStores(catalog, region)).map(storeView))
}

type Place = Readonly<{ kind: 'pool' | 'store'; region: string; name: string; folder: string }>
/** A host of a region; without `host`, this one, whatever the region. */
type Where = Readonly<{ region: string; host: string | undefined }>

/** The places of one host: no other host's folder lies in one of its own. A shared store lies on all of them. */
async function placesOn({ catalog }: AdminParts, { region, host }: Where): Promise<Place[]> {
  const isThere = (pool: Pool): boolean => pool.host === host && (host === undefined || pool.region === region)
  const pools = (await listAllPools(catalog)).filter(isThere)
  const stores = (await listStores(catalog)).filter(({ shared }) => host === undefined || shared)
  return [
    ...pools.map((pool): Place => ({ ...pool, kind: 'pool', folder: pool.path })),
    ...stores.flatMap((store): Place[] => {
      const folder = folderOf(store.location)
      return folder === undefined ? [] : [{ ...store, kind: 'store', folder }]
    }),
  ]
}

function checkApart(folder: string, others: readonly Place[]): void {
  const other = others.find((one) => overlap(folder, one.folder))
  if (other === undefined) return
  throw invalidPlace(other.kind, folder, `The ${other.kind} ${other.region}/${other.name} lies at ${other.folder}.`)
}

/** Makes and tries the folder; refuses one that is, holds or lies in another place; warns of a shared device. */
async function takeFolder(parts: AdminParts, where: Where, given: string, reserveBytes: number) {
  const folders = parts.hosts.folders(where.region, where.host)
  const others = await placesOn(parts, where)
  checkApart(await folders.real(given), others) // Before anything is made there.
  const { path, device } = await folders.prepare(given, reserveBytes)
  checkApart(path, others)
  const warnings = new Set<string>()
  for (const other of others) {
    const space = await spaceOf(other.folder, folders)
    if (space?.device === device && other.region !== where.region)
      warnings.add(`It shares a device with the region ${other.region}: one fault would take both.`)
  }
  return { path, warnings: [...warnings] }
}

async function namesOf(parts: AdminParts, kind: 'pool' | 'store', params: unknown) {
  const fields = fieldsOf(params)
  const region = regionNamed(await listRegions(parts.catalog), textOf(fields, 'region')).name
  const name = textOf(fields, 'name')
  if (!NAME.test(name)) throw invalidPlace(kind, name, NAME_HINT)
  return { fields, region, name }
}

async function addPool(parts: AdminParts, params: unknown): Promise<Added<PoolView>> {
  const { fields, region, name } = await namesOf(parts, 'pool', params)
  const path = textOf(fields, 'path')
  if (!isAbsolute(path)) throw invalidPlace('pool', path, 'Give an absolute path.')
  const reserveBytes = optionalNumber(fields, 'reserveBytes', Number.MAX_SAFE_INTEGER) ?? parts.config.reserve.pool
  if ((await listAllPools(parts.catalog, region)).some((pool) => pool.name === name)) throw exists('pool', name)
  const host = await hostNamed(parts, region, optionalTextOf(fields, 'host'))
  const taken = await takeFolder(parts, { region, host }, resolve(path), reserveBytes)
  const pool = { region, name, path: taken.path, host, reserveBytes, createdMs: parts.clock.nowMs() }
  await parts.catalog.write(async (trx) => {
    if ((await listAllPools(trx, region)).some((other) => other.name === name)) throw exists('pool', name)
    await putPool(trx, pool)
  })
  await recordChange(parts, 'Holdfast.Places/pools/write', `/regions/${region}/pools/${name}`)
  const unreached = host === undefined ? [] : await unreachedStores(parts, region)
  return { ...(await poolView(parts, pool)), warnings: [...taken.warnings, ...unreached] }
}

/** The name as pools have it. @throws ServerError `place_not_found` */
async function hostNamed({ catalog }: AdminParts, region: string, given?: string): Promise<string | undefined> {
  if (given === undefined || given === LOCAL_HOST) return undefined
  if ((await findHostLink(catalog, region, given)) !== undefined) return given
  throw notFound('host', `${region}/${given}`)
}

/** Snapshots of a host's disks go where the host writes itself. */
async function unreachedStores({ catalog }: AdminParts, region: string): Promise<string[]> {
  const [first] = await listStores(catalog, region)
  if (first === undefined || first.shared || folderOf(first.location) === undefined) return []
  return [
    `The store ${region}/${first.name} is a folder of the server alone: there will be no snapshots of disks in this pool. ` +
      'Give the region a bucket, or a folder that both see at one path ("holdfast store add --shared").',
  ]
}

/** The store answers, or its folder can be used. @throws StoreError, ServerError */
async function tryStore(parts: AdminParts, region: string, location: string): Promise<readonly [string, string[]]> {
  const descriptor = parseStoreLocation(location)
  if (descriptor.kind === 'memory') throw invalidPlace('store', location, 'It would be gone with the process.')
  if (descriptor.kind === 'folder') {
    if (!isAbsolute(location)) throw invalidPlace('store', location, 'Give an absolute path.')
    const taken = await takeFolder(parts, { region, host: undefined }, descriptor.path, parts.config.reserve.store)
    return [taken.path, taken.warnings]
  }
  const store = await openStore(descriptor)
  try {
    await store.timeMs() // Asks the bucket's server: it answers, with these credentials.
  } finally {
    await store.close()
  }
  return [formatStoreLocation(descriptor), []]
}

async function addStore(parts: AdminParts, params: unknown): Promise<Added<StoreView>> {
  const { fields, region, name } = await namesOf(parts, 'store', params)
  if ((await listStores(parts.catalog, region)).some((store) => store.name === name)) throw exists('store', name)
  const [location, warnings] = await tryStore(parts, region, textOf(fields, 'location'))
  const other = (await listStores(parts.catalog)).find((store) => store.location === location)
  if (other !== undefined) throw invalidPlace('store', location, `The store ${other.region}/${other.name} is there.`)
  const shared = fields['shared'] === true && folderOf(location) !== undefined
  const failureDomains = optionalNumber(fields, 'failureDomains', FAILURE_DOMAINS_MAX) ?? 1
  const createdMs = parts.clock.nowMs()
  const store = { region, name, location, repositoryId: undefined, shared, failureDomains, createdMs }
  await parts.catalog.write(async (trx) => {
    if ((await listStores(trx, region)).some((other) => other.name === name)) throw exists('store', name)
    await putStore(trx, store)
  })
  await recordChange(parts, 'Holdfast.Places/stores/write', `/regions/${region}/stores/${name}`)
  return { ...(await storeView(store)), warnings }
}

async function find<T extends Readonly<{ name: string }>>(
  parts: AdminParts,
  kind: 'pool' | 'store',
  params: unknown,
  list: (catalog: AdminParts['catalog'], region: string) => Promise<T[]>,
): Promise<T> {
  const fields = fieldsOf(params)
  const region = regionNamed(await listRegions(parts.catalog), textOf(fields, 'region')).name
  const name = textOf(fields, 'name')
  const found = (await list(parts.catalog, region)).find((one) => one.name === name)
  if (found === undefined) throw notFound(kind, `${region}/${name}`)
  return found
}

/** In use: a resource refers to it, or its folder holds anything. @throws what reaching its host raises */
async function checkUnused(
  kind: 'pool' | 'store',
  name: string,
  folder: string | undefined,
  folders: Folders = foldersHere,
): Promise<void> {
  const contents = folder === undefined ? [] : await folders.contents(folder)
  if (contents.length === 0) return
  throw inUse(kind, name, `${folder} holds ${contents.length} files or folders, such as ${contents[0]}`)
}

function refersTo(backing: string, texts: readonly (string | undefined)[]): boolean {
  return texts.some((text) => text !== undefined && text !== '' && backing.includes(JSON.stringify(text).slice(1, -1)))
}

async function changeReserve(parts: AdminParts, params: unknown): Promise<PoolView> {
  const pool = await find(parts, 'pool', params, listAllPools)
  const reserveBytes = numberOf(fieldsOf(params), 'reserveBytes', Number.MAX_SAFE_INTEGER)
  const changed = { ...pool, reserveBytes }
  await parts.catalog.write((trx) => putPool(trx, changed))
  await recordChange(parts, 'Holdfast.Places/pools/write', `/regions/${pool.region}/pools/${pool.name}`, {
    reserveBytes,
  })
  return poolView(parts, changed)
}

async function removePool(parts: AdminParts, params: unknown): Promise<PoolView> {
  const pool = await find(parts, 'pool', params, listAllPools)
  const { region, host } = pool
  const isReached = host === undefined || (await findHostLink(parts.catalog, region, host)) !== undefined
  if (isReached) await checkUnused('pool', pool.name, pool.path, parts.hosts.folders(region, host))
  const key = pool.host === undefined ? undefined : `"host":${JSON.stringify(`${pool.region}/${pool.host}`)}`
  const isThere = (backing: string): boolean =>
    key === undefined ? !backing.includes('"host":"') : backing.includes(key)
  await parts.catalog.write(async (trx) => {
    const users = (await usesOf(trx, pool.region)).filter(({ backing }) => isThere(backing))
    const user = users.find(({ backing }) => refersTo(backing, [pool.path]))
    if (user !== undefined) throw inUse('pool', pool.name, `${user.id} lies there`)
    await deletePool(trx, pool.region, pool.name)
  })
  await recordChange(parts, 'Holdfast.Places/pools/delete', `/regions/${pool.region}/pools/${pool.name}`)
  return poolView(parts, pool)
}

async function removeStore(parts: AdminParts, params: unknown): Promise<StoreView> {
  const store = await find(parts, 'store', params, listStores)
  await checkUnused('store', store.name, folderOf(store.location))
  await parts.catalog.write(async (trx) => {
    const texts = [store.location, store.repositoryId]
    const user = (await usesOf(trx, store.region)).find(({ backing }) => refersTo(backing, texts))
    if (user !== undefined) throw inUse('store', store.name, `${user.id} has its content there`)
    await deleteStore(trx, store.region, store.name)
  })
  await recordChange(parts, 'Holdfast.Places/stores/delete', `/regions/${store.region}/stores/${store.name}`)
  return storeView(store)
}

async function regionGiven({ catalog }: AdminParts, params: unknown): Promise<string | undefined> {
  const given = optionalTextOf(fieldsOf(params), 'region')
  return given === undefined ? undefined : regionNamed(await listRegions(catalog), given).name
}

export function spaceMethods(parts: AdminParts): RpcMethods {
  return {
    'pool.add': (params) => addPool(parts, params),
    'pool.list': async (params) => poolViews(parts, await regionGiven(parts, params)),
    'pool.show': async (params) => poolView(parts, await find(parts, 'pool', params, listAllPools)),
    'pool.reserve': (params) => changeReserve(parts, params),
    'pool.remove': (params) => removePool(parts, params),
    'store.add': (params) => addStore(parts, params),
    'store.list': async (params) => storeViews(parts, await regionGiven(parts, params)),
    'store.show': async (params) => storeView(await find(parts, 'store', params, listStores)),
    'store.remove': (params) => removeStore(parts, params),
  }
}
