/**
 * Recovery points of protected items: what the API lists without opening a repository. A vault's repository says which points
 * there are; this says of each where else it lies, which rules keep it, and until when.
 */
import type { PointConsistency } from '#domain'
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { VaultPointTable } from './vault-schema.ts'

export type VaultPointDisk = Readonly<{
  diskId: string
  /** -1: the operating system's. */
  lun: number
  name: string
  sizeBytes: number
}>

export type VaultPoint = Readonly<{
  vaultKey: string
  itemKey: string
  /** Decimal digits; newer ones of a vault are larger. */
  name: string
  /** In the vault's repository. */
  pointId: string
  takenMs: number
  sequence: number
  consistency: PointConsistency
  /** Where it landed first, where that is not the vault's repository. */
  landed?: Readonly<{ region: string; repository: string; pointId: string }> | undefined
  /** The slot of the schedule that it was taken for; none of one that was asked for. */
  slotMs?: number | undefined
  instantUntilMs?: number | undefined
  vaultedMs?: number | undefined
  mirroredMs?: number | undefined
  /** Of one that was asked for, or was given an end of its own. */
  expiresMs?: number | undefined
  /**
   * How long retention last said that it is kept; none: for ever. A point that is given up before then is soft-deleted. One that is
   * kept for ever by the rule `Retained` still has what it was promised before.
   */
  keptUntilMs?: number | undefined
  isOnDemand: boolean
  /** Names of the rules that keep it. */
  keptBy: readonly string[]
  softDeletedMs?: number | undefined
  purgeAtMs?: number | undefined
  sizeBytes: number
  storedBytes: number
  disks: readonly VaultPointDisk[]
  facts: Readonly<Record<string, unknown>>
}>

/** A field that is given as undefined is cleared. */
export type VaultPointChange = Partial<Omit<VaultPoint, 'vaultKey' | 'itemKey' | 'name'>>

export type VaultPointFilter = Readonly<{
  itemKey?: string
  vaultKey?: string
  /** In the vault's repository; give the vault too. */
  pointId?: string
  fromMs?: number
  toMs?: number
  softDeleted?: boolean
  limit?: number
  /** Those older than this one. */
  before?: Readonly<{ takenMs: number; name: string }>
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

function read(row: VaultPointTable): VaultPoint {
  return {
    vaultKey: row.vault_key,
    itemKey: row.item_key,
    name: row.name,
    pointId: row.point_id,
    takenMs: row.taken_ms,
    sequence: row.sequence,
    consistency: row.consistency,
    landed: row.landed === null ? undefined : (JSON.parse(row.landed) as NonNullable<VaultPoint['landed']>),
    slotMs: row.slot_ms ?? undefined,
    instantUntilMs: row.instant_until_ms ?? undefined,
    vaultedMs: row.vaulted_ms ?? undefined,
    mirroredMs: row.mirrored_ms ?? undefined,
    expiresMs: row.expires_ms ?? undefined,
    keptUntilMs: row.kept_until_ms ?? undefined,
    isOnDemand: row.on_demand === 1,
    keptBy: JSON.parse(row.kept_by) as string[],
    softDeletedMs: row.soft_deleted_ms ?? undefined,
    purgeAtMs: row.purge_at_ms ?? undefined,
    sizeBytes: row.size_bytes,
    storedBytes: row.stored_bytes,
    disks: JSON.parse(row.disks) as VaultPointDisk[],
    facts: JSON.parse(row.facts) as Record<string, unknown>,
  }
}

function write(point: VaultPoint): VaultPointTable {
  return {
    vault_key: point.vaultKey,
    item_key: point.itemKey,
    name: point.name,
    point_id: point.pointId,
    taken_ms: point.takenMs,
    sequence: point.sequence,
    consistency: point.consistency,
    landed: point.landed === undefined ? null : JSON.stringify(point.landed),
    slot_ms: point.slotMs ?? null,
    instant_until_ms: point.instantUntilMs ?? null,
    vaulted_ms: point.vaultedMs ?? null,
    mirrored_ms: point.mirroredMs ?? null,
    expires_ms: point.expiresMs ?? null,
    kept_until_ms: point.keptUntilMs ?? null,
    on_demand: point.isOnDemand ? 1 : 0,
    kept_by: JSON.stringify(point.keptBy),
    soft_deleted_ms: point.softDeletedMs ?? null,
    purge_at_ms: point.purgeAtMs ?? null,
    size_bytes: point.sizeBytes,
    stored_bytes: point.storedBytes,
    disks: JSON.stringify(point.disks),
    facts: JSON.stringify(point.facts),
  }
}

/** Its item must be there, and the point must not. */
export async function insertVaultPoint(trx: CatalogTransaction, point: VaultPoint): Promise<void> {
  await trx.insertInto('vault_point').values(write(point)).execute()
}

/** Changes the fields that are given; undefined when there is no such point. */
export async function changeVaultPoint(
  trx: CatalogTransaction,
  itemKey: string,
  name: string,
  change: VaultPointChange,
): Promise<VaultPoint | undefined> {
  const found = await findVaultPoint(trx, itemKey, name)
  if (found === undefined) return undefined
  const changed = { ...found, ...change }
  await trx
    .updateTable('vault_point')
    .set(write(changed))
    .where('item_key', '=', found.itemKey)
    .where('name', '=', found.name)
    .execute()
  return changed
}

export async function findVaultPoint(
  from: Catalog | CatalogTransaction,
  itemKey: string,
  name: string,
): Promise<VaultPoint | undefined> {
  const row = await readerOf(from)
    .selectFrom('vault_point')
    .selectAll()
    .where('item_key', '=', itemKey)
    .where('name', '=', name)
    .executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

/** The newest first. */
export async function listVaultPoints(
  from: Catalog | CatalogTransaction,
  filter: VaultPointFilter,
): Promise<VaultPoint[]> {
  let query = readerOf(from).selectFrom('vault_point').selectAll()
  if (filter.itemKey !== undefined) query = query.where('item_key', '=', filter.itemKey)
  if (filter.vaultKey !== undefined) query = query.where('vault_key', '=', filter.vaultKey)
  if (filter.pointId !== undefined) query = query.where('point_id', '=', filter.pointId)
  if (filter.fromMs !== undefined) query = query.where('taken_ms', '>=', filter.fromMs)
  if (filter.toMs !== undefined) query = query.where('taken_ms', '<=', filter.toMs)
  if (filter.softDeleted !== undefined)
    query = query.where('soft_deleted_ms', filter.softDeleted ? 'is not' : 'is', null)
  if (filter.before !== undefined) {
    const { takenMs, name } = filter.before
    query = query.where((where) =>
      where.or([
        where('taken_ms', '<', takenMs),
        where.and([where('taken_ms', '=', takenMs), where('name', '<', name)]),
      ]),
    )
  }
  query = query.orderBy('taken_ms', 'desc').orderBy('name', 'desc')
  if (filter.limit !== undefined) query = query.limit(filter.limit)
  return (await query.execute()).map(read)
}

export async function deleteVaultPoint(trx: CatalogTransaction, itemKey: string, name: string): Promise<void> {
  await trx.deleteFrom('vault_point').where('item_key', '=', itemKey).where('name', '=', name).execute()
}
