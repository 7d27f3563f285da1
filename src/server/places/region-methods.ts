/**
 * Regions over the server's socket.
 *
 *   region.add {name, displayName?, pair?, geography?}   → RegionView     region.list → RegionView[]
 *   region.show {name} → RegionDetail                                     region.remove {name}
 *   region.pair {name, pair?} → RegionView; without pair it has none any more
 *
 * A pair holds both ways, over a link too. A region comes with the host `local`, which is this one. Regions of linked servers are
 * listed and shown beside ours, with the link; they are changed where they are.
 */
import { isoTime } from '#base'
import type { Links, LinkView } from '#api'
import {
  type CatalogTransaction,
  deleteHost,
  deleteRegion,
  listHosts,
  type LinkedRegion,
  listAllPools,
  listLinks,
  listRegions,
  listStores,
  putHost,
  putRegion,
  type Region,
  usesOf,
} from '#catalog'
import { normalizeLocation } from '#contract'
import type { RpcMethods } from '#runtime'
import { type AdminParts, fieldsOf, optionalTextOf, recordChange, textOf } from '../access/admin-call.ts'
import { type HostView, hostViews } from './host-methods.ts'
import { LOCAL_HOST, localHost } from './local-host.ts'
import { exists, inUse, invalidPlace, notFound, regionNamed } from './place-errors.ts'
import { type PoolView, poolViews, type StoreView, storeViews } from './space-methods.ts'

export type RegionView = Readonly<{
  name: string
  displayName: string
  pair: string | undefined
  geography: string
  /** Undefined of one of a linked server: that server knows. */
  createdAt: string | undefined
  /** Whose it is, when it is not this server's. */
  link?: LinkView
}>
export type RegionDetail = RegionView &
  Readonly<{
    resources: number
    pools: readonly PoolView[]
    stores: readonly StoreView[]
    hosts: readonly HostView[]
  }>
/** Of a linked server's region: no more than the list has. */
export type LinkedRegionDetail = RegionView & Readonly<{ link: LinkView }>
type LinksNow = () => Links | undefined

const LOCATION = /^[a-z][a-z0-9]{0,59}$/
const WORDS_LENGTH_MAX = 80

function regionView({ name, displayName, pair, geography, createdMs }: Region): RegionView {
  return { name, displayName, pair, geography, createdAt: isoTime(createdMs) }
}

function linkedView({ name, displayName, pair, geography }: LinkedRegion, link: LinkView): LinkedRegionDetail {
  return { name, displayName, pair, geography, createdAt: undefined, link }
}

/** Regions of linked servers; whether those answer is asked now. */
async function linkedRegions({ catalog }: AdminParts, links: Links | undefined): Promise<LinkedRegionDetail[]> {
  if (links === undefined) return []
  const views = await links.look()
  return (await listLinks(catalog)).flatMap((link) => {
    const view = views.find(({ subscription }) => subscription === link.subscription)
    return view === undefined ? [] : link.regions.map((region) => linkedView(region, view))
  })
}

/** The region of a linked server, and its link. */
async function findLinked(catalog: AdminParts['catalog'], given: string | undefined) {
  const name = normalizeLocation(given ?? '')
  const link = (await listLinks(catalog)).find(({ regions }) => regions.some((region) => region.name === name))
  return link === undefined ? undefined : { link, name }
}

async function addRegion(parts: AdminParts, links: LinksNow, params: unknown): Promise<RegionView> {
  const fields = fieldsOf(params)
  const given = textOf(fields, 'name')
  const name = normalizeLocation(given)
  if (!LOCATION.test(name)) throw invalidPlace('region', given, 'A letter, then up to 59 letters and digits.')
  const [displayName = given, geography = 'Private'] = ['displayName', 'geography'].map((field) =>
    optionalTextOf(fields, field),
  )
  for (const words of [displayName, geography])
    // eslint-disable-next-line no-control-regex -- control characters are what this is about
    if (words.length > WORDS_LENGTH_MAX || /[\u0000-\u001f<>]/.test(words))
      throw invalidPlace('region', words, `At most ${WORDS_LENGTH_MAX} characters, none of them a control character.`)
  const wanted = optionalTextOf(fields, 'pair')
  const linked = await findLinked(parts.catalog, wanted)
  const pairName = linked === undefined ? wanted : undefined
  if ((await findLinked(parts.catalog, name)) !== undefined) throw exists('region', name)
  const region = { name, displayName, geography, createdMs: parts.clock.nowMs() }
  const made = await parts.catalog.write(async (trx) => {
    const regions = await listRegions(trx)
    if (regions.some((other) => other.name === name)) throw exists('region', name)
    const pair = pairName === undefined ? undefined : regionNamed(regions, pairName)
    if (pair?.pair !== undefined) throw inUse('region', pair.name, `it is the pair of ${pair.pair}`)
    if (pair !== undefined) await putRegion(trx, { ...pair, pair: name })
    await putRegion(trx, { ...region, pair: pair?.name })
    await putHost(trx, localHost(name, region.createdMs))
    return { ...region, pair: pair?.name }
  })
  await recordChange(parts, 'Holdfast.Places/regions/write', `/regions/${name}`)
  return linked === undefined ? regionView(made) : pairRegion(parts, links, { name, pair: linked.name })
}

