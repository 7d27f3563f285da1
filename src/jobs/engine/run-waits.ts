/** The calls of a workflow that wait: for a time, for a signal, for a child. Each is recorded as a step of its kind. */
import { BaseError, reviveError } from '#base'
import type { CatalogTransaction, StepKind } from '#catalog'
import { isFinal } from '#domain'
import type { ChildOptions } from '../port.ts'
import { openError, openValue } from '../stored-value.ts'
import { checkHeld } from './fence.ts'
import { Paused } from './pauses.ts'
import type { RunState } from './run-state.ts'
import { recorded } from './run-step.ts'

async function remember(state: RunState, name: string, kind: StepKind, dueMs: number | null): Promise<number | null> {
  const row = state.steps.get(name)
  if (row !== undefined) return row.due_ms
  await state.steps.settle(name, kind, { status: 'running', due_ms: dueMs })
  return dueMs
}

export async function sleep(state: RunState, name: string, ms: number): Promise<void> {
  if (recorded(state.steps.get(name)) !== undefined) return
  state.throwIfCancelled()
  const dueMs = await remember(state, name, 'sleep', state.nowMs + ms)
  if (dueMs !== null && dueMs > state.nowMs) throw new Paused({ status: 'sleeping', dueMs })
  await state.steps.settle(name, 'sleep', { status: 'succeeded' })
}

/** The payload of the oldest signal of that name that was not taken. */
async function oldestSignal(state: RunState, name: string): Promise<string | undefined> {
  const found = await state.settings.catalog.db
    .selectFrom('job_signal')
    .select(['sequence', 'payload'])
    .where('job_id', '=', state.held.jobId)
    .where('name', '=', name)
    .where('taken_by', 'is', null)
    .orderBy('sequence')
    .executeTakeFirst()
  return found?.payload
}

async function markTaken(trx: CatalogTransaction, state: RunState, name: string, step: string): Promise<void> {
  await trx
    .updateTable('job_signal')
    .set({ taken_by: step })
    .where('sequence', '=', (query) =>
      query
        .selectFrom('job_signal')
        .select((select) => select.fn.min('sequence').as('sequence'))
        .where('job_id', '=', state.held.jobId)
        .where('name', '=', name)
        .where('taken_by', 'is', null),
    )
    .execute()
}

export type SignalWait = Readonly<{ step: string; name: string; timeoutMs: number | undefined }>

/** Only this run takes this job's signals, so the oldest one seen is the oldest one taken. */
export async function waitForSignal(state: RunState, { step, name, timeoutMs }: SignalWait): Promise<unknown> {
  const known = recorded(state.steps.get(step))
  if (known !== undefined) return (known.value as { payload?: unknown }).payload
  state.throwIfCancelled()
  const dueMs = await remember(state, step, 'signal', timeoutMs === undefined ? null : state.nowMs + timeoutMs)
  const payload = await oldestSignal(state, name)
  if (payload !== undefined) {
    const output = `{"payload":${payload}}`
    await state.steps.settle(step, 'signal', { status: 'succeeded', output }, (trx) =>
      markTaken(trx, state, name, step),
    )
    return openValue(payload)
  }
  if (dueMs === null || dueMs > state.nowMs) throw new Paused({ status: 'waiting', dueMs })
  await state.steps.settle(step, 'signal', { status: 'succeeded', output: '{}' })
  return undefined
}

/** Creates the child's row in the transaction, once. */
export type CreateChild = (
  trx: CatalogTransaction,
  child: Readonly<{ id: string; job: string; input: unknown; options: ChildOptions }>,
) => Promise<void>

export type ChildCall = Readonly<{
  name: string
  job: string
  input: unknown
  options: ChildOptions
  create: CreateChild
}>

/** A cancelled parent still waits for its child to be over: only then may it clean up. */
export async function child(state: RunState, call: ChildCall): Promise<unknown> {
  const known = recorded(state.steps.get(call.name))
  if (known !== undefined) return known.value
  const id = `${state.held.jobId}.${call.name}`
  if (state.steps.get(call.name) === undefined) {
    state.throwIfCancelled()
    await state.steps.settle(call.name, 'child', { status: 'running' }, async (trx) => {
      // Whoever cancelled us meanwhile did not see this child.
      const { cancel_ms: cancelMs, cancel_reason: reason } = await checkHeld(trx, state.held)
      if (cancelMs !== null) state.cancel(reason ?? '')
      state.throwIfCancelled()
      await call.create(trx, { id, job: call.job, input: call.input, options: call.options })
    })
  }
  const row = await state.settings.catalog.db
    .selectFrom('job')
    .select(['status', 'output', 'error'])
    .where('id', '=', id)
    .executeTakeFirst()
  if (row === undefined || !isFinal(row.status)) throw new Paused({ status: 'waiting', dueMs: null })
  if (row.status === 'succeeded') {
    await state.steps.settle(call.name, 'child', { status: 'succeeded', output: row.output })
    return openValue(row.output)
  }
  state.throwIfCancelled()
  const cancelled = new BaseError('cancelled', `The job ${id} was cancelled.`, { facts: { jobId: id } })
  const error =
    row.error ??
    JSON.stringify({ code: cancelled.code, message: cancelled.message, facts: cancelled.facts, retry: 'never' })
  await state.steps.settle(call.name, 'child', { status: 'failed', error })
  throw reviveError(openError(error))
}
