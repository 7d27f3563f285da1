/** Regions with their pools (where disks lie), stores (where versions lie) and hosts; and the server's own settings. */
import type { Catalog, CatalogTransaction } from './catalog.ts'

export type Region = Readonly<{
  name: string
  displayName: string
  pair: string | undefined
  geography: string
  createdMs: number
}>
export type Pool = Readonly<{
  region: string
  name: string
  path: string
  /** A host elsewhere, of the same region; undefined: this one. */
  host: string | undefined
  reserveBytes: number
  createdMs: number
}>
export type RegionStore = Readonly<{
  region: string
  name: string
  location: string
  repositoryId: string | undefined
  /** Hosts elsewhere see the same folder at this path. Says nothing of a bucket, which everybody reaches. */
  shared: boolean
  /** Its owner says that what it holds survives the loss of any one of so many parts. Default 1: of none. */
  failureDomains?: number
  createdMs: number
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

export async function putRegion(trx: CatalogTransaction, region: Region): Promise<void> {
  const row = {
    name: region.name,
    display_name: region.displayName,
    pair: region.pair ?? null,
    geography: region.geography,
    created_ms: region.createdMs,
  }
  const { created_ms: _created, ...changed } = row
  await trx
    .insertInto('region')
    .values(row)
    .onConflict((conflict) => conflict.column('name').doUpdateSet(changed))
    .execute()
}

export async function listRegions(from: Catalog | CatalogTransaction): Promise<Region[]> {
  const rows = await readerOf(from).selectFrom('region').selectAll().orderBy('name').execute()
  return rows.map((row) => ({
    name: row.name,
    displayName: row.display_name,
    pair: row.pair ?? undefined,
    geography: row.geography,
    createdMs: row.created_ms,
  }))
}

export async function findRegion(from: Catalog | CatalogTransaction, name: string): Promise<Region | undefined> {
  return (await listRegions(from)).find((region) => region.name === name)
}

export async function deleteRegion(trx: CatalogTransaction, name: string): Promise<void> {
  await trx.updateTable('region').set({ pair: null }).where('pair', '=', name).execute()
  await trx.deleteFrom('region').where('name', '=', name).execute()
}

export async function putPool(trx: CatalogTransaction, pool: Pool): Promise<void> {
  const row = {
    region: pool.region,
    name: pool.name,
    path: pool.path,
    host: pool.host ?? null,
    reserve_bytes: pool.reserveBytes,
    created_ms: pool.createdMs,
  }
  await trx
    .insertInto('pool')
    .values(row)
    .onConflict((conflict) =>
      conflict.columns(['region', 'name']).doUpdateSet({ path: row.path, reserve_bytes: row.reserve_bytes }),
    )
    .execute()
}

/** Pools of this host: folders that this process can open. Those of hosts elsewhere are left out. */
export async function listPools(from: Catalog | CatalogTransaction, region?: string): Promise<Pool[]> {
  return (await listAllPools(from, region)).filter(({ host }) => host === undefined)
}

/** Pools of all hosts: a path in them says nothing without its host. */
export async function listAllPools(from: Catalog | CatalogTransaction, region?: string): Promise<Pool[]> {
  let query = readerOf(from).selectFrom('pool').selectAll()
  if (region !== undefined) query = query.where('region', '=', region)
  const rows = await query.orderBy('region').orderBy('name').execute()
  return rows.map((row) => ({
    region: row.region,
    name: row.name,
    path: row.path,
    host: row.host ?? undefined,
    reserveBytes: row.reserve_bytes,
    createdMs: row.created_ms,
  }))
}

export async function deletePool(trx: CatalogTransaction, region: string, name: string): Promise<void> {
  await trx.deleteFrom('pool').where('region', '=', region).where('name', '=', name).execute()
}

export async function putStore(trx: CatalogTransaction, store: RegionStore): Promise<void> {
  const row = {
    region: store.region,
    name: store.name,
    location: store.location,
    repository_id: store.repositoryId ?? null,
    created_ms: store.createdMs,
    shared: store.shared ? 1 : 0,
    failure_domains: store.failureDomains ?? 1,
  }
  await trx
    .insertInto('store')
    .values(row)
    .onConflict((conflict) =>
      conflict.columns(['region', 'name']).doUpdateSet({
        location: row.location,
        repository_id: row.repository_id,
        shared: row.shared,
        failure_domains: row.failure_domains,
      }),
    )
    .execute()
}

export async function listStores(from: Catalog | CatalogTransaction, region?: string): Promise<RegionStore[]> {
  let query = readerOf(from).selectFrom('store').selectAll()
  if (region !== undefined) query = query.where('region', '=', region)
  const rows = await query.orderBy('region').orderBy('name').execute()
  return rows.map((row) => ({
    region: row.region,
    name: row.name,
    location: row.location,
    repositoryId: row.repository_id ?? undefined,
    shared: row.shared === 1,
    failureDomains: row.failure_domains,
    createdMs: row.created_ms,
  }))
}

export async function deleteStore(trx: CatalogTransaction, region: string, name: string): Promise<void> {
  await trx.deleteFrom('store').where('region', '=', region).where('name', '=', name).execute()
}

/** A setting that the server made once and keeps: its tenant, its subscription. Never a secret. */
export async function findSetting(from: Catalog | CatalogTransaction, name: string): Promise<string | undefined> {
  const row = await readerOf(from).selectFrom('setting').select('value').where('name', '=', name).executeTakeFirst()
  return row?.value
}

export async function putSetting(trx: CatalogTransaction, name: string, value: string): Promise<void> {
  await trx
    .insertInto('setting')
    .values({ name, value })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ value }))
    .execute()
}
