/**
 * What linking changes in the catalog, on either side: each function is one transaction, so that a server is linked or not,
 * whatever dies. No two regions of servers that are linked to one have one name: who comes second is refused.
 */
import {
  type Catalog,
  type CatalogTransaction,
  deleteLink,
  findLink,
  type Link,
  listLinks,
  listRegions,
  putLink,
  putRegion,
} from '#catalog'
import { lostPairs, sharedRegion } from '#domain'
import { LinkError } from './errors.ts'
import type { LinkHello } from './link-wire.ts'

const SEEN_EVERY_MS = 60_000

/** @throws LinkError `link_region_shared` */
async function checkNames(trx: CatalogTransaction, hello: LinkHello): Promise<void> {
  const others = (await listLinks(trx)).filter(({ subscription }) => subscription !== hello.subscription)
  const taken = [...(await listRegions(trx)), ...others.flatMap(({ regions }) => regions)]
  const shared = sharedRegion(taken, hello.regions)
  if (shared === undefined) return
  throw new LinkError('link_region_shared', `Both sides have a region "${shared}": names of linked regions differ.`, {
    facts: { region: shared },
    hint: `Remove it on the side where it is not used ("holdfast region remove ${shared}", after its pool and store).`,
  })
}

/** The link with what the other server says of itself. */
function told(link: Link, hello: LinkHello, nowMs: number): Link {
  const { endpoint, authority, grants: granted, regions } = hello
  return { ...link, endpoint, authority, granted, regions, state: 'linked', seenMs: nowMs }
}

async function dropPairs(trx: CatalogTransaction, names: readonly string[]): Promise<void> {
  for (const region of await listRegions(trx))
    if (names.includes(region.name)) await putRegion(trx, { ...region, pair: undefined })
}

/** What was asked for here is answered: the link stands. @throws LinkError */
export function recordJoined(catalog: Catalog, link: Link, hello: LinkHello, nowMs: number): Promise<Link> {
  return catalog.write(async (trx) => {
    await checkNames(trx, hello)
    const joined = told(link, hello, nowMs)
    await putLink(trx, joined)
    return joined
  })
}

/** Another server came with an invitation. @throws LinkError */
export async function recordJoiner(
  trx: CatalogTransaction,
  hello: LinkHello,
  role: string,
  nowMs: number,
): Promise<Link> {
  const before = await findLink(trx, hello.subscription)
  if (before !== undefined && before.publicKey !== hello.publicKey)
    throw new LinkError('link_exists', 'There is a link to that server already, by another key.', {
      hint: 'Take it away on both sides ("holdfast region unlink"), then link again.',
    })
  await checkNames(trx, hello)
  const { subscription, publicKey, endpoint, authority } = hello
  const createdMs = before?.createdMs ?? nowMs
  const link = { subscription, publicKey, endpoint, authority, role, createdMs, regions: [] }
  const joined = told({ ...link, granted: undefined, state: 'linked', seenMs: undefined }, hello, nowMs)
  await putLink(trx, joined)
  return joined
}

/** Takes over what the other says of itself, and lets go of pairs that are none any more. @throws LinkError `link_unknown` */
export async function recordHello(catalog: Catalog, link: Link, hello: LinkHello, nowMs: number): Promise<Link> {
  if (hello.subscription !== link.subscription || hello.publicKey !== link.publicKey)
    throw new LinkError('link_refused', 'Another server answers there than the one that was linked.')
  const next = told(link, hello, nowMs)
  const lost = lostPairs(await listRegions(catalog), link.regions, hello.regions)
  const isNews = JSON.stringify({ ...next, seenMs: 0 }) !== JSON.stringify({ ...link, seenMs: 0 })
  if (!isNews && lost.length === 0 && nowMs - (link.seenMs ?? 0) < SEEN_EVERY_MS) return link
  return catalog.write(async (trx) => {
    const now = await findLink(trx, link.subscription)
    if (now === undefined) throw new LinkError('link_unknown', 'There is no such link any more.')
    await dropPairs(trx, lost)
    const recorded = told(now, hello, nowMs)
    await putLink(trx, recorded)
    return recorded
  })
}

/** The end of a link: its pairs with it. */
export async function recordLeft(catalog: Catalog, { subscription }: Pick<Link, 'subscription'>): Promise<void> {
  await catalog.write(async (trx) => {
    const link = await findLink(trx, subscription)
    if (link === undefined) return
    const lost = lostPairs(await listRegions(trx), link.regions, [])
    await dropPairs(trx, lost)
    await deleteLink(trx, subscription)
  })
}
