/**
 * Ownership of a running job. Every write about a job that we run re-checks owner and epoch in its own transaction; a
 * process that was stopped, lost its lease and woke up again finds another epoch and drops out.
 */
import type { CatalogTransaction, JobTable } from '#catalog'
import { JobsError } from '../errors.ts'

export type Held = {
  readonly jobId: string
  readonly owner: string
  /** Moves on with every attempt of a step. */
  epoch: number
}

export type HeldRow = Pick<JobTable, 'wake' | 'cancel_ms' | 'cancel_reason' | 'status'>

function lost(held: Held): JobsError {
  return new JobsError('job_lost', `Job ${held.jobId} is owned by another process now.`, {
    facts: { jobId: held.jobId, epoch: held.epoch },
  })
}

/** The job's row if we still own it. @throws JobsError `job_lost` */
export async function checkHeld(trx: CatalogTransaction, held: Held): Promise<HeldRow> {
  const row = await trx
    .selectFrom('job')
    .select(['wake', 'cancel_ms', 'cancel_reason', 'status'])
    .where('id', '=', held.jobId)
    .where('owner', '=', held.owner)
    .where('epoch', '=', held.epoch)
    .where('status', '=', 'running')
    .executeTakeFirst()
  if (row === undefined) throw lost(held)
  return row
}

/** Moves our epoch on by one, for a new attempt. The caller adopts `held.epoch + 1` once the transaction has committed. */
export async function raiseEpoch(trx: CatalogTransaction, held: Held): Promise<number> {
  const epoch = held.epoch + 1
  await trx.updateTable('job').set({ epoch }).where('id', '=', held.jobId).execute()
  return epoch
}

/** Adds to the job's history. Facts are small and hold no secret. */
export async function addEvent(
  trx: CatalogTransaction,
  jobId: string,
  atMs: number,
  kind: string,
  facts: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await trx
    .insertInto('job_event')
    .values({ job_id: jobId, at_ms: atMs, kind, facts: JSON.stringify(facts) })
    .execute()
}

/** Makes a job look again: due at once if it sleeps or waits, and never missed if it is about to. */
export async function wakeJob(trx: CatalogTransaction, jobId: string, nowMs: number): Promise<void> {
  await trx
    .updateTable('job')
    .set((update) => ({ wake: update('wake', '+', 1) }))
    .where('id', '=', jobId)
    .execute()
  await trx
    .updateTable('job')
    .set({ due_ms: nowMs })
    .where('id', '=', jobId)
    .where('status', 'in', ['sleeping', 'waiting'])
    .execute()
}
