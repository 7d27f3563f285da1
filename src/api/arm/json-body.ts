/** The body of a request as JSON. Bounded in size by the listener, in depth here. */
import { messageOf } from '#base'
import { ArmError } from '#contract'

const DEPTH_MAX = 64

/** @throws ArmError `InvalidRequestContent` */
export function checkDepth(value: unknown, depth = 0): void {
  if (depth > DEPTH_MAX)
    throw new ArmError('InvalidRequestContent', `The request content is nested deeper than ${DEPTH_MAX} levels.`)
  if (typeof value !== 'object' || value === null) return
  for (const inner of Object.values(value)) checkDepth(inner, depth + 1)
}

/** undefined for an empty body. @throws ArmError `InvalidRequestContent` */
export function parseJsonBody(text: string): unknown {
  if (text.trim() === '') return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new ArmError(
      'InvalidRequestContent',
      `The request content was invalid and could not be deserialized: ${messageOf(error)}.`,
    )
  }
  checkDepth(value)
  return value
}

/** The body as an object. @throws ArmError `InvalidRequestContent` */
export function objectBody(body: unknown): Readonly<Record<string, unknown>> {
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body as Record<string, unknown>
  throw new ArmError('InvalidRequestContent', 'The request content must be a JSON object.')
}
