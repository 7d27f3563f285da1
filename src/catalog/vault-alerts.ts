/** What of a vault somebody should look at. An alert is open until it is resolved, and stays on record then. */
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { VaultAlertTable } from './vault-schema.ts'

export type AlertSeverity = 'Critical' | 'Warning' | 'Information'

export type VaultAlert = Readonly<{
  id: string
  vaultKey: string
  /** What happened, as one word: `JobFailed`, `MirrorLag`. */
  kind: string
  severity: AlertSeverity
  itemKey?: string | undefined
  message: string
  facts: Readonly<Record<string, unknown>>
  raisedMs: number
  resolvedMs?: number | undefined
}>

export type AlertFilter = Readonly<{
  vaultKey?: string
  kind?: string
  itemKey?: string
  /** Only those that are not resolved. */
  onlyOpen?: boolean
  fromMs?: number
  /** Raised or resolved since. */
  changedMs?: number
  limit?: number
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

function read(row: VaultAlertTable): VaultAlert {
  return {
    id: row.id,
    vaultKey: row.vault_key,
    kind: row.kind,
    severity: row.severity as AlertSeverity,
    itemKey: row.item_key ?? undefined,
    message: row.message,
    facts: JSON.parse(row.facts) as Record<string, unknown>,
    raisedMs: row.raised_ms,
    resolvedMs: row.resolved_ms ?? undefined,
  }
}

/** A second call with the same id changes nothing: a step that runs again raises no second alert. */
export async function raiseAlert(trx: CatalogTransaction, alert: VaultAlert): Promise<void> {
  await trx
    .insertInto('vault_alert')
    .values({
      id: alert.id,
      vault_key: alert.vaultKey,
      kind: alert.kind,
      severity: alert.severity,
      item_key: alert.itemKey ?? null,
      message: alert.message,
      facts: JSON.stringify(alert.facts),
      raised_ms: alert.raisedMs,
      resolved_ms: alert.resolvedMs ?? null,
    })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute()
}

/** One that is resolved already stays as it is. */
export async function resolveAlert(trx: CatalogTransaction, id: string, nowMs: number): Promise<void> {
  await trx
    .updateTable('vault_alert')
    .set({ resolved_ms: nowMs })
    .where('id', '=', id)
    .where('resolved_ms', 'is', null)
    .execute()
}

/** The newest first. */
export async function listAlerts(from: Catalog | CatalogTransaction, filter: AlertFilter): Promise<VaultAlert[]> {
  let query = readerOf(from).selectFrom('vault_alert').selectAll()
  if (filter.vaultKey !== undefined) query = query.where('vault_key', '=', filter.vaultKey)
  if (filter.kind !== undefined) query = query.where('kind', '=', filter.kind)
  if (filter.itemKey !== undefined) query = query.where('item_key', '=', filter.itemKey)
  if (filter.onlyOpen === true) query = query.where('resolved_ms', 'is', null)
  if (filter.fromMs !== undefined) query = query.where('raised_ms', '>=', filter.fromMs)
  const { changedMs } = filter
  if (changedMs !== undefined)
    query = query.where((where) =>
      where.or([where('raised_ms', '>=', changedMs), where('resolved_ms', '>=', changedMs)]),
    )
  query = query.orderBy('raised_ms', 'desc').orderBy('id')
  if (filter.limit !== undefined) query = query.limit(filter.limit)
  return (await query.execute()).map(read)
}

export async function findAlert(from: Catalog | CatalogTransaction, id: string): Promise<VaultAlert | undefined> {
  const row = await readerOf(from).selectFrom('vault_alert').selectAll().where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

/** The open alert of this kind on the vault, or on the item. */
export async function findOpenAlert(
  from: Catalog | CatalogTransaction,
  { vaultKey, kind, itemKey }: Pick<VaultAlert, 'vaultKey' | 'kind' | 'itemKey'>,
): Promise<VaultAlert | undefined> {
  const open = await listAlerts(from, { vaultKey, kind, onlyOpen: true, ...(itemKey !== undefined && { itemKey }) })
  return open.find((alert) => alert.itemKey === itemKey)
}
