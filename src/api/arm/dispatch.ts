/**
 * One request to the Azure face, from its bytes to its answer: who asks, what for, may they, do it, write it down.
 *
 * Every change that is asked for leaves an event in the activity log, whether it was done or refused; reading leaves none.
 * A request without a valid token learns nothing about what exists.
 */
import { randomUuid } from '#base'
import { type ActivityEvent, findResource, recordActivity } from '#catalog'
import { ArmError, checkApiVersion, groupId, RETRY_AFTER_SECONDS } from '#contract'
import { isAllowed, mayEnter } from '#domain'
import type { Logger } from '#runtime'
import { type ArmCall, type ArmHost, type ArmReply, type ArmRoute, type Caller, type Method, targetOf } from './call.ts'
import type { RequestSeen } from '../metrics.ts'
import { armErrorOf, errorReply } from './error-reply.ts'
import { parseJsonBody } from './json-body.ts'
import { checkLocks } from './locks.ts'
import { checkPreconditions, withEtag } from './preconditions.ts'
import type { RouteMatch, RouteTable } from './route-table.ts'
import { Turns } from './turns.ts'

export type ArmRequest = Readonly<{
  method: string
  /** Path and query as they were sent. */
  target: string
  baseUrl: string
  /** Where signed URLs and storage accounts are for this client; default: `baseUrl`. */
  bytesUrl?: string
  accountsUrl?: string
  headers: Readonly<Record<string, string | undefined>>
  body: Uint8Array
  signal: AbortSignal
}>

export type ArmAnswer = Readonly<{
  status: number
  headers: Readonly<Record<string, string>>
  body: string | undefined
}>

export type DispatchParts = Readonly<{
  host: ArmHost
  routes: RouteTable
  /** @throws ArmError `AuthenticationFailed` and its kind */
  authenticate: (authorization: string | undefined, baseUrl: string) => Promise<Caller>
  logger: Logger
  /** Lets the client's request pass. @throws ArmError `TooManyRequests` */
  admit?: (clientId: string) => void
  /** The answer of the linked server whose business it is; undefined when it is this one's. @throws ArmError */
  forward: (request: ArmRequest, caller: Caller, correlationId: string) => Promise<ArmReply | undefined>
  /** Is told of every request once it is answered. */
  observe?: (seen: RequestSeen) => void
}>

/** What is known of a request when it is answered. */
type Noted = { action: string; client: string | undefined }

const METHODS: readonly string[] = ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE'] satisfies Method[]
/** Azure's own hourly allowances: the clients show what is left of them. Nothing is taken off here. */
const ALLOWANCES: Readonly<Record<string, readonly [string, string]>> = {
  GET: ['x-ms-ratelimit-remaining-subscription-reads', '11999'],
  HEAD: ['x-ms-ratelimit-remaining-subscription-reads', '11999'],
  DELETE: ['x-ms-ratelimit-remaining-subscription-deletes', '14999'],
}
const ALLOWANCE_OF_WRITES = ['x-ms-ratelimit-remaining-subscription-writes', '1199'] as const
const SCOPE = /^\/subscriptions\/([^/]+)(?:\/resourceGroups\/([^/]+))?/i
const UUID_LIKE = /^[\w-]{1,64}$/

class Call implements ArmCall {
  readonly host: ArmHost
  readonly method: Method
  readonly baseUrl: string
  readonly bytesUrl: string
  readonly accountsUrl: string
  readonly url: string
  readonly params: Readonly<Record<string, string>>
  readonly apiVersion: string
  readonly caller: Caller
  readonly id: string
  readonly correlationId: string
  readonly body: unknown
  readonly signal: AbortSignal
  readonly #query: ReadonlyMap<string, string>
  readonly #headers: ArmRequest['headers']

