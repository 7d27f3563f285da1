/**
 * Platform images: images that the server offers by publisher, offer, sku and version, to every group. Made by who may manage the
 * server itself, of an image file in an import folder (`holdfast guest build` puts one there).
 *
 *   PUT    .../locations/{l}/publishers/{p}/artifacttypes/vmimage/offers/{o}/skus/{k}/versions/{v}    ours, not Azure's
 *          {properties: {sourceUri: "file:///...", osType, hyperVGeneration?, alias?, osState?}}      201, an operation
 *   DELETE the same                                                                                   202
 *   GET    each level of the path                                                                     as Azure's: bare lists
 *
 * `alias` is the word by which the alias document offers the newest version: `az vm create --image Micro`.
 */
import { fileURLToPath } from 'node:url'
import { isoTime } from '#base'
import {
  type CatalogTransaction,
  findRegion,
  findResource,
  insertResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, normalizeLocation } from '#contract'
import { type ImageBacking, sizeGb } from '#domain'
import {
  CREATE_IMAGE_JOB,
  type CreateImageInput,
  DELETE_IMAGE_JOB,
  disksBeingMadeOf,
  PLATFORM_IMAGE_TYPE,
  propertiesOf,
  RESOURCE_QUEUE,
} from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { checkFields, fieldAt, type FieldTable } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { beginOnce } from '../../../arm/operations.ts'
import { showResource } from '../../../arm/resource-view.ts'
import { compareVersions, type PlatformName, platformImageId } from './platform-names.ts'

const PUBLISHERS = '/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/publishers'
const OFFERS = `${PUBLISHERS}/{publisher}/artifacttypes/vmimage/offers`
const SKUS = `${OFFERS}/{offer}/skus`
const VERSIONS = `${SKUS}/{sku}/versions`
const READ = 'Microsoft.Compute/locations/publishers/read'
const WRITE = `${PLATFORM_IMAGE_TYPE}/write`
const NAME = /^[A-Za-z0-9][\w.-]{0,63}$/
const VERSION = /^\d{1,9}\.\d{1,9}\.\d{1,9}$/
const ALIAS = /^[A-Za-z][A-Za-z0-9]{0,63}$/
const P = 'properties.'

export const PLATFORM_IMAGE_FIELDS: FieldTable = [
  { path: 'location', use: 'read-only', note: 'that of the path' },
  { path: `${P}sourceUri`, use: 'honoured', note: 'a file: URL of an import folder' },
  { path: `${P}osType`, use: 'honoured', only: ['Linux', 'Windows'] },
  {
    path: `${P}osState`,
    use: 'honoured',
    only: ['Generalized', 'Specialized'],
    note: 'Generalized when it is not given',
  },
  { path: `${P}hyperVGeneration`, use: 'honoured', only: ['V1', 'V2'], note: 'V1 when it is not given' },
  { path: `${P}alias`, use: 'honoured', note: 'the word of the alias document that stands for its newest version' },
]

function nameOf(call: ArmCall): PlatformName {
  const location = normalizeLocation(call.param('location'))
  const [publisher, offer, sku, version] = ['publisher', 'offer', 'sku', 'version'].map((one) => call.param(one))
  return { location, publisher: publisher ?? '', offer: offer ?? '', sku: sku ?? '', version: version ?? '' }
}

/** Parts of a platform image's id. */
function partsOf({ id }: ResourceRecord): PlatformName {
  const at = (word: string): string => new RegExp(`/${word}/([^/]+)`, 'i').exec(id)?.[1] ?? ''
  return {
    location: at('locations'),
    publisher: at('publishers'),
    offer: at('offers'),
    sku: at('skus'),
    version: at('versions'),
  }
}

async function offered(call: ArmCall): Promise<readonly (readonly [ResourceRecord, PlatformName])[]> {
  const { catalog, subscriptionId } = call.host
  const all = await listResources(catalog, { subscription: subscriptionId, type: PLATFORM_IMAGE_TYPE })
  const location = normalizeLocation(call.param('location'))
  return all
    .filter((record) => record.state === 'Succeeded')
    .map((record) => [record, partsOf(record)] as const)
    .filter(([, name]) => name.location === location)
}

function same(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase()
}

