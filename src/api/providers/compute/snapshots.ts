/**
 * Microsoft.Compute/snapshots. The instant is when the request is accepted: a PUT of a disk's snapshot is answered with 202
 * only once its instant is open, and its operation succeeds only when the snapshot is durable without its source.
 *
 * Invariants: source, kind and region never change; a failed snapshot may be put again as if it were not there.
 */
import { isHoldfastError, isoTime } from '#base'
import {
  type CatalogTransaction,
  findResource,
  insertResource,
  newestOperationOf,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, pageOf, readTags } from '#contract'
import { percentBeforeEnd, SNAPSHOT_NAME } from '#domain'
import {
  DELETE_SNAPSHOT_JOB,
  INSTANT_OPEN,
  propertiesOf,
  RESOURCE_QUEUE,
  SNAPSHOT_QUEUE,
  SNAPSHOT_TYPE,
  unfinishedCopiesOf,
} from '#jobs'
import { type ArmCall, type ArmHost, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { beginOnce, type OperationSpec } from '../../arm/operations.ts'
import { checkRegion, readableRecords, routesOfType } from '../../arm/records.ts'
import { type ResourceView, showResource } from '../../arm/resource-view.ts'
import { openGrantOf } from '../../blob/access-url.ts'
import { untilMilestone } from '../../arm/until-milestone.ts'
import { SNAPSHOT_FIELDS } from './snapshot-fields.ts'
import { type PlannedSnapshot, planSnapshot } from './snapshot-plan.ts'
import { readSku, readSnapshotRequest, readStored, type SnapshotRequest } from './snapshot-request.ts'

/** How long a request waits for its instant. Longer than an instant waits for the one before it on the same machine. */
export const INSTANT_MS_MAX = 60_000
export const INSTANT_WAIT_MS = 45_000

/** Percent done of one that is being made: of the operation on it, or on the group that it belongs to. */
async function percentOf({ catalog, jobs }: ArmHost, record: ResourceRecord): Promise<number> {
  const { operationOf } = record.backing
  const key = typeof operationOf === 'string' ? operationOf : record.key
  const operation = await newestOperationOf(catalog, key)
  const job = operation === undefined ? undefined : await jobs.get(operation.id)
  const { doneBytes = 0, totalBytes = 0 } = job?.progress ?? {}
  return percentBeforeEnd(doneBytes, totalBytes)
}

export async function showSnapshot(host: ArmHost, record: ResourceRecord): Promise<ResourceView> {
  const view = showResource(record)
  if (record.state !== 'Creating') return view
  const properties = view['properties'] as Record<string, unknown>
  return { ...view, properties: { ...properties, completionPercent: await percentOf(host, record) } }
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, call.id)
  if (record !== undefined) return record
  throw new ArmError('ResourceNotFound', `The Resource '${SNAPSHOT_TYPE}/${call.param('name')}' was not found.`)
}

async function get(call: ArmCall): Promise<ArmReply> {
  return ok(await showSnapshot(call.host, await find(call)))
}

async function list(call: ArmCall): Promise<ArmReply> {
  const readable = await readableRecords(call, SNAPSHOT_TYPE)
  const { value, ...rest } = pageOf(readable, call.url, call.query('$skipToken'))
  return ok({ value: await Promise.all(value.map((record) => showSnapshot(call.host, record))), ...rest })
}

function unchangeable(target: string): ArmError {
  return new ArmError('PropertyChangeNotAllowed', `Changing '${target}' of a snapshot is not allowed.`, { target })
}

/** What is put again says nothing else than what is. @throws ArmError `PropertyChangeNotAllowed` */
function checkUnchanged(record: ResourceRecord, request: SnapshotRequest): void {
  const properties = propertiesOf(record)
  const creation = (properties['creationData'] ?? {}) as Readonly<Record<string, unknown>>
  const { source, createOption, isIncremental, location } = request
  if (location !== record.location) throw unchangeable('location')
  if (createOption !== undefined && createOption !== creation['createOption'])
    throw unchangeable('properties.creationData.createOption')
  if (source !== undefined && source.key !== String(creation['sourceResourceId']).toLowerCase())
    throw unchangeable('properties.creationData.sourceResourceId')
  if (isIncremental !== undefined && isIncremental !== properties['incremental'])
    throw unchangeable('properties.incremental')
}

type Change = Readonly<{ tags?: SnapshotRequest['tags']; sku?: string | undefined; stored: SnapshotRequest['stored'] }>

function checkSku(sku: string | undefined, isIncremental: unknown): void {
  if (sku === 'Premium_LRS' && isIncremental === true)
    throw new ArmError('InvalidParameter', 'Incremental snapshots are kept on standard storage.', {
      target: 'sku.name',
    })
}

async function change(call: ArmCall, record: ResourceRecord, { tags, sku, stored }: Change): Promise<ArmReply> {
  checkSku(sku, propertiesOf(record)['incremental'])
  const changed = await call.host.catalog.write(async (trx) => {
    const now = await findResource(trx, record.id)
    if (now === undefined) return undefined
    const body = {
      ...now.body,
      ...(sku !== undefined && { sku: skuOf(sku) }),
      properties: { ...propertiesOf(now), ...stored },
    }
    return updateResource(trx, now.id, { body, ...(tags !== undefined && { tags }) }, changeSourceOf(call.host))
  })
  return ok(await showSnapshot(call.host, changed ?? record))
}

