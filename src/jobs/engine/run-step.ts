/**
 * A step from its name to its recorded result: given back when it is recorded already, else attempted until it succeeds,
 * fails for good, or pauses the job until its next attempt is due.
 */
import { messageOf, reviveError } from '#base'
import { CatalogError, type StepKind } from '#catalog'
import { JobsError } from '../errors.ts'
import { JOB_STEPS_MAX, STEP_CRASHES_MAX } from '../limits.ts'
import type { StepContext, StepOptions, StepRetry } from '../port.ts'
import { openError, openValue, sealError, sealValue, shapeOf } from '../stored-value.ts'
import { milestonesOf, reachMilestone } from './milestones.ts'
import { Paused } from './pauses.ts'
import type { RunState } from './run-state.ts'
import { attemptStep, type AfterRecorded, type AttemptResult } from './step-attempt.ts'
import type { StepRow } from './step-records.ts'

/** How soon a step that waits is tried again: at first, and at last. Each time is an event of the job's history. */
const WAIT_MS = { delayMs: 2_000, delayMsMax: 30_000 }

export const STEP_RETRY_DEFAULT: StepRetry = { attemptsMax: 5, delayMs: 1000, delayMsMax: 60_000 }

export type StepCall = Readonly<{
  name: string
  kind: StepKind
  run: (step: StepContext) => unknown
  options: StepOptions
}>

/** The recorded result, if there is one. @throws the recorded error */
export function recorded(row: StepRow | undefined): Readonly<{ value: unknown }> | undefined {
  if (row?.status === 'succeeded') return { value: openValue(row.output) }
  if (row?.status === 'failed' && row.error !== null) throw reviveError(openError(row.error))
  return undefined
}

async function callBack(state: RunState, callbacks: readonly AfterRecorded[]): Promise<void> {
  for (const callback of callbacks) {
    try {
      await callback()
    } catch (error) {
      // The result is recorded; what is kept elsewhere for a repetition is let go of when it is next reconciled.
      state.settings.logger.warn({ job: state.held.jobId, error: messageOf(error) }, 'a step was not followed up')
    }
  }
}

function backOffMs(policy: Omit<StepRetry, 'attemptsMax'>, failures: number): number {
  return Math.min(policy.delayMs * 2 ** Math.min(failures - 1, 30), policy.delayMsMax)
}

async function fail(state: RunState, call: StepCall, row: StepRow, error: unknown): Promise<never> {
  const shape = shapeOf(error)
  const change = { status: 'failed' as const, error: JSON.stringify(shape), failures: row.failures + 1 }
  await state.steps.settle(call.name, call.kind, change, (trx) => state.writeProgress(trx))
  throw reviveError(shape)
}

async function succeed(state: RunState, call: StepCall, row: StepRow, value: unknown): Promise<unknown> {
  let output: string
  try {
    output = sealValue(value, `The result of step ${call.name}`)
  } catch (error) {
    return fail(state, call, row, error)
  }
  await state.steps.settle(call.name, call.kind, { status: 'succeeded', output }, (trx) => state.writeProgress(trx))
  return openValue(output)
}

/** Nothing failed: what the step needs is not there yet. @throws Paused */
async function wait(state: RunState, call: StepCall, row: StepRow, error: unknown): Promise<never> {
  const { failures, attempts } = row
  const dueMs = state.nowMs + backOffMs(WAIT_MS, attempts - failures)
  const change = { status: 'retrying' as const, failures, due_ms: dueMs, error: sealError(error) }
  await state.steps.settle(call.name, call.kind, change)
  throw new Paused({ status: 'sleeping', dueMs })
}

