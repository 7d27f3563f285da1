/**
 * restorePointCollections/{c}/restorePoints: all disks of a machine at one instant. As with snapshots, the instant is when the request
 * is accepted: a PUT is answered (201: `az` takes nothing else) once the instant is open, and its operation succeeds when every disk
 * is durable without the machine. A point that failed may be put again or deleted.
 */
import {
  type CatalogTransaction,
  deleteResource,
  findResource,
  insertResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, groupId } from '#contract'
import {
  COLLECTION_TYPE,
  DELETE_RESTORE_POINT_JOB,
  DISK_RESTORE_POINT_TYPE,
  INSTANT_OPEN,
  propertiesOf,
  RESOURCE_QUEUE,
  RESTORE_POINT_TYPE,
  SNAPSHOT_QUEUE,
  unfinishedOf,
} from '#jobs'
import { isoTime } from '#base'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { checkFields } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { beginOnce } from '../../../arm/operations.ts'
import { type ResourceView, showResource } from '../../../arm/resource-view.ts'
import { untilMilestone } from '../../../arm/until-milestone.ts'
import { openGrantOf } from '../../../blob/access-url.ts'
import { findOr404 } from '../disk-view.ts'
import { INSTANT_MS_MAX } from '../snapshots.ts'
import { RESTORE_POINT_FIELDS } from './restore-point-fields.ts'
import { type PlannedPoint, planRestorePoint } from './restore-point-plan.ts'

const ONE = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${COLLECTION_TYPE}/{collection}/restorePoints/{name}`
const NAME = /^[A-Za-z0-9]([\w.-]{0,78}\w)?$/
/** As Azure's: points of one collection. */
const POINTS_MAX = 500

function collectionId(call: ArmCall): string {
  return call.id.replace(/\/restorePoints\/[^/]+$/i, '')
}

async function instanceView(call: ArmCall, record: ResourceRecord): Promise<Readonly<Record<string, unknown>>> {
  const disks = await listResources(call.host.catalog, { parent: record.id })
  const { failure } = record.backing as { failure?: { errorCode: string; errorMessage: string } }
  const status = {
    code: `ProvisioningState/${record.state.toLowerCase()}`,
    level: failure === undefined ? 'Info' : 'Error',
    displayStatus: `Provisioning ${record.state}`,
    ...(failure !== undefined && { message: `${failure.errorCode}: ${failure.errorMessage}` }),
  }
  return {
    statuses: [status],
    diskRestorePoints: disks.map((disk) => {
      const completionPercent = Number(propertiesOf(disk)['completionPercent'] ?? 0)
      const code = `ReplicationState/${disk.state.toLowerCase()}`
      const shown = { code, level: 'Info', displayStatus: disk.state }
      return { id: disk.id, replicationStatus: { status: shown, completionPercent } }
    }),
  }
}

async function get(call: ArmCall): Promise<ArmReply> {
  const record = await findOr404(call)
  const view: ResourceView = showResource(record)
  if ((call.query('$expand') ?? '').toLowerCase() !== 'instanceview') return ok(view)
  const properties = view['properties'] as Readonly<Record<string, unknown>>
  return ok({ ...view, properties: { ...properties, instanceView: await instanceView(call, record) } })
}

async function findCollection(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, collectionId(call))
  if (record === undefined)
    throw new ArmError(
      'ResourceNotFound',
      `The Resource '${COLLECTION_TYPE}/${call.param('collection')}' was not found.`,
    )
  if (record.state === 'Succeeded') return record
  throw new ArmError('Conflict', `The collection '${record.name}' is ${record.state}.`)
}

async function announce(
  call: ArmCall,
  trx: CatalogTransaction,
  collection: ResourceRecord,
  plan: PlannedPoint,
): Promise<void> {
  const { host, id } = call
  const source = changeSourceOf(host)
  const existing = await findResource(trx, id)
  if (existing !== undefined && existing.state !== 'Failed')
    throw new ArmError('AnotherOperationInProgress', `'${id}' was made by another request meanwhile.`)
  if ((await findResource(trx, collection.id))?.state !== 'Succeeded')
    throw new ArmError(
      'OperationNotAllowed',
      `The collection '${collection.id}' is not there any more, or is being deleted.`,
    )
  for (const sourceId of plan.sourceIds)
    if ((await findResource(trx, sourceId))?.state !== 'Succeeded')
      throw new ArmError('OperationNotAllowed', `The source '${sourceId}' is not there any more, or is being changed.`)
  const shared = {
    subscription: host.subscriptionId,
    group: groupId(host.subscriptionId, call.param('group')),
    location: collection.location,
    tags: {},
    state: 'Creating',
    backing: {},
  }
  const body = { properties: plan.properties }
  if (existing === undefined)
    await insertResource(
      trx,
      { ...shared, id, type: RESTORE_POINT_TYPE, name: call.param('name'), parentId: collection.id, body },
      source,
    )
  else await updateResource(trx, id, { state: 'Creating', body, backing: {} }, source)
  // What an earlier attempt that failed had and this one has not.
  for (const { id: before } of await listResources(trx, { parent: id }))
    if (!plan.disks.some((disk) => disk.id.toLowerCase() === before.toLowerCase())) await deleteResource(trx, before)
  for (const disk of plan.disks) {
    const row = { ...shared, id: disk.id, type: DISK_RESTORE_POINT_TYPE, name: disk.name, parentId: id }
    const shown = { properties: disk.properties }
    const backing = { operationOf: id.toLowerCase() }
    if ((await findResource(trx, disk.id)) === undefined)
      await insertResource(trx, { ...row, body: shown, backing }, source)
    else await updateResource(trx, disk.id, { state: 'Creating', body: shown, backing }, source)
  }
}

async function checkCount(call: ArmCall, collection: ResourceRecord): Promise<void> {
  const points = await listResources(call.host.catalog, { parent: collection.id })
  if (points.length < POINTS_MAX) return
  throw new ArmError(
    'OperationNotAllowed',
    `The collection has ${POINTS_MAX} restore points already; delete some first.`,
  )
}

async function put(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const name = call.param('name')
  if (!NAME.test(name))
    throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of a restore point.`, { target: 'name' })
  const body = objectBody(call.body ?? {})
  checkFields(RESTORE_POINT_FIELDS, body)
  const collection = await findCollection(call)
  const existing = await findResource(host.catalog, call.id)
  if (existing?.state === 'Succeeded')
    throw new ArmError('PropertyChangeNotAllowed', `The restore point '${name}' is there already; it never changes.`)
  if (existing === undefined) await checkCount(call, collection)
  const plan = await planRestorePoint(call, body, collection)
  const { headers, id } = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: collection.location ?? '',
    resourceId: call.id,
    action: `${RESTORE_POINT_TYPE}/write`,
    job: plan.job,
    input: plan.input,
    queue: SNAPSHOT_QUEUE,
    reply: 'resource',
    announce: (trx) => announce(call, trx, collection, plan),
  })
  if (plan.waitsForInstant) {
    const facts = await untilMilestone(host, id, INSTANT_OPEN, INSTANT_MS_MAX)
    if (facts !== undefined) await showInstant(call, Number(facts['takenAtMs']))
  }
  return { status: 201, body: showResource(await findOr404(call)), headers, operation: id }
}