/** One level of the tree as Azure shows it: a bare list, each name once. */
function level(word: 'publisher' | 'offer' | 'sku', above: readonly ('publisher' | 'offer')[]) {
  return async (call: ArmCall): Promise<ArmReply> => {
    const fit = (await offered(call)).filter(([, name]) => above.every((one) => same(name[one], call.param(one))))
    const names = new Map(fit.map(([, name]) => [name[word].toLowerCase(), name[word]]))
    const location = normalizeLocation(call.param('location'))
    return ok([...names.values()].sort().map((name) => ({ id: `${call.id}/${name}`, name, location })))
  }
}

async function versions(call: ArmCall): Promise<ArmReply> {
  const fit = (await offered(call)).filter(([, name]) =>
    (['publisher', 'offer', 'sku'] as const).every((one) => same(name[one], call.param(one))),
  )
  const newestFirst = (call.query('$orderby') ?? '').toLowerCase().includes('desc')
  const sorted = fit.toSorted(([, a], [, b]) => compareVersions(a.version, b.version))
  const ordered = newestFirst ? sorted.toReversed() : sorted
  const top = Number(call.query('$top') ?? Number.NaN)
  const shown = ordered.map(([record, { version, location }]) => ({ id: record.id, name: version, location }))
  return ok(Number.isInteger(top) && top > 0 ? shown.slice(0, top) : shown)
}

/** As `virtualMachineImages.get`. */
function showImage(record: ResourceRecord): unknown {
  const { id, name, location } = record
  const { hyperVGeneration, storageProfile, alias } = propertiesOf(record)
  const { disks = [] } = record.backing as ImageBacking
  const data = disks.flatMap(({ lun, sizeBytes }) => (lun === 'os' ? [] : [{ lun, sizeInGb: sizeGb(sizeBytes) }]))
  const os = disks.find(({ lun }) => lun === 'os')
  return {
    id,
    name,
    location,
    properties: {
      osDiskImage: {
        operatingSystem: fieldAt(storageProfile, 'osDisk.osType'),
        ...(os !== undefined && { sizeInGb: sizeGb(os.sizeBytes), sizeInBytes: os.sizeBytes }),
      },
      dataDiskImages: data,
      hyperVGeneration,
      architecture: 'x64',
      features: [],
      automaticOSUpgradeProperties: { automaticOSUpgradeSupported: false },
      imageDeprecationStatus: { imageState: 'Active' },
      ...(alias !== undefined && { alias }),
    },
  }
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const name = nameOf(call)
  const record = await findResource(call.host.catalog, platformImageId(call.host.subscriptionId, name))
  if (record !== undefined && record.state !== 'Failed') return record
  throw new ArmError(
    'PlatformImageNotFound',
    `The platform image '${name.publisher}:${name.offer}:${name.sku}:${name.version}' is not offered in '${name.location}'.`,
  )
}

function readSource(body: unknown): string {
  const given = fieldAt(body, `${P}sourceUri`)
  const url = typeof given === 'string' ? URL.parse(given) : null
  if (url?.protocol === 'file:' && url.host === '') return fileURLToPath(url)
  throw new ArmError('InvalidParameter', 'sourceUri must be a file: URL of this host.', { target: `${P}sourceUri` })
}

function checkName({ publisher, offer, sku, version }: PlatformName): void {
  if ([publisher, offer, sku].every((word) => NAME.test(word)) && VERSION.test(version)) return
  throw new ArmError(
    'InvalidResourceName',
    'publisher, offer and sku are words; a version is three numbers joined by periods.',
    { target: 'name' },
  )
}

type Wish = Readonly<{ path: string; properties: Readonly<Record<string, unknown>> }>

function readWish(given: unknown, nowMs: number): Wish {
  const body = objectBody(given)
  checkFields(PLATFORM_IMAGE_FIELDS, body)
  const osType = fieldAt(body, `${P}osType`)
  if (typeof osType !== 'string')
    throw new ArmError('InvalidParameter', 'osType is required: Linux or Windows.', { target: `${P}osType` })
  const alias = fieldAt(body, `${P}alias`)
  if (alias !== undefined && (typeof alias !== 'string' || !ALIAS.test(alias)))
    throw new ArmError('InvalidParameter', 'alias must be a word of letters and digits.', { target: `${P}alias` })
  const osDisk = { osType, osState: fieldAt(body, `${P}osState`) ?? 'Generalized' }
  return {
    path: readSource(body),
    properties: {
      hyperVGeneration: fieldAt(body, `${P}hyperVGeneration`) ?? 'V1',
      storageProfile: { osDisk, dataDisks: [] },
      timeCreated: isoTime(nowMs),
      ...(alias !== undefined && { alias }),
    },
  }
}

