/** An error as data, for a record or a wire, and back: the code, facts, verdict and hint survive; the class does not. */
import { type Facts, HoldfastError, messageOf, type RetryVerdict } from './errors.ts'

/** Characters of an error's message and of its facts that are kept: an error must not outgrow what it is told in. */
const TEXT_MAX = 4000

export type ErrorShape = Readonly<{ code: string; message: string; facts: Facts; retry: RetryVerdict; hint?: string }>

/** An error that was data in between. Matched by its code, like every error. */
export class RevivedError extends HoldfastError {}

/** The error's shape, cut to its bound. What is not a HoldfastError gets `foreignCode` and is never to be retried. */
export function errorShapeOf(error: unknown, foreignCode: string): ErrorShape {
  if (!(error instanceof HoldfastError)) {
    const name = error instanceof Error ? error.name : typeof error
    return { code: foreignCode, message: messageOf(error).slice(0, TEXT_MAX), facts: { name }, retry: 'never' }
  }
  const facts = JSON.stringify(error.facts).length > TEXT_MAX ? { factsLeftOut: true } : error.facts
  const shape = { code: error.code, message: error.message.slice(0, TEXT_MAX), facts, retry: error.retry }
  return error.hint === undefined ? shape : { ...shape, hint: error.hint.slice(0, TEXT_MAX) }
}

export function reviveError(shape: ErrorShape): RevivedError {
  return new RevivedError(shape.code, shape.message, { facts: shape.facts, retry: shape.retry, hint: shape.hint })
}