export function skuOf(name: string): Readonly<{ name: string; tier: string }> {
  return { name, tier: name.startsWith('Premium') ? 'Premium' : 'Standard' }
}

/** Writes the row of one that is to be made. @throws ArmError when there is one that is no failure */
export async function announceSnapshot(
  trx: CatalogTransaction,
  host: ArmHost,
  planned: PlannedSnapshot,
  backing: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const { id, group, name, location, tags, body, sourceId } = planned
  const source = changeSourceOf(host)
  const existing = await findResource(trx, id)
  if (existing !== undefined && existing.state !== 'Failed')
    throw new ArmError('AnotherOperationInProgress', `'${id}' was made by another request meanwhile.`)
  const origin = sourceId === undefined ? undefined : await findResource(trx, sourceId)
  if (sourceId !== undefined && origin?.state !== 'Succeeded')
    throw new ArmError('OperationNotAllowed', `The source '${sourceId}' is not there any more, or is being changed.`)
  if (existing !== undefined) await updateResource(trx, id, { state: 'Creating', tags, body, backing }, source)
  else {
    const { subscriptionId: subscription } = host
    const row = { id, subscription, group, type: SNAPSHOT_TYPE, name, location, tags, state: 'Creating', body, backing }
    await insertResource(trx, row, source)
  }
}

/** The row shows the instant from the moment on in which it is known. */
export async function showInstant(host: ArmHost, ids: readonly string[], takenAtMs: number): Promise<void> {
  await host.catalog.write(async (trx) => {
    for (const id of ids) {
      const record = await findResource(trx, id)
      if (record?.state !== 'Creating') continue
      const properties = { ...propertiesOf(record), timeCreated: isoTime(takenAtMs) }
      await updateResource(trx, id, { body: { ...record.body, properties } }, changeSourceOf(host))
    }
  })
}

async function create(call: ArmCall, request: SnapshotRequest): Promise<ArmReply> {
  const { host } = call
  checkSku(request.sku, request.isIncremental)
  const planned = await planSnapshot(call, request, INSTANT_WAIT_MS)
  const spec: OperationSpec = {
    kind: 'DiskOperations',
    provider: 'Microsoft.Compute',
    location: planned.location,
    resourceId: planned.id,
    action: `${SNAPSHOT_TYPE}/write`,
    job: planned.job,
    input: planned.input,
    queue: SNAPSHOT_QUEUE,
    reply: 'resource',
    announce: (trx) => announceSnapshot(trx, host, planned),
  }
  const { id, headers } = await beginOnce(call, spec)
  if (planned.waitsForInstant) {
    const facts = await untilMilestone(host, id, INSTANT_OPEN, INSTANT_MS_MAX)
    if (facts !== undefined) await showInstant(host, [planned.id], Number(facts['takenAtMs']))
  }
  return { status: 202, body: await showSnapshot(host, await find(call)), headers, operation: id }
}

async function put(call: ArmCall): Promise<ArmReply> {
  const name = call.param('name')
  if (!SNAPSHOT_NAME.test(name))
    throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of a snapshot.`, { target: 'name' })
  const request = readSnapshotRequest(call.body)
  await checkRegion(call, request.location)
  const existing = await findResource(call.host.catalog, call.id)
  if (existing?.state === 'Succeeded') {
    checkUnchanged(existing, request)
    return change(call, existing, request)
  }
  if (existing?.state === 'Deleting') throw new ArmError('AnotherOperationInProgress', `'${call.id}' is being deleted.`)
  try {
    return await create(call, request)
  } catch (error) {
    // An equal request may have made the snapshot between our looking and our announcing.
    const made = isHoldfastError(error, 'AnotherOperationInProgress')
      ? await findResource(call.host.catalog, call.id)
      : undefined
    if (made?.state !== 'Succeeded') throw error
    checkUnchanged(made, request)
    return change(call, made, request)
  }
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const record = await find(call)
  const body = objectBody(call.body)
  checkFields(SNAPSHOT_FIELDS, body)
  const { tags } = body
  return change(call, record, {
    ...(tags !== undefined && tags !== null && { tags: readTags(tags) }),
    sku: readSku(body['sku']),
    stored: readStored(body),
  })
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const record = await findResource(host.catalog, call.id)
  if (record === undefined) return { status: 204 }
  if (record.state === 'Creating')
    throw new ArmError('AnotherOperationInProgress', `The snapshot '${record.id}' is still being made.`)
  const { headers, id } = await beginOnce(call, {
    kind: 'DiskOperations',
    provider: 'Microsoft.Compute',
    location: record.location ?? '',
    resourceId: record.id,
    action: `${SNAPSHOT_TYPE}/delete`,
    job: DELETE_SNAPSHOT_JOB,
    input: { id: record.id },
    queue: RESOURCE_QUEUE,
    reply: 'empty',
    announce: async (trx) => {
      const users = await unfinishedCopiesOf(trx, record.id)
      if (users.length > 0)
        throw new ArmError('OperationNotAllowed', `'${record.id}' is still being copied to ${users.join(', ')}.`)
      if (openGrantOf(record, host.clock.nowMs()) !== undefined)
        throw new ArmError('OperationNotAllowed', `'${record.id}' is open to a signed URL: revoke the access first.`)
      await updateResource(trx, record.id, { state: 'Deleting' }, changeSourceOf(host))
    },
  })
  return { status: 202, headers, operation: id }
}

export const snapshotRoutes: readonly ArmRoute[] = routesOfType(SNAPSHOT_TYPE, { list, get, put, patch, remove })
