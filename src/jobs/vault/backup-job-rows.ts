/**
 * The record of a vault's job beside the engine's: who lists jobs reads records; how far one has come is the engine's to say. A
 * workflow runs inside `asBackupJob`, which ends the record as the workflow ends: completed, failed with what a user is to do about
 * it, or cancelled. Every write may be done twice.
 */
import { type Clock, errorShapeOf, type ErrorShape, isHoldfastError } from '#base'
import {
  type BackupJobChange,
  type BackupJobRecord,
  type Catalog,
  changeBackupJob,
  findBackupJob,
  findOpenAlert,
  raiseAlert,
} from '#catalog'
import type { BackupJobError, BackupTask } from '#domain'
import type { JobContext } from '../port.ts'
import { ALERTS } from './alerts.ts'
import { backupErrorOf } from './backup-errors.ts'

export type BackupJobParts = Readonly<{ catalog: Catalog; clock: Clock }>

/** What a workflow ends its record with. */
export type BackupJobEnd<T> = Readonly<{
  output: T
  /** Sentences: the job is then completed with warnings. */
  warnings?: readonly BackupJobError[]
  properties?: Readonly<Record<string, string>>
  result?: Readonly<Record<string, unknown>>
  doneBytes?: number
  totalBytes?: number
}>

function endedTasks(tasks: readonly BackupTask[], nowMs: number, how: 'Completed' | 'Failed'): BackupTask[] {
  return tasks.map((task): BackupTask => {
    if (task.status === 'Completed' || task.status === 'Skipped') return task
    if (how === 'Failed' && task.status === 'NotStarted') return task
    const { startedMs = nowMs, percent: _percent, ...rest } = task
    return { ...rest, startedMs, endedMs: nowMs, status: how }
  })
}

async function change(
  { catalog }: BackupJobParts,
  id: string,
  decide: (record: BackupJobRecord) => BackupJobChange,
): Promise<void> {
  await catalog.write(async (trx) => {
    const record = await findBackupJob(trx, id)
    if (record !== undefined && record.endedMs === undefined) await changeBackupJob(trx, id, decide(record))
  })
}

/** The task of that id is done and the next one at work. */
export function passTask(parts: BackupJobParts, id: string, taskId: string): Promise<void> {
  const nowMs = parts.clock.nowMs()
  return change(parts, id, ({ tasks }) => {
    const at = tasks.findIndex((task) => task.taskId === taskId)
    return {
      tasks: tasks.map((task, i): BackupTask => {
        if (i === at && task.status !== 'Completed')
          return { ...task, startedMs: task.startedMs ?? nowMs, endedMs: nowMs, status: 'Completed' }
        if (i === at + 1 && task.status === 'NotStarted') return { ...task, startedMs: nowMs, status: 'InProgress' }
        return task
      }),
    }
  })
}

/** A job that was made cancellable may not be cancelled any more. */
export function forbidCancel(parts: BackupJobParts, id: string): Promise<void> {
  return change(parts, id, () => ({ isCancellable: false }))
}

async function complete<T>(parts: BackupJobParts, id: string, end: BackupJobEnd<T>): Promise<void> {
  const nowMs = parts.clock.nowMs()
  const { warnings = [], properties = {}, result, doneBytes, totalBytes } = end
  await change(parts, id, (record) => ({
    status: warnings.length > 0 ? 'CompletedWithWarnings' : 'Completed',
    endedMs: nowMs,
    isCancellable: false,
    tasks: endedTasks(record.tasks, nowMs, 'Completed'),
    properties: { ...record.properties, ...properties },
    errors: warnings,
    ...(result !== undefined && { result: { ...record.result, ...result } }),
    ...(doneBytes !== undefined && { doneBytes }),
    ...(totalBytes !== undefined && { totalBytes }),
  }))
}

/** Ends the record as failed or cancelled; a failure raises an alert. */
export async function failBackupJob(parts: BackupJobParts, id: string, error: ErrorShape): Promise<void> {
  const { catalog, clock } = parts
  const nowMs = clock.nowMs()
  const isCancelled = error.code === 'cancelled'
  await catalog.write(async (trx) => {
    const record = await findBackupJob(trx, id)
    if (record === undefined || record.endedMs !== undefined) return
    const shown = backupErrorOf(error)
    await changeBackupJob(trx, id, {
      status: isCancelled ? 'Cancelled' : 'Failed',
      endedMs: nowMs,
      isCancellable: false,
      tasks: endedTasks(record.tasks, nowMs, 'Failed'),
      errors: isCancelled ? [] : [shown],
    })
    const { vaultKey, itemKey } = record
    const kind = ALERTS.jobFailed
    if (isCancelled || (await findOpenAlert(trx, { vaultKey, kind, itemKey })) !== undefined) return
    await raiseAlert(trx, {
      id: `${kind}-${id}`,
      vaultKey,
      kind,
      severity: record.operation === 'Backup' ? 'Critical' : 'Warning',
      itemKey,
      message: `${record.operation} of ${record.entityName} failed: ${shown.message}`,
      facts: { job: id, operation: record.operation, code: shown.code },
      raisedMs: nowMs,
    })
  })
}

/**
 * Runs the workflow and ends the record as it ends. `onFailed` is told why, in the same cleanup, before the record says so.
 * @throws what the workflow throws
 */
export async function asBackupJob<T>(
  job: JobContext,
  parts: BackupJobParts,
  run: () => Promise<BackupJobEnd<T>>,
  onFailed: (error: ErrorShape) => Promise<void> = () => Promise.resolve(),
): Promise<T> {
  const end: { error: unknown } = { error: undefined }
  job.cleanup('end the record', async () => {
    const error =
      isHoldfastError(end.error, 'cancelled') || end.error === undefined
        ? CANCELLED
        : errorShapeOf(end.error, 'job_failed')
    await onFailed(error)
    await failBackupJob(parts, job.jobId, error)
  })
  try {
    const done = await run()
    await job.step('complete the record', () => complete(parts, job.jobId, done))
    return done.output
  } catch (error) {
    end.error = error
    throw error
  }
}

const CANCELLED: ErrorShape = { code: 'cancelled', message: 'The job was cancelled.', facts: {}, retry: 'never' }
