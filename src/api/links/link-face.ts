/**
 * What linked servers, and one with an invitation, may say to this one. Nothing is done, and no body read, before the signature
 * is found to be by the key that is on record for the link (for a join: by the key that the message brings, so that nobody
 * brings another's).
 */
import { randomUuid, unreachable } from '#base'
import {
  type Catalog,
  findInvitation,
  findLink,
  type Link,
  listRegions,
  putRegion,
  recordActivity,
  useInvitation,
} from '#catalog'
import { normalizeLocation } from '#contract'
import { LinkError, messageInvalid } from './errors.ts'
import type { Forwarding } from './forwarding.ts'
import { recordHello, recordJoiner, recordLeft } from './link-records.ts'
import { fieldsOf, type LinkAct, type LinkHello, readForwarded, readHello, textIn } from './link-wire.ts'
import { type Links, verifierOf } from './links.ts'
import { claimedSender, digestOf, MessageCheck } from './signed-message.ts'

export type LinkRequest = Readonly<{
  act: LinkAct
  authorization: string | undefined
  /** Reads the body. */
  body: () => Promise<string>
  signal: AbortSignal
}>

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw messageInvalid('it is no JSON', cause)
  }
}

function invitationInvalid(why: string): LinkError {
  return new LinkError('link_invitation_invalid', `The invitation cannot be used: ${why}.`, {
    hint: 'Make a new one there: holdfast region invite.',
  })
}

export class LinkFace {
  readonly #links: Links
  readonly #forwarding: Forwarding
  readonly #check: MessageCheck

  constructor(links: Links, forwarding: Forwarding) {
    this.#links = links
    this.#forwarding = forwarding
    this.#check = new MessageCheck(links.parts.clock)
  }

  /** @throws LinkError */
  async answer(request: LinkRequest): Promise<unknown> {
    if (request.act === 'join') return this.#join(request)
    const { catalog } = this.#links.parts
    const link = await this.#senderOf(request)
    const message = parsed(await this.#bodyOf(request, link.subscription, link.publicKey))
    switch (request.act) {
      case 'hello':
        return this.#hello(link, readHello(message))
      case 'pair':
        return pairOurs(catalog, link, fieldsOf(message))
      case 'leave':
        await recordLeft(catalog, link)
        this.#links.forget(link)
        await this.#record(link, 'delete')
        return {}
      case 'forward':
        return this.#forwarding.take(link, readForwarded(message), request.signal)
      default:
        return unreachable(request.act)
    }
  }

  async #senderOf({ authorization }: LinkRequest): Promise<Link> {
    const link = await findLink(this.#links.parts.catalog, claimedSender(authorization))
    if (link?.state === 'linked') return link
    throw new LinkError('link_unknown', 'There is no such link.')
  }

  /** The body, when it is what the sender signed. */
  async #bodyOf({ act, authorization, body }: LinkRequest, from: string, publicKey: string): Promise<string> {
    const to = this.#links.parts.subscription
    const digest = await this.#check.check(authorization, { from, publicKey, to, act })
    const text = await body()
    if (digestOf(text) !== digest) throw messageInvalid('its content is not what was signed')
    return text
  }

  async #hello(link: Link, hello: LinkHello): Promise<LinkHello> {
    const { catalog, clock } = this.#links.parts
    await recordHello(catalog, link, hello, clock.nowMs())
    return this.#links.hello(link.role)
  }

  async #join(request: LinkRequest): Promise<LinkHello> {
    const { catalog, clock, subscription } = this.#links.parts
    const text = await request.body()
    const fields = fieldsOf(parsed(text))
    const hello = readHello(fields['hello'])
    await this.#bodyOf({ ...request, body: () => Promise.resolve(text) }, hello.subscription, hello.publicKey)
    if (hello.subscription === subscription) throw new LinkError('link_refused', 'A server is not linked with itself.')
    const verifier = verifierOf(textIn(fields, 'secret', 200))
    const nowMs = clock.nowMs()
    const link = await catalog.write(async (trx) => {
      const invitation = await findInvitation(trx, verifier)
      if (invitation === undefined) throw invitationInvalid('it is not known there')
      if (invitation.expiresMs <= nowMs) throw invitationInvalid('it has ended')
      const { usedBy = hello.subscription, role } = invitation
      if (usedBy !== hello.subscription) throw invitationInvalid('another server has used it')
      await useInvitation(trx, verifier, hello.subscription)
      return recordJoiner(trx, hello, role, nowMs)
    })
    await this.#record(link, 'write')
    return this.#links.hello(link.role)
  }

  /** What another server has changed here. */
  async #record({ subscription, role }: Link, verb: 'write' | 'delete'): Promise<void> {
    const { catalog, clock, random } = this.#links.parts
    const id = randomUuid(random)
    await recordActivity(catalog, {
      id,
      correlation: id,
      atMs: clock.nowMs(),
      caller: `linked-server ${subscription}`,
      action: `Holdfast.Places/links/${verb}`,
      resource: `/links/${subscription}`,
      status: 'Succeeded',
      httpStatus: 200,
      operation: undefined,
      facts: { role },
    })
  }
}

/** Our region becomes the pair of one of the other server, if it has no pair. */
async function pairOurs(catalog: Catalog, link: Link, fields: Readonly<Record<string, unknown>>): Promise<object> {
  const [name, pair] = [
    normalizeLocation(textIn(fields, 'region', 100)),
    normalizeLocation(textIn(fields, 'pair', 100)),
  ]
  if (!link.regions.some((region) => region.name === pair)) throw messageInvalid(`"${pair}" is no region of its sender`)
  await catalog.write(async (trx) => {
    const own = (await listRegions(trx)).find((region) => region.name === name)
    if (own === undefined) throw new LinkError('link_refused', `There is no region "${name}" there.`)
    if (own.pair !== undefined && own.pair !== pair)
      throw new LinkError('link_refused', `The region "${name}" is the pair of ${own.pair}.`, {
        hint: `On its own server: holdfast region pair ${name}, then it has none.`,
      })
    await putRegion(trx, { ...own, pair })
  })
  return {}
}
