/**
 * A change that goes on after its request was accepted: followed to its end, with its share done.
 *
 * Leaving (Ctrl-C) leaves the operation alone, and says by which command it is followed further. A server that is started
 * anew meanwhile loses nothing of it, so it is asked for a minute before that is an error.
 */
import { BaseError, isHoldfastError, type ProgressSink } from '#base'
import type { OperationBody } from '#contract'
import { CliError } from '../errors.ts'
import type { ApiClient } from './api-client.ts'
import { apiErrorOfParts } from './api-error.ts'
import type { HttpAnswer } from './https.ts'
import { retryAfterMs } from './retry-after.ts'

const AWAY_MS_MAX = 60_000
const FIRST_POLL_MS = 100

export type Followed = Readonly<{ operation: string | undefined; output: unknown }>

type Watching = Readonly<{ client: ApiClient; task: string; progress: ProgressSink }>

/** Where its state is asked for; undefined when the answer is the end already. */
export function operationUrl({ status, headers }: HttpAnswer): string | undefined {
  return headers['azure-asyncoperation'] ?? (status === 202 ? headers['location'] : undefined)
}

/** The id of the operation at a URL. */
export function operationIdOf(url: string): string {
  return new URL(url, 'https://server').pathname.split('/').at(-1) ?? ''
}

/** The state of any operation of this server, by its id alone. */
export async function operationPath(client: ApiClient, id: string): Promise<string> {
  const subscription = await client.subscription()
  return `/subscriptions/${subscription}/providers/Microsoft.Resources/locations/global/operationresults/${id}`
}

/** Asks until the server answers, for as long as a restart takes. @throws CliError `api_unreachable` after a minute */
export async function askPatiently(client: ApiClient, url: string): Promise<HttpAnswer> {
  const { clock, signal } = client
  const endMs = clock.monotonicMs() + AWAY_MS_MAX
  for (;;) {
    try {
      return await client.ask('GET', url)
    } catch (error) {
      if (!isHoldfastError(error, 'api_unreachable') || clock.monotonicMs() >= endMs) throw error
      await clock.sleep(1000, signal)
    }
  }
}

async function poll({ client, task, progress }: Watching, begun: string): Promise<unknown> {
  let url = begun
  for (let waitMs = FIRST_POLL_MS; ;) {
    progress({ task, doneBytes: 0, totalBytes: 0, unit: 'percent' })
    await client.clock.sleep(waitMs, client.signal)
    const answer = await askPatiently(client, url)
    const body = answer.body as Partial<OperationBody> | undefined
    const status = body?.status ?? (answer.status === 202 ? 'InProgress' : 'Succeeded')
    if (status !== 'InProgress') return resultOf(url, answer, body)
    if (body?.percentComplete !== undefined)
      progress({ task, doneBytes: body.percentComplete, totalBytes: 100, unit: 'percent' })
    // Its status says how far it is; its Location does not.
    url = answer.headers['azure-asyncoperation'] ?? url
    waitMs = retryAfterMs(answer)
  }
}

function resultOf(url: string, answer: HttpAnswer, body: Partial<OperationBody> | undefined): unknown {
  const { status, error, properties } = body ?? {}
  const isEnd = status === 'Failed' || status === 'Canceled'
  if (!isEnd) return status === 'Succeeded' ? properties?.['output'] : answer.body
  const operation = operationIdOf(url)
  throw apiErrorOfParts(error ?? { code: 'InternalServerError', message: `The operation ended as ${status}.` }, {
    operation,
  })
}

/** What following it broke off with, and how it is followed further. @param facts its id */
export function leftAlone(
  error: unknown,
  { task, facts, command }: Readonly<{ task: string; facts: Readonly<Record<string, string>>; command: string }>,
): unknown {
  if (isHoldfastError(error, 'cancelled'))
    return new BaseError('cancelled', `${task}: left alone; it goes on.`, {
      facts,
      hint: `Follow it with "${command}".`,
      cause: error,
    })
  if (isHoldfastError(error, 'api_unreachable'))
    return new CliError('api_unreachable', `${task}: ${error.message}`, {
      facts: { ...error.facts, ...facts },
      retry: 'later',
      hint: `When the server answers again, follow it with "${command}".`,
      cause: error,
    })
  return error
}

/**
 * Follows what an answer began, if it began anything. @param answer of the request that was accepted
 * @throws ApiError the operation's; `cancelled` when left, the operation goes on; CliError `api_unreachable`
 */
export async function followOperation(watching: Watching, answer: HttpAnswer): Promise<Followed> {
  const url = operationUrl(answer)
  if (url === undefined) return { operation: undefined, output: answer.body }
  const operation = operationIdOf(url)
  try {
    return { operation, output: await poll(watching, url) }
  } catch (error) {
    const { task } = watching
    throw leftAlone(error, { task, facts: { operation }, command: `holdfast operation watch ${operation}` })
  }
}

/** What an answer says without waiting. @throws CliError when nothing was begun and nothing is shown */
export function begunBy(answer: HttpAnswer): Readonly<{ operation: string | null; status: string; resource: unknown }> {
  const url = operationUrl(answer)
  if (answer.status >= 400) throw new CliError('api_answer_invalid', 'An error is no beginning.')
  return {
    operation: url === undefined ? null : operationIdOf(url),
    status: url === undefined ? 'Succeeded' : 'InProgress',
    resource: answer.body ?? null,
  }
}
