/**
 * What the resources of Microsoft.Network have in common: their routes, and how a change becomes true.
 *
 * A change is written at once, in one transaction with all its checks. Where a network that runs is touched it is announced
 * instead (state Updating) and an operation makes it true on the host; when that fails the record says Failed, and the next
 * change, or the host's own looking after its networks, tries again.
 */
import { createHash } from 'node:crypto'
import {
  type Catalog,
  type CatalogTransaction,
  findResource,
  insertResource,
  type NewResource,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, groupId, pageOf, readLocation, readTags, sameId } from '#contract'
import {
  APPLY_NETWORKS_JOB,
  type ApplyNetworksInput,
  listCards,
  listSubnets,
  networkOfSubnet,
  type NetworkPlace,
  removeNetworkResource,
  RESOURCE_QUEUE,
  whyInUse,
} from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, fieldAt, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { beginOnce } from '../../arm/operations.ts'
import { checkRegion, readableRecords, routesOfType } from '../../arm/records.ts'
import type { ResourceView } from '../../arm/resource-view.ts'
import { findOr404 } from '../compute/disk-view.ts'

export type Content = Readonly<{
  body: Readonly<Record<string, unknown>>
  backing: Readonly<Record<string, unknown>>
  /** What else is written once the record stands, such as its children. */
  after?: (trx: CatalogTransaction) => Promise<void>
}>

export type ContentRequest = Readonly<{
  id: string
  location: string
  body: unknown
  existing: ResourceRecord | undefined
}>

export type NetworkKind<Related> = Readonly<{
  type: string
  fields: FieldTable
  /** The record's content as the body wants it. @throws ArmError for what is not valid */
  content: (call: ArmCall, trx: CatalogTransaction, request: ContentRequest) => Promise<Content>
  /** What showing any number of them needs. */
  related: (call: ArmCall) => Promise<Related>
  show: (record: ResourceRecord, related: Related) => ResourceView
}>

/** Source: Azure naming rules: letters, digits, underscore, hyphen and period; 1 to 80. */
const NAME = /^[A-Za-z0-9](?:[\w.-]{0,78}\w)?$/

