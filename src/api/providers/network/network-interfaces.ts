/**
 * Network cards. A card has its MAC and its address for life: both are chosen when it is made, and no other card of the server
 * (the MAC) or of its subnet (the address) has the same.
 */
import { type Random, randomUuid } from '#base'
import { type CatalogTransaction, findResource, type ResourceRecord } from '#catalog'
import { ArmError } from '#contract'
import { formatIpv4, type Ipv4, isNetworkRefusal, nextAddress, parseIpv4, staticAddressFault } from '#domain'
import {
  type Card,
  CARD_TYPE,
  type CardBacking,
  freeForwards,
  listCards,
  networkOfSubnet,
  propertiesOf,
  PUBLIC_ADDRESS_TYPE,
  readCard,
  readSubnet,
  SECURITY_GROUP_TYPE,
  type Subnet,
  SUBNET_TYPE,
} from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, fieldAt, storedFields } from '../../arm/field-table.ts'
import type { ResourceView } from '../../arm/resource-view.ts'
import { findOr404 } from '../compute/disk-view.ts'
import {
  checkNetworkName,
  type Content,
  type ContentRequest,
  type NetworkKind,
  routesOf,
  viewOf,
} from './network-kind.ts'
import { linked, refuse } from './network-links.ts'
import { CONFIGURATION_FIELDS, INTERFACE_FIELDS } from './network-interface-fields.ts'

const P = 'properties.'
const CONFIGURATIONS = `${P}ipConfigurations`

function readConfiguration(body: unknown): Readonly<Record<string, unknown>> {
  const given = fieldAt(body, CONFIGURATIONS)
  const [only, ...more] = Array.isArray(given) ? (given as Readonly<Record<string, unknown>>[]) : []
  if (only === undefined)
    throw new ArmError('InvalidRequestContent', 'A network interface needs an IP configuration.', {
      target: CONFIGURATIONS,
    })
  if (more.length > 0)
    throw new ArmError('UnsupportedField', 'A network interface has one IP configuration here.', {
      target: CONFIGURATIONS,
    })
  checkFields(CONFIGURATION_FIELDS, only)
  return only
}

async function readSubnetLink(
  call: ArmCall,
  trx: CatalogTransaction,
  configuration: unknown,
  location: string,
): Promise<Subnet> {
  const target = `${CONFIGURATIONS}.subnet`
  const given = fieldAt(configuration, `${P}subnet`)
  const record = await linked(call, trx, { given, type: SUBNET_TYPE, target, location })
  const subnet = record === undefined ? undefined : readSubnet(record)
  if (subnet !== undefined) return subnet
  throw new ArmError('InvalidRequestContent', 'An IP configuration needs a subnet.', { target })
}

type Addressing = Readonly<{ address: Ipv4; method: 'Dynamic' | 'Static' }>

/** The address that the card is to have. One that it has stays unless another is asked for. */
function chooseAddress(
  configuration: unknown,
  subnet: Subnet,
  others: readonly Card[],
  before: Card | undefined,
): Addressing {
  const target = `${CONFIGURATIONS}.privateIPAddress`
  const taken = new Set(others.filter(({ subnet: id }) => id === subnet.id.toLowerCase()).map(({ address }) => address))
  const isStatic = String(fieldAt(configuration, `${P}privateIPAllocationMethod`)).toLowerCase() === 'static'
  const given = fieldAt(configuration, `${P}privateIPAddress`)
  const present = before?.subnet === subnet.id.toLowerCase() ? before.address : undefined
  if (isStatic && given !== undefined) {
    const address = parseIpv4(given)
    if (address === undefined)
      throw new ArmError('InvalidParameter', `${JSON.stringify(given)} is no IPv4 address.`, { target })
    const fault = staticAddressFault(subnet.prefix, taken, address)
    if (fault !== undefined) throw refuse(fault, target)
    return { address, method: 'Static' }
  }
  const address = present ?? nextAddress(subnet.prefix, taken)
  if (isNetworkRefusal(address)) throw refuse(address, `${CONFIGURATIONS}.subnet`)
  return { address, method: isStatic ? 'Static' : 'Dynamic' }
}

/** @throws ArmError `PublicIPAddressInUse` */
async function readPublicAddress(
  call: ArmCall,
  trx: CatalogTransaction,
  configuration: unknown,
  others: readonly Card[],
  location: string,
): Promise<ResourceRecord | undefined> {
  const target = `${CONFIGURATIONS}.publicIPAddress`
  const given = fieldAt(configuration, `${P}publicIPAddress`)
  const record = await linked(call, trx, { given, type: PUBLIC_ADDRESS_TYPE, target, location })
  const user = others.find(({ publicAddress }) => publicAddress?.toLowerCase() === record?.key)
  if (record === undefined || user === undefined) return record
  const message = `Resource ${call.id} is referencing public IP address ${record.id} that is already allocated to resource ${user.configuration}.`
  throw new ArmError('PublicIPAddressInUse', message, { target })
}

/** A card in use may be told to have other rules or another public address, not to be elsewhere. */
function checkMove(before: Card | undefined, subnet: Subnet, address: Ipv4): void {
  if (before === undefined) return
  const id = subnet.id.toLowerCase()
  if (before.isPlugged && (before.subnet !== id || before.address !== address))
    throw new ArmError(
      'OperationNotAllowed',
      `The machine of '${before.name}' is running; deallocate it before the card gets another address.`,
    )
  if (before.machine !== undefined && networkOfSubnet(before.subnet) !== networkOfSubnet(id))
    throw new ArmError('OperationNotAllowed', `'${before.name}' belongs to a machine and stays in its virtual network.`)
}