async function announce(call: ArmCall, trx: CatalogTransaction, id: string, { properties }: Wish): Promise<void> {
  const { host } = call
  const existing = await findResource(trx, id)
  if (existing !== undefined && existing.state !== 'Failed')
    throw new ArmError('AnotherOperationInProgress', `'${id}' has been made by another request meanwhile.`)
  const location = normalizeLocation(call.param('location'))
  const record = { location, tags: {}, state: 'Creating', body: { properties }, backing: {} }
  if (existing !== undefined) return void (await updateResource(trx, id, record, changeSourceOf(host)))
  const named = { id, subscription: host.subscriptionId, group: undefined, type: PLATFORM_IMAGE_TYPE }
  await insertResource(trx, { ...record, ...named, name: call.param('version') }, changeSourceOf(host))
}

async function put(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  call.authorize('Holdfast.Protection/hosts/write', '/')
  const name = nameOf(call)
  checkName(name)
  if ((await findRegion(host.catalog, name.location)) === undefined)
    throw new ArmError('InvalidLocation', `The location '${name.location}' is not a region of this server.`)
  const wish = readWish(call.body, host.clock.nowMs())
  const id = platformImageId(host.subscriptionId, name)
  const existing = await findResource(host.catalog, id)
  if (existing?.state === 'Succeeded')
    throw new ArmError('PropertyChangeNotAllowed', `The platform image '${id}' is there already; it never changes.`)
  const from = { kind: 'import', path: wish.path } as const
  const input: CreateImageInput = { id, region: name.location, disks: [{ lun: 'os', from }], sources: [] }
  const begun = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: name.location,
    resourceId: id,
    action: WRITE,
    job: CREATE_IMAGE_JOB,
    input,
    queue: RESOURCE_QUEUE,
    key: id.toLowerCase(),
    reply: 'resource',
    announce: (trx) => announce(call, trx, id, wish),
  })
  const record = await findResource(host.catalog, id)
  const body = record === undefined ? undefined : showResource(record)
  return { status: 201, ...(body !== undefined && { body }), headers: begun.headers, operation: begun.id }
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  call.authorize('Holdfast.Protection/hosts/write', '/')
  const name = nameOf(call)
  const id = platformImageId(host.subscriptionId, name)
  const record = await findResource(host.catalog, id)
  if (record === undefined) return noContent
  if (record.state === 'Creating')
    throw new ArmError('AnotherOperationInProgress', `The image '${record.id}' is still being made.`)
  const begun = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: name.location,
    resourceId: id,
    action: `${PLATFORM_IMAGE_TYPE}/delete`,
    job: DELETE_IMAGE_JOB,
    input: { id },
    queue: RESOURCE_QUEUE,
    key: id.toLowerCase(),
    reply: 'empty',
    announce: async (trx) => {
      const users = await disksBeingMadeOf(trx, id)
      if (users.length > 0)
        throw new ArmError('OperationNotAllowed', `Disks are being made from '${id}': ${users.join(', ')}.`)
      await updateResource(trx, id, { state: 'Deleting' }, changeSourceOf(host))
    },
  })
  return { status: 202, headers: begun.headers, operation: begun.id }
}

const listed = { method: 'GET', action: READ, access: 'entered' } as const

export const platformImageRoutes: readonly ArmRoute[] = [
  { ...listed, path: PUBLISHERS, handle: level('publisher', []) },
  { ...listed, path: OFFERS, handle: level('offer', ['publisher']) },
  { ...listed, path: SKUS, handle: level('sku', ['publisher', 'offer']) },
  { ...listed, path: VERSIONS, handle: versions },
  { ...listed, path: `${VERSIONS}/{version}`, handle: async (call) => ok(showImage(await find(call))) },
  { method: 'PUT', path: `${VERSIONS}/{version}`, action: WRITE, handle: put },
  { method: 'DELETE', path: `${VERSIONS}/{version}`, action: `${PLATFORM_IMAGE_TYPE}/delete`, handle: remove },
]
