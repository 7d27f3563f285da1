/**
 * DHCP and DNS of a segment, by one dnsmasq each: a card gets the address that its record says and no other, for ever, and a
 * card that is not planned gets none. The network's machines are found by name; names outside only where the segment may
 * reach outside, so that a sealed segment does not leak by questions.
 *
 * dnsmasq keeps nothing (leases are as the plan says), so a change is a new one: a marked process whose part says of which
 * configuration it is.
 */
import { createHash } from 'node:crypto'
import { type Clock, messageOf } from '#base'
import { checkCommand } from '#runtime'
import { inNetwork, type Namespace, possibleUids } from './namespace.ts'
import { type NetworkPlan, type PlannedSegment, UPLINK } from './network-plan.ts'
import { backgroundWords, endProcess, findNetworkProcesses, networkFailed } from './network-process.ts'

const PART = 'dhcp '
const START_MS_MAX = 15_000
/** The suffix of names inside, as a private zone. */
const DOMAIN = 'internal.holdfast'

/** Nothing of the host's own is read, nothing is kept, and nobody outside of the one interface is answered. */
const ALWAYS: readonly string[] = [
  'bind-interfaces',
  'except-interface=lo',
  'no-resolv',
  'no-hosts',
  'no-ping',
  'domain-needed',
  'bogus-priv',
  'log-facility=/dev/null',
  'dhcp-authoritative',
  'leasefile-ro',
  `domain=${DOMAIN}`,
  `local=/${DOMAIN}/`,
]

/** What dnsmasq is told of a segment. Pure. */
export function dhcpConfiguration(plan: NetworkPlan, segment: PlannedSegment): string {
  const { bridge, gateway, outbound } = segment
  const ports = plan.ports.filter((port) => port.bridge === bridge)
  const servers = segment.nameServers.length === 0 ? [gateway] : segment.nameServers
  return [
    ...ALWAYS,
    `interface=${bridge}`,
    `dhcp-range=${gateway},static,${maskOf(segment)},infinite`,
    `dhcp-option=option:router,${gateway}`,
    `dhcp-option=option:dns-server,${servers.join(',')}`,
    ...(outbound && plan.uplink !== undefined ? [`server=${UPLINK.nameServer}`] : []),
    ...ports.map(({ mac, address, hostName }) =>
      ['dhcp-host', [mac, address, ...(hostName === undefined ? [] : [hostName]), 'infinite'].join(',')].join('='),
    ),
    ...plan.ports.flatMap(({ address, hostName }) =>
      hostName === undefined ? [] : [`host-record=${hostName},${hostName}.${DOMAIN},${address}`],
    ),
    '',
  ].join('\n')
}

function maskOf({ prefixBits }: PlannedSegment): string {
  const mask = (0xffff_ffff << (32 - prefixBits)) >>> 0
  return [24, 16, 8, 0].map((shift) => (mask >>> shift) & 255).join('.')
}

function partOf(segment: PlannedSegment, configuration: string): string {
  return `${PART}${segment.bridge} ${createHash('sha256').update(configuration).digest('hex').slice(0, 16)}`
}

/** One for each segment with ports, of its newest configuration; none besides. */
export async function keepDhcp(namespace: Namespace, plan: NetworkPlan, clock: Clock): Promise<void> {
  const running = findNetworkProcesses(possibleUids(namespace.users)).filter(
    ({ network, part }) => network === plan.id && part.startsWith(PART),
  )
  const wanted = plan.segments
    .filter(({ bridge }) => plan.ports.some((port) => port.bridge === bridge))
    .map((segment) => {
      const configuration = dhcpConfiguration(plan, segment)
      return { part: partOf(segment, configuration), configuration }
    })
  for (const one of running) if (!wanted.some(({ part }) => part === one.part)) await endProcess(one, clock)
  for (const { part, configuration } of wanted)
    if (!running.some((one) => one.part === part)) await startDhcp(namespace, part, configuration)
}

/** Returns when it answers: it goes into the background once it has its sockets. */
async function startDhcp(namespace: Namespace, part: string, configuration: string): Promise<void> {
  const words = ['dnsmasq', '--conf-file=-', '--user=root', '--group=', '--pid-file=']
  const [program = '', ...args] = [...backgroundWords(namespace.network, part), ...inNetwork(namespace), ...words]
  try {
    await checkCommand(program, args, { input: configuration, timeoutMs: START_MS_MAX })
  } catch (error) {
    throw networkFailed(words, messageOf(error), error)
  }
}
