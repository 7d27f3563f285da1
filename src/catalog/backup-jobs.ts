/**
 * What was done to protected items, as Azure lists it: one record for each operation, with the id of the operation and of the job
 * that does it. Kept when the item is gone.
 */
import type { BackupJobError, BackupJobStatus, BackupOperation, BackupTask } from '#domain'
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { BackupJobTable } from './vault-schema.ts'

export type BackupJobRecord = Readonly<{
  id: string
  vaultKey: string
  itemKey?: string | undefined
  entityName: string
  operation: BackupOperation
  status: BackupJobStatus
  startedMs: number
  endedMs?: number | undefined
  isUserTriggered: boolean
  isCancellable: boolean
  tasks: readonly BackupTask[]
  /** Azure's propertyBag: words for people. */
  properties: Readonly<Record<string, string>>
  errors: readonly BackupJobError[]
  doneBytes?: number | undefined
  totalBytes?: number | undefined
  result?: Readonly<Record<string, unknown>> | undefined
}>

/** A field that is given as undefined is cleared. */
export type BackupJobChange = Partial<Omit<BackupJobRecord, 'id' | 'vaultKey' | 'operation'>>

export type BackupJobFilter = Readonly<{
  vaultKey: string
  status?: BackupJobStatus
  operation?: BackupOperation
  itemKey?: string
  /** Of the start. */
  startMs?: number
  /** Of the start: Azure's filter of an end, too, asks when a job began. */
  endMs?: number
  limit?: number
  /** Those that began before this one. */
  before?: Readonly<{ startedMs: number; id: string }>
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

function read(row: BackupJobTable): BackupJobRecord {
  return {
    id: row.id,
    vaultKey: row.vault_key,
    itemKey: row.item_key ?? undefined,
    entityName: row.entity_name,
    operation: row.operation,
    status: row.status,
    startedMs: row.started_ms,
    endedMs: row.ended_ms ?? undefined,
    isUserTriggered: row.user_triggered === 1,
    isCancellable: row.cancellable === 1,
    tasks: JSON.parse(row.tasks) as BackupTask[],
    properties: JSON.parse(row.properties) as Record<string, string>,
    errors: JSON.parse(row.errors) as BackupJobError[],
    doneBytes: row.done_bytes ?? undefined,
    totalBytes: row.total_bytes ?? undefined,
    result: row.result === null ? undefined : (JSON.parse(row.result) as Record<string, unknown>),
  }
}

function write(job: BackupJobRecord): BackupJobTable {
  return {
    id: job.id,
    vault_key: job.vaultKey,
    item_key: job.itemKey ?? null,
    entity_name: job.entityName,
    operation: job.operation,
    status: job.status,
    started_ms: job.startedMs,
    ended_ms: job.endedMs ?? null,
    user_triggered: job.isUserTriggered ? 1 : 0,
    cancellable: job.isCancellable ? 1 : 0,
    tasks: JSON.stringify(job.tasks),
    properties: JSON.stringify(job.properties),
    errors: JSON.stringify(job.errors),
    done_bytes: job.doneBytes ?? null,
    total_bytes: job.totalBytes ?? null,
    result: job.result === undefined ? null : JSON.stringify(job.result),
  }
}

/** The record must not exist yet. */
export async function insertBackupJob(trx: CatalogTransaction, job: BackupJobRecord): Promise<void> {
  await trx.insertInto('backup_job').values(write(job)).execute()
}

/** Changes the fields that are given; undefined when there is no such record. */
export async function changeBackupJob(
  trx: CatalogTransaction,
  id: string,
  change: BackupJobChange,
): Promise<BackupJobRecord | undefined> {
  const found = await findBackupJob(trx, id)
  if (found === undefined) return undefined
  const changed = { ...found, ...change }
  await trx.updateTable('backup_job').set(write(changed)).where('id', '=', found.id).execute()
  return changed
}

export async function findBackupJob(
  from: Catalog | CatalogTransaction,
  id: string,
): Promise<BackupJobRecord | undefined> {
  const row = await readerOf(from)
    .selectFrom('backup_job')
    .selectAll()
    .where('id', '=', id.toLowerCase())
    .executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

/** The newest first. */
export async function listBackupJobs(
  from: Catalog | CatalogTransaction,
  filter: BackupJobFilter,
): Promise<BackupJobRecord[]> {
  let query = readerOf(from).selectFrom('backup_job').selectAll()
  // An item's key holds its vault's: its own index alone leads to few rows.
  if (filter.itemKey === undefined) query = query.where('vault_key', '=', filter.vaultKey)
  if (filter.status !== undefined) query = query.where('status', '=', filter.status)
  if (filter.operation !== undefined) query = query.where('operation', '=', filter.operation)
  if (filter.itemKey !== undefined) query = query.where('item_key', '=', filter.itemKey)
  if (filter.startMs !== undefined) query = query.where('started_ms', '>=', filter.startMs)
  if (filter.endMs !== undefined) query = query.where('started_ms', '<=', filter.endMs)
  if (filter.before !== undefined) {
    const { startedMs, id } = filter.before
    query = query.where((where) =>
      where.or([
        where('started_ms', '<', startedMs),
        where.and([where('started_ms', '=', startedMs), where('id', '<', id)]),
      ]),
    )
  }
  query = query.orderBy('started_ms', 'desc').orderBy('id', 'desc')
  if (filter.limit !== undefined) query = query.limit(filter.limit)
  return (await query.execute()).map(read)
}

/** Forgets those that ended before that time. */
export async function forgetBackupJobs(catalog: Catalog, beforeMs: number): Promise<void> {
  await catalog.write((trx) => trx.deleteFrom('backup_job').where('ended_ms', '<', beforeMs).execute())
}

/** How many one transaction forgets: it holds the write lock meanwhile. */
const FORGET_BATCH = 500

/**
 * Forgets what was needed to do the work of records that ended before that time: operations, and the engine's jobs with their steps and
 * events. The records stay. An operation goes with its job, or it would be begun again.
 */
export async function forgetBackupWork(catalog: Catalog, beforeMs: number): Promise<void> {
  for (;;) {
    const forgotten = await catalog.write(async (trx) => {
      const ended = await trx
        .selectFrom('operation')
        .innerJoin('backup_job', 'backup_job.id', 'operation.id')
        .innerJoin('job', 'job.id', 'operation.id')
        .select('operation.id')
        .where('operation.kind', '=', 'backupOperations')
        .where('backup_job.ended_ms', '<', beforeMs)
        .where('job.status', 'in', ['succeeded', 'failed', 'cancelled'])
        .limit(FORGET_BATCH)
        .execute()
      const ids = ended.map(({ id }) => id)
      if (ids.length === 0) return 0
      await trx.deleteFrom('operation').where('id', 'in', ids).execute()
      await trx.deleteFrom('job').where('id', 'in', ids).execute()
      return ids.length
    })
    if (forgotten < FORGET_BATCH) return
  }
}
