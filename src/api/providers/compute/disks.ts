/**
 * Managed disks. Making, growing, adopting and deleting are operations; tags and what has no effect here change at once.
 *
 * The same PUT sent again while it runs, or fifty times at once, makes one disk: what the job is told is derived from the body
 * alone, the disk's own id is chosen by whoever announces it first.
 */
import { join } from 'node:path'
import { isHoldfastError, isoTime, randomUuid } from '#base'
import {
  type CatalogTransaction,
  findResource,
  insertResource,
  listPools,
  type Pool,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, groupId, pageOf, readLocation, readTags, sameId, type Tags } from '#contract'
import { bytesOfGb, type DiskBacking, type DiskState, growth, isRefusal, sizeGb, whyNotDelete } from '#domain'
import {
  baseOf,
  CREATE_DISK_JOB,
  DELETE_DISK_JOB,
  DISK_TYPE,
  GROW_DISK_JOB,
  propertiesOf,
  RESOURCE_QUEUE,
  sizeBytesOf,
} from '#jobs'
import { type ArmCall, type ArmHost, type ArmReply, type ArmRoute, noContent, ok, targetOf } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, fieldAt, storedFields } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { beginOnce, operationRoutes, type OperationSpec } from '../../arm/operations.ts'
import { checkRegion, readableRecords, routesOfType } from '../../arm/records.ts'
import { choosePool } from './choose-pool.ts'
import { DISK_FIELDS, DISK_SKUS } from './disk-fields.ts'
import { type Origin, readOrigin } from './disk-origin.ts'
import { findOr404, showDisk, showOneDisk, stateNow } from './disk-view.ts'

const P = 'properties.'
/** Source: Azure naming rules: letters, digits, underscore, hyphen and period; 1 to 80. */
const DISK_NAME = /^\w(?:[\w.-]{0,78}\w)?$/
const CHANGEABLE = ['networkAccessPolicy', 'publicNetworkAccess'] as const

type Sku = Readonly<{ name: string; tier: string }>

export function readSku(body: unknown, before?: unknown): Sku {
  const wanted = fieldAt(body, 'sku.name') ?? fieldAt(before, 'name')
  const given = typeof wanted === 'string' ? wanted : 'Standard_LRS'
  const name = DISK_SKUS.find((one) => one.toLowerCase() === given.toLowerCase()) ?? 'Standard_LRS'
  return { name, tier: name.startsWith('Ultra') ? 'Ultra' : name.startsWith('Premium') ? 'Premium' : 'Standard' }
}

function wantedBytes(body: unknown): number | undefined {
  const given = fieldAt(body, `${P}diskSizeGB`)
  const bytes = given === undefined ? undefined : bytesOfGb(given)
  if (isRefusal(bytes)) throw new ArmError('InvalidParameter', bytes.message, { target: `${P}diskSizeGB` })
  return bytes
}

/** Properties that are kept as they were given, over those from before. */
function keptProperties(body: unknown, before: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const changed = CHANGEABLE.flatMap((name) => {
    const value = fieldAt(body, `${P}${name}`)
    return value === undefined ? [] : [[name, value] as const]
  })
  return { ...before, ...storedFields(DISK_FIELDS, body, P), ...Object.fromEntries(changed) }
}

/** A URL's query may hold a signature; it is not shown. */
function shownCreationData(body: unknown, origin: Origin): Record<string, unknown> {
  const given = (fieldAt(body, `${P}creationData`) ?? {}) as Readonly<Record<string, unknown>>
  const kept = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null))
  const { sourceUri } = kept
  return {
    ...kept,
    ...(typeof sourceUri === 'string' && { sourceUri: sourceUri.split('?', 1)[0] }),
    ...(origin.sourceUniqueId !== undefined && { sourceUniqueId: origin.sourceUniqueId }),
  }
}

export type NewDisk = Readonly<{
  body: unknown
  location: string
  tags: Tags
  origin: Origin
  file: (uniqueId: string) => DiskBacking
  /** Id of the machine that has it, and what that makes of the disk. */
  managedBy?: string | undefined
  diskState?: DiskState
}>

