/** What an answer of the API means for the part of a deployment that asked. */
import { isSettled } from '#contract'
import { type InsideAnswer, pathOf } from '../../../arm/inside.ts'
import type { PartError } from './record.ts'

export type PartOutcome =
  | Readonly<{ kind: 'succeeded' }>
  | Readonly<{ kind: 'running'; url: string }>
  | Readonly<{ kind: 'busy'; error: PartError }>
  | Readonly<{ kind: 'failed'; error: PartError }>

const PASSING_CODES = ['AnotherOperationInProgress', 'ServiceUnavailable', 'GatewayTimeout']

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function textOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise
}

function errorIn(body: unknown, status: number): PartError {
  const { code, message, target } = recordOf(recordOf(body)['error'])
  return {
    code: textOr(code, 'InternalServerError'),
    message: textOr(message, `The request was answered with the status ${status}.`),
    ...(typeof target === 'string' && { target }),
  }
}

function pathAndQuery(url: string): string {
  const { pathname, search } = new URL(url, 'https://localhost')
  return `${pathname}${search}`
}

function stateIn(body: unknown): string | undefined {
  const state = recordOf(recordOf(body)['properties'])['provisioningState']
  return typeof state === 'string' ? state : undefined
}

function ofState(body: unknown, status: number, url: string): PartOutcome {
  const state = stateIn(body)
  if (!isSettled(state)) return { kind: 'running', url }
  if (state === undefined || state === 'Succeeded') return { kind: 'succeeded' }
  return { kind: 'failed', error: errorIn(recordOf(body)['properties'], status) }
}

/** Of the PUT itself. */
export function outcomeOfPut(answer: InsideAnswer, id: string, apiVersion: string): PartOutcome {
  const { status, headers, body } = answer
  if (status >= 400) {
    const error = errorIn(body, status)
    return { kind: status === 429 || PASSING_CODES.includes(error.code) ? 'busy' : 'failed', error }
  }
  const url = headers['azure-asyncoperation'] ?? (status === 202 ? headers['location'] : undefined)
  if (url !== undefined) return { kind: 'running', url: pathAndQuery(url) }
  return ofState(body, status, `${pathOf(id)}?api-version=${apiVersion}`)
}

/** Of a question how its operation goes, by whichever URL. */
export function outcomeOfLook(answer: InsideAnswer, url: string): PartOutcome {
  const { status, body } = answer
  if (status === 202 || status === 429 || status >= 500) return { kind: 'running', url }
  if (status >= 400) return { kind: 'failed', error: errorIn(body, status) }
  const word = recordOf(body)['status']
  if (typeof word !== 'string') return ofState(body, status, url)
  if (word === 'Succeeded') return { kind: 'succeeded' }
  if (word === 'Failed' || word === 'Canceled') return { kind: 'failed', error: errorIn(body, status) }
  return { kind: 'running', url }
}
