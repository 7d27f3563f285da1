/**
 * What jobs keep between lives: values as bounded JSON, errors in HoldfastError's shape. A workflow always sees a value as
 * it comes back from JSON, the first time too, so that a replay cannot differ.
 */
import { type ErrorShape, errorShapeOf, messageOf } from '#base'
import { JobsError } from './errors.ts'
import { JOB_VALUE_BYTES_MAX } from './limits.ts'

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

/** The error's shape; what is not a HoldfastError becomes `job_failed`, never to be retried. */
export function shapeOf(error: unknown): ErrorShape {
  return errorShapeOf(error, 'job_failed')
}

export function sealError(error: unknown): string {
  return JSON.stringify(shapeOf(error))
}

export function openError(text: string): ErrorShape {
  return JSON.parse(text) as ErrorShape
}