/** The record of a disk whose bytes are still to be made; over that of one whose making failed. */
export function announceDisk(call: ArmCall, trx: CatalogTransaction, disk: NewDisk): Promise<void> {
  const group = groupId(call.host.subscriptionId, call.param('group'))
  return announceDiskAs(call.host, trx, { id: targetOf(call), group, name: call.param('name') }, disk)
}

/** As `announceDisk`, for a disk that another request than its own asks for. */
export async function announceDiskAs(
  host: ArmHost,
  trx: CatalogTransaction,
  { id, group, name }: Readonly<{ id: string; group: string; name: string }>,
  disk: NewDisk,
): Promise<void> {
  const { body, location, tags, origin, managedBy } = disk
  const uniqueId = randomUuid(host.random)
  const zones = fieldAt(body, 'zones')
  const record = {
    location,
    tags,
    state: 'Creating',
    backing: disk.file(uniqueId) as unknown as Record<string, unknown>,
    body: {
      sku: readSku(body),
      ...(zones !== undefined && { zones }),
      ...(managedBy !== undefined && { managedBy }),
      properties: {
        networkAccessPolicy: 'AllowAll',
        publicNetworkAccess: 'Enabled',
        ...keptProperties(body, origin.inherited),
        creationData: shownCreationData(body, origin),
        ...(origin.sizeBytes !== undefined && {
          diskSizeBytes: origin.sizeBytes,
          diskSizeGB: sizeGb(origin.sizeBytes),
        }),
        uniqueId,
        timeCreated: isoTime(host.clock.nowMs()),
        encryption: { type: 'EncryptionAtRestWithPlatformKey' },
        diskState: disk.diskState ?? (origin.origin.kind === 'upload' ? 'ReadyToUpload' : 'Unattached'),
      },
    },
  }
  const source = changeSourceOf(host)
  const { image } = origin
  if (image !== undefined && (await findResource(trx, image))?.state !== 'Succeeded')
    throw new ArmError('OperationNotAllowed', `The image '${image}' is not there any more, or is being deleted.`)
  const existing = await findResource(trx, id)
  if (existing !== undefined && existing.state !== 'Failed')
    throw new ArmError('AnotherOperationInProgress', `'${id}' has been made by another request meanwhile.`)
  if (existing !== undefined) return void (await updateResource(trx, id, record, source))
  await insertResource(trx, { ...record, id, subscription: host.subscriptionId, group, type: DISK_TYPE, name }, source)
}

export function diskOperation(
  call: ArmCall,
  location: string,
  spec: Pick<OperationSpec, 'action' | 'job' | 'input' | 'reply' | 'announce'> & Partial<Pick<OperationSpec, 'kind'>>,
): OperationSpec {
  return {
    kind: 'DiskOperations',
    provider: 'Microsoft.Compute',
    location,
    resourceId: targetOf(call),
    queue: RESOURCE_QUEUE,
    key: targetOf(call).toLowerCase(),
    ...spec,
  }
}

export function checkDiskName(call: ArmCall): void {
  if (DISK_NAME.test(call.param('name'))) return
  throw new ArmError('InvalidResourceName', `'${call.param('name')}' cannot be the name of a disk.`, { target: 'name' })
}

/** Of a disk that lies in the pool; one from an image names its base from the beginning, so that this stays. */
export function newBacking(pool: Pool, uniqueId: string, { origin, image }: Origin): DiskBacking {
  return {
    file: join(pool.path, 'disks', `${uniqueId}.qcow2`),
    format: 'qcow2',
    pool: pool.name,
    ...(pool.host !== undefined && { host: `${pool.region}/${pool.host}` }),
    ...(origin.kind === 'base' && { base: baseOf(pool.path, origin.version, image) }),
  }
}

