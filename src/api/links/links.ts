/**
 * The links of this server, as it keeps them: made with an invitation, looked after, ended.
 *
 * Making one: a record `joining` here, then one message to the other server, which links in one transaction, then the record
 * becomes `linked`. What is `joining` is settled by asking: the other knows us, and we are linked, or it does not, and the
 * record goes. So a crash on either side ends with both linked or neither as soon as both run, and saying the command again
 * does no harm.
 */
import { createHash } from 'node:crypto'
import { type Clock, isHoldfastError, messageOf, must, PROGRAM_VERSION, type Random } from '#base'
import {
  type Catalog,
  deleteLink,
  findLink,
  insertInvitation,
  type Link,
  listLinks,
  listRegions,
  putLink,
  type Region,
} from '#catalog'
import { sharedRegion } from '#domain'
import type { Logger } from '#runtime'
import { askPeer, type PeerAddress } from './ask-peer.ts'
import { LinkError } from './errors.ts'
import type { LinkKey } from './link-key.ts'
import { recordHello, recordJoined, recordLeft } from './link-records.ts'
import { type Contact, linkView, type LinkView } from './link-view.ts'
import { LINK_PROTOCOL, type LinkAct, type LinkHello, readHello, readInvite, writeInvite } from './link-wire.ts'
import { signMessage } from './signed-message.ts'

export type LinkParts = Readonly<{
  catalog: Catalog
  clock: Clock
  random: Random
  logger: Logger
  key: LinkKey
  /** Subscription of this server. */
  subscription: string
  /** Where others find this server, and PEM of the authority of its certificate. */
  self: () => Promise<PeerAddress>
}>

const SECRET_BYTES = 32
const ANSWER_MS_MAX = 20_000

export function verifierOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

export class Links {
  readonly parts: LinkParts
  readonly #contacts = new Map<string, Contact>()

  constructor(parts: LinkParts) {
    this.parts = parts
  }

  /** What this server says of itself to one whose principals have that role here at most. */
  async hello(role: string): Promise<LinkHello> {
    const { catalog, key, subscription, self } = this.parts
    const regions = (await listRegions(catalog)).map(({ name, displayName, pair, geography }) => ({
      name,
      displayName,
      pair,
      geography,
    }))
    const own = { ...(await self()), publicKey: key.publicKey, subscription, grants: role, regions }
    return { protocol: LINK_PROTOCOL, version: PROGRAM_VERSION, ...own }
  }

  /** A text for the administrator of another server, good for one link within that time. */
  async invite(role: string, lifeMs: number): Promise<Readonly<{ invitation: string; expiresMs: number }>> {
    const { catalog, clock, random, key, subscription, self } = this.parts
    const secret = Buffer.from(random.bytes(SECRET_BYTES)).toString('base64url')
    const createdMs = clock.nowMs()
    const expiresMs = createdMs + lifeMs
    const record = { verifier: verifierOf(secret), role, createdMs, expiresMs, usedBy: undefined }
    await catalog.write((trx) => insertInvitation(trx, record))
    const invite = { ...(await self()), subscription, publicKey: key.publicKey, secret, expiresMs }
    return { invitation: writeInvite(invite), expiresMs }
  }

  /** Asks the linked server. @throws LinkError */
  async ask(
    { subscription, ...address }: PeerAddress & Readonly<{ subscription: string }>,
    act: LinkAct,
    message: unknown,
    more: Readonly<{ answerMsMax?: number; signal?: AbortSignal }> = {},
  ): Promise<unknown> {
    const body = JSON.stringify(message)
    const authorization = await signMessage(this.parts, { from: this.parts.subscription, to: subscription, act, body })
    return askPeer(address, {
      path: `/holdfast/links/${act}`,
      authorization,
      body,
      answerMsMax: ANSWER_MS_MAX,
      ...more,
    })
  }

  /**
   * Links with the server that invited. @param role that its principals get here at most
   * @throws LinkError; `link_unsettled` when it is not known yet whether the other has linked: asked again by `look`
   */
  async join(invitation: string, role: string): Promise<LinkView> {
    const { catalog, clock, subscription: own } = this.parts
    const { secret, expiresMs: _ends, ...other } = readInvite(invitation)
    if (other.subscription === own) throw new LinkError('link_refused', 'The invitation is of this server itself.')
    const before = await findLink(catalog, other.subscription)
    if (before !== undefined && before.publicKey !== other.publicKey)
      throw new LinkError('link_exists', 'There is a link to that server already, by another key.', {
        hint: 'Take it away on both sides ("holdfast region unlink"), then link again.',
      })
    const fresh = { granted: undefined, regions: [], seenMs: undefined, createdMs: clock.nowMs() }
    const link: Link = { ...fresh, ...before, ...other, role, state: before?.state ?? 'joining' }
    if (link.state === 'joining') await catalog.write((trx) => putLink(trx, link))
    try {
      const answer = await this.ask(other, 'join', { secret, hello: await this.hello(role) })
      return await this.#joined(link, readHello(answer))
    } catch (error) {
      await this.#afterFailure(link, error)
    }
    const settled = await this.settle(link)
    if (settled !== undefined) return this.view(settled)
    throw new LinkError('link_unsettled', `Whether ${other.endpoint} has linked is not known: its answer was lost.`, {
      retry: 'later',
      hint: 'It is asked again by and by ("holdfast region list" shows it); or give the same command again.',
    })
  }

