/**
 * Rules of network security groups and what they decide. Source: Azure "How network security groups filter network traffic":
 * rules of a direction in the order of their priorities, 100 to 4096 first, then the six default ones; the first that matches
 * decides. Connections are judged by their first packet; answers to it pass (the ruleset sees to that).
 *
 * `VirtualNetwork` is the network's own address space, when the packet comes from inside; `Internet` is whatever comes from
 * or goes outside. `AzureLoadBalancer` exists so that Azure's default rules can be shown; nothing here has its address.
 */
import { formatPrefix, holdsAddress, type Ipv4, parseIpv4, parsePrefix, type Prefix } from './ipv4.ts'

export type Direction = 'Inbound' | 'Outbound'
export type Access = 'Allow' | 'Deny'
export const RULE_PROTOCOLS = ['*', 'Tcp', 'Udp', 'Icmp'] as const
export type RuleProtocol = (typeof RULE_PROTOCOLS)[number]
export const SERVICE_TAGS = ['VirtualNetwork', 'Internet', 'AzureLoadBalancer'] as const
export type ServiceTag = (typeof SERVICE_TAGS)[number]

/** Who: everybody, a tag, or prefixes. */
export type Peer = Readonly<{ kind: 'any' } | { kind: 'tag'; tag: ServiceTag } | { kind: 'prefix'; prefix: Prefix }>
/** Inclusive. */
export type PortRange = Readonly<{ from: number; to: number }>

export type SecurityRule = Readonly<{
  name: string
  priority: number
  direction: Direction
  access: Access
  protocol: RuleProtocol
  /** One of each list must match. */
  sources: readonly Peer[]
  destinations: readonly Peer[]
  sourcePorts: readonly PortRange[]
  destinationPorts: readonly PortRange[]
}>

export const PRIORITY_MIN = 100
export const PRIORITY_MAX = 4096
const PORT_MAX = 65_535
export const ALL_PORTS: PortRange = { from: 0, to: PORT_MAX }
const ANY: Peer = { kind: 'any' }

function standard(
  name: string,
  priority: number,
  direction: Direction,
  access: Access,
  source: Peer,
  destination: Peer,
): SecurityRule {
  const ends = { sources: [source], destinations: [destination] }
  return {
    name,
    priority,
    direction,
    access,
    protocol: '*',
    ...ends,
    sourcePorts: [ALL_PORTS],
    destinationPorts: [ALL_PORTS],
  }
}

function tag(name: ServiceTag): Peer {
  return { kind: 'tag', tag: name }
}

/** The rules that every group ends with. */
export const DEFAULT_RULES: readonly SecurityRule[] = [
  standard('AllowVnetInBound', 65_000, 'Inbound', 'Allow', tag('VirtualNetwork'), tag('VirtualNetwork')),
  standard('AllowAzureLoadBalancerInBound', 65_001, 'Inbound', 'Allow', tag('AzureLoadBalancer'), ANY),
  standard('DenyAllInBound', 65_500, 'Inbound', 'Deny', ANY, ANY),
  standard('AllowVnetOutBound', 65_000, 'Outbound', 'Allow', tag('VirtualNetwork'), tag('VirtualNetwork')),
  standard('AllowInternetOutBound', 65_001, 'Outbound', 'Allow', ANY, tag('Internet')),
  standard('DenyAllOutBound', 65_500, 'Outbound', 'Deny', ANY, ANY),
]

/** `*`, a tag, an address or a prefix; undefined for what is none, or a tag that means nothing here. */
export function readPeer(text: string): Peer | undefined {
  if (text === '*' || text.toLowerCase() === 'any' || text === '0.0.0.0/0') return ANY
  const known = SERVICE_TAGS.find((one) => one.toLowerCase() === text.toLowerCase())
  if (known !== undefined) return { kind: 'tag', tag: known }
  const address = parseIpv4(text)
  const prefix = address === undefined ? parsePrefix(text) : { base: address, bits: 32 }
  return prefix === undefined ? undefined : { kind: 'prefix', prefix }
}