async function create(call: ArmCall, body: unknown): Promise<ArmReply> {
  const location = readLocation(fieldAt(body, 'location'))
  await checkRegion(call, location)
  const tags = readTags(fieldAt(body, 'tags'))
  const origin = await readOrigin(call, body, location, wantedBytes(body))
  const pool = await choosePool(call.host.catalog, { location, tags, origin: origin.origin })
  const file = (uniqueId: string): DiskBacking => newBacking(pool, uniqueId, origin)
  const spec = diskOperation(call, location, {
    action: `${DISK_TYPE}/write`,
    job: CREATE_DISK_JOB,
    input: { id: call.id, sizeBytes: origin.sizeBytes ?? null, origin: origin.origin },
    reply: 'resource',
    announce: (trx) => announceDisk(call, trx, { body, location, tags, origin, file }),
  })
  return accepted(call, spec)
}

/** What stands behind a new disk of the region on this host. @throws ArmError `AllocationFailed` */
export async function filesOf({ catalog }: ArmHost, location: string, origin: Origin): Promise<NewDisk['file']> {
  const [pool] = await listPools(catalog, location)
  if (pool === undefined) throw new ArmError('AllocationFailed', `The region '${location}' has no pool for disks.`)
  return (uniqueId) => newBacking(pool, uniqueId, origin)
}

/** Begins the operation and answers 202 with the resource as it is announced. */
export async function accepted(call: ArmCall, spec: OperationSpec): Promise<ArmReply> {
  const { headers, id } = await beginOnce(call, spec)
  const record = await findResource(call.host.catalog, targetOf(call))
  const body = record === undefined ? undefined : showDisk(record, call.host.clock.nowMs())
  return { status: 202, headers, operation: id, ...(body !== undefined && { body }) }
}

/** What was fixed when the disk was made may be repeated, not changed. */
function checkUnchanged(body: unknown, existing: ResourceRecord): void {
  const location = fieldAt(body, 'location')
  if (location !== undefined && readLocation(location) !== existing.location)
    throw new ArmError('PropertyChangeNotAllowed', 'A disk stays in its location.', { target: 'location' })
  const given = (fieldAt(body, `${P}creationData`) ?? {}) as Readonly<Record<string, unknown>>
  const before = propertiesOf(existing)['creationData']
  for (const [name, value] of Object.entries(given)) {
    if (value === null) continue
    const known = fieldAt(before, name)
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    const isSame =
      sameId(typeof known === 'string' ? known : JSON.stringify(known ?? null), text) ||
      (name === 'sourceUri' && sameId(String(known), text.split('?', 1)[0] ?? ''))
    if (!isSame)
      throw new ArmError('PropertyChangeNotAllowed', `Changing property '${name}' of creationData is not allowed.`, {
        target: `${P}creationData.${name}`,
      })
  }
}

/** The record with what the body changes at once. */
function changed(body: unknown, now: ResourceRecord, isWhole: boolean): Pick<Partial<ResourceRecord>, 'tags' | 'body'> {
  const tags = fieldAt(body, 'tags')
  const zones = fieldAt(body, 'zones')
  return {
    ...((isWhole || tags !== undefined) && { tags: readTags(tags) }),
    body: {
      ...now.body,
      sku: readSku(body, now.body['sku']),
      ...(zones !== undefined && { zones }),
      properties: keptProperties(body, propertiesOf(now)),
    },
  }
}

/** PUT over an existing disk and PATCH: what can change at once does; a growth is an operation. */
async function change(call: ArmCall, existing: ResourceRecord, body: unknown, isWhole: boolean): Promise<ArmReply> {
  const { catalog, clock } = call.host
  checkUnchanged(body, existing)
  const grown = growth(sizeBytesOf(existing), wantedBytes(body), isWhole)
  if (isRefusal(grown)) throw new ArmError('OperationNotAllowed', grown.message, { target: `${P}diskSizeGB` })
  const apply = async (
    trx: CatalogTransaction,
    more: Readonly<{ state?: string }>,
  ): Promise<ResourceRecord | undefined> => {
    const now = (await findResource(trx, existing.id)) ?? existing
    return updateResource(trx, existing.id, { ...changed(body, now, isWhole), ...more }, changeSourceOf(call.host))
  }
  if (grown === undefined)
    return ok(await showOneDisk(call, (await catalog.write((trx) => apply(trx, {}))) ?? existing))
  const state = stateNow(existing, clock.nowMs())
  if (state !== 'Unattached' && state !== 'Attached' && state !== 'Reserved')
    throw new ArmError('OperationNotAllowed', `The disk is ${state}; it can grow once that is over.`)
  const announce = async (trx: CatalogTransaction): Promise<void> => {
    await apply(trx, { state: 'Updating' })
  }
  const input = { id: existing.id, sizeBytes: grown }
  const action = `${DISK_TYPE}/write`
  return accepted(
    call,
    diskOperation(call, existing.location ?? '', { action, job: GROW_DISK_JOB, input, reply: 'resource', announce }),
  )
}

