/**
 * Requests about another server's subscription, handed to that server, and those that others hand to this one.
 *
 * Who asks is the word of the server that the client logged in to; what they may is what that server says they may, within the
 * role that the link has here, and within this server's own subscription. So a server that lies gains nothing beyond that role,
 * and nobody but a linked server can say anything at all (link-face.ts). URLs in answers lead to the server that the client
 * talks to, and from there here again.
 */
import { messageOf, isHoldfastError } from '#base'
import { findLink, type Link, listLinks } from '#catalog'
import { ArmError } from '#contract'
import type { ArmReply, Caller } from '../arm/call.ts'
import type { ArmAnswer, ArmRequest } from '../arm/dispatch.ts'
import type { InsideAnswer } from '../arm/inside.ts'
import {
  type LinkedRequest,
  type LinkedServer,
  type LinkedServers,
  linkedBytesUrl,
  regionNames,
} from '../arm/linked-servers.ts'
import { segmentsOf } from '../arm/route-table.ts'
import { messageInvalid } from './errors.ts'
import { type ForwardedAnswer, type ForwardedRequest, readAnswer } from './link-wire.ts'
import type { Links } from './links.ts'

/** Longer than any handler waits: a snapshot's instant is waited for up to a minute. */
const ANSWER_MS_MAX = 100_000
const PASSED_ON = [
  'accept-language',
  'if-match',
  'if-none-match',
  'x-ms-client-request-id',
  'x-ms-return-client-request-id',
]
/** What this server says of an answer itself. */
const OWN_HEADERS = new Set(['content-type', 'x-ms-request-id', 'x-ms-routing-request-id'])

/** The subscription that a path is about. */
function subscriptionIn(target: string): string | undefined {
  const [first, subscription] = segmentsOf(target.split('?', 1)[0] ?? '/')
  return first?.toLowerCase() === 'subscriptions' ? subscription?.toLowerCase() : undefined
}

/** As its own server knows it: somebody of a linked server is named with that one's subscription here. */
function plain(id: string): string {
  return id.split('@', 1)[0] ?? id
}

/** A principal of another server as it is known here: nothing that it could be taken for is one of ours. */
function foreignCaller(link: Link, { caller }: ForwardedRequest, own: string): Caller {
  const { id, clientId, name, grants } = caller
  const principal = {
    id: `${id}@${link.subscription}`,
    clientId: `${clientId}@${link.subscription}`,
    name,
    createdMs: 0,
  }
  const within = [{ scope: `/subscriptions/${own}`, roleId: link.role }]
  return { principal, grants, link: { subscription: link.subscription, within } }
}

export class Forwarding implements LinkedServers {
  readonly #links: Links
  readonly #answer: (request: ArmRequest, caller: Caller) => Promise<ArmAnswer>

  /** @param answer of this server's own dispatcher */
  constructor(links: Links, answer: (request: ArmRequest, caller: Caller) => Promise<ArmAnswer>) {
    this.#links = links
    this.#answer = answer
  }

  async endpoint(): Promise<string> {
    return (await this.#links.parts.self()).endpoint
  }

  async list(): Promise<readonly LinkedServer[]> {
    return (await listLinks(this.#links.parts.catalog)).filter(({ state }) => state === 'linked')
  }

  async ownerOf(subscription: string): Promise<LinkedServer | undefined> {
    if (subscription.toLowerCase() === this.#links.parts.subscription) return undefined
    const link = await findLink(this.#links.parts.catalog, subscription)
    return link?.state === 'linked' ? link : undefined
  }

  /** The answer of the server whose subscription the request is about; undefined when that is this one, or nobody. */
  async forward(request: ArmRequest, caller: Caller, correlationId: string): Promise<ArmReply | undefined> {
    // What was handed over is not handed on.
    if (caller.link !== undefined) return undefined
    const subscription = subscriptionIn(request.target)
    const owner = subscription === undefined ? undefined : await this.ownerOf(subscription)
    if (owner === undefined) return undefined
    const { method, target, baseUrl, signal } = request
    const headers = Object.fromEntries(
      PASSED_ON.flatMap((name) => (request.headers[name] === undefined ? [] : [[name, request.headers[name]]])),
    )
    const text = new TextDecoder().decode(request.body)
    return this.ask(owner, caller, { method, target, baseUrl, correlationId, signal, headers, text })
  }

  async ask(owner: LinkedServer, caller: Caller, request: LinkedRequest): Promise<InsideAnswer> {
    const { method, target, baseUrl, correlationId, body, text, signal, headers } = request
    const { principal, grants } = caller
    const message: ForwardedRequest = {
      method,
      target,
      baseUrl,
      headers: { ...headers, 'x-ms-correlation-request-id': correlationId },
      body: text ?? (body === undefined ? '' : JSON.stringify(body)),
      caller: { id: plain(principal.id), clientId: plain(principal.clientId), name: principal.name, grants },
    }
    const answer = await this.#asked(owner, message, signal)
    const kept = Object.entries(answer.headers).filter(([name]) => !OWN_HEADERS.has(name))
    const parsed: unknown = answer.body === undefined ? undefined : JSON.parse(answer.body)
    return { status: answer.status, headers: Object.fromEntries(kept), body: parsed }
  }

  async #asked(owner: LinkedServer, message: ForwardedRequest, signal: AbortSignal): Promise<ForwardedAnswer> {
    try {
      const more = { answerMsMax: ANSWER_MS_MAX, signal }
      return readAnswer(await this.#links.ask(owner, 'forward', message, more))
    } catch (cause) {
      const what = `The subscription '${owner.subscription}' (${regionNames(owner.regions)}) is served by ${owner.endpoint}.`
      if (isHoldfastError(cause, 'link_answer_lost'))
        throw new ArmError(
          'GatewayTimeout',
          `${what} It was asked, but its answer was lost: look before you repeat it.`,
          {
            cause,
          },
        )
      throw new ArmError('ServiceUnavailable', `${what} ${messageOf(cause)}`, { cause })
    }
  }

  /** Answers what a linked server hands over. @throws LinkError */
  async take(link: Link, request: ForwardedRequest, signal: AbortSignal): Promise<ForwardedAnswer> {
    const own = this.#links.parts.subscription
    const { method, target, baseUrl, headers, body } = request
    if (subscriptionIn(target) !== own) throw messageInvalid('it is about no subscription of this server')
    const bytes = new TextEncoder().encode(body)
    const {
      status,
      headers: answered,
      body: text,
    } = await this.#answer(
      {
        method,
        target,
        baseUrl,
        bytesUrl: linkedBytesUrl(baseUrl, own),
        accountsUrl: await this.endpoint(),
        headers,
        body: bytes,
        signal,
      },
      foreignCaller(link, request, own),
    )
    return { status, headers: answered, body: text }
  }
}
