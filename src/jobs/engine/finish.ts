/** How the outcome of a run is recorded: one fenced transaction, with the parent's wake-up in it. */
import { moveTo } from '#domain'
import type { CatalogTransaction } from '#catalog'
import { addEvent, checkHeld, wakeJob } from './fence.ts'
import type { Outcome } from './job-run.ts'
import type { Pause } from './pauses.ts'
import type { RunState } from './run-state.ts'

/** A broken run is tried again after this long. */
const BROKEN_DELAY_MS = 5000

const NOBODY = { owner: null, lease_ms: null }

async function writePause(trx: CatalogTransaction, state: RunState, pause: Pause): Promise<void> {
  const row = await checkHeld(trx, state.held)
  const woken = row.wake !== state.job.wake
  const dueMs = woken ? state.nowMs : pause.dueMs
  const status = moveTo('running', woken ? 'queued' : pause.status)
  await trx
    .updateTable('job')
    .set({ status, due_ms: dueMs, ...NOBODY })
    .where('id', '=', state.held.jobId)
    .execute()
  await addEvent(trx, state.held.jobId, state.nowMs, status, { dueMs })
}

type End = Extract<Outcome, { kind: 'succeeded' | 'failed' | 'cancelled' }>

async function writeEnd(trx: CatalogTransaction, state: RunState, end: End): Promise<void> {
  const result = end.kind === 'succeeded' ? { output: end.output } : { error: end.error }
  await trx
    .updateTable('job')
    .set({ status: moveTo('running', end.kind), finished_ms: state.nowMs, due_ms: null, ...NOBODY, ...result })
    .where('id', '=', state.held.jobId)
    .execute()
  await addEvent(trx, state.held.jobId, state.nowMs, end.kind)
  if (state.job.parent !== null) await wakeJob(trx, state.job.parent, state.nowMs)
}

/** Puts a job that we own, if we still do, back into its queue. Steps that were at work count as interrupted, not crashed. */
export async function release(
  trx: CatalogTransaction,
  job: Readonly<{ jobId: string; owner: string }>,
  nowMs: number,
  delayMs = 0,
): Promise<void> {
  const released = await trx
    .updateTable('job')
    .set({ status: 'queued', due_ms: nowMs + delayMs, ...NOBODY })
    .where('id', '=', job.jobId)
    .where('owner', '=', job.owner)
    .where('status', '=', 'running')
    .returning('id')
    .executeTakeFirst()
  if (released === undefined) return
  await trx
    .updateTable('job_step')
    .set({ status: 'interrupted' })
    .where('job_id', '=', job.jobId)
    .where('kind', 'in', ['step', 'cleanup'])
    .where('status', '=', 'running')
    .execute()
  await addEvent(trx, job.jobId, nowMs, 'released', { dueMs: nowMs + delayMs })
}

/** Records the outcome. @throws JobsError `job_lost`, CatalogError */
export async function recordOutcome(state: RunState, outcome: Outcome): Promise<void> {
  const { catalog } = state.settings
  const { jobId, owner } = state.held
  switch (outcome.kind) {
    case 'succeeded':
    case 'failed':
    case 'cancelled':
      return state.write(async (trx) => {
        await state.writeProgress(trx)
        await writeEnd(trx, state, outcome)
      })
    case 'paused':
      return catalog.write((trx) => writePause(trx, state, outcome.pause))
    case 'broken':
      return catalog.write((trx) => release(trx, { jobId, owner }, state.nowMs, BROKEN_DELAY_MS))
    case 'ended':
      return catalog.write((trx) => release(trx, { jobId, owner }, state.nowMs))
  }
}