function checkSettled(existing: ResourceRecord): void {
  if (existing.state !== 'Deleting') return
  throw new ArmError('Conflict', `The disk '${existing.name}' is being deleted.`)
}

/** An equal request may have made the disk between our looking and our announcing. */
async function createOrOvertaken(call: ArmCall, body: unknown): Promise<ArmReply> {
  try {
    return await create(call, body)
  } catch (error) {
    if (!isHoldfastError(error, 'AnotherOperationInProgress')) throw error
    const made = await findResource(call.host.catalog, call.id)
    if (made?.state !== 'Succeeded') throw error
    return change(call, made, body, true)
  }
}

async function put(call: ArmCall): Promise<ArmReply> {
  checkDiskName(call)
  const body = objectBody(call.body)
  checkFields(DISK_FIELDS, body)
  const existing = await findResource(call.host.catalog, call.id)
  if (existing === undefined || existing.state === 'Creating' || existing.state === 'Failed')
    return createOrOvertaken(call, body)
  checkSettled(existing)
  return change(call, existing, body, true)
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const body = objectBody(call.body ?? {})
  checkFields(DISK_FIELDS, body)
  const existing = await findOr404(call)
  checkSettled(existing)
  if (existing.state === 'Creating' || existing.state === 'Failed')
    throw new ArmError('Conflict', `The disk '${existing.name}' is ${existing.state}.`)
  return change(call, existing, body, false)
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const existing = await findResource(call.host.catalog, call.id)
  if (existing === undefined) return noContent
  const { managedBy } = existing.body
  const state = stateNow(existing, call.host.clock.nowMs())
  const why =
    existing.state === 'Failed' ? undefined : whyNotDelete(state, typeof managedBy === 'string' ? managedBy : undefined)
  if (why !== undefined)
    throw new ArmError('OperationNotAllowed', `Disk '${existing.name}' cannot be deleted. ${why.message}`)
  const announce = async (trx: CatalogTransaction): Promise<void> => {
    const now = (await findResource(trx, existing.id)) ?? existing
    const stateBefore = now.backing['stateBefore'] ?? now.state
    const backing = { ...now.backing, stateBefore }
    await updateResource(trx, existing.id, { state: 'Deleting', backing }, changeSourceOf(call.host))
  }
  const spec = {
    kind: 'operations' as const,
    action: `${DISK_TYPE}/delete`,
    job: DELETE_DISK_JOB,
    input: { id: existing.id },
  }
  const { headers, id } = await beginOnce(
    call,
    diskOperation(call, existing.location ?? '', { ...spec, reply: 'empty', announce }),
  )
  return { status: 202, headers, operation: id }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const nowMs = call.host.clock.nowMs()
  const shown = (await readableRecords(call, DISK_TYPE)).map((one) => showDisk(one, nowMs))
  return ok(pageOf(shown, call.url, call.query('$skipToken'), Number(call.query('$top') ?? Number.NaN)))
}

async function get(call: ArmCall): Promise<ArmReply> {
  return ok(await showOneDisk(call, await findOr404(call)))
}

export const diskRoutes: readonly ArmRoute[] = [
  ...routesOfType(DISK_TYPE, { list, get, put, patch, remove }),
  ...operationRoutes('Microsoft.Compute', ['DiskOperations', 'operations']),
]
