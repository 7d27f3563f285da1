/**
 * Bridges and taps of a network: the kernel's state is read, and what is missing is added, what is too much removed. Bridges
 * keep their MAC when they are made anew, so that guests need not ask again who their gateway is.
 *
 * The ruleset is in force before the first port is: no packet passes unfiltered.
 */
import { createHash } from 'node:crypto'
import { HypervisorError } from '../errors.ts'
import { isObject, textOr } from '../qmp/shape.ts'
import { machineUid, type Namespace, runInside } from './namespace.ts'
import { isTapName, type NetworkPlan, type PlannedSegment } from './network-plan.ts'

type Link = Readonly<{ name: string; master: string; isUp: boolean }>

async function linksOf(namespace: Namespace): Promise<Map<string, Link>> {
  const { stdout } = await runInside(namespace, ['ip', '-j', 'link', 'show'])
  const list: unknown = JSON.parse(stdout.toString('utf8'))
  const links = Array.isArray(list) ? list.filter(isObject) : []
  return new Map(
    links.map((link) => {
      const name = textOr(link['ifname'], '')
      const flags = Array.isArray(link['flags']) ? link['flags'] : []
      return [name, { name, master: textOr(link['master'], ''), isUp: flags.includes('UP') }]
    }),
  )
}

async function batch(namespace: Namespace, lines: readonly string[]): Promise<void> {
  if (lines.length > 0) await runInside(namespace, ['ip', '-batch', '-'], `${lines.join('\n')}\n`)
}

/** Locally administered, the same whenever the bridge is made. */
export function bridgeMac(network: string, bridge: string): string {
  const hash = createHash('sha256').update(`${network}/${bridge}`).digest('hex')
  return ['02', ...(hash.slice(0, 10).match(/../g) ?? [])].join(':')
}

function makeBridge(network: string, { bridge, gateway, prefixBits }: PlannedSegment): string[] {
  return [
    `link add ${bridge} address ${bridgeMac(network, bridge)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `addr add ${gateway}/${prefixBits} brd + dev ${bridge}`,
    `link set ${bridge} up`,
  ]
}

/** Names below /proc/sys/net and their values, one after the other. */
function settingsOf({ segments }: NetworkPlan): string[] {
  const settings: (readonly [name: string, value: string])[] = [
    ['ipv4/ip_forward', '1'],
    ['ipv4/conf/all/send_redirects', '0'],
    ['ipv6/conf/all/disable_ipv6', '1'],
  ]
  for (const { bridge, isRouted } of segments)
    settings.push(
      [`ipv4/conf/${bridge}/send_redirects`, '0'],
      [`ipv4/conf/${bridge}/proxy_arp_pvlan`, isRouted ? '1' : '0'],
      [`ipv4/neigh/${bridge}/proxy_delay`, '0'],
    )
  return settings.flat()
}

/** A kernel without IPv6 has none of its settings. */
const SETTINGS =
  'while [ $# -gt 1 ]; do if [ -e "/proc/sys/net/$1" ]; then echo "$2" > "/proc/sys/net/$1" || exit 1; fi; shift 2; done'

/** The bridges with their addresses and settings, and none that is not planned. */
export async function makeSegments(namespace: Namespace, plan: NetworkPlan): Promise<void> {
  const links = await linksOf(namespace)
  const wanted = new Set(plan.segments.map(({ bridge }) => bridge))
  const tooMany = [...links.keys()].filter((name) => /^br\d+$/.test(name) && !wanted.has(name))
  const missing = plan.segments.filter(({ bridge }) => !links.has(bridge))
  await batch(namespace, [
    'link set lo up',
    ...tooMany.map((name) => `link del ${name}`),
    ...missing.flatMap((segment) => makeBridge(plan.id, segment)),
  ])
  await runInside(namespace, ['sh', '-c', SETTINGS, 'settings', ...settingsOf(plan)])
}

/** The ports, each in its bridge, and none that is not planned. */
export async function makePorts(namespace: Namespace, plan: NetworkPlan): Promise<void> {
  const links = await linksOf(namespace)
  const wanted = new Set(plan.ports.map(({ tap }) => tap))
  const routed = new Set(plan.segments.filter(({ isRouted }) => isRouted).map(({ bridge }) => bridge))
  const lines = [...links.keys()]
    .filter((name) => isTapName(name) && !wanted.has(name))
    .map((name) => `link del ${name}`)
  for (const { tap, bridge } of plan.ports) {
    if (!links.has(tap)) lines.push(`tuntap add dev ${tap} mode tap user ${machineUid(namespace)}`)
    if (links.get(tap)?.master !== bridge) lines.push(`link set ${tap} master ${bridge}`)
    lines.push(`link set ${tap} type bridge_slave isolated ${routed.has(bridge) ? 'on' : 'off'}`)
    if (links.get(tap)?.isUp !== true) lines.push(`link set ${tap} up`)
  }
  await batch(namespace, lines)
}

/**
 * In a routed segment whatever a machine sends to another goes to the gateway. New questions for an address are answered by
 * the gateway (proxy_arp_pvlan); what is sent to a MAC that was learned before the segment became routed is turned there.
 */
function turnToGateway({ id, segments, ports }: NetworkPlan): string[] {
  const rules = segments.flatMap(({ bridge, isRouted }) => {
    const taps = ports.filter((port) => port.bridge === bridge).map(({ tap }) => `"${tap}"`)
    if (!isRouted || taps.length === 0) return []
    const from = `iifname { ${taps.join(', ')} } ether type ip ether daddr != ff:ff:ff:ff:ff:ff`
    return [`${from} ether daddr set ${bridgeMac(id, bridge)} meta pkttype set host`]
  })
  const head = 'type filter hook prerouting priority -10; policy accept;'
  return rules.length === 0 ? [] : ['table bridge holdfast {', 'chain gateway {', head, ...rules, '}', '}']
}

/** Puts the rules in force, all of them at one instant; connections that are open stay known. */
export async function applyRules(
  namespace: Namespace,
  plan: NetworkPlan,
  hostAddresses: readonly string[],
): Promise<void> {
  const fresh = RULE_TABLES.flatMap((table) => [`table ${table}`, `delete table ${table}`])
  const host = hostAddresses.length === 0 ? [] : [`add element ip holdfast host { ${hostAddresses.join(', ')} }`]
  if (!RULE_TABLES.every((table) => plan.ruleset.includes(`table ${table} {`)))
    throw new HypervisorError('network_invalid', 'The ruleset of a network lacks one of its tables.')
  await runInside(
    namespace,
    ['nft', '-f', '-'],
    [...fresh, plan.ruleset, ...turnToGateway(plan), ...host, ''].join('\n'),
  )
}

/** The tables that a ruleset consists of. `ip holdfast` has a set `host` of addresses, which is filled here. */
export const RULE_TABLES = ['ip holdfast', 'bridge holdfast'] as const