/** `52-54-00-…`, as Azure writes them; QEMU's own prefix. */
function newMac(random: Random, others: readonly Card[]): string {
  for (;;) {
    const tail = Array.from(random.bytes(3), (byte) => byte.toString(16).padStart(2, '0'))
    const mac = ['52', '54', '00', ...tail].join('-').toUpperCase()
    if (!others.some((card) => card.mac === mac.replaceAll('-', ':').toLowerCase())) return mac
  }
}

function newBacking(random: Random): CardBacking {
  return { tap: `hf${randomUuid(random).replaceAll('-', '').slice(0, 12)}`, isPlugged: false }
}

async function content(call: ArmCall, trx: CatalogTransaction, request: ContentRequest): Promise<Content> {
  const { body, existing, location } = request
  const configuration = readConfiguration(body)
  const before = existing === undefined ? undefined : readCard(existing)
  const others = (await listCards(trx)).filter(({ id }) => id.toLowerCase() !== request.id.toLowerCase())
  const subnet = await readSubnetLink(call, trx, configuration, location)
  const { address, method } = chooseAddress(configuration, subnet, others, before)
  checkMove(before, subnet, address)
  const publicAddress = await readPublicAddress(call, trx, configuration, others, location)
  const group = { given: fieldAt(body, `${P}networkSecurityGroup`), type: SECURITY_GROUP_TYPE, location }
  const securityGroup = await linked(call, trx, { ...group, target: `${P}networkSecurityGroup` })
  const { name = 'ipconfig1' } = configuration
  checkNetworkName(String(name))
  const { macAddress, virtualMachine } = existing === undefined ? {} : propertiesOf(existing)
  const properties = {
    ...storedFields(INTERFACE_FIELDS, body, P),
    macAddress: macAddress ?? newMac(call.host.random, others),
    ...(virtualMachine !== undefined && { virtualMachine }),
    ...(securityGroup !== undefined && { networkSecurityGroup: { id: securityGroup.id } }),
    ipConfigurations: [
      {
        name,
        properties: {
          privateIPAddress: formatIpv4(address),
          privateIPAllocationMethod: method,
          privateIPAddressVersion: 'IPv4',
          primary: true,
          subnet: { id: subnet.id },
          ...(publicAddress !== undefined && { publicIPAddress: { id: publicAddress.id } }),
        },
      },
    ],
  }
  const after = async (trx: CatalogTransaction): Promise<void> => {
    const gone = before?.publicAddress
    if (gone !== undefined && gone.toLowerCase() !== publicAddress?.key)
      await freeForwards(trx, gone, changeSourceOf(call.host))
  }
  return { body: { properties }, backing: existing?.backing ?? newBacking(call.host.random), after }
}

function show(record: ResourceRecord): ResourceView {
  const properties = propertiesOf(record)
  const list = Array.isArray(properties['ipConfigurations']) ? properties['ipConfigurations'] : []
  const ipConfigurations = (list as Readonly<Record<string, unknown>>[]).map((one) => showConfiguration(record, one))
  return viewOf(record, {
    enableAcceleratedNetworking: false,
    enableIPForwarding: false,
    nicType: 'Standard',
    ...properties,
    ipConfigurations,
    dnsSettings: { dnsServers: [], appliedDnsServers: [], internalDomainNameSuffix: 'internal.holdfast' },
    primary: true,
    tapConfigurations: [],
  })
}

function showConfiguration(record: ResourceRecord, one: Readonly<Record<string, unknown>>) {
  const { name, properties } = one
  return {
    id: `${record.id}/ipConfigurations/${String(name)}`,
    name,
    etag: record.etag,
    type: `${CARD_TYPE}/ipConfigurations`,
    properties: { ...(properties as object), provisioningState: record.state },
  }
}

const kind: NetworkKind<undefined> = {
  type: CARD_TYPE,
  fields: INTERFACE_FIELDS,
  content,
  related: () => Promise.resolve(undefined),
  show,
}

async function configurations(call: ArmCall): Promise<ArmReply> {
  const id = call.id.replace(/\/ipConfigurations(\/[^/]+)?$/, '')
  const record = await findResource(call.host.catalog, id)
  const view = record === undefined ? undefined : show(record)
  const list = view?.['properties'] as Readonly<{ ipConfigurations: readonly Readonly<{ name: string }>[] }> | undefined
  const wanted = call.params['configuration']?.toLowerCase()
  if (list === undefined) return ok((await findOr404(call)).body) // answers 404 in Azure's words
  if (wanted === undefined) return ok({ value: list.ipConfigurations })
  const one = list.ipConfigurations.find(({ name }) => name.toLowerCase() === wanted)
  if (one !== undefined) return ok(one)
  throw new ArmError('ResourceNotFound', `The IP configuration '${call.param('configuration')}' was not found.`)
}

const INSIDE = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${CARD_TYPE}/{name}/ipConfigurations`
export const networkInterfaceRoutes: readonly ArmRoute[] = [
  ...routesOf(kind),
  { method: 'GET', path: INSIDE, action: `${CARD_TYPE}/read`, handle: configurations },
  { method: 'GET', path: `${INSIDE}/{configuration}`, action: `${CARD_TYPE}/read`, handle: configurations },
]