/** Whom a region was paired with before is left without a pair. */
async function pairRegion(parts: AdminParts, links: LinksNow, params: unknown): Promise<RegionView> {
  const fields = fieldsOf(params)
  const [given, other] = [textOf(fields, 'name'), optionalTextOf(fields, 'pair')]
  const linked = await findLinked(parts.catalog, other)
  if (linked !== undefined) await pairLinked(parts, links, given, linked)
  const paired = await parts.catalog.write(async (trx) => {
    const regions = await listRegions(trx)
    const region = regionNamed(regions, given)
    const pair = other === undefined || linked !== undefined ? undefined : regionNamed(regions, other)
    if (pair?.name === region.name) throw invalidPlace('region', pair.name, 'A region is no pair of itself.')
    const both = [
      region.name,
      ...(pair === undefined ? [] : [pair.name]),
      ...(linked === undefined ? [] : [linked.name]),
    ]
    for (const left of regions)
      if (left.pair !== undefined && both.includes(left.pair)) await putRegion(trx, { ...left, pair: undefined })
    if (pair !== undefined) await putRegion(trx, { ...pair, pair: region.name })
    const changed = { ...region, pair: pair?.name ?? linked?.name }
    await putRegion(trx, changed)
    return changed
  })
  await recordChange(parts, 'Holdfast.Places/regions/write', `/regions/${paired.name}`)
  await links()?.look() // Linked servers learn of pairs that are new, and let go of those that are over.
  return regionView(paired)
}

/** The other server first: what it refuses changes nothing. */
async function pairLinked(
  { catalog }: AdminParts,
  links: LinksNow,
  given: string,
  { link, name }: Readonly<{ link: Parameters<Links['pair']>[0]; name: string }>,
): Promise<void> {
  const own = regionNamed(await listRegions(catalog), given)
  const now = links()
  if (now === undefined) throw notFound('region', name)
  await now.pair(link, own, name)
}

async function showRegion(
  parts: AdminParts,
  links: LinksNow,
  params: unknown,
): Promise<RegionDetail | LinkedRegionDetail> {
  const { catalog } = parts
  const given = textOf(fieldsOf(params), 'name')
  const linked = (await linkedRegions(parts, links())).find(({ name }) => name === normalizeLocation(given))
  if (linked !== undefined) return linked
  const region = regionNamed(await listRegions(catalog), given)
  return {
    ...regionView(region),
    resources: (await usesOf(catalog, region.name)).length,
    pools: await poolViews(parts, region.name),
    stores: await storeViews(parts, region.name),
    hosts: await hostViews(parts, region.name),
  }
}

async function checkRegionUnused(trx: CatalogTransaction, region: string): Promise<void> {
  const uses = await usesOf(trx, region)
  if (uses[0] !== undefined) throw inUse('region', region, `${uses.length} resources are there, such as ${uses[0].id}`)
  const [pool] = await listAllPools(trx, region)
  if (pool !== undefined) throw inUse('region', region, `it has the pool ${pool.name}; remove that first`)
  const [store] = await listStores(trx, region)
  if (store !== undefined) throw inUse('region', region, `it has the store ${store.name}; remove that first`)
  const other = (await listHosts(trx, region)).find(({ name }) => name !== LOCAL_HOST)
  if (other !== undefined) throw inUse('region', region, `it has the host ${other.name}; remove that first`)
}

async function removeRegion(parts: AdminParts, params: unknown): Promise<RegionView> {
  const given = textOf(fieldsOf(params), 'name')
  const region = await parts.catalog.write(async (trx) => {
    const found = regionNamed(await listRegions(trx), given)
    await checkRegionUnused(trx, found.name)
    for (const { name } of await listHosts(trx, found.name)) await deleteHost(trx, found.name, name)
    await deleteRegion(trx, found.name)
    return found
  })
  await recordChange(parts, 'Holdfast.Places/regions/delete', `/regions/${region.name}`)
  return regionView(region)
}

/** @param links undefined while there is no listener: then only regions of this server are told of */
export function regionMethods(parts: AdminParts, links: LinksNow): RpcMethods {
  return {
    'region.add': (params) => addRegion(parts, links, params),
    'region.list': async () => [
      ...(await listRegions(parts.catalog)).map(regionView),
      ...(await linkedRegions(parts, links())),
    ],
    'region.show': (params) => showRegion(parts, links, params),
    'region.pair': (params) => pairRegion(parts, links, params),
    'region.remove': (params) => removeRegion(parts, params),
  }
}
