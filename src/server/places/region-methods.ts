/**
 * Regions over the server's socket.
 *
 *   region.add {name, displayName?, pair?, geography?}   → RegionView     region.list → RegionView[]
 *   region.show {name} → RegionDetail                                     region.remove {name}
 *   region.pair {name, pair?} → RegionView; without pair it has none any more
 *
 * A pair holds both ways. A region comes with the host `local`, which is this one.
 */
import { isoTime } from '#base'
import {
  type CatalogTransaction,
  deleteHost,
  deleteRegion,
  listHosts,
  listAllPools,
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
import { exists, inUse, invalidPlace, regionNamed } from './place-errors.ts'
import { type PoolView, poolViews, type StoreView, storeViews } from './space-methods.ts'

export type RegionView = Readonly<{
  name: string
  displayName: string
  pair: string | undefined
  geography: string
  createdAt: string
}>
export type RegionDetail = RegionView &
  Readonly<{
    resources: number
    pools: readonly PoolView[]
    stores: readonly StoreView[]
    hosts: readonly HostView[]
  }>

const LOCATION = /^[a-z][a-z0-9]{0,59}$/
const WORDS_LENGTH_MAX = 80

function regionView({ name, displayName, pair, geography, createdMs }: Region): RegionView {
  return { name, displayName, pair, geography, createdAt: isoTime(createdMs) }
}

async function addRegion(parts: AdminParts, params: unknown): Promise<RegionView> {
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
  const pairName = optionalTextOf(fields, 'pair')
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
  return regionView(made)
}

/** Whom a region was paired with before is left without a pair. */
async function pairRegion(parts: AdminParts, params: unknown): Promise<RegionView> {
  const fields = fieldsOf(params)
  const [given, other] = [textOf(fields, 'name'), optionalTextOf(fields, 'pair')]
  const paired = await parts.catalog.write(async (trx) => {
    const regions = await listRegions(trx)
    const region = regionNamed(regions, given)
    const pair = other === undefined ? undefined : regionNamed(regions, other)
    if (pair?.name === region.name) throw invalidPlace('region', pair.name, 'A region is no pair of itself.')
    const both = [region.name, ...(pair === undefined ? [] : [pair.name])]
    for (const left of regions)
      if (left.pair !== undefined && both.includes(left.pair)) await putRegion(trx, { ...left, pair: undefined })
    if (pair !== undefined) await putRegion(trx, { ...pair, pair: region.name })
    const changed = { ...region, pair: pair?.name }
    await putRegion(trx, changed)
    return changed
  })
  await recordChange(parts, 'Holdfast.Places/regions/write', `/regions/${paired.name}`)
  return regionView(paired)
}

async function showRegion(parts: AdminParts, params: unknown): Promise<RegionDetail> {
  const { catalog } = parts
  const region = regionNamed(await listRegions(catalog), textOf(fieldsOf(params), 'name'))
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

export function regionMethods(parts: AdminParts): RpcMethods {
  return {
    'region.add': (params) => addRegion(parts, params),
    'region.list': async () => (await listRegions(parts.catalog)).map(regionView),
    'region.show': (params) => showRegion(parts, params),
    'region.pair': (params) => pairRegion(parts, params),
    'region.remove': (params) => removeRegion(parts, params),
  }
}