  constructor(request: ArmRequest, match: RouteMatch, host: ArmHost, caller: Caller, correlationId: string) {
    // Put behind the base, not resolved against it: a path that begins with two slashes would name another host.
    const url = new URL(`${request.baseUrl}${request.target}`)
    this.#query = new Map(Array.from(url.searchParams, ([name, value]) => [name.toLowerCase(), value]))
    this.#headers = request.headers
    this.host = host
    this.method = request.method as Method
    this.baseUrl = request.baseUrl
    this.bytesUrl = request.bytesUrl ?? request.baseUrl
    this.accountsUrl = request.accountsUrl ?? request.baseUrl
    this.url = url.href
    this.params = match.params
    this.apiVersion = checkApiVersion(this.#query.get('api-version'))
    this.caller = caller
    this.id = match.id
    this.correlationId = correlationId
    this.signal = request.signal
    const text = new TextDecoder().decode(request.body)
    this.body = match.route.body === 'text' ? text : parseJsonBody(text)
  }

  query(name: string): string | undefined {
    return this.#query.get(name.toLowerCase())
  }

  header(name: string): string | undefined {
    return this.#headers[name.toLowerCase()]
  }

  param(name: string): string {
    const value = this.params[name]
    if (value === undefined) throw new TypeError(`The route has no parameter ${name}`)
    return value
  }

  may(action: string, id: string): boolean {
    const { grants, link } = this.caller
    return isAllowed(grants, action, id) && (link === undefined || isAllowed(link.within, action, id))
  }

  authorize(action: string, id: string): void {
    if (this.may(action, id)) return
    const { principal } = this.caller
    throw new ArmError(
      'LinkedAuthorizationFailed',
      `The client '${principal.clientId}' has permission to perform this action, but not '${action}' on the linked scope '${id}'.`,
    )
  }
}

/** What a subscription has beside its groups, such as sizes of machines, is entered with it. */
function entranceTo(id: string): string {
  return /^\/subscriptions\/[^/]+(?=\/providers\/)/i.exec(id)?.[0] ?? id
}

function checkAccess(route: ArmRoute, call: ArmCall): void {
  const { grants, principal, link } = call.caller
  if (route.access === 'filter' || route.access === 'signed-in') return
  const entrance = entranceTo(call.id)
  const isWithin = link === undefined || mayEnter(link.within, entrance)
  if (route.access === 'entered' && mayEnter(grants, entrance) && isWithin) return
  if (call.may(route.action, call.id)) return
  throw new ArmError(
    'AuthorizationFailed',
    `The client '${principal.clientId}' with object id '${principal.id}' does not have authorization to perform action ` +
      `'${route.action}' over scope '${call.id}' or the scope is invalid. If access was recently granted, please refresh your credentials.`,
  )
}

/** What the path stands in must exist; of a scope, its subscription and group. */
async function checkScope({ host, params }: ArmCall): Promise<void> {
  const [, scopeSubscription, scopeGroup] = SCOPE.exec(params['scope'] ?? '') ?? []
  const { subscription = scopeSubscription, group = scopeGroup } = params
  if (subscription !== undefined && subscription.toLowerCase() !== host.subscriptionId)
    throw new ArmError('SubscriptionNotFound', `The subscription '${subscription}' could not be found.`)
  if (subscription === undefined || group === undefined) return
  if ((await findResource(host.catalog, groupId(host.subscriptionId, group))) === undefined)
    throw new ArmError('ResourceGroupNotFound', `Resource group '${group}' could not be found.`)
}

/** Routes of a group itself name it `name`, so that it need not exist; all others name it `group`. */
export class Dispatcher {
  readonly #parts: DispatchParts
  readonly #turns = new Turns()

  constructor(parts: DispatchParts) {
    this.#parts = parts
  }

  /** @param caller who is known already; else the token says who asks. Never rejects. Leaves one line in the log; a path never holds a secret, a query may. */
  async answer(request: ArmRequest, caller?: Caller): Promise<ArmAnswer> {
    const { host, logger, observe } = this.#parts
    const requestId = randomUuid(host.random)
    const beganMs = host.clock.monotonicMs()
    const noted: Noted = { action: 'none', client: undefined }
    const answer = await this.#answer(request, requestId, noted, caller)
    const { method, status, ms } = {
      method: request.method,
      status: answer.status,
      ms: host.clock.monotonicMs() - beganMs,
    }
    const known = METHODS.includes(method) ? method : 'other'
    observe?.({ method: known, action: noted.action, status, ms })
    const path = request.target.split('?', 1)[0]
    logger.info({ requestId, method: known, path, status, ms: Math.round(ms), client: noted.client }, 'request')
    return answer
  }