  async #joined(link: Link, hello: LinkHello): Promise<LinkView> {
    const { catalog, clock } = this.parts
    try {
      const joined = await recordJoined(catalog, link, hello, clock.nowMs())
      await this.#reached(joined)
      return this.view(joined)
    } catch (error) {
      if (link.state === 'linked') throw error
      // The other has linked already; it is told that nothing came of it. Should it not hear, it asks, and is told then.
      await this.#tellLeft(link)
      await recordLeft(catalog, link)
      throw error
    }
  }

  /** A refusal, or that nothing was asked, leaves nothing behind. Returns only where the other may have linked. */
  async #afterFailure(link: Link, error: unknown): Promise<void> {
    if (isHoldfastError(error, 'link_answer_lost')) return
    if (link.state === 'joining') await recordLeft(this.parts.catalog, link)
    throw error
  }

  /** Finds out what became of one that was asked for; undefined: nothing, or not known yet. Never rejects. */
  async settle(link: Link): Promise<Link | undefined> {
    const { catalog, clock, logger } = this.parts
    try {
      const hello = readHello(await this.ask(link, 'hello', await this.hello(link.role)))
      await this.#joined(link, hello)
      return await findLink(catalog, link.subscription)
    } catch (error) {
      if (isHoldfastError(error, 'link_unknown')) await catalog.write((trx) => deleteLink(trx, link.subscription))
      else logger.warn({ endpoint: link.endpoint, error: messageOf(error) }, 'a link is not settled')
      this.#contacts.set(link.subscription, { ok: false, sinceMs: clock.nowMs(), why: messageOf(error) })
      return undefined
    }
  }

  /** Asks every linked server how it is, and tells it the same of this one. */
  async look(): Promise<readonly LinkView[]> {
    const links = await listLinks(this.parts.catalog)
    await Promise.all(links.map((link) => (link.state === 'joining' ? this.settle(link) : this.#lookAt(link))))
    return this.list()
  }

  async #lookAt(link: Link): Promise<void> {
    const { catalog, clock } = this.parts
    try {
      const hello = readHello(await this.ask(link, 'hello', await this.hello(link.role)))
      await this.#reached(await recordHello(catalog, link, hello, clock.nowMs()))
    } catch (error) {
      this.#missed(link, error)
    }
  }

  async #reached({ subscription, endpoint, regions }: Link): Promise<void> {
    const before = this.#contacts.get(subscription)
    const shared = sharedRegion(await listRegions(this.parts.catalog), regions)
    const why = shared === undefined ? {} : { why: `Both servers have a region "${shared}": remove one of the two.` }
    if (before?.ok === true) return void this.#contacts.set(subscription, { ...why, ok: true, sinceMs: before.sinceMs })
    if (before !== undefined) this.parts.logger.info({ subscription, endpoint }, 'the linked server answers again')
    this.#contacts.set(subscription, { ...why, ok: true, sinceMs: this.parts.clock.nowMs() })
  }

  #missed({ subscription, endpoint }: Link, error: unknown): void {
    const before = this.#contacts.get(subscription)
    const isRefusal = !isHoldfastError(error, 'link_unreachable', 'link_answer_lost')
    const why = isHoldfastError(error, 'link_unknown')
      ? `${endpoint} does not know this link any more. Take it away here, too: holdfast region unlink.`
      : messageOf(error)
    if (before?.ok !== false) this.parts.logger.warn({ subscription, endpoint, why }, 'the linked server is lost')
    const sinceMs = before?.ok === false ? before.sinceMs : this.parts.clock.nowMs()
    this.#contacts.set(subscription, { ok: false, sinceMs, why, isRefusal })
  }

  view(link: Link): LinkView {
    return linkView(link, this.#contacts.get(link.subscription))
  }

  /** As they were when they were last asked. */
  async list(): Promise<readonly LinkView[]> {
    return (await listLinks(this.parts.catalog)).map((link) => this.view(link))
  }

  /** By its subscription, its address or one of its regions. @throws LinkError `link_not_found` */
  async named(given: string): Promise<Link> {
    const text = given.toLowerCase().replace(/\/$/, '')
    const found = (await listLinks(this.parts.catalog)).find(
      ({ subscription, endpoint, regions }) =>
        [subscription, endpoint, new URL(endpoint).host].includes(text) || regions.some(({ name }) => name === text),
    )
    if (found !== undefined) return found
    throw new LinkError('link_not_found', `There is no link "${given}".`, {
      facts: { link: given },
      hint: 'Name a region of the linked server, its address or its subscription: see "holdfast region list".',
    })
  }

  /** The other's region becomes the pair of ours, if it has no pair. Our side is written by the caller. @throws LinkError */
  async pair(link: Link, own: Pick<Region, 'name'>, theirs: string): Promise<void> {
    await this.#lookAt(link) // So that it knows our region.
    await this.ask(must(await findLink(this.parts.catalog, link.subscription), 'The link is there'), 'pair', {
      region: theirs,
      pair: own.name,
    })
  }

  /** Ends the link here; whether the other was told. It is told later when it asks. */
  async unlink(link: Link): Promise<Readonly<{ told: boolean }>> {
    await recordLeft(this.parts.catalog, link)
    this.forget(link)
    return { told: await this.#tellLeft(link) }
  }

  forget({ subscription }: Pick<Link, 'subscription'>): void {
    this.#contacts.delete(subscription)
  }

  async #tellLeft(link: Link): Promise<boolean> {
    try {
      await this.ask(link, 'leave', {})
      return true
    } catch (error) {
      this.parts.logger.warn({ endpoint: link.endpoint, error: messageOf(error) }, 'the end of a link was not told')
      return false
    }
  }
}
