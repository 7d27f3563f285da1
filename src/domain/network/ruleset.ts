/**
 * The rules of a virtual network as nftables takes them (nft(8)): what machines may send, who may speak with whom, what comes
 * in and what leaves. Pure: the same network gives the same text.
 *
 *   bridge   a card speaks with its own MAC and address only, IPv4 and ARP only, and is no DHCP server
 *   forward  between segments, in routed segments, out and in: established connections pass; a new one needs the groups of
 *            the sender (outbound) and of the receiver (inbound); the way out is for segments that have one
 *   input    machines reach their own gateway for DHCP, DNS and ping, nothing else
 *
 * Never reached by the uplink, whatever a group says: the host's own addresses (set `host`, filled by whoever applies this),
 * link-local addresses (there a cloud keeps its secrets), and the network's own space.
 */
import { formatIpv4, formatPrefix, holdsPrefix, type Ipv4, type Prefix } from './ipv4.ts'
import {
  type Direction,
  inOrder,
  isAllPorts,
  type Peer,
  type PortRange,
  type RuleProtocol,
  type SecurityRule,
} from './security-rules.ts'
import { gatewayOf } from './address-space.ts'
import type { GuestPort } from './forwards.ts'

export type RulesetCard = Readonly<{
  tap: string
  mac: string
  address: Ipv4
  /** Keys of `groups`: a connection must pass each. */
  groups: readonly string[]
}>

export type RulesetForward = GuestPort & Readonly<{ hostPort: number; address: Ipv4 }>

export type RulesetInput = Readonly<{
  space: readonly Prefix[]
  segments: readonly Readonly<{ bridge: string; prefix: Prefix; outbound: boolean }>[]
  cards: readonly RulesetCard[]
  groups: ReadonlyMap<string, readonly SecurityRule[]>
  forwards: readonly RulesetForward[]
  uplink: Readonly<{
    interface: string
    /** The host, as the uplink shows it. */
    host: Ipv4
    /** Whether servers on the host's loopback may be reached there. */
    hostLoopback: boolean
  }>
}>

function block(head: string, lines: readonly string[]): string {
  return [`${head} {`, ...lines.flatMap((line) => line.split('\n')).map((line) => `  ${line}`), '}'].join('\n')
}

function elements(list: readonly string[]): string[] {
  return list.length === 0 ? [] : [`elements = { ${list.join(', ')} }`]
}

