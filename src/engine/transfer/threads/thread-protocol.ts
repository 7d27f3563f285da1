/** What travels between a pool and its threads. Errors travel as data and come out with the same code, facts and remedy. */
import { type ErrorDetails, type Facts, HoldfastError, messageOf, type RetryVerdict } from '#base'
import { TransferError } from '../errors.ts'

export type ThreadRequest = Readonly<{ id: number; task: unknown }>
export type ThreadFailure = Readonly<{
  code?: string
  name: string
  message: string
  facts: Facts
  retry: RetryVerdict
  hint?: string | undefined
  stack: string
}>
export type ThreadReply =
  | Readonly<{ id: number; ok: true; result: unknown }>
  | Readonly<{ id: number; ok: false; failure: ThreadFailure }>

export function describeFailure(error: unknown): ThreadFailure {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  if (!(error instanceof HoldfastError))
    return { name: 'Error', message: messageOf(error), facts: {}, retry: 'never', stack }
  const { name, code, message, facts, retry, hint } = error
  return { name, code, message, facts, retry, hint, stack }
}

/** The error as it was thrown in the thread; what was not one of ours is `thread_failed`, with the thread's stack. */
export function failureError(failure: ThreadFailure): HoldfastError {
  const details: ErrorDetails = { facts: failure.facts, retry: failure.retry, hint: failure.hint }
  if (failure.code !== undefined) return new HoldfastError(failure.code, failure.message, details)
  return new TransferError('thread_failed', `A worker thread failed: ${failure.message}`, {
    facts: { stack: failure.stack },
  })
}