/** The row shows the instant from the moment on in which it is known. */
async function showInstant({ host, id }: ArmCall, takenAtMs: number): Promise<void> {
  await host.catalog.write(async (trx) => {
    const record = await findResource(trx, id)
    if (record?.state !== 'Creating') return
    const properties = { ...propertiesOf(record), timeCreated: isoTime(takenAtMs) }
    await updateResource(trx, id, { body: { ...record.body, properties } }, changeSourceOf(host))
  })
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const record = await findResource(host.catalog, call.id)
  if (record === undefined) return noContent
  if (record.state === 'Creating')
    throw new ArmError('AnotherOperationInProgress', `The restore point '${record.id}' is still being made.`)
  const { headers, id } = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: record.location ?? '',
    resourceId: record.id,
    action: `${RESTORE_POINT_TYPE}/delete`,
    job: DELETE_RESTORE_POINT_JOB,
    input: { id: record.id },
    queue: RESOURCE_QUEUE,
    reply: 'empty',
    announce: async (trx) => {
      const users = await unfinishedOf(trx, record.id)
      if (users.length > 0)
        throw new ArmError('OperationNotAllowed', `'${record.id}' is still needed by ${users.join(', ')}.`)
      const disks = await listResources(trx, { parent: record.id })
      const open = disks.find((disk) => openGrantOf(disk, host.clock.nowMs()) !== undefined)
      if (open !== undefined)
        throw new ArmError('OperationNotAllowed', `'${open.id}' is open to a signed URL: revoke the access first.`)
      await updateResource(trx, record.id, { state: 'Deleting' }, changeSourceOf(host))
    },
  })
  return { status: 202, headers, operation: id }
}

export const restorePointRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: ONE, action: `${RESTORE_POINT_TYPE}/read`, handle: get },
  { method: 'PUT', path: ONE, action: `${RESTORE_POINT_TYPE}/write`, handle: put },
  { method: 'DELETE', path: ONE, action: `${RESTORE_POINT_TYPE}/delete`, handle: remove },
]