  async #answer(request: ArmRequest, requestId: string, noted: Noted, caller?: Caller): Promise<ArmAnswer> {
    const { logger } = this.#parts
    const clientRequestId = request.headers['x-ms-client-request-id'] ?? ''
    const given = request.headers['x-ms-correlation-request-id'] ?? ''
    const correlationId = UUID_LIKE.test(given) ? given : requestId
    const headers: Record<string, string> = {
      'x-ms-request-id': requestId,
      'x-ms-correlation-request-id': correlationId,
      'x-ms-routing-request-id': `HOLDFAST:${requestId}`,
      'cache-control': 'no-cache',
      pragma: 'no-cache',
      'strict-transport-security': 'max-age=31536000; includeSubDomains',
      'x-content-type-options': 'nosniff',
      ...Object.fromEntries([ALLOWANCES[request.method] ?? ALLOWANCE_OF_WRITES]),
    }
    if (request.headers['x-ms-return-client-request-id']?.toLowerCase() === 'true' && UUID_LIKE.test(clientRequestId))
      headers['x-ms-client-request-id'] = clientRequestId
    try {
      return finished(await this.#handle(request, correlationId, noted, caller), headers)
    } catch (error) {
      if (armErrorOf(error) === undefined)
        logger.error(
          { error, requestId, method: request.method, path: request.target.split('?', 1)[0] },
          'a request failed',
        )
      return finished(errorReply(error, requestId), { ...headers, ...challengeOf(error) })
    }
  }

  async #handle(request: ArmRequest, correlationId: string, noted: Noted, known?: Caller): Promise<ArmReply> {
    const { host, routes, authenticate, admit, forward } = this.#parts
    const caller = known ?? (await authenticate(request.headers['authorization'], request.baseUrl))
    noted.client = caller.principal.clientId
    // What the server asks in a caller's name was admitted with the order.
    if (known === undefined || known.link !== undefined) admit?.(caller.principal.clientId)
    const elsewhere = await forward(request, caller, correlationId)
    if (elsewhere !== undefined) return elsewhere
    if (!METHODS.includes(request.method))
      throw new ArmError('NotSupported', `The method ${request.method} is not supported.`, { status: 405 })
    const path = request.target.split('?', 1)[0] ?? '/'
    const match = routes.match(request.method as Method, path)
    noted.action = match.route.action
    const call = new Call(request, match, host, caller, correlationId)
    if (request.method === 'GET' || request.method === 'HEAD') return this.#read(match.route, call)
    try {
      const reply = await this.#run(match.route, call)
      await this.#record(match.route, call, reply.status, reply.operation)
      return reply
    } catch (error) {
      const known = armErrorOf(error)
      await this.#record(match.route, call, known?.status ?? 500, undefined, known?.code ?? 'InternalServerError')
      throw error
    }
  }

  /** HEAD asks whether it is there: 204 where GET would show it. */
  async #read(route: ArmRoute, call: ArmCall): Promise<ArmReply> {
    checkAccess(route, call)
    await checkScope(call)
    const reply = await withEtag(call, await route.handle(call))
    if (call.method !== 'HEAD' || route.method === 'HEAD') return reply
    return { status: reply.status === 200 ? 204 : reply.status, ...(reply.headers && { headers: reply.headers }) }
  }

  async #run(route: ArmRoute, call: ArmCall): Promise<ArmReply> {
    checkAccess(route, call)
    await checkScope(call)
    if (route.method === 'POST') {
      await checkLocks(route, call)
      return route.handle(call)
    }
    return this.#turns.take(call.id.toLowerCase(), async () => {
      await checkLocks(route, call)
      await checkPreconditions(call)
      return withEtag(call, await route.handle(call))
    })
  }

  async #record(route: ArmRoute, call: ArmCall, httpStatus: number, operation?: string, code?: string): Promise<void> {
    const { catalog, clock, random } = this.#parts.host
    const { link } = call.caller
    const status: ActivityEvent['status'] =
      httpStatus >= 400 ? 'Failed' : operation === undefined ? 'Succeeded' : 'Accepted'
    await recordActivity(catalog, {
      id: randomUuid(random),
      atMs: clock.nowMs(),
      correlation: call.correlationId,
      caller: call.caller.principal.clientId,
      action: route.action,
      resource: targetOf(call),
      status,
      httpStatus,
      operation,
      facts: { ...(code !== undefined && { code }), ...(link !== undefined && { link: link.subscription }) },
    })
  }
}

function challengeOf(error: unknown): Record<string, string> {
  if (error instanceof ArmError && error.status === 429) return { 'retry-after': String(RETRY_AFTER_SECONDS) }
  if (!(error instanceof ArmError) || error.status !== 401) return {}
  return {
    'www-authenticate': `Bearer error="invalid_token", error_description="${error.message.replaceAll('"', "'")}"`,
  }
}

function finished(reply: ArmReply, headers: Readonly<Record<string, string>>): ArmAnswer {
  const { status, body } = reply
  const all = { ...headers, ...reply.headers }
  if (body === undefined) return { status, headers: all, body: undefined }
  return { status, headers: { ...all, 'content-type': 'application/json; charset=utf-8' }, body: JSON.stringify(body) }
}
