/**
 * Storage accounts, thin: a name, two keys, and a folder of the region's pool behind a blob endpoint on our own listener
 * (`https://host:port/{account}/{container}/{blob}`). For VHDs, staging and templates; not a service of its own.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isoTime, randomUuid } from '#base'
import {
  deleteResource,
  findResource,
  insertResource,
  listPools,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, groupId, pageOf, readLocation, readTags } from '#contract'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok, targetOf } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, fieldAt, type FieldTable, storedFields } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { checkRegion, readableRecords, routesOfType } from '../../arm/records.ts'
import { showResource } from '../../arm/resource-view.ts'
import { ACCOUNT_NAME, RESERVED_NAMES } from '../../blob/account-name.ts'
import { accountKey, KEY_NAMES } from '../../blob/storage-auth.ts'
import { accountFolder, findAccount, STORAGE_TYPE } from '../../blob/storage-files.ts'

const PATH = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${STORAGE_TYPE}`
const P = 'properties.'

export const STORAGE_FIELDS: FieldTable = [
  ...['id', 'name', 'type', 'systemData', 'etag'].map((path) => ({ path, use: 'read-only' as const })),
  { path: 'location', use: 'honoured' },
  { path: 'tags', use: 'honoured' },
  { path: 'kind', use: 'stored', only: ['StorageV2', 'Storage', 'BlobStorage', 'BlockBlobStorage'] },
  { path: 'sku.name', use: 'stored', note: 'the pool decides' },
  { path: 'sku.tier', use: 'read-only' },
  { path: 'identity', use: 'refused', only: ['None'] },
  { path: `${P}accessTier`, use: 'stored' },
  { path: `${P}minimumTlsVersion`, use: 'stored', note: 'the listener takes TLS 1.2 and later' },
  { path: `${P}supportsHttpsTrafficOnly`, use: 'refused', only: [true] },
  { path: `${P}allowBlobPublicAccess`, use: 'stored', note: 'there is no public access' },
  { path: `${P}allowSharedKeyAccess`, use: 'refused', only: [true] },
  { path: `${P}allowCrossTenantReplication`, use: 'stored' },
  { path: `${P}defaultToOAuthAuthentication`, use: 'stored' },
  { path: `${P}encryption`, use: 'stored', note: 'encrypt the pool’s file system' },
  { path: `${P}publicNetworkAccess`, use: 'refused', only: ['Enabled'] },
  { path: `${P}networkAcls.defaultAction`, use: 'refused', only: ['Allow'] },
  { path: `${P}networkAcls.bypass`, use: 'stored' },
  { path: `${P}networkAcls.ipRules`, use: 'refused' },
  { path: `${P}networkAcls.virtualNetworkRules`, use: 'refused' },
  { path: `${P}isHnsEnabled`, use: 'refused', only: [false] },
  { path: `${P}isSftpEnabled`, use: 'refused', only: [false] },
  { path: `${P}isNfsV3Enabled`, use: 'refused', only: [false] },
  { path: `${P}largeFileSharesState`, use: 'stored' },
  { path: `${P}primaryEndpoints`, use: 'read-only' },
  { path: `${P}primaryLocation`, use: 'read-only' },
  { path: `${P}statusOfPrimary`, use: 'read-only' },
  { path: `${P}creationTime`, use: 'read-only' },
  { path: `${P}provisioningState`, use: 'read-only' },
]

function show(call: ArmCall, record: ResourceRecord) {
  const view = showResource(record)
  const primaryEndpoints = { blob: `${call.accountsUrl}/${record.name}/` }
  return { ...view, properties: { ...(view['properties'] as object), primaryEndpoints } }
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, targetOf(call))
  if (record !== undefined) return record
  throw new ArmError('ResourceNotFound', `The Resource '${STORAGE_TYPE}/${call.param('name')}' was not found.`)
}

function checkName(name: string): void {
  if (ACCOUNT_NAME.test(name) && !RESERVED_NAMES.has(name)) return
  throw new ArmError(
    'InvalidResourceName',
    `'${name}' cannot be the name of a storage account: 3 to 24 lower-case letters and digits.`,
    {
      target: 'name',
    },
  )
}

function bodyOf(call: ArmCall, body: unknown, before: Readonly<Record<string, unknown>>, location: string) {
  const properties = (before['properties'] ?? {}) as Readonly<Record<string, unknown>>
  const wanted = fieldAt(body, 'sku.name') ?? fieldAt(before, 'sku.name')
  const skuName = typeof wanted === 'string' ? wanted : 'Standard_LRS'
  return {
    sku: { name: skuName, tier: skuName.startsWith('Premium') ? 'Premium' : 'Standard' },
    kind: fieldAt(body, 'kind') ?? before['kind'] ?? 'StorageV2',
    properties: {
      creationTime: isoTime(call.host.clock.nowMs()),
      primaryLocation: location,
      statusOfPrimary: 'available',
      supportsHttpsTrafficOnly: true,
      minimumTlsVersion: 'TLS1_2',
      allowBlobPublicAccess: false,
      ...properties,
      ...storedFields(STORAGE_FIELDS, body, P),
    },
  }
}

async function create(call: ArmCall, body: unknown): Promise<ArmReply> {
  const { catalog, random, subscriptionId } = call.host
  const name = call.param('name')
  checkName(name)
  const location = readLocation(fieldAt(body, 'location'))
  await checkRegion(call, location)
  const tags = readTags(fieldAt(body, 'tags'))
  const [pool] = await listPools(catalog, location)
  if (pool === undefined) throw new ArmError('AllocationFailed', `The region '${location}' has no pool on this host.`)
  const uniqueId = randomUuid(random)
  const folder = join(pool.path, 'storage', `${name}-${uniqueId}`)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const made = await catalog.write(async (trx) => {
    const others = await listResources(trx, { type: STORAGE_TYPE })
    if (others.some((other) => other.name === name)) return undefined
    const group = groupId(subscriptionId, call.param('group'))
    const record = { id: call.id, subscription: subscriptionId, group, type: STORAGE_TYPE, name, location, tags }
    const more = { state: 'Succeeded', body: bodyOf(call, body, {}, location), backing: { folder, uniqueId } }
    return insertResource(trx, { ...record, ...more }, changeSourceOf(call.host))
  })
  if (made !== undefined) return ok(show(call, made))
  await rm(folder, { recursive: true, force: true })
  const mine = await findResource(catalog, call.id)
  if (mine !== undefined) return change(call, mine, body)
  throw new ArmError('StorageAccountAlreadyTaken', `The storage account named ${name} is already taken.`)
}

async function change(call: ArmCall, existing: ResourceRecord, body: unknown): Promise<ArmReply> {
  const location = fieldAt(body, 'location')
  if (location !== undefined && readLocation(location) !== existing.location)
    throw new ArmError('PropertyChangeNotAllowed', 'A storage account stays in its location.', { target: 'location' })
  const tags = fieldAt(body, 'tags')
  const next = {
    ...(tags !== undefined && { tags: readTags(tags) }),
    body: bodyOf(call, body, existing.body, existing.location ?? ''),
  }
  const changed = await call.host.catalog.write((trx) =>
    updateResource(trx, existing.id, next, changeSourceOf(call.host)),
  )
  return ok(show(call, changed ?? existing))
}

async function put(call: ArmCall): Promise<ArmReply> {
  const body = objectBody(call.body)
  checkFields(STORAGE_FIELDS, body)
  const existing = await findResource(call.host.catalog, call.id)
  return existing === undefined ? create(call, body) : change(call, existing, body)
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const body = objectBody(call.body ?? {})
  checkFields(STORAGE_FIELDS, body)
  return change(call, await find(call), body)
}

/** First the record: without it nobody reaches the folder. */
async function remove(call: ArmCall): Promise<ArmReply> {
  const existing = await findResource(call.host.catalog, call.id)
  if (existing === undefined) return noContent
  await call.host.catalog.write((trx) => deleteResource(trx, existing.id))
  await rm(accountFolder(existing), { recursive: true, force: true })
  return { status: 200 }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const shown = (await readableRecords(call, STORAGE_TYPE)).map((one) => show(call, one))
  return ok(pageOf(shown, call.url, call.query('$skipToken')))
}

