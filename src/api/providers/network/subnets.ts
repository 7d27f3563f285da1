/** Subnets: children of a virtual network, put by themselves or inside of it. Each is a segment of its own on the host. */
import {
  type CatalogTransaction,
  deleteResource,
  findResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, pageOf } from '#contract'
import { isNetworkRefusal, type Prefix, readPrefix, subnetFault, formatPrefix } from '#domain'
import {
  addressSpaceOf,
  type Card,
  listCards,
  NETWORK_TYPE,
  type NetworkBacking,
  networkBacking,
  propertiesOf,
  readSubnet,
  SECURITY_GROUP_TYPE,
  SUBNET_TYPE,
  whyInUse,
} from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, fieldAt, storedFields } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import type { ResourceView } from '../../arm/resource-view.ts'
import { findOr404, notFound } from '../compute/disk-view.ts'
import { changeNetworks, checkNetworkName, putRecord, viewOf } from './network-kind.ts'
import { linked, refuse } from './network-links.ts'
import { SUBNET_FIELDS } from './virtual-network-fields.ts'

const P = 'properties.'

/** A subnet as a body wants it. */
export type WantedSubnet = Readonly<{ name: string; prefix: Prefix; body: unknown }>

/** @throws ArmError */
export function readWantedSubnet(name: unknown, body: unknown): WantedSubnet {
  checkFields(SUBNET_FIELDS, body)
  if (typeof name !== 'string')
    throw new ArmError('InvalidRequestContent', 'A subnet has no name.', { target: 'subnets' })
  checkNetworkName(name)
  const many = fieldAt(body, `${P}addressPrefixes`)
  const [first, ...more] =
    Array.isArray(many) && many.length > 0 ? (many as unknown[]) : [fieldAt(body, `${P}addressPrefix`)]
  if (more.length > 0)
    throw new ArmError('UnsupportedField', `Subnet '${name}' has more than one address prefix; it may have one.`, {
      target: `${P}addressPrefixes`,
    })
  const prefix = readPrefix(first)
  if (isNetworkRefusal(prefix)) throw refuse(prefix, `${P}addressPrefix`)
  return { name, prefix, body }
}

/** @throws ArmError `InUsePrefixCannotBeDeleted` when cards have addresses of a prefix that is to change */
async function checkPrefixUnused(trx: CatalogTransaction, existing: ResourceRecord, prefix: Prefix): Promise<void> {
  const before = readSubnet(existing)?.prefix
  if (before !== undefined && formatPrefix(before) === formatPrefix(prefix)) return
  const card = (await listCards(trx)).find(({ subnet }) => subnet === existing.key)
  if (card === undefined) return
  const message = `The address prefix of subnet '${existing.name}' is in use by ${card.configuration} and cannot be changed.`
  throw new ArmError('InUsePrefixCannotBeDeleted', message, { target: `${P}addressPrefix` })
}

/** Writes one subnet of a network whose record stands. Its bridge's number is its own for life. */
export async function writeSubnet(
  call: ArmCall,
  trx: CatalogTransaction,
  network: ResourceRecord,
  wanted: WantedSubnet,
  state: string,
): Promise<void> {
  const id = `${network.id}/subnets/${wanted.name}`
  const existing = await findResource(trx, id)
  if (existing !== undefined) await checkPrefixUnused(trx, existing, wanted.prefix)
  const securityGroup = await linked(call, trx, {
    given: fieldAt(wanted.body, `${P}networkSecurityGroup`),
    type: SECURITY_GROUP_TYPE,
    target: `${P}networkSecurityGroup`,
    location: network.location ?? '',
  })
  const properties = {
    ...storedFields(SUBNET_FIELDS, wanted.body, P),
    addressPrefix: formatPrefix(wanted.prefix),
    ...(securityGroup !== undefined && { networkSecurityGroup: { id: securityGroup.id } }),
    defaultOutboundAccess: fieldAt(wanted.body, `${P}defaultOutboundAccess`) !== false,
  }
  const backing = existing?.backing ?? (await nextNumber(call, trx, network.id))
  const record = { id, type: SUBNET_TYPE, name: existing?.name ?? wanted.name, location: undefined, tags: {}, state }
  await putRecord(call, trx, { ...record, parentId: network.id, body: { properties }, backing })
}

