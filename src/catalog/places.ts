/** Hosts of regions, what uses a region's parts, and figures over the whole catalog. */
import type { Catalog, CatalogTransaction } from './catalog.ts'

export type Host = Readonly<{
  region: string
  name: string
  driver: string
  /** `local`: this one. */
  address: string
  limits: Readonly<Record<string, number>>
  createdMs: number
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

export async function putHost(trx: CatalogTransaction, host: Host): Promise<void> {
  const { region, name, driver, address, limits, createdMs } = host
  const changed = { driver, address, limits: JSON.stringify(limits) }
  await trx
    .insertInto('host')
    .values({ region, name, ...changed, created_ms: createdMs })
    .onConflict((conflict) => conflict.columns(['region', 'name']).doUpdateSet(changed))
    .execute()
}

export async function listHosts(from: Catalog | CatalogTransaction, region?: string): Promise<Host[]> {
  let query = readerOf(from).selectFrom('host').selectAll()
  if (region !== undefined) query = query.where('region', '=', region)
  const rows = await query.orderBy('region').orderBy('name').execute()
  return rows.map(({ created_ms, limits, ...row }) => ({
    ...row,
    limits: JSON.parse(limits) as Record<string, number>,
    createdMs: created_ms,
  }))
}

export async function deleteHost(trx: CatalogTransaction, region: string, name: string): Promise<void> {
  await trx.deleteFrom('host').where('region', '=', region).where('name', '=', name).execute()
}

export type Usage = Readonly<{ id: string; backing: string }>

/** Resources of the region, with what stands behind them as JSON text; resource groups too, as they name it. */
export async function usesOf(from: Catalog | CatalogTransaction, region: string): Promise<Usage[]> {
  return readerOf(from).selectFrom('resource').select(['id', 'backing']).where('location', '=', region).execute()
}

export type CatalogCounts = Readonly<Record<string, number>>

const COUNTED = [
  'resource',
  'operation',
  'activity',
  'principal',
  'role_assignment',
  'machine',
  'repository',
  'recovery_point',
  'job',
] as const

/** Rows of the tables that grow. */
export async function countCatalog(catalog: Catalog): Promise<CatalogCounts> {
  const counts: Record<string, number> = {}
  for (const table of COUNTED) {
    const row = await catalog.db
      .selectFrom(table)
      .select((select) => select.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    counts[table] = row.count
  }
  return counts
}

/** The newest recovery point of each machine, by name. */
export async function newestPoints(catalog: Catalog): Promise<Readonly<{ machine: string; takenMs: number }>[]> {
  const rows = await catalog.db
    .selectFrom('recovery_point')
    .select(['machine_name', (select) => select.fn.max('taken_at_ms').as('taken')])
    .groupBy('machine_name')
    .execute()
  return rows.map(({ machine_name, taken }) => ({ machine: machine_name, takenMs: taken }))
}
