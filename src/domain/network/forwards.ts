/**
 * Which ports of the host stand for a public address. A public address here is the host's own, which many share, so each
 * port of a machine that may be reached from outside gets a port of the host.
 *
 * Reachable is what the groups let in from the Internet. Ports that a rule names, one by one or in ranges of up to
 * RANGE_PORTS_MAX, are forwarded; of wider ranges, or where there is no group, the usual ones (USUAL_PORTS). So whoever wants
 * another port reached names it in a rule.
 */
import { decidingRule, inOrder, type PortRange, type SecurityRule } from './security-rules.ts'
import type { Ipv4, Prefix } from './ipv4.ts'

export type PortProtocol = 'tcp' | 'udp'
export type GuestPort = Readonly<{ protocol: PortProtocol; port: number }>
export type HostForward = GuestPort & Readonly<{ hostPort: number }>

export const USUAL_PORTS: readonly number[] = [22, 80, 443, 3389]
const RANGE_PORTS_MAX = 16
/** Of one address. */
const FORWARDS_MAX = 64

function named({ from, to }: PortRange): number[] {
  if (to - from + 1 > RANGE_PORTS_MAX) return USUAL_PORTS.filter((port) => port >= from && port <= to)
  return Array.from({ length: to - from + 1 }, (_, index) => from + index).filter((port) => port > 0)
}

function protocolsOf({ protocol }: SecurityRule): readonly PortProtocol[] {
  if (protocol === 'Tcp') return ['tcp']
  if (protocol === 'Udp') return ['udp']
  return protocol === 'Icmp' ? [] : ['tcp']
}

/**
 * Ports of a card that are forwarded, in order.
 * @param groups of the card and its subnet; a connection must pass all of them. None: `isOpen` decides
 * @param isOpen whether without a group everything is let in (a Basic address) or nothing (a Standard one)
 */
export function forwardedPorts(
  groups: readonly (readonly SecurityRule[])[],
  card: Readonly<{ address: Ipv4; space: readonly Prefix[]; isOpen: boolean }>,
): GuestPort[] {
  if (groups.length === 0) return card.isOpen ? USUAL_PORTS.map((port) => ({ protocol: 'tcp', port })) : []
  const candidates = groups.flatMap((rules) =>
    inOrder(rules, 'Inbound')
      .filter(({ access }) => access === 'Allow')
      .flatMap((rule) =>
        protocolsOf(rule).flatMap((protocol) =>
          rule.destinationPorts.flatMap(named).map((port): GuestPort => ({ protocol, port })),
        ),
      ),
  )
  const reachable = candidates.filter(({ protocol, port }) =>
    groups.every((rules) => admits(rules, protocol, port, card)),
  )
  const unique = new Map(reachable.map((one) => [`${one.protocol} ${one.port}`, one]))
  return [...unique.values()]
    .toSorted((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1))
    .slice(0, FORWARDS_MAX)
}

/**
 * Whether somebody outside may come in there: some source that a rule names and no rule before it turns away. Who exactly,
 * the ruleset decides for each connection.
 */
function admits(
  rules: readonly SecurityRule[],
  protocol: PortProtocol,
  port: number,
  { address, space }: Readonly<{ address: Ipv4; space: readonly Prefix[] }>,
): boolean {
  const sources = inOrder(rules, 'Inbound').flatMap(({ sources: peers }) =>
    peers.flatMap((peer) => (peer.kind === 'prefix' ? [peer.prefix.base] : [])),
  )
  return [SOMEBODY, ...sources].some((source) => {
    const packet = { protocol, source, destination: address, sourcePort: 50_000, destinationPort: port }
    const deciding = decidingRule(rules, 'Inbound', { ...packet, isFromOutside: true, isToOutside: false }, space)
    return deciding.access === 'Allow'
  })
}

/** An address that no rule names: 203.0.113.77, for documentation (RFC 5737). */
const SOMEBODY = 0xcb00714d

/**
 * Gives each port its port of the host: the one it has, else the lowest that is free. Undefined when there are not enough.
 * @param has what the address has now; what is not wanted any more is given up
 * @param taken ports of the host that others have or that cannot be had
 */
export function assignHostPorts(
  wanted: readonly GuestPort[],
  has: readonly HostForward[],
  taken: ReadonlySet<number>,
  range: PortRange,
): HostForward[] | undefined {
  const mayKeep = (port: number): boolean => !taken.has(port) && port >= range.from && port <= range.to
  const kept = wanted.map((one) =>
    has.find(({ protocol, port, hostPort }) => protocol === one.protocol && port === one.port && mayKeep(hostPort)),
  )
  const used = new Set([...taken, ...kept.flatMap((one) => (one === undefined ? [] : [one.hostPort]))])
  let next = range.from
  const assigned: HostForward[] = []
  for (const [index, one] of wanted.entries()) {
    const before = kept[index]
    if (before !== undefined) {
      assigned.push(before)
      continue
    }
    while (used.has(next)) next += 1
    if (next > range.to) return undefined
    used.add(next)
    assigned.push({ ...one, hostPort: next })
  }
  return assigned
}