async function nextNumber(call: ArmCall, trx: CatalogTransaction, networkId: string) {
  const network = await findResource(trx, networkId)
  if (network === undefined) throw notFound(call)
  const backing: NetworkBacking = networkBacking(network)
  const next = { ...backing, nextSubnet: backing.nextSubnet + 1 }
  await updateResource(trx, network.id, { backing: next }, changeSourceOf(call.host))
  return { number: backing.nextSubnet }
}

/** @throws ArmError `InUseSubnetCannotBeDeleted` */
export async function removeSubnet(trx: CatalogTransaction, record: ResourceRecord): Promise<void> {
  const use = await whyInUse(trx, record)
  if (use !== undefined) throw new ArmError(use.code, use.message)
  await deleteResource(trx, record.id)
}

export function showSubnet(record: ResourceRecord, cards: readonly Card[]): ResourceView {
  const used = cards.filter(({ subnet }) => subnet === record.key).map(({ configuration }) => ({ id: configuration }))
  return viewOf(record, {
    ...propertiesOf(record),
    ...(used.length > 0 && { ipConfigurations: used }),
    delegations: [],
  })
}

async function networkOr404(call: ArmCall, from: CatalogTransaction | undefined): Promise<ResourceRecord> {
  const id = call.id.replace(/\/subnets(\/[^/]+)?$/, '')
  const record = await findResource(from ?? call.host.catalog, id)
  if (record?.type === NETWORK_TYPE) return record
  throw new ArmError('ResourceNotFound', `The Resource '${NETWORK_TYPE}/${call.param('network')}' was not found.`)
}

/** All subnets of a network but one, with what that one is to be. @throws ArmError */
async function checkFits(trx: CatalogTransaction, network: ResourceRecord, wanted: WantedSubnet): Promise<void> {
  const others = (await listResources(trx, { type: SUBNET_TYPE, parent: network.id }))
    .flatMap((record) => readSubnet(record) ?? [])
    .filter(({ name }) => name.toLowerCase() !== wanted.name.toLowerCase())
  const fault = subnetFault(addressSpaceOf(network), [...others, wanted])
  if (fault !== undefined) throw refuse(fault, `${P}addressPrefix`)
}

async function put(call: ArmCall): Promise<ArmReply> {
  const body = objectBody(call.body)
  const wanted = readWantedSubnet(call.param('name'), body)
  const network = await networkOr404(call, undefined)
  const before = await findResource(call.host.catalog, call.id)
  const done = await changeNetworks(call, {
    id: call.id,
    location: network.location ?? '',
    action: `${SUBNET_TYPE}/write`,
    request: body,
    write: async (trx, state) => {
      const now = await networkOr404(call, trx)
      await checkFits(trx, now, wanted)
      await writeSubnet(call, trx, now, wanted, state)
    },
  })
  return { ...(await show(call)), ...done, status: before === undefined ? 201 : 200 }
}

async function show(call: ArmCall): Promise<ArmReply> {
  return ok(showSubnet(await findOr404(call), await listCards(call.host.catalog)))
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const done = await call.host.catalog.write(async (trx) => {
    const record = await findResource(trx, call.id)
    if (record !== undefined) await removeSubnet(trx, record)
    return record !== undefined
  })
  return done ? { status: 200 } : noContent
}

async function list(call: ArmCall): Promise<ArmReply> {
  const network = await networkOr404(call, undefined)
  const records = await listResources(call.host.catalog, { type: SUBNET_TYPE, parent: network.id })
  const cards = await listCards(call.host.catalog)
  return ok(
    pageOf(
      records.map((one) => showSubnet(one, cards)),
      call.url,
      call.query('$skipToken'),
    ),
  )
}

const PATH = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${NETWORK_TYPE}/{network}/subnets`
const read = `${SUBNET_TYPE}/read`
export const subnetRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: PATH, action: read, handle: list },
  { method: 'GET', path: `${PATH}/{name}`, action: read, handle: show },
  { method: 'PUT', path: `${PATH}/{name}`, action: `${SUBNET_TYPE}/write`, handle: put },
  { method: 'DELETE', path: `${PATH}/{name}`, action: `${SUBNET_TYPE}/delete`, handle: remove },
]
