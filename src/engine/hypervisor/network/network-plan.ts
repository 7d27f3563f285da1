/**
 * What a virtual network is to be on this host, whole: its segments, the ports in them, what leaves and what comes in. A plan
 * is made from records elsewhere, kept beside what was made from it, and made true again whenever something of it is missing.
 *
 * A plan comes over the wire and from disk, and its words end up in commands of the kernel's tools: everything in it is held
 * to small alphabets here, except the ruleset, which is ours (nft reads it as data for one namespace).
 */
import { isIPv4 } from 'node:net'
import { HypervisorError } from '../errors.ts'
import { isObject } from '../qmp/shape.ts'

/** One layer-2 segment: a bridge, whose own address is its machines' gateway, DHCP and DNS server. */
export type PlannedSegment = Readonly<{
  bridge: string
  gateway: string
  prefixBits: number
  /** Whether names outside are resolved for its machines. */
  outbound: boolean
  /**
   * Traffic between its machines goes by the gateway, where the rules are, and not by the bridge. Then only IP between two
   * machines passes, no broadcast: what a rule may deny must not find another way.
   */
  isRouted: boolean
  /** Name servers that its machines are told of; empty: the gateway. */
  nameServers: readonly string[]
}>

/** A network card's place in a segment. */
export type PlannedPort = Readonly<{
  tap: string
  bridge: string
  /** `52:54:00:01:02:03` */
  mac: string
  address: string
  /** The machine's name in the network. */
  hostName?: string
}>

/** A port of the host whose connections go in; where to, the ruleset says. */
export type PlannedForward = Readonly<{ protocol: 'tcp' | 'udp'; hostAddress: string; hostPort: number }>

export type NetworkPlan = Readonly<{
  schema: 1
  /** UUID, for the network's life. */
  id: string
  /** Of two plans of a network the one with the greater revision holds; an older one that comes late changes nothing. */
  revision: number
  segments: readonly PlannedSegment[]
  /** None: nothing of the network is to be there. */
  ports: readonly PlannedPort[]
  forwards: readonly PlannedForward[]
  /** The way out and in; without it the network is sealed. */
  uplink?: Readonly<{
    /** Whether machines reach servers on this host's loopback, at UPLINK.host. */
    hostLoopback: boolean
  }>
  /** For nft: the tables of RULE_TABLES. */
  ruleset: string
}>

/** Addresses between a network and the host's user-mode stack. No virtual network may hold them. */
export const UPLINK = {
  interface: 'up0',
  cidr: '198.18.0.0/24',
  own: '198.18.0.100',
  host: '198.18.0.2',
  nameServer: '198.18.0.3',
} as const

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const BRIDGE = /^br\d{1,5}$/
const TAP = /^hf[0-9a-f]{12}$/
const MAC = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/
const HOST_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const RULESET_CHARS_MAX = 4 * 1024 * 1024

function invalid(what: string, value: unknown): HypervisorError {
  const shown = JSON.stringify(value)?.slice(0, 80) ?? 'nothing'
  return new HypervisorError('network_invalid', `The plan of a network has no valid ${what}: ${shown}.`, {
    facts: { what },
  })
}

function text(value: unknown, what: string, pattern: RegExp): string {
  if (typeof value === 'string' && pattern.test(value)) return value
  throw invalid(what, value)
}

function address(value: unknown, what: string): string {
  if (typeof value === 'string' && isIPv4(value)) return value
  throw invalid(what, value)
}

function whole(value: unknown, what: string, min: number, max: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
  throw invalid(what, value)
}

function listOf<T>(value: unknown, what: string, read: (one: Record<string, unknown>) => T): T[] {
  if (!Array.isArray(value) || !value.every(isObject)) throw invalid(what, value)
  return value.map(read)
}

function readSegment(given: Record<string, unknown>): PlannedSegment {
  const { nameServers } = given
  if (!Array.isArray(nameServers)) throw invalid('list of name servers', nameServers)
  return {
    bridge: text(given['bridge'], 'bridge', BRIDGE),
    gateway: address(given['gateway'], 'gateway'),
    prefixBits: whole(given['prefixBits'], 'length of a prefix', 1, 30),
    outbound: given['outbound'] === true,
    isRouted: given['isRouted'] === true,
    nameServers: nameServers.map((one) => address(one, 'name server')),
  }
}

function readPort(given: Record<string, unknown>): PlannedPort {
  const { hostName } = given
  return {
    tap: text(given['tap'], 'tap', TAP),
    bridge: text(given['bridge'], 'bridge', BRIDGE),
    mac: text(given['mac'], 'MAC', MAC),
    address: address(given['address'], 'address'),
    ...(hostName !== undefined && { hostName: text(hostName, 'host name', HOST_NAME) }),
  }
}

function readForward(given: Record<string, unknown>): PlannedForward {
  const { protocol } = given
  if (protocol !== 'tcp' && protocol !== 'udp') throw invalid('protocol', protocol)
  return {
    protocol,
    hostAddress: address(given['hostAddress'], 'address of the host'),
    hostPort: whole(given['hostPort'], 'port of the host', 1, 65_535),
  }
}

/** Whether a text can be the id of a network: it becomes a folder and part of a process's environment. */
export function isNetworkId(id: string): boolean {
  return UUID.test(id)
}

/** Whether a text can be the name of a port's interface. */
export function isTapName(name: string): boolean {
  return TAP.test(name)
}

/** @throws HypervisorError `network_invalid` */
export function readNetworkPlan(given: unknown): NetworkPlan {
  if (!isObject(given) || given['schema'] !== 1) throw invalid('schema', isObject(given) ? given['schema'] : given)
  const { uplink, ruleset } = given
  if (typeof ruleset !== 'string' || ruleset.length > RULESET_CHARS_MAX) throw invalid('ruleset', typeof ruleset)
  const plan: NetworkPlan = {
    schema: 1,
    id: text(given['id'], 'id', UUID),
    revision: whole(given['revision'], 'revision', 0, Number.MAX_SAFE_INTEGER),
    segments: listOf(given['segments'], 'segments', readSegment),
    ports: listOf(given['ports'], 'ports', readPort),
    forwards: listOf(given['forwards'], 'forwards', readForward),
    ruleset,
    ...(isObject(uplink) && { uplink: { hostLoopback: uplink['hostLoopback'] === true } }),
  }
  const bridges = new Set(plan.segments.map(({ bridge }) => bridge))
  for (const { bridge, tap } of plan.ports)
    if (!bridges.has(bridge)) throw invalid(`segment of the port ${tap}`, bridge)
  return plan
}
