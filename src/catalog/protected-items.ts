/**
 * Machines that vaults protect. A record carries when its next backup is due, so that the scheduler asks one index and never walks
 * them all. An item's key begins with its vault's key; its points follow it by a foreign key. `vault-records.ts` moves them all.
 */
import type { ProtectionState } from '#domain'
import { sql } from 'kysely'
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { ProtectedItemTable } from './vault-schema.ts'

/** Disks by LUN that are left out, or that alone are taken. */
export type DiskExclusion = Readonly<{ luns: readonly number[]; isInclusionList: boolean }>

export type ProtectedItem = Readonly<{
  /** The id in lower case. */
  key: string
  id: string
  vaultKey: string
  /** `VM;iaasvmcontainerv2;<group>;<machine>` */
  name: string
  /** ARM id of the machine. */
  machineId: string
  machineKey: string
  friendlyName: string
  state: ProtectionState
  policyId?: string | undefined
  /** When its backup is started next; none while it is not scheduled. */
  nextDueMs?: number | undefined
  /** The slot of its schedule that `nextDueMs` belongs to. */
  slotMs?: number | undefined
  exclusion?: DiskExclusion | undefined
  lastBackupMs?: number | undefined
  lastBackupStatus?: string | undefined
  softDeletedMs?: number | undefined
  purgeAtMs?: number | undefined
  /** Protection group: its machines share one instant. */
  group?: string | undefined
  facts: Readonly<Record<string, unknown>>
  createdMs: number
  changedMs: number
}>

/** A field that is given as undefined is cleared. */
export type ProtectedItemChange = Partial<
  Omit<ProtectedItem, 'key' | 'id' | 'vaultKey' | 'name' | 'machineKey' | 'createdMs' | 'changedMs'>
>

export type ProtectedItemFilter = Readonly<{
  vaultKey?: string
  machineKey?: string
  policyKey?: string
  /** Those whose next backup is due by then, the longest due first. */
  dueBeforeMs?: number
  /** Those whose soft-deleted data may go by then. */
  purgeBeforeMs?: number
  limit?: number
  /** Those that follow this key. Not with `dueBeforeMs`. */
  afterKey?: string
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

function read(row: ProtectedItemTable): ProtectedItem {
  return {
    key: row.key,
    id: row.id,
    vaultKey: row.vault_key,
    name: row.name,
    machineId: row.machine_id,
    machineKey: row.machine_key,
    friendlyName: row.friendly_name,
    state: row.state,
    policyId: row.policy_id ?? undefined,
    nextDueMs: row.next_due_ms ?? undefined,
    slotMs: row.slot_ms ?? undefined,
    exclusion: row.exclusion === null ? undefined : (JSON.parse(row.exclusion) as DiskExclusion),
    lastBackupMs: row.last_backup_ms ?? undefined,
    lastBackupStatus: row.last_backup_status ?? undefined,
    softDeletedMs: row.soft_deleted_ms ?? undefined,
    purgeAtMs: row.purge_at_ms ?? undefined,
    group: row.group_name ?? undefined,
    facts: JSON.parse(row.facts) as Record<string, unknown>,
    createdMs: row.created_ms,
    changedMs: row.changed_ms,
  }
}

function write(item: ProtectedItem): ProtectedItemTable {
  return {
    key: item.key,
    id: item.id,
    vault_key: item.vaultKey,
    name: item.name,
    machine_id: item.machineId,
    machine_key: item.machineId.toLowerCase(),
    friendly_name: item.friendlyName,
    state: item.state,
    policy_key: item.policyId?.toLowerCase() ?? null,
    policy_id: item.policyId ?? null,
    next_due_ms: item.nextDueMs ?? null,
    slot_ms: item.slotMs ?? null,
    exclusion: item.exclusion === undefined ? null : JSON.stringify(item.exclusion),
    last_backup_ms: item.lastBackupMs ?? null,
    last_backup_status: item.lastBackupStatus ?? null,
    soft_deleted_ms: item.softDeletedMs ?? null,
    purge_at_ms: item.purgeAtMs ?? null,
    group_name: item.group ?? null,
    facts: JSON.stringify(item.facts),
    created_ms: item.createdMs,
    changed_ms: item.changedMs,
  }
}

/** The item must not exist yet. Its vault is marked as one that held an item: its redundancy is fixed from now on. */
export async function insertProtectedItem(trx: CatalogTransaction, item: ProtectedItem): Promise<void> {
  await trx.insertInto('protected_item').values(write(item)).execute()
  await trx
    .updateTable('resource')
    .set({ backing: sql<string>`json_set(backing, '$.hadItems', json('true'))` })
    .where('key', '=', item.vaultKey)
    .where(sql`json_extract(backing, '$.hadItems')`, 'is', null)
    .execute()
}

/** Changes the fields that are given; undefined when there is no such item. */
export async function changeProtectedItem(
  trx: CatalogTransaction,
  key: string,
  change: ProtectedItemChange,
  nowMs: number,
): Promise<ProtectedItem | undefined> {
  const found = await findProtectedItem(trx, key)
  if (found === undefined) return undefined
  const changed = { ...found, ...change, changedMs: nowMs }
  await trx.updateTable('protected_item').set(write(changed)).where('key', '=', found.key).execute()
  return changed
}

export async function findProtectedItem(
  from: Catalog | CatalogTransaction,
  id: string,
): Promise<ProtectedItem | undefined> {
  const row = await readerOf(from)
    .selectFrom('protected_item')
    .selectAll()
    .where('key', '=', id.toLowerCase())
    .executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

/** In the order of their keys; of those that are due, the longest due first. */
export async function listProtectedItems(
  from: Catalog | CatalogTransaction,
  filter: ProtectedItemFilter,
): Promise<ProtectedItem[]> {
  let query = readerOf(from).selectFrom('protected_item').selectAll()
  if (filter.vaultKey !== undefined) query = query.where('vault_key', '=', filter.vaultKey)
  if (filter.machineKey !== undefined) query = query.where('machine_key', '=', filter.machineKey)
  if (filter.policyKey !== undefined) query = query.where('policy_key', '=', filter.policyKey)
  if (filter.purgeBeforeMs !== undefined) query = query.where('purge_at_ms', '<=', filter.purgeBeforeMs)
  if (filter.afterKey !== undefined) query = query.where('key', '>', filter.afterKey)
  if (filter.dueBeforeMs !== undefined)
    query = query.where('next_due_ms', '<=', filter.dueBeforeMs).orderBy('next_due_ms')
  query = query.orderBy('key')
  if (filter.limit !== undefined) query = query.limit(filter.limit)
  return (await query.execute()).map(read)
}

export async function countProtectedItems(
  from: Catalog | CatalogTransaction,
  filter: Readonly<{ vaultKey?: string; policyKey?: string; softDeleted?: boolean }>,
): Promise<number> {
  let query = readerOf(from)
    .selectFrom('protected_item')
    .select((count) => count.fn.countAll<number>().as('n'))
  if (filter.vaultKey !== undefined) query = query.where('vault_key', '=', filter.vaultKey)
  if (filter.policyKey !== undefined) query = query.where('policy_key', '=', filter.policyKey)
  if (filter.softDeleted !== undefined)
    query = query.where('soft_deleted_ms', filter.softDeleted ? 'is not' : 'is', null)
  return (await query.executeTakeFirst())?.n ?? 0
}

/** Removes the record, and those of its points. */
export async function deleteProtectedItem(trx: CatalogTransaction, key: string): Promise<void> {
  await trx.deleteFrom('protected_item').where('key', '=', key.toLowerCase()).execute()
}
