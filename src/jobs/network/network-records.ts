/** Networks, subnets, cards, public addresses and security groups as their records tell of them, read into plain values. */
import { type Catalog, type CatalogTransaction, findResource, listResources, type ResourceRecord } from '#catalog'
import { type HostForward, parseIpv4, parsePrefix, type Prefix, readPeer, readPorts, type SecurityRule } from '#domain'
import { propertiesOf } from '../compute/disk-records.ts'

export const NETWORK_TYPE = 'Microsoft.Network/virtualNetworks'
export const SUBNET_TYPE = 'Microsoft.Network/virtualNetworks/subnets'
export const CARD_TYPE = 'Microsoft.Network/networkInterfaces'
export const PUBLIC_ADDRESS_TYPE = 'Microsoft.Network/publicIPAddresses'
export const SECURITY_GROUP_TYPE = 'Microsoft.Network/networkSecurityGroups'

type Reader = Catalog | CatalogTransaction
type Properties = Readonly<Record<string, unknown>>

export type NetworkBacking = Readonly<{
  /** UUID of what is on the host. */
  network: string
  /** The number that the next subnet's bridge gets. */
  nextSubnet: number
}>
export type SubnetBacking = Readonly<{ number: number }>
export type CardBacking = Readonly<{
  /** Its interface in the network. */
  tap: string
  /** Whether a machine runs, or is about to, that has it. */
  isPlugged?: boolean
  hostName?: string
  /** `region/name` of the host on which it is, or was last; absent: the server's own. */
  host?: string
}>
export type PublicAddressBacking = Readonly<{ forwards?: readonly HostForward[] }>

/** What the settings say of networks; put by whoever read the file. */
export type NetworkSettings = Readonly<{
  /** The address of the host that public addresses are: their ports listen there. */
  address: string
  portFirst: number
  portLast: number
  hostLoopback: boolean
}>

export const NETWORK_SETTINGS_KEY = 'networks'
export const NETWORK_SETTINGS_DEFAULT: NetworkSettings = {
  address: '127.0.0.1',
  portFirst: 20_000,
  portLast: 29_999,
  hostLoopback: false,
}

function idIn(value: unknown): string | undefined {
  const id = typeof value === 'object' && value !== null && 'id' in value ? value.id : undefined
  return typeof id === 'string' ? id : undefined
}

function textsIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
}

export function networkBacking(record: ResourceRecord): NetworkBacking {
  return record.backing as unknown as NetworkBacking
}

export function addressSpaceOf(record: ResourceRecord): Prefix[] {
  const { addressSpace } = propertiesOf(record)
  const { addressPrefixes } = (addressSpace ?? {}) as Properties
  return textsIn(addressPrefixes).flatMap((text) => parsePrefix(text) ?? [])
}

export function nameServersOf(record: ResourceRecord): string[] {
  const { dhcpOptions } = propertiesOf(record)
  return textsIn(((dhcpOptions ?? {}) as Properties)['dnsServers'])
}

export type Subnet = Readonly<{
  id: string
  name: string
  network: string
  prefix: Prefix
  number: number
  /** Whether its machines may reach outside. */
  outbound: boolean
  securityGroup: string | undefined
}>

/** Undefined for a record that is none, such as one whose prefix is damaged. */
export function readSubnet(record: ResourceRecord): Subnet | undefined {
  const properties = propertiesOf(record)
  const prefix = parsePrefix(properties['addressPrefix'])
  if (prefix === undefined || record.parentKey === undefined) return undefined
  return {
    id: record.id,
    name: record.name,
    network: record.parentKey,
    prefix,
    number: (record.backing as unknown as SubnetBacking).number,
    outbound: properties['defaultOutboundAccess'] !== false,
    securityGroup: idIn(properties['networkSecurityGroup']),
  }
}

export type Card = Readonly<{
  id: string
  name: string
  mac: string
  tap: string
  address: number
  subnet: string
  securityGroup: string | undefined
  publicAddress: string | undefined
  /** Id of the machine that it belongs to. */
  machine: string | undefined
  /** Id of its one address configuration. */
  configuration: string
  isPlugged: boolean
  hostName: string | undefined
  host: string | undefined
}>

