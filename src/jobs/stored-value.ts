/**
 * What jobs keep between lives: values as bounded JSON, errors in HoldfastError's shape. A workflow always sees a value as
 * it comes back from JSON, the first time too, so that a replay cannot differ.
 */
import { type Facts, HoldfastError, messageOf, type RetryVerdict } from '#base'
import { JobsError, StoredError } from './errors.ts'
import { ERROR_TEXT_MAX, JOB_VALUE_BYTES_MAX } from './limits.ts'

/** The value as JSON; undefined becomes null. @throws JobsError `job_value_not_json`, `job_value_too_large` */
export function sealValue(value: unknown, what: string): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value ?? null)
  } catch (cause) {
    throw new JobsError('job_value_not_json', `${what} cannot be stored as JSON: ${messageOf(cause)}.`, {
      facts: { what },
      cause,
    })
  }
  if (text === undefined)
    throw new JobsError('job_value_not_json', `${what} cannot be stored as JSON.`, { facts: { what } })
  const bytes = Buffer.byteLength(text)
  if (bytes > JOB_VALUE_BYTES_MAX) {
    throw new JobsError('job_value_too_large', `${what} has ${bytes} bytes; at most ${JOB_VALUE_BYTES_MAX} are kept.`, {
      facts: { what, bytes, bytesMax: JOB_VALUE_BYTES_MAX },
    })
  }
  return text
}

export function openValue(text: string | null): unknown {
  return text === null ? null : (JSON.parse(text) as unknown)
}

export type StoredErrorShape = Readonly<{
  code: string
  message: string
  facts: Facts
  retry: RetryVerdict
  hint?: string
}>

/** The error's shape, cut to its bound. What is not a HoldfastError becomes `job_failed`, never to be retried. */
export function shapeOf(error: unknown): StoredErrorShape {
  if (!(error instanceof HoldfastError)) {
    const name = error instanceof Error ? error.name : typeof error
    return { code: 'job_failed', message: messageOf(error).slice(0, ERROR_TEXT_MAX), facts: { name }, retry: 'never' }
  }
  const facts = JSON.stringify(error.facts).length > ERROR_TEXT_MAX ? { factsLeftOut: true } : error.facts
  return {
    code: error.code,
    message: error.message.slice(0, ERROR_TEXT_MAX),
    facts,
    retry: error.retry,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  }
}

export function sealError(error: unknown): string {
  return JSON.stringify(shapeOf(error))
}

/** The stored error, to be thrown again: matched by its code, not by its class. */
export function reviveError(shape: StoredErrorShape): StoredError {
  return new StoredError(shape.code, shape.message, { facts: shape.facts, retry: shape.retry, hint: shape.hint })
}

export function openError(text: string): StoredErrorShape {
  return JSON.parse(text) as StoredErrorShape
}
