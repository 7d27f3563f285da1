/**
 * Begins what is done to a protected item: its record for the list of jobs, the operation, and the job that does it, all by one id.
 *
 *   dies                                 what is left                    what goes on
 *   serve, before the transaction        nothing                         nothing was promised
 *   serve, before the job is started     record and operation            `resumeOperations` starts the job
 *   serve, afterwards                    the job                         the engine goes on with it
 *
 * What only changes records has no job: it is done in that transaction, and its record is over at once.
 */
import { type Clock, must, type Random, randomUuid } from '#base'
import { type BackupJobRecord, type Catalog, type CatalogTransaction, insertBackupJob, insertOperation } from '#catalog'
import type { BackupOperation } from '#domain'
import type { JobEngine } from '../port.ts'

export type VaultJobParts = Readonly<{ catalog: Catalog; jobs: JobEngine; clock: Clock; random: Random }>

/** The job of the engine behind it. */
export type EngineJob = Readonly<{
  name: string
  input: Readonly<Record<string, unknown>>
  queue: string
  /** Jobs of one key run one after the other. */
  key?: string
}>

export type NewVaultJob = Readonly<{
  vault: Readonly<{ key: string; subscription: string; location: string }>
  itemKey?: string
  /** What the record is shown under: the machine's name. */
  entityName: string
  operation: BackupOperation
  /** Who asked: a principal's object id; undefined: the schedule. */
  principal: string | undefined
  /** Of the role: what the caller was allowed by. */
  action: string
  /** Without it the record is over at once. */
  job?: EngineJob
  isCancellable?: boolean
  /** Ids of the tasks that its list shows, in order; the first begins at once. */
  tasks?: readonly string[]
  properties?: Readonly<Record<string, string>>
  result?: Readonly<Record<string, unknown>>
  /** The change that goes with it, in the same transaction; throws what refuses it. */
  announce?: (trx: CatalogTransaction, id: string) => Promise<void>
}>

function recordOf(wanted: NewVaultJob, id: string, nowMs: number): BackupJobRecord {
  const { vault, itemKey, entityName, operation, tasks = [], properties = {}, result } = wanted
  const isOver = wanted.job === undefined
  return {
    id,
    vaultKey: vault.key,
    itemKey,
    entityName,
    operation,
    status: isOver ? 'Completed' : 'InProgress',
    startedMs: nowMs,
    ...(isOver && { endedMs: nowMs }),
    isUserTriggered: wanted.principal !== undefined,
    isCancellable: !isOver && wanted.isCancellable === true,
    tasks: tasks.map((taskId, i) => ({
      taskId,
      status: isOver ? 'Completed' : i === 0 ? 'InProgress' : 'NotStarted',
      ...(isOver || i === 0 ? { startedMs: nowMs } : {}),
      ...(isOver && { endedMs: nowMs }),
    })),
    properties: { 'VM Name': entityName, ...properties },
    errors: [],
    ...(result !== undefined && { result }),
  }
}

/** Announced and, where there is a job, started. @returns the id of record, operation and job */
export async function beginVaultJob(parts: VaultJobParts, wanted: NewVaultJob): Promise<string> {
  const { catalog, jobs, clock, random } = parts
  const id = randomUuid(random)
  const nowMs = clock.nowMs()
  const { job, vault } = wanted
  await catalog.write(async (trx) => {
    await wanted.announce?.(trx, id)
    await insertBackupJob(trx, recordOf(wanted, id, nowMs))
    if (job === undefined) return
    await insertOperation(trx, {
      id,
      kind: 'backupOperations',
      subscription: vault.subscription,
      location: vault.location,
      resourceKey: wanted.itemKey ?? vault.key,
      action: wanted.action,
      principal: wanted.principal ?? 'schedule',
      request: '',
      reply: { kind: 'empty' },
      job: job.name,
      jobInput: job.input,
      queue: job.queue,
      jobKey: job.key,
      createdMs: nowMs,
    })
  })
  if (job !== undefined) {
    const { name, input, queue, key } = must(wanted.job, 'It was there a moment ago')
    await jobs.start(name, input, { id, queue, ...(key !== undefined && { key }) })
  }
  return id
}