/** Undefined for a card whose making was cut short. */
export function readCard(record: ResourceRecord): Card | undefined {
  const properties = propertiesOf(record)
  const { ipConfigurations, macAddress } = properties
  const [first] = Array.isArray(ipConfigurations) ? (ipConfigurations as Properties[]) : []
  const inside = (first?.['properties'] ?? {}) as Properties
  const address = parseIpv4(inside['privateIPAddress'])
  const subnet = idIn(inside['subnet'])
  if (address === undefined || subnet === undefined || typeof macAddress !== 'string') return undefined
  const { tap, isPlugged = false, hostName, host } = record.backing as unknown as CardBacking
  return {
    id: record.id,
    name: record.name,
    mac: macAddress.replaceAll('-', ':').toLowerCase(),
    tap,
    address,
    subnet: subnet.toLowerCase(),
    securityGroup: idIn(properties['networkSecurityGroup']),
    publicAddress: idIn(inside['publicIPAddress']),
    machine: idIn(properties['virtualMachine']),
    configuration: `${record.id}/ipConfigurations/${String(first?.['name'])}`,
    isPlugged,
    hostName,
    host,
  }
}

export async function listCards(from: Reader): Promise<Card[]> {
  return (await listResources(from, { type: CARD_TYPE })).flatMap((record) => readCard(record) ?? [])
}

export async function listSubnets(from: Reader, network?: string): Promise<Subnet[]> {
  const within = network === undefined ? {} : { parent: network }
  return (await listResources(from, { type: SUBNET_TYPE, ...within })).flatMap((record) => readSubnet(record) ?? [])
}

/** One or many: Azure has a field for either. */
function oneOrMany(properties: Properties, one: string, many: string): string[] {
  const single = properties[one]
  return [...(typeof single === 'string' && single !== '' ? [single] : []), ...textsIn(properties[many])]
}

/** A rule as its record has it; what was checked when it was put is taken as valid here. */
export function readRule(name: string, properties: Properties): SecurityRule {
  const peers = (one: string, many: string) => oneOrMany(properties, one, many).flatMap((text) => readPeer(text) ?? [])
  const ports = (one: string, many: string) => oneOrMany(properties, one, many).flatMap((text) => readPorts(text) ?? [])
  return {
    name,
    priority: Number(properties['priority']),
    direction: properties['direction'] === 'Outbound' ? 'Outbound' : 'Inbound',
    access: properties['access'] === 'Allow' ? 'Allow' : 'Deny',
    protocol: protocolOf(properties['protocol']),
    sources: peers('sourceAddressPrefix', 'sourceAddressPrefixes'),
    destinations: peers('destinationAddressPrefix', 'destinationAddressPrefixes'),
    sourcePorts: ports('sourcePortRange', 'sourcePortRanges'),
    destinationPorts: ports('destinationPortRange', 'destinationPortRanges'),
  }
}

function protocolOf(value: unknown): SecurityRule['protocol'] {
  return (['Tcp', 'Udp', 'Icmp'] as const).find((one) => one === value) ?? '*'
}

export function rulesOf(record: ResourceRecord): SecurityRule[] {
  const { securityRules } = propertiesOf(record)
  const list = Array.isArray(securityRules) ? (securityRules as Properties[]) : []
  return list.map((one) => readRule(String(one['name']), (one['properties'] ?? {}) as Properties))
}

export function forwardsOf(record: ResourceRecord): readonly HostForward[] {
  return (record.backing as PublicAddressBacking).forwards ?? []
}

/** The key of the network that a subnet's id lies in. */
export function networkOfSubnet(subnet: string): string {
  return subnet.toLowerCase().replace(/\/subnets\/[^/]+$/, '')
}

export async function findCard(from: Reader, id: string): Promise<Card | undefined> {
  const record = await findResource(from, id)
  return record === undefined ? undefined : readCard(record)
}