/** Records a failed attempt. Resolves when the next attempt may begin at once. @throws the error, or Paused */
async function failed(state: RunState, call: StepCall, row: StepRow, error: unknown): Promise<void> {
  const policy = call.options.retry ?? STEP_RETRY_DEFAULT
  const { retry, code } = shapeOf(error)
  if (policy.waitsFor?.includes(code) === true) return wait(state, call, row, error)
  const failures = row.failures + 1
  if (retry === 'never' || failures >= policy.attemptsMax) return fail(state, call, row, error)
  const dueMs = state.nowMs + (retry === 'now' ? 0 : backOffMs(policy, failures))
  await state.steps.settle(call.name, call.kind, {
    status: 'retrying',
    failures,
    due_ms: dueMs,
    error: sealError(error),
  })
  if (dueMs > state.nowMs) throw new Paused({ status: 'sleeping', dueMs })
}

async function cancelAttempt(state: RunState, call: StepCall): Promise<never> {
  await state.steps.settle(call.name, call.kind, { status: 'cancelled' })
  state.throwIfCancelled()
  throw new JobsError('job_over', `Step ${call.name} was left because a call beside it failed.`)
}

function listened(state: RunState, call: StepCall): AbortSignal[] {
  const ended = state.ended.signal
  return call.kind === 'cleanup' ? [ended] : [ended, state.cancelled.signal, state.abandoned.signal]
}

async function attempt(state: RunState, call: StepCall, row: StepRow): Promise<AttemptResult> {
  const result = await attemptStep(
    {
      clock: state.settings.clock,
      jobId: state.held.jobId,
      stepName: call.name,
      attempt: row.attempts,
      epoch: row.epoch,
      signals: listened(state, call),
      timeoutMs: call.options.timeoutMs,
      progress: state.progress,
      milestone: (name, facts) => reachMilestone(state, call.name, name, facts),
      reached: row.attempts > 1 ? await milestonesOf(state, call.name) : [],
    },
    call.run,
  )
  if (result.kind === 'threw' && state.isOver(result.error)) throw endOf(state)
  return result
}

function endOf(state: RunState): unknown {
  return state.ended.signal.aborted
    ? state.ended.signal.reason
    : new JobsError('job_lost', `Job ${state.held.jobId} is owned by another process now.`)
}

function checkMayBegin(state: RunState, call: StepCall): void {
  const row = state.steps.get(call.name)
  if (state.ended.signal.aborted) throw state.ended.signal.reason
  if (call.kind !== 'cleanup') state.throwIfCancelled()
  if (row?.status === 'retrying' && row.due_ms !== null && row.due_ms > state.nowMs) {
    throw new Paused({ status: 'sleeping', dueMs: row.due_ms })
  }
  if (row === undefined && state.steps.count >= JOB_STEPS_MAX) {
    throw new JobsError('job_too_many_steps', `The job has more than ${JOB_STEPS_MAX} steps.`, {
      hint: 'Divide it into child jobs.',
    })
  }
}

/** The step's value. @throws its final error; Paused; what ended the run */
export async function runStep(state: RunState, call: StepCall): Promise<unknown> {
  const known = recorded(state.steps.get(call.name))
  if (known !== undefined) return known.value
  if (state.steps.get(call.name)?.status === 'cancelled') await cancelAttempt(state, call)
  for (;;) {
    checkMayBegin(state, call)
    const row = await state.steps.begin(call.name, call.kind)
    if (row.crashes >= STEP_CRASHES_MAX) {
      const message = `The process died ${row.crashes} times during step ${call.name}.`
      return fail(state, call, row, new JobsError('job_step_crashed', message, { facts: { step: call.name } }))
    }
    const result = await attempt(state, call, row)
    let unrecorded = false
    const interrupted = listened(state, call).some((signal) => signal.aborted)
    try {
      if (result.kind === 'done') return await succeed(state, call, row, result.value)
      if (interrupted) return await cancelAttempt(state, call)
      await failed(state, call, row, result.error)
    } catch (error) {
      if (error instanceof CatalogError || state.isOver(error)) unrecorded = true
      throw error
    } finally {
      if (!unrecorded) await callBack(state, result.callbacks)
    }
  }
}