function keysOf(call: ArmCall, record: ResourceRecord): ArmReply {
  const keys = KEY_NAMES.map((keyName, index) => ({
    keyName,
    value: accountKey(call.host, record, index),
    permissions: 'FULL',
    creationTime: isoTime(record.createdMs),
  }))
  return ok({ keys })
}

async function renewKey(call: ArmCall): Promise<ArmReply> {
  const index = KEY_NAMES.findIndex((name) => name === fieldAt(call.body, 'keyName'))
  if (index < 0) throw new ArmError('InvalidParameter', 'keyName must be key1 or key2.', { target: 'keyName' })
  await find(call)
  const changed = await call.host.catalog.write(async (trx) => {
    const now = await findResource(trx, targetOf(call))
    if (now === undefined) return undefined
    const before = (now.backing['generations'] ?? [0, 0]) as readonly number[]
    const generations = before.map((one, at) => (at === index ? one + 1 : one))
    return updateResource(trx, now.id, { backing: { ...now.backing, generations } }, changeSourceOf(call.host))
  })
  return keysOf(call, changed ?? (await find(call)))
}

async function checkNameAvailability(call: ArmCall): Promise<ArmReply> {
  const name = fieldAt(call.body, 'name')
  if (typeof name !== 'string') throw new ArmError('InvalidParameter', 'name is required.', { target: 'name' })
  if (!ACCOUNT_NAME.test(name) || RESERVED_NAMES.has(name))
    return ok({
      nameAvailable: false,
      reason: 'AccountNameInvalid',
      message: `${name} is not a valid storage account name.`,
    })
  const taken = (await findAccount(call.host, name)) !== undefined
  return ok(
    taken
      ? {
          nameAvailable: false,
          reason: 'AlreadyExists',
          message: `The storage account named ${name} is already taken.`,
        }
      : { nameAvailable: true },
  )
}

const T = STORAGE_TYPE
async function get(call: ArmCall): Promise<ArmReply> {
  return ok(show(call, await find(call)))
}

export const storageRoutes: readonly ArmRoute[] = [
  ...routesOfType(STORAGE_TYPE, { list, get, put, patch, remove }),
  {
    method: 'POST',
    path: `${PATH}/{name}/listKeys`,
    action: `${T}/listKeys/action`,
    handle: async (call) => keysOf(call, await find(call)),
  },
  { method: 'POST', path: `${PATH}/{name}/regenerateKey`, action: `${T}/regenerateKey/action`, handle: renewKey },
  {
    method: 'POST',
    path: '/subscriptions/{subscription}/providers/Microsoft.Storage/checkNameAvailability',
    action: 'Microsoft.Storage/checknameavailability/read',
    handle: checkNameAvailability,
  },
]