function portsClause(word: 'sport' | 'dport', ranges: readonly PortRange[]): string[] {
  if (isAllPorts(ranges)) return []
  const texts = withoutOverlap(ranges).map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`))
  return [`th ${word} { ${texts.join(', ')} }`]
}

/** Clauses of which one must hold; an empty one always does. */
function peerClauses(peers: readonly Peer[], side: 'source' | 'destination', uplink: string): string[] {
  if (peers.some(({ kind }) => kind === 'any')) return ['']
  const [word, face] = side === 'source' ? ['saddr', 'iifname'] : ['daddr', 'oifname']
  const prefixes = peers.flatMap((peer) => (peer.kind === 'prefix' ? [peer.prefix] : []))
  const tags = new Set(peers.flatMap((peer) => (peer.kind === 'tag' ? [peer.tag] : [])))
  return [
    ...(prefixes.length === 0 ? [] : [`ip ${word} { ${withoutInner(prefixes).map(formatPrefix).join(', ')} }`]),
    ...(tags.has('VirtualNetwork') ? [`${face} != "${uplink}" ip ${word} @space`] : []),
    ...(tags.has('Internet') ? [`${face} "${uplink}"`] : []),
  ]
}

/** A set takes no interval that lies in another. */
function withoutInner(prefixes: readonly Prefix[]): Prefix[] {
  const wideFirst = prefixes.toSorted((a, b) => a.bits - b.bits || a.base - b.base)
  return wideFirst.filter((one, index) => !wideFirst.slice(0, index).some((other) => holdsPrefix(other, one)))
}

function withoutOverlap(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = []
  for (const range of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = merged.at(-1)
    if (last === undefined || range.from > last.to + 1) merged.push(range)
    else merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, range.to) }
  }
  return merged
}

function protocolClause(protocol: RuleProtocol, hasPorts: boolean): string[] {
  if (protocol === '*') return hasPorts ? ['meta l4proto { tcp, udp }'] : []
  return [`meta l4proto ${protocol.toLowerCase()}`]
}

/** One rule as lines of nft; a rule that can match nothing gives none. Allowed goes on to the next group. */
export function ruleLines(rule: SecurityRule, uplink: string): string[] {
  const ports = [...portsClause('sport', rule.sourcePorts), ...portsClause('dport', rule.destinationPorts)]
  if (rule.protocol === 'Icmp' && ports.length > 0) return []
  const verdict = rule.access === 'Allow' ? 'return' : 'drop'
  const protocol = protocolClause(rule.protocol, ports.length > 0)
  return peerClauses(rule.sources, 'source', uplink).flatMap((source) =>
    peerClauses(rule.destinations, 'destination', uplink).map((destination) =>
      [source, destination, ...protocol, ...ports, verdict].filter((part) => part !== '').join(' '),
    ),
  )
}

const WORDS = { Inbound: 'in', Outbound: 'out' } as const

/** Chains of the groups and of their combinations, and the maps that lead each card's packets there. */
class GroupChains {
  readonly #input: RulesetInput
  readonly #numbers: ReadonlyMap<string, number>

  constructor(input: RulesetInput) {
    this.#input = input
    this.#numbers = new Map([...input.groups.keys()].map((key, index) => [key, index]))
  }

  #combination(card: RulesetCard): string | undefined {
    const numbers = card.groups.flatMap((key) => this.#numbers.get(key) ?? [])
    return numbers.length === 0 ? undefined : numbers.join('_')
  }

  lines(direction: Direction): string[] {
    const { groups, cards, uplink } = this.#input
    const word = WORDS[direction]
    const chains = [...groups.values()].map((rules, index) =>
      block(
        `chain group_${index}_${word}`,
        inOrder(rules, direction).flatMap((rule) => ruleLines(rule, uplink.interface)),
      ),
    )
    const combinations = new Set(cards.flatMap((card) => this.#combination(card) ?? []))
    const joined = [...combinations].map((name) =>
      block(
        `chain groups_${name}_${word}`,
        name.split('_').map((number) => `jump group_${number}_${word}`),
      ),
    )
    const leads = cards.flatMap((card) => {
      const name = this.#combination(card)
      return name === undefined ? [] : [`${formatIpv4(card.address)} : jump groups_${name}_${word}`]
    })
    return [...chains, ...joined, block(`map cards_${word}`, ['type ipv4_addr : verdict', ...elements(leads)])]
  }
}

function forwardChain({ interface: up, host, hostLoopback }: RulesetInput['uplink']): string {
  return block('chain forward', [
    'type filter hook forward priority filter; policy drop',
    'ct state established,related accept',
    'ct state invalid drop',
    `oifname "${up}" ip daddr { 127.0.0.0/8, 169.254.0.0/16, 168.63.129.16 } drop`,
    `oifname "${up}" ip daddr @space drop`,
    `oifname "${up}" ip daddr @host drop`,
    ...(hostLoopback ? [] : [`oifname "${up}" ip daddr ${formatIpv4(host)} drop`]),
    `iifname != "${up}" ip saddr vmap @cards_out`,
    `oifname != "${up}" ip daddr vmap @cards_in`,
    `iifname "${up}" oifname != "${up}" ct status dnat accept`,
    `iifname != "${up}" oifname "${up}" ip saddr @outbound accept`,
    `iifname != "${up}" oifname != "${up}" accept`,
  ])
}

function inputChain(segments: RulesetInput['segments']): string {
  return block('chain input', [
    'type filter hook input priority filter; policy drop',
    'ct state established,related accept',
    'iifname "lo" accept',
    ...segments.flatMap(({ bridge, prefix }) => {
      const gateway = formatIpv4(gatewayOf(prefix))
      return [
        `iifname "${bridge}" udp dport 67 accept`,
        `iifname "${bridge}" ip daddr ${gateway} meta l4proto { tcp, udp } th dport 53 accept`,
        `iifname "${bridge}" ip daddr ${gateway} icmp type echo-request accept`,
      ]
    }),
  ])
}

/**
 * A client outside whose real address is one of the network's own would be answered inside: such connections are marked and
 * come in under the gateway's address.
 */
function natChains({ forwards, uplink }: RulesetInput): string[] {
  const up = uplink.interface
  return [
    block('chain overlapping', [
      'type filter hook prerouting priority mangle',
      `iifname "${up}" ip saddr @space ct mark set 1`,
    ]),
    block('chain prerouting', [
      'type nat hook prerouting priority dstnat',
      ...forwards.map(
        ({ protocol, hostPort, address, port }) =>
          `iifname "${up}" ${protocol} dport ${hostPort} dnat to ${formatIpv4(address)}:${port}`,
      ),
    ]),
    block('chain postrouting', [
      'type nat hook postrouting priority srcnat',
      `oifname "${up}" masquerade`,
      `oifname != "${up}" ct mark 1 masquerade`,
    ]),
  ]
}

function bridgeTable(cards: readonly RulesetCard[]): string {
  return block('table bridge holdfast', [
    block('set macs', ['type ifname . ether_addr', ...elements(cards.map(({ tap, mac }) => `"${tap}" . ${mac}`))]),
    block('set addresses', [
      'type ifname . ipv4_addr',
      ...elements(cards.map(({ tap, address }) => `"${tap}" . ${formatIpv4(address)}`)),
    ]),
    block('chain prerouting', [
      'type filter hook prerouting priority 0; policy drop',
      'iifname . ether saddr != @macs drop',
      // A card that asks whether its address is free (RFC 5227) has none yet.
      'ether type arp arp saddr ip 0.0.0.0 accept',
      'ether type arp iifname . arp saddr ip @addresses accept',
      'ether type ip udp sport 67 drop',
      'ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept',
      'ether type ip iifname . ip saddr @addresses accept',
    ]),
  ])
}

/** The whole ruleset: two tables. */
export function makeRuleset(input: RulesetInput): string {
  const { space, segments, cards, uplink } = input
  const groups = new GroupChains(input)
  const open = segments.filter(({ outbound }) => outbound).map(({ prefix }) => formatPrefix(prefix))
  return [
    block('table ip holdfast', [
      block('set host', ['type ipv4_addr']),
      block('set space', ['type ipv4_addr', 'flags interval', ...elements(space.map(formatPrefix))]),
      block('set outbound', ['type ipv4_addr', 'flags interval', ...elements(open)]),
      ...groups.lines('Inbound'),
      ...groups.lines('Outbound'),
      forwardChain(uplink),
      inputChain(segments),
      ...natChains(input),
    ]),
    bridgeTable(cards),
  ].join('\n')
}
