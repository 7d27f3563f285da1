/** What others ask of a job: to take a signal, to stop. Both may come from any process. */
import type { CatalogTransaction } from '#catalog'
import { isFinal, moveTo } from '#domain'
import { JobsError } from '../errors.ts'
import { sealError, sealValue } from '../stored-value.ts'
import { BaseError } from '#base'
import { addEvent, wakeJob } from './fence.ts'
import type { EngineSettings } from './settings.ts'

async function statusOf(trx: CatalogTransaction, id: string) {
  const row = await trx.selectFrom('job').select(['status', 'epoch', 'parent']).where('id', '=', id).executeTakeFirst()
  if (row !== undefined) return row
  throw new JobsError('job_unknown', `There is no job ${id}.`, { facts: { id } })
}

/** @throws JobsError `job_unknown`, `job_over` */
export function sendSignal(settings: EngineSettings, id: string, name: string, payload: unknown): Promise<void> {
  const sealed = sealValue(payload, `The signal ${name}`)
  return settings.catalog.write(async (trx) => {
    const { status } = await statusOf(trx, id)
    if (isFinal(status))
      throw new JobsError('job_over', `The job ${id} has ended: ${status}.`, { facts: { id, status } })
    const nowMs = settings.clock.nowMs()
    await trx
      .insertInto('job_signal')
      .values({ job_id: id, name, payload: sealed, sent_ms: nowMs, taken_by: null })
      .execute()
    await addEvent(trx, id, nowMs, 'signalled', { name })
    await wakeJob(trx, id, nowMs)
  })
}

async function cancelOne(trx: CatalogTransaction, id: string, reason: string, nowMs: number): Promise<boolean> {
  const { status, epoch, parent } = await statusOf(trx, id)
  if (isFinal(status)) return false
  const asked = { cancel_ms: nowMs, cancel_reason: reason }
  await trx.updateTable('job').set(asked).where('id', '=', id).where('cancel_ms', 'is', null).execute()
  await addEvent(trx, id, nowMs, 'cancel_requested', { reason })
  if (epoch > 0) {
    // It may have something to clean up: it runs once more, however long it was to sleep.
    await wakeJob(trx, id, nowMs)
    await trx.updateTable('job').set({ due_ms: nowMs }).where('id', '=', id).where('status', '=', 'queued').execute()
    return true
  }
  const error = sealError(new BaseError('cancelled', 'The job was cancelled before it began.', { facts: { reason } }))
  await trx
    .updateTable('job')
    .set({ status: moveTo(status, 'cancelled'), finished_ms: nowMs, due_ms: null, error })
    .where('id', '=', id)
    .execute()
  await addEvent(trx, id, nowMs, 'cancelled')
  if (parent !== null) await wakeJob(trx, parent, nowMs)
  return true
}

async function childrenOf(trx: CatalogTransaction, id: string): Promise<string[]> {
  const rows = await trx.selectFrom('job').select('id').where('parent', '=', id).execute()
  return rows.map((row) => row.id)
}

/** Asks the job and everything below it to stop, in one transaction. @throws JobsError `job_unknown` */
export function requestCancel(settings: EngineSettings, id: string, reason: string): Promise<boolean> {
  return settings.catalog.write(async (trx) => {
    const nowMs = settings.clock.nowMs()
    const open = await cancelOne(trx, id, reason, nowMs)
    const below = await childrenOf(trx, id)
    for (let next = below.pop(); next !== undefined; next = below.pop()) {
      await cancelOne(trx, next, reason, nowMs)
      below.push(...(await childrenOf(trx, next)))
    }
    return open
  })
}