/** @throws ArmError `InvalidResourceName` */
export function checkNetworkName(name: string): void {
  if (NAME.test(name)) return
  throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of a network resource.`, { target: 'name' })
}

/** The running networks, each with its host, that a change of the resource touches. */
export async function runningNetworksOf(from: Catalog | CatalogTransaction, key: string): Promise<NetworkPlace[]> {
  const plugged = (await listCards(from)).filter(({ isPlugged }) => isPlugged)
  if (plugged.length === 0) return []
  const subnets = new Map((await listSubnets(from)).map((subnet) => [subnet.id.toLowerCase(), subnet]))
  const touched = plugged.filter((card) => {
    const ids = [card.id, card.subnet, networkOfSubnet(card.subnet), card.securityGroup, card.publicAddress]
    return [...ids, subnets.get(card.subnet)?.securityGroup].some((id) => id !== undefined && sameId(id, key))
  })
  const places = touched.map(({ subnet, host }) => ({ network: networkOfSubnet(subnet), host: host ?? null }))
  return [...new Map(places.map((place) => [JSON.stringify(place), place])).values()]
}

export type NetworkChange = Readonly<{
  /** The record that the change is of. */
  id: string
  location: string
  action: string
  /** Tells this change from another of the same record that still runs. */
  request: unknown
  /** Writes it. */
  write: (trx: CatalogTransaction, state: 'Succeeded' | 'Updating') => Promise<void>
}>

/** Writes the change, and has running networks made anew. The headers are those of the operation, if it takes one. */
export async function changeNetworks(
  call: ArmCall,
  change: NetworkChange,
): Promise<Readonly<{ headers: Readonly<Record<string, string>>; operation?: string }>> {
  const { catalog } = call.host
  // Looked at in the transaction that writes: a machine that is started meanwhile has seen the change, or makes it one of a
  // running network.
  const places = await catalog.write(async (trx) => {
    const running = await runningNetworksOf(trx, change.id)
    if (running.length === 0) await change.write(trx, 'Succeeded')
    return running
  })
  if (places.length === 0) return { headers: {} }
  const request = createHash('sha256').update(JSON.stringify(change.request)).digest('hex')
  const input: ApplyNetworksInput & Readonly<{ request: string }> = { id: change.id, places, request }
  const { headers, id } = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Network',
    location: change.location,
    resourceId: change.id,
    action: change.action,
    job: APPLY_NETWORKS_JOB,
    input,
    queue: RESOURCE_QUEUE,
    key: change.id.toLowerCase(),
    reply: 'resource',
    announce: (trx) => change.write(trx, 'Updating'),
  })
  return { headers, operation: id }
}

/** The record with its new content: inserted, or replaced. */
export async function putRecord(
  call: ArmCall,
  trx: CatalogTransaction,
  record: Pick<NewResource, 'id' | 'type' | 'name' | 'location' | 'tags' | 'state' | 'body' | 'backing'> &
    Readonly<{ parentId?: string }>,
): Promise<void> {
  const source = changeSourceOf(call.host)
  const { id, tags, state, body, backing } = record
  if ((await findResource(trx, id)) !== undefined)
    return void (await updateResource(trx, id, { tags, state, body, backing }, source))
  const { subscriptionId } = call.host
  const group = groupId(subscriptionId, call.param('group'))
  await insertResource(trx, { ...record, subscription: subscriptionId, group }, source)
}

function checkLocation(body: unknown, existing: ResourceRecord): void {
  const location = fieldAt(body, 'location')
  if (location === undefined || readLocation(location) === existing.location) return
  throw new ArmError('PropertyChangeNotAllowed', `'${existing.name}' stays in its location.`, { target: 'location' })
}

async function put<R>(kind: NetworkKind<R>, call: ArmCall): Promise<ArmReply> {
  checkNetworkName(call.param('name'))
  const body = objectBody(call.body)
  checkFields(kind.fields, body)
  const before = await findResource(call.host.catalog, call.id)
  if (before === undefined) await checkRegion(call, readLocation(fieldAt(body, 'location')))
  else checkLocation(body, before)
  const location = before?.location ?? readLocation(fieldAt(body, 'location'))
  const { id } = call
  const done = await changeNetworks(call, {
    id,
    location,
    action: `${kind.type}/write`,
    request: body,
    write: async (trx, state) => {
      const existing = await findResource(trx, id)
      const { after, ...content } = await kind.content(call, trx, { id, location, body, existing })
      const tags = readTags(fieldAt(body, 'tags'))
      await putRecord(call, trx, { id, type: kind.type, name: call.param('name'), location, tags, state, ...content })
      await after?.(trx)
    },
  })
  return { ...(await shown(kind, call)), ...done, status: before === undefined ? 201 : 200 }
}

/** PATCH changes tags, as Azure's UpdateTags. */
async function patch<R>(kind: NetworkKind<R>, call: ArmCall): Promise<ArmReply> {
  const body = objectBody(call.body ?? {})
  checkFields([{ path: 'tags', use: 'honoured' }], body)
  const { id } = await findOr404(call)
  const tags = fieldAt(body, 'tags')
  if (tags !== undefined)
    await call.host.catalog.write((trx) => updateResource(trx, id, { tags: readTags(tags) }, changeSourceOf(call.host)))
  return shown(kind, call)
}

async function shown<R>(kind: NetworkKind<R>, call: ArmCall): Promise<ArmReply> {
  const record = await findOr404(call)
  return ok(kind.show(record, await kind.related(call)))
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const done = await call.host.catalog.write(async (trx) => {
    const record = await findResource(trx, call.id)
    if (record === undefined) return false
    const use = await whyInUse(trx, record)
    if (use !== undefined) throw new ArmError(use.code, use.message)
    await removeNetworkResource(trx, record, changeSourceOf(call.host))
    return true
  })
  return done ? { status: 200 } : noContent
}

async function list<R>(kind: NetworkKind<R>, call: ArmCall): Promise<ArmReply> {
  const related = await kind.related(call)
  const views = (await readableRecords(call, kind.type)).map((one) => kind.show(one, related))
  return ok(pageOf(views, call.url, call.query('$skipToken')))
}

/** Its routes: list in the subscription and in a group, show, put, tags, delete. */
export function routesOf<R>(kind: NetworkKind<R>): ArmRoute[] {
  return routesOfType(kind.type, {
    list: (call) => list(kind, call),
    get: (call) => shown(kind, call),
    put: (call) => put(kind, call),
    patch: (call) => patch(kind, call),
    remove,
  })
}

/** What every view begins with. */
export function viewOf(
  record: ResourceRecord,
  properties: Readonly<Record<string, unknown>>,
  more: Readonly<Record<string, unknown>> = {},
): ResourceView {
  const { id, name, type, location, tags, etag, state } = record
  return {
    id,
    name,
    type,
    etag,
    ...(location !== undefined && { location, tags }),
    ...more,
    properties: { ...properties, provisioningState: state },
  }
}
