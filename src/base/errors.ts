/**
 * The one error shape. An error is a code from a closed union, one sentence in the user's words, the facts as data, a
 * verdict on retrying that is decided where the error is born, and a remedy.
 *
 * Each part owns a list of codes (`REPOSITORY_ERROR_CODES`, ...) and a class derived from HoldfastError over it; a test
 * compares all lists with docs/errors.md both ways. A layer translates at its border and keeps `cause`.
 */

/** now: the same call may succeed at once; later: after something outside changed; never: not without a change of input. */
export type RetryVerdict = 'now' | 'later' | 'never'

export type Facts = Readonly<Record<string, string | number | boolean | null | readonly string[] | undefined>>

export type ErrorDetails = Readonly<{
  facts?: Facts
  retry?: RetryVerdict | undefined
  hint?: string | undefined
  cause?: unknown
}>

export class HoldfastError<Code extends string = string> extends Error {
  readonly code: Code
  readonly facts: Facts
  readonly retry: RetryVerdict
  readonly hint: string | undefined

  /** @param message what happened to which thing, one sentence; numbers go to `facts`, the remedy to `hint`. */
  constructor(code: Code, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = new.target.name
    this.code = code
    this.facts = details.facts ?? {}
    this.retry = details.retry ?? 'never'
    this.hint = details.hint
  }
}

/** Whether `error` is a HoldfastError, of one of `codes` if any are given. */
export function isHoldfastError(error: unknown, ...codes: readonly string[]): error is HoldfastError {
  return error instanceof HoldfastError && (codes.length === 0 || codes.includes(error.code))
}

/** The error's message, or the thrown value as text; for composing messages, never for branching. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The errno name (ENOENT, ENOSPC, ...) of a Node system error, if it is one. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Errors that any part may raise. */
export const BASE_ERROR_CODES = ['cancelled', 'timed_out', 'invalid_argument'] as const
export type BaseErrorCode = (typeof BASE_ERROR_CODES)[number]

export class BaseError extends HoldfastError<BaseErrorCode> {}
