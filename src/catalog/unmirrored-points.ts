/** Points of a vault that are in its repository and not in its mirror yet. */
import type { Catalog, CatalogTransaction } from './catalog.ts'

export type UnmirroredPoint = Readonly<{ itemKey: string; name: string; pointId: string; vaultedMs: number }>
export type UnmirroredSum = Readonly<{ points: number; oldestMs?: number }>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

const waiting = (from: Catalog | CatalogTransaction, vaultKey: string) =>
  readerOf(from)
    .selectFrom('vault_point')
    .where('vault_key', '=', vaultKey)
    .where('vaulted_ms', 'is not', null)
    .where('mirrored_ms', 'is', null)

/** The oldest first. */
export async function listUnmirroredPoints(
  from: Catalog | CatalogTransaction,
  vaultKey: string,
  limit: number,
): Promise<UnmirroredPoint[]> {
  const rows = await waiting(from, vaultKey)
    .select(['item_key', 'name', 'point_id', 'vaulted_ms'])
    .orderBy('vaulted_ms')
    .limit(limit)
    .execute()
  return rows.map((row) => ({
    itemKey: row.item_key,
    name: row.name,
    pointId: row.point_id,
    vaultedMs: row.vaulted_ms ?? 0,
  }))
}

export async function countUnmirroredPoints(
  from: Catalog | CatalogTransaction,
  vaultKey: string,
): Promise<UnmirroredSum> {
  const { points, oldest } = await waiting(from, vaultKey)
    .select([({ fn }) => fn.countAll<number>().as('points'), ({ fn }) => fn.min('vaulted_ms').as('oldest')])
    .executeTakeFirstOrThrow()
  return { points, ...(oldest !== null && { oldestMs: oldest }) }
}
