/**
 * An error that the API answered with: Azure's code as it is (exit-code.ts knows its status), the sentence, and the facts by
 * which the server's log tells more. What is no answer of ours is `api_answer_invalid`.
 */
import { HoldfastError } from '#base'
import type { ArmErrorBody } from '#contract'
import { CliError } from '../errors.ts'
import type { HttpAnswer } from './https.ts'

export class ApiError extends HoldfastError {}

const HINTS: Readonly<Record<string, string>> = {
  ResourceGroupNotFound: 'See the groups with "holdfast group list".',
  AuthorizationFailed: 'An administrator can give the role that allows it.',
  LinkedAuthorizationFailed: 'An administrator can give the role that allows it.',
  AnotherOperationInProgress: 'See what goes on with "holdfast operation list".',
}

type ErrorParts = ArmErrorBody['error']

function partsOf(body: unknown): ErrorParts | undefined {
  const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : undefined
  if (typeof error !== 'object' || error === null) return undefined
  const { code, message } = error as Partial<ErrorParts>
  return typeof code === 'string' && typeof message === 'string' ? (error as ErrorParts) : undefined
}

/** Of an answer with a status that is no success. */
export function apiErrorOf({ status, headers, body }: HttpAnswer): HoldfastError {
  const parts = partsOf(body)
  const requestId = headers['x-ms-request-id']
  if (parts === undefined) {
    const message = `The server answered ${status} and no error that Holdfast knows.`
    return new CliError('api_answer_invalid', message, { facts: { status, requestId }, retry: 'later' })
  }
  return apiErrorOfParts(parts, { status, requestId })
}

/** Of an operation that failed, or an answer. */
export function apiErrorOfParts(
  { code, message, target, details = [] }: ErrorParts,
  facts: Readonly<{ status?: number; requestId?: string | undefined; operation?: string }>,
): ApiError {
  const more = details
    .filter((detail) => detail.message !== message)
    .map((detail) => `${detail.code}: ${detail.message}`)
  const passing = facts.status === 429 || (facts.status ?? 0) >= 500
  return new ApiError(code, message, {
    facts: { ...facts, target, details: more },
    retry: passing ? 'later' : 'never',
    hint: HINTS[code],
  })
}
