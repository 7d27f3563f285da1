/**
 * Repositories that Holdfast knows, and the cache of the recovery points that they hold. The cache is refilled from a
 * repository's own listing (`refillPoints`): a lost catalog loses nothing that a repository knows.
 */
import { type ListedDisk, type ListedPoint, planRefill, type RefillPlan } from '#domain'
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { RecoveryPointTable } from './schema.ts'

export type KnownRepository = Readonly<{
  id: string
  location: string
  addedMs: number
  /** When its points were last listed; undefined when never. */
  listedMs: number | undefined
}>

/** Adds the repository, or records its new location. */
export async function recordRepository(
  catalog: Catalog,
  repository: Readonly<{ id: string; location: string; addedMs: number }>,
): Promise<void> {
  await catalog.write((trx) =>
    trx
      .insertInto('repository')
      .values({ id: repository.id, location: repository.location, added_ms: repository.addedMs })
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ location: repository.location }))
      .execute(),
  )
}

/** Forgets the repository and the cache of its points; the repository itself is not touched. */
export async function forgetRepository(catalog: Catalog, id: string): Promise<void> {
  await catalog.write((trx) => trx.deleteFrom('repository').where('id', '=', id).execute())
}

export async function listRepositories(catalog: Catalog): Promise<KnownRepository[]> {
  const rows = await catalog.db.selectFrom('repository').selectAll().orderBy('location').execute()
  return rows.map((row) => ({
    id: row.id,
    location: row.location,
    addedMs: row.added_ms,
    listedMs: row.listed_ms ?? undefined,
  }))
}

function read(row: RecoveryPointTable): ListedPoint {
  return {
    repositoryId: row.repository_id,
    pointId: row.id,
    machineId: row.machine_id,
    machineName: row.machine_name,
    takenAtMs: row.taken_at_ms,
    sequence: row.sequence,
    consistency: row.consistency,
    expiresAtMs: row.expires_at_ms,
    legalHold: row.legal_hold === 1,
    disks: JSON.parse(row.disks) as ListedDisk[],
  }
}

function write(point: ListedPoint): RecoveryPointTable {
  return {
    repository_id: point.repositoryId,
    id: point.pointId,
    machine_id: point.machineId,
    machine_name: point.machineName,
    taken_at_ms: point.takenAtMs,
    sequence: point.sequence,
    consistency: point.consistency,
    expires_at_ms: point.expiresAtMs,
    legal_hold: point.legalHold ? 1 : 0,
    disks: JSON.stringify(point.disks),
  }
}

async function put(trx: CatalogTransaction, point: ListedPoint): Promise<void> {
  const row = write(point)
  await trx
    .insertInto('recovery_point')
    .values(row)
    .onConflict((conflict) => conflict.columns(['repository_id', 'id']).doUpdateSet(row))
    .execute()
}

/** Caches one point, as when it was just taken. Its repository must be known. */
export async function recordPoint(catalog: Catalog, point: ListedPoint): Promise<void> {
  await catalog.write((trx) => put(trx, point))
}

/** Brings the cache of one repository into agreement with its whole listing, in one transaction. */
export function refillPoints(
  catalog: Catalog,
  repositoryId: string,
  listed: readonly ListedPoint[],
  listedMs: number,
): Promise<RefillPlan> {
  return catalog.write(async (trx) => {
    const rows = await trx.selectFrom('recovery_point').selectAll().where('repository_id', '=', repositoryId).execute()
    const plan = planRefill(rows.map(read), listed)
    for (const point of plan.put) await put(trx, point)
    for (const id of plan.drop) {
      await trx.deleteFrom('recovery_point').where('repository_id', '=', repositoryId).where('id', '=', id).execute()
    }
    await trx.updateTable('repository').set({ listed_ms: listedMs }).where('id', '=', repositoryId).execute()
    return plan
  })
}

export type PointFilter = Readonly<{ repositoryId?: string; machineId?: string }>

/** Cached points in the order of their repositories' logs. */
export async function listPoints(catalog: Catalog, filter: PointFilter = {}): Promise<ListedPoint[]> {
  let query = catalog.db.selectFrom('recovery_point').selectAll()
  if (filter.repositoryId !== undefined) query = query.where('repository_id', '=', filter.repositoryId)
  if (filter.machineId !== undefined) query = query.where('machine_id', '=', filter.machineId)
  const rows = await query.orderBy('repository_id').orderBy('sequence').orderBy('id').execute()
  return rows.map(read)
}
