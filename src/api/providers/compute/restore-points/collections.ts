/**
 * Microsoft.Compute/restorePointCollections: the restore points of one machine, or copies of another collection's points. The
 * collection itself is a record and changes at once; deleting it deletes its points, by an operation.
 */
import {
  type CatalogTransaction,
  findResource,
  insertResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, groupId, pageOf, parseResourceId, readLocation, readTags, type ResourceId, sameId } from '#contract'
import { randomUuid } from '#base'
import { COLLECTION_TYPE, DELETE_COLLECTION_JOB, MACHINE_TYPE, propertiesOf, RESOURCE_QUEUE, unfinishedOf } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { checkFields, fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { beginOnce } from '../../../arm/operations.ts'
import { checkRegion, readableRecords, routesOfType } from '../../../arm/records.ts'
import { type ResourceView, showResource } from '../../../arm/resource-view.ts'
import { openGrantOf } from '../../../blob/access-url.ts'
import { findOr404 } from '../disk-view.ts'
import { COLLECTION_FIELDS } from './restore-point-fields.ts'

const NAME = /^[A-Za-z0-9]([\w.-]{0,78}\w)?$/
const SOURCE = 'properties.source.id'

async function list(call: ArmCall): Promise<ArmReply> {
  const readable = await readableRecords(call, COLLECTION_TYPE)
  return ok(pageOf(readable.map(showResource), call.url, call.query('$skipToken')))
}

async function get(call: ArmCall): Promise<ArmReply> {
  const record = await findOr404(call)
  const view: ResourceView = showResource(record)
  if ((call.query('$expand') ?? '').toLowerCase() !== 'restorepoints') return ok(view)
  const points = await listResources(call.host.catalog, { parent: record.id })
  const properties = view['properties'] as Readonly<Record<string, unknown>>
  return ok({ ...view, properties: { ...properties, restorePoints: points.map(showResource) } })
}

/** The machine or collection, which the caller may read. @throws ArmError */
async function findSource(call: ArmCall, id: ResourceId, location: string): Promise<ResourceRecord> {
  const type = id.type ?? ''
  if (!sameId(type, MACHINE_TYPE) && !sameId(type, COLLECTION_TYPE))
    throw new ArmError('InvalidResourceReference', `'${id.text}' is neither a machine nor a collection.`, {
      target: SOURCE,
    })
  if (id.key === call.id.toLowerCase())
    throw new ArmError('InvalidResourceReference', 'A collection is not the source of itself.', { target: SOURCE })
  call.authorize(`${type}/read`, id.text)
  const record = await findResource(call.host.catalog, id.text)
  if (record === undefined)
    throw new ArmError('ResourceNotFound', `The Resource '${type}/${id.name}' was not found.`, { target: SOURCE })
  if (sameId(type, MACHINE_TYPE) && record.location !== location)
    throw new ArmError(
      'InvalidParameter',
      `The machine is in '${record.location ?? ''}': its restore points are kept there, and copied elsewhere.`,
      { target: 'location' },
    )
  return record
}

async function create(call: ArmCall, body: unknown, location: string): Promise<ArmReply> {
  const { host, id } = call
  const given = fieldAt(body, SOURCE)
  if (given === undefined)
    throw new ArmError('InvalidParameter', 'source.id is required: a machine, or another collection.', {
      target: SOURCE,
    })
  const source = await findSource(call, parseResourceId(given, SOURCE), location)
  const instantAccess = fieldAt(body, 'properties.instantAccess')
  const record = {
    location,
    tags: readTags(fieldAt(body, 'tags')),
    state: 'Succeeded',
    backing: {},
    body: {
      properties: {
        source: { id: source.id, location: source.location },
        restorePointCollectionId: randomUuid(host.random),
        ...(instantAccess !== undefined && { instantAccess }),
      },
    },
  }
  const made = await host.catalog.write(async (trx) => {
    if ((await findResource(trx, id)) !== undefined)
      throw new ArmError('AnotherOperationInProgress', `'${id}' has been made by another request meanwhile.`)
    const { subscriptionId: subscription } = host
    const group = groupId(subscription, call.param('group'))
    const named = { id, subscription, group, type: COLLECTION_TYPE, name: call.param('name') }
    return insertResource(trx, { ...record, ...named }, changeSourceOf(host))
  })
  return { status: 201, body: showResource(made) }
}

async function change(call: ArmCall, record: ResourceRecord, tags: unknown): Promise<ArmReply> {
  const update = (trx: CatalogTransaction) =>
    updateResource(trx, record.id, { tags: readTags(tags) }, changeSourceOf(call.host))
  return ok(showResource((await call.host.catalog.write(update)) ?? record))
}

async function put(call: ArmCall): Promise<ArmReply> {
  if (!NAME.test(call.param('name')))
    throw new ArmError('InvalidResourceName', `'${call.param('name')}' cannot be the name of a collection.`, {
      target: 'name',
    })
  const body = objectBody(call.body)
  checkFields(COLLECTION_FIELDS, body)
  const location = readLocation(fieldAt(body, 'location'))
  await checkRegion(call, location)
  const existing = await findResource(call.host.catalog, call.id)
  if (existing === undefined) return create(call, body, location)
  const source = fieldAt(body, SOURCE)
  const before = fieldAt(propertiesOf(existing), 'source.id')
  if (location !== existing.location)
    throw new ArmError('PropertyChangeNotAllowed', 'A collection stays in its location.', { target: 'location' })
  if (source !== undefined && (typeof source !== 'string' || !sameId(source, String(before))))
    throw new ArmError('PropertyChangeNotAllowed', 'The source of a collection does not change.', { target: SOURCE })
  return change(call, existing, fieldAt(body, 'tags'))
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const record = await findOr404(call)
  const body = objectBody(call.body ?? {})
  checkFields(COLLECTION_FIELDS, body)
  const tags = fieldAt(body, 'tags')
  return tags === undefined ? ok(showResource(record)) : change(call, record, tags)
}

async function checkFree(trx: CatalogTransaction, record: ResourceRecord, nowMs: number): Promise<void> {
  for (const point of await listResources(trx, { parent: record.id })) {
    const users = await unfinishedOf(trx, point.id)
    if (users.length > 0 || point.state === 'Creating')
      throw new ArmError('OperationNotAllowed', `'${point.id}' is needed by ${users.join(', ') || 'its making'}.`)
    const open = (await listResources(trx, { parent: point.id })).find((disk) => openGrantOf(disk, nowMs) !== undefined)
    if (open !== undefined)
      throw new ArmError('OperationNotAllowed', `'${open.id}' is open to a signed URL: revoke the access first.`)
  }
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const record = await findResource(call.host.catalog, call.id)
  if (record === undefined) return noContent
  const { headers, id } = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: record.location ?? '',
    resourceId: record.id,
    action: `${COLLECTION_TYPE}/delete`,
    job: DELETE_COLLECTION_JOB,
    input: { id: record.id },
    queue: RESOURCE_QUEUE,
    key: record.key,
    reply: 'empty',
    announce: async (trx) => {
      await checkFree(trx, record, call.host.clock.nowMs())
      await updateResource(trx, record.id, { state: 'Deleting' }, changeSourceOf(call.host))
    },
  })
  return { status: 202, headers, operation: id }
}

export const collectionRoutes: readonly ArmRoute[] = routesOfType(COLLECTION_TYPE, { list, get, put, patch, remove })