/** `*`, `22`, `8000-8080`. */
export function readPorts(text: string): PortRange | undefined {
  if (text === '*') return ALL_PORTS
  const [, first, last] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? []
  if (first === undefined) return undefined
  const range = { from: Number(first), to: Number(last ?? first) }
  return range.from <= range.to && range.to <= PORT_MAX ? range : undefined
}

/** The rules of a direction in the order in which they are tried. */
export function inOrder(rules: readonly SecurityRule[], direction: Direction): SecurityRule[] {
  return [...rules, ...DEFAULT_RULES]
    .filter((rule) => rule.direction === direction)
    .toSorted((a, b) => a.priority - b.priority)
}

/** The first packet of a connection. `side`: where it comes from (inbound) or goes to (outbound). */
export type Packet = Readonly<{
  protocol: 'tcp' | 'udp' | 'icmp'
  source: Ipv4
  destination: Ipv4
  sourcePort: number
  destinationPort: number
  /** Whether it came from the host's side, or leaves to it: then it is of the Internet, whatever its addresses. */
  isFromOutside: boolean
  isToOutside: boolean
}>

function peerMatches(peer: Peer, address: Ipv4, isOutside: boolean, space: readonly Prefix[]): boolean {
  if (peer.kind === 'any') return true
  if (peer.kind === 'prefix') return holdsAddress(peer.prefix, address)
  if (peer.tag === 'AzureLoadBalancer') return false
  if (peer.tag === 'Internet') return isOutside
  return !isOutside && space.some((prefix) => holdsAddress(prefix, address))
}

function portMatches(ranges: readonly PortRange[], port: number): boolean {
  return ranges.some(({ from, to }) => port >= from && port <= to)
}

export function isAllPorts(ranges: readonly PortRange[]): boolean {
  return ranges.some(({ from, to }) => from <= 1 && to === PORT_MAX)
}

/** Whether the rule speaks of the packet: one that names ports speaks of nothing without ports. `space` is the network's. */
export function ruleMatches(rule: SecurityRule, packet: Packet, space: readonly Prefix[]): boolean {
  const isProtocol = rule.protocol === '*' || rule.protocol.toLowerCase() === packet.protocol
  const hasPorts = packet.protocol !== 'icmp'
  return (
    isProtocol &&
    rule.sources.some((peer) => peerMatches(peer, packet.source, packet.isFromOutside, space)) &&
    rule.destinations.some((peer) => peerMatches(peer, packet.destination, packet.isToOutside, space)) &&
    (hasPorts
      ? portMatches(rule.sourcePorts, packet.sourcePort) && portMatches(rule.destinationPorts, packet.destinationPort)
      : isAllPorts(rule.sourcePorts) && isAllPorts(rule.destinationPorts))
  )
}

/** The rule that decides. Every group ends with one that matches everything. */
export function decidingRule(
  rules: readonly SecurityRule[],
  direction: Direction,
  packet: Packet,
  space: readonly Prefix[],
): SecurityRule {
  const found = inOrder(rules, direction).find((rule) => ruleMatches(rule, packet, space))
  return found ?? standard('DenyAll', 65_500, direction, 'Deny', ANY, ANY)
}

/**
 * Whether a rule may deny what passes between two machines of one network: such a group needs that traffic to come by where
 * the rules are. A rule that can only speak of the Internet does not.
 */
export function mayDenyInside(rules: readonly SecurityRule[]): boolean {
  const onlyOutside = (peers: readonly Peer[]): boolean =>
    peers.every((peer) => peer.kind === 'tag' && peer.tag !== 'VirtualNetwork')
  return rules.some(({ access, direction, sources, destinations }) => {
    if (access === 'Allow') return false
    return !onlyOutside(direction === 'Inbound' ? sources : destinations)
  })
}

export function formatPeer(peer: Peer): string {
  if (peer.kind === 'any') return '*'
  return peer.kind === 'tag' ? peer.tag : formatPrefix(peer.prefix)
}
