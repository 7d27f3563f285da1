/** Resource groups. Deleting one deletes what is in it, in the order of dependence, by a job. */
import {
  deleteResource,
  findRegion,
  findResource,
  insertResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, checkFilterFields, groupId, pageOf, parseFilter, readLocation, readTags } from '#contract'
import { GROUP_DELETE_JOB, RESOURCE_QUEUE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { noRegionHere } from '../../arm/linked-servers.ts'
import { beginOperation, operationRoutes } from '../../arm/operations.ts'
import { type ResourceView, showResource } from '../../arm/resource-view.ts'

export const GROUP_TYPE = 'Microsoft.Resources/resourceGroups'
const ACTION = 'Microsoft.Resources/subscriptions/resourceGroups'
const PATH = '/subscriptions/{subscription}/resourceGroups/{name}'

/** What the check and docs/api/resource-groups.md are made from. */
export const RESOURCE_GROUP_FIELDS: FieldTable = [
  ...['id', 'name', 'type', 'etag', 'systemData'].map((path) => ({ path, use: 'read-only' as const })),
  { path: 'location', use: 'honoured', note: 'a region of this server; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  { path: 'managedBy', use: 'refused', note: 'A group belongs to no other resource.' },
  { path: 'properties.provisioningState', use: 'read-only' },
]

/** Source: Azure naming rules: letters, digits, underscore, parentheses, hyphen, period (not at the end); 1 to 90. */
const GROUP_NAME = /^[-\w.()\p{L}\p{N}]{0,89}[-\w()\p{L}\p{N}]$/u

function show(record: ResourceRecord): ResourceView {
  const { state, ...view } = { ...showResource(record), state: record.state }
  return { ...view, properties: { provisioningState: state } }
}

function idOf(call: ArmCall): string {
  return groupId(call.host.subscriptionId, call.param('name'))
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, idOf(call))
  if (record !== undefined) return record
  throw new ArmError('ResourceGroupNotFound', `Resource group '${call.param('name')}' could not be found.`)
}

async function put(call: ArmCall): Promise<ArmReply> {
  const name = call.param('name')
  if (!GROUP_NAME.test(name))
    throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of a resource group.`, { target: 'name' })
  const body = objectBody(call.body)
  checkFields(RESOURCE_GROUP_FIELDS, body)
  const location = readLocation(body['location'])
  const tags = readTags(body['tags'])
  const { catalog, subscriptionId } = call.host
  const existing = await findResource(catalog, idOf(call))
  if (existing === undefined && (await findRegion(catalog, location)) === undefined)
    throw await noRegionHere(call.host, location, 'LocationNotAvailableForResourceGroup')
  if (existing?.state === 'Deleting')
    throw new ArmError('ResourceGroupBeingDeleted', `The resource group '${name}' is being deleted.`)
  if (existing !== undefined) checkStays(existing, location)
  const source = changeSourceOf(call.host)
  const record = await catalog.write((trx) =>
    existing === undefined
      ? insertResource(
          trx,
          {
            id: idOf(call),
            subscription: subscriptionId,
            group: undefined,
            type: GROUP_TYPE,
            name,
            location,
            tags,
            state: 'Succeeded',
            body: {},
            backing: {},
          },
          source,
        )
      : updateResource(trx, existing.id, { tags }, source),
  )
  if (record === undefined) throw new ArmError('ResourceGroupNotFound', `Resource group '${name}' could not be found.`)
  return { status: existing === undefined ? 201 : 200, body: show(record) }
}

function checkStays({ name, location }: ResourceRecord, wanted: string): void {
  if (location === wanted) return
  throw new ArmError(
    'Conflict',
    `The resource group '${name}' is in the location '${location ?? ''}'; it cannot be moved to '${wanted}'.`,
  )
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const existing = await find(call)
  const body = objectBody(call.body)
  checkFields(RESOURCE_GROUP_FIELDS, body)
  const { tags, location } = body
  if (location !== undefined && location !== null) checkStays(existing, readLocation(location))
  if (tags === undefined || tags === null) return ok(show(existing))
  const changed = await call.host.catalog.write((trx) =>
    updateResource(trx, existing.id, { tags: readTags(tags) }, changeSourceOf(call.host)),
  )
  return ok(show(changed ?? existing))
}

async function list(call: ArmCall): Promise<ArmReply> {
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, ['tagName', 'tagValue'])
  const records = await listResources(call.host.catalog, { subscription: call.host.subscriptionId, type: GROUP_TYPE })
  const wanted = (name: string): string | undefined => {
    const term = terms.find((term) => term.kind === 'compare' && term.field.toLowerCase() === name)
    return term?.kind === 'compare' ? term.value : undefined
  }
  const [tagName, tagValue] = [wanted('tagname'), wanted('tagvalue')]
  const shown = records
    .filter(({ id }) => call.may(`${ACTION}/read`, id))
    .filter(({ tags }) => {
      const found = Object.entries(tags).find(([name]) => name.toLowerCase() === tagName?.toLowerCase())
      return tagName === undefined || (found !== undefined && (tagValue === undefined || found[1] === tagValue))
    })
  return ok(pageOf(shown.map(show), call.url, call.query('$skipToken'), Number(call.query('$top') ?? Number.NaN)))
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const existing = await findResource(call.host.catalog, idOf(call))
  if (existing === undefined)
    throw new ArmError('ResourceGroupNotFound', `Resource group '${call.param('name')}' could not be found.`)
  const contents = await listResources(call.host.catalog, { group: existing.id })
  if (contents.length === 0) {
    await call.host.catalog.write((trx) => deleteResource(trx, existing.id))
    return { status: 200 }
  }
  const { headers, id } = await beginOperation(call, {
    kind: 'operationresults',
    provider: 'Microsoft.Resources',
    location: existing.location ?? '',
    resourceId: existing.id,
    action: `${ACTION}/delete`,
    job: GROUP_DELETE_JOB,
    input: { group: existing.id },
    queue: RESOURCE_QUEUE,
    reply: 'empty',
    announce: async (trx) => {
      await updateResource(trx, existing.id, { state: 'Deleting' }, changeSourceOf(call.host))
    },
  })
  const { 'azure-asyncoperation': _status, ...rest } = headers
  return { status: 202, headers: rest, operation: id }
}

export const groupRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: '/subscriptions/{subscription}/resourceGroups',
    action: `${ACTION}/read`,
    access: 'filter',
    handle: list,
  },
  { method: 'GET', path: PATH, action: `${ACTION}/read`, handle: async (call) => ok(show(await find(call))) },
  {
    method: 'HEAD',
    path: PATH,
    action: `${ACTION}/read`,
    handle: async (call) =>
      (await findResource(call.host.catalog, idOf(call))) === undefined ? { status: 404 } : noContent,
  },
  { method: 'PUT', path: PATH, action: `${ACTION}/write`, handle: put },
  { method: 'PATCH', path: PATH, action: `${ACTION}/write`, handle: patch },
  { method: 'DELETE', path: PATH, action: `${ACTION}/delete`, handle: remove },
  ...operationRoutes('Microsoft.Resources', ['operationresults']),
]
