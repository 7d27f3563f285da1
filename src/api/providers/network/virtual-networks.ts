/** Virtual networks, with their subnets inside. A network is on the host only while a card of it is plugged. */
import { isIP } from 'node:net'
import { must, randomUuid } from '#base'
import { type CatalogTransaction, findResource, listResources, type ResourceRecord } from '#catalog'
import { ArmError } from '#contract'
import { addressSpaceFault, formatPrefix, isNetworkRefusal, type Prefix, readPrefix, subnetFault } from '#domain'
import { type Card, listCards, NETWORK_TYPE, networkBacking, propertiesOf, readSubnet, SUBNET_TYPE } from '#jobs'
import type { ArmCall } from '../../arm/call.ts'
import { fieldAt, storedFields } from '../../arm/field-table.ts'
import { type Content, type ContentRequest, type NetworkKind, routesOf, viewOf } from './network-kind.ts'
import { refuse } from './network-links.ts'
import { readWantedSubnet, removeSubnet, showSubnet, type WantedSubnet, writeSubnet } from './subnets.ts'
import { NETWORK_FIELDS } from './virtual-network-fields.ts'

const P = 'properties.'

function readSpace(body: unknown): Prefix[] {
  const target = `${P}addressSpace.addressPrefixes`
  const given = fieldAt(body, target)
  const space = (Array.isArray(given) ? (given as unknown[]) : []).map((text) => {
    const prefix = readPrefix(text)
    if (isNetworkRefusal(prefix)) throw refuse(prefix, target)
    return prefix
  })
  const fault = addressSpaceFault(space)
  if (fault !== undefined) throw refuse(fault, target)
  return space
}

function readNameServers(body: unknown): string[] {
  const target = `${P}dhcpOptions.dnsServers`
  const given = fieldAt(body, target) ?? []
  if (Array.isArray(given) && given.every((one) => typeof one === 'string' && isIP(one) === 4)) return given
  throw new ArmError('InvalidParameter', 'dnsServers must be a list of IPv4 addresses.', { target })
}

/** The subnets that the body wants; undefined where it speaks of none: then they stay. */
function readSubnets(body: unknown): WantedSubnet[] | undefined {
  const given = fieldAt(body, `${P}subnets`)
  if (given === undefined) return undefined
  if (!Array.isArray(given))
    throw new ArmError('InvalidRequestContent', 'subnets must be a list.', { target: `${P}subnets` })
  const wanted = (given as unknown[]).map((one) => readWantedSubnet(fieldAt(one, 'name'), one))
  const names = wanted.map(({ name }) => name.toLowerCase())
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice === undefined) return wanted
  throw new ArmError('InvalidRequestContent', `Two subnets are called '${twice}'.`, { target: `${P}subnets` })
}

async function content(call: ArmCall, trx: CatalogTransaction, request: ContentRequest): Promise<Content> {
  const { id, body, existing } = request
  const space = readSpace(body)
  const nameServers = readNameServers(body)
  const wanted = readSubnets(body)
  const present = existing === undefined ? [] : await listResources(trx, { type: SUBNET_TYPE, parent: id })
  const fault = subnetFault(space, wanted ?? present.flatMap((record) => readSubnet(record) ?? []))
  if (fault !== undefined) throw refuse(fault, `${P}subnets`)
  const properties = {
    ...storedFields(NETWORK_FIELDS, body, P),
    addressSpace: { addressPrefixes: space.map(formatPrefix) },
    ...(nameServers.length > 0 && { dhcpOptions: { dnsServers: nameServers } }),
  }
  const backing = existing?.backing ?? { network: randomUuid(call.host.random), nextSubnet: 0 }
  if (wanted === undefined) return { body: { properties }, backing }
  const after = async (trx: CatalogTransaction): Promise<void> => {
    const network = must(await findResource(trx, id), 'The network was written in this transaction')
    const gone = present.filter(({ name }) => !wanted.some((one) => one.name.toLowerCase() === name.toLowerCase()))
    for (const one of gone) await removeSubnet(trx, one)
    for (const one of wanted) await writeSubnet(call, trx, network, one, 'Succeeded')
  }
  return { body: { properties }, backing, after }
}

type Related = Readonly<{ subnets: readonly ResourceRecord[]; cards: readonly Card[] }>

const kind: NetworkKind<Related> = {
  type: NETWORK_TYPE,
  fields: NETWORK_FIELDS,
  content,
  related: async ({ host: { catalog } }) => ({
    subnets: await listResources(catalog, { type: SUBNET_TYPE }),
    cards: await listCards(catalog),
  }),
  show: (record, { subnets, cards }) =>
    viewOf(record, {
      ...propertiesOf(record),
      resourceGuid: networkBacking(record).network,
      subnets: subnets.filter(({ parentKey }) => parentKey === record.key).map((one) => showSubnet(one, cards)),
      virtualNetworkPeerings: [],
      enableDdosProtection: false,
    }),
}

export const virtualNetworkRoutes = routesOf(kind)
