/**
 * One attempt of a step: the user's function, its signal, its deadline, its progress. Nothing is recorded here.
 * A step that does not heed its signal is waited for: to go on beside it would run two attempts at once.
 */
import { BaseError, type Clock, type Progress } from '#base'
import type { StepContext } from '../port.ts'

export type AttemptResult =
  | Readonly<{ kind: 'done'; value: unknown; callbacks: readonly AfterRecorded[] }>
  | Readonly<{ kind: 'threw'; error: unknown; callbacks: readonly AfterRecorded[] }>

export type AfterRecorded = () => void | Promise<void>

export type AttemptInput = Readonly<{
  clock: Clock
  jobId: string
  stepName: string
  attempt: number
  epoch: number
  /** What ends the attempt from outside: cancellation, loss of the job, the engine's stop. */
  signals: readonly AbortSignal[]
  timeoutMs: number | undefined
  progress: (progress: Progress) => void
  milestone: StepContext['milestone']
  reached: readonly string[]
}>

async function abortAfter(clock: Clock, ms: number, control: AbortController, over: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, over)
  } catch {
    return // The attempt was over first: nothing is late.
  }
  control.abort(new BaseError('timed_out', `The step did not end within ${ms} ms.`, { facts: { ms }, retry: 'later' }))
}

export async function attemptStep(input: AttemptInput, run: (step: StepContext) => unknown): Promise<AttemptResult> {
  const late = new AbortController()
  const over = new AbortController()
  const callbacks: AfterRecorded[] = []
  const context: StepContext = {
    jobId: input.jobId,
    stepName: input.stepName,
    attempt: input.attempt,
    epoch: input.epoch,
    signal: AbortSignal.any([...input.signals, late.signal]),
    progress: input.progress,
    milestone: input.milestone,
    reached: input.reached,
    afterRecorded: (callback) => void callbacks.push(callback),
  }
  if (input.timeoutMs !== undefined) void abortAfter(input.clock, input.timeoutMs, late, over.signal)
  try {
    return { kind: 'done', value: await run(context), callbacks }
  } catch (error) {
    return { kind: 'threw', error: late.signal.aborted ? late.signal.reason : error, callbacks }
  } finally {
    over.abort()
  }
}
