/**
 * From records to the plan of a network: what is to be on the host now. Cards that are plugged are in it, others not; ports
 * of the host are given out here, and kept by the public address for as long as they are wanted.
 *
 * Each plan has a revision of its own, taken in the transaction in which the records are read: of two plans the one with the
 * greater revision knows more.
 */
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  findResource,
  findSetting,
  listResources,
  putSetting,
  updateResource,
} from '#catalog'
import {
  assignHostPorts,
  formatIpv4,
  forwardedPorts,
  gatewayOf,
  type HostForward,
  makeRuleset,
  mayDenyInside,
  parseIpv4,
  type Prefix,
  type RulesetForward,
  type SecurityRule,
} from '#domain'
import { must } from '#base'
import { type MachineNetwork, type NetworkPlan, UPLINK } from '#engine/hypervisor'
import { JobsError } from '../errors.ts'
import {
  addressSpaceOf,
  type Card,
  forwardsOf,
  listCards,
  listSubnets,
  nameServersOf,
  NETWORK_SETTINGS_DEFAULT,
  NETWORK_SETTINGS_KEY,
  networkBacking,
  networkOfSubnet,
  type NetworkSettings,
  PUBLIC_ADDRESS_TYPE,
  rulesOf,
  type Subnet,
} from './network-records.ts'

const REVISION_KEY = 'network-revision'
const BUSY_KEY = 'network-busy-ports'
const BUSY_KEPT = 200

export async function networkSettings(from: Catalog | CatalogTransaction): Promise<NetworkSettings> {
  const text = await findSetting(from, NETWORK_SETTINGS_KEY)
  return text === undefined ? NETWORK_SETTINGS_DEFAULT : (JSON.parse(text) as NetworkSettings)
}

async function nextRevision(trx: CatalogTransaction): Promise<number> {
  const revision = Number((await findSetting(trx, REVISION_KEY)) ?? '0') + 1
  await putSetting(trx, REVISION_KEY, String(revision))
  return revision
}

async function busyPorts(from: CatalogTransaction): Promise<number[]> {
  return JSON.parse((await findSetting(from, BUSY_KEY)) ?? '[]') as number[]
}

/** Remembers ports of the host that turned out to be another program's, so that none of them is given out again. */
export async function rememberBusy(trx: CatalogTransaction, ports: readonly number[]): Promise<void> {
  const all = [...new Set([...ports, ...(await busyPorts(trx))])]
  await putSetting(trx, BUSY_KEY, JSON.stringify(all.slice(0, BUSY_KEPT)))
}

type Groups = ReadonlyMap<string, readonly SecurityRule[]>

function groupKeys(card: Card, subnets: ReadonlyMap<string, Subnet>): string[] {
  const ids = [card.securityGroup, subnets.get(card.subnet)?.securityGroup]
  return [...new Set(ids.flatMap((id) => (id === undefined ? [] : [id.toLowerCase()])))]
}

async function readGroups(trx: CatalogTransaction, keys: ReadonlySet<string>): Promise<Groups> {
  const groups = new Map<string, readonly SecurityRule[]>()
  for (const key of [...keys].sort()) {
    const record = await findResource(trx, key)
    if (record !== undefined) groups.set(key, rulesOf(record))
  }
  return groups
}

type Plugged = Readonly<{
  cards: readonly Card[]
  subnets: ReadonlyMap<string, Subnet>
  groups: Groups
  space: readonly Prefix[]
}>

/** Gives the public addresses of the cards their ports of the host, and keeps them in their records. */
async function giveForwards(
  trx: CatalogTransaction,
  source: ChangeSource,
  settings: NetworkSettings,
  { cards, subnets, groups, space }: Plugged,
): Promise<RulesetForward[]> {
  const addresses = await listResources(trx, { type: PUBLIC_ADDRESS_TYPE })
  const taken = new Map(addresses.map((one) => [one.key, forwardsOf(one).map(({ hostPort }) => hostPort)]))
  const busy = await busyPorts(trx)
  const given: RulesetForward[] = []
  for (const card of cards) {
    const record = addresses.find(({ key }) => key === card.publicAddress?.toLowerCase())
    if (record === undefined) continue
    const { name: sku } = (record.body['sku'] ?? {}) as Readonly<{ name?: string }>
    const rules = groupKeys(card, subnets).flatMap((key) => {
      const one = groups.get(key)
      return one === undefined ? [] : [one]
    })
    const wanted = forwardedPorts(rules, { address: card.address, space, isOpen: sku !== 'Standard' })
    const others = [...taken].filter(([key]) => key !== record.key).flatMap(([, ports]) => ports)
    const range = { from: settings.portFirst, to: settings.portLast }
    const forwards = assignHostPorts(wanted, forwardsOf(record), new Set([...others, ...busy]), range)
    if (forwards === undefined) throw noPorts(settings)
    taken.set(
      record.key,
      forwards.map(({ hostPort }) => hostPort),
    )
    if (!isSame(forwards, forwardsOf(record)))
      await updateResource(trx, record.id, { backing: { ...record.backing, forwards } }, source)
    given.push(...forwards.map((one) => ({ ...one, address: card.address })))
  }
  return given
}

function isSame(a: readonly HostForward[], b: readonly HostForward[]): boolean {
  const text = (list: readonly HostForward[]): string =>
    JSON.stringify(list.map(({ protocol, port, hostPort }) => [protocol, port, hostPort]))
  return text(a) === text(b)
}

function noPorts({ portFirst, portLast }: NetworkSettings): JobsError {
  return new JobsError('network_ports_exhausted', `No port of this host is free for a public address.`, {
    facts: { portFirst, portLast },
    hint: 'Widen networks.firstPort and networks.lastPort in the settings, or remove public addresses.',
  })
}

/**
 * The plan of the network now on one host (undefined: the server's own), with a revision of its own; undefined when there is
 * no such network. Its cards on other hosts are in plans of theirs: a segment does not reach from one host to another.
 * @throws JobsError `network_ports_exhausted`
 */
export async function planNetwork(
  trx: CatalogTransaction,
  source: ChangeSource,
  network: string,
  host?: string,
): Promise<NetworkPlan | undefined> {
  const record = await findResource(trx, network)
  if (record === undefined) return undefined
  const settings = await networkSettings(trx)
  const subnets = new Map((await listSubnets(trx, network)).map((subnet) => [subnet.id.toLowerCase(), subnet]))
  const cards = (await listCards(trx)).filter(
    (card) =>
      card.isPlugged && card.host === host && networkOfSubnet(card.subnet) === record.key && subnets.has(card.subnet),
  )
  const groups = await readGroups(trx, new Set(cards.flatMap((card) => groupKeys(card, subnets))))
  const space = addressSpaceOf(record)
  const forwards = await giveForwards(trx, source, settings, { cards, subnets, groups, space })
  const { network: id } = networkBacking(record)
  const common = { schema: 1 as const, id, revision: await nextRevision(trx) }
  if (cards.length === 0) return { ...common, segments: [], ports: [], forwards: [], ruleset: '' }
  const used = [...subnets.values()].filter((subnet) => cards.some((card) => card.subnet === subnet.id.toLowerCase()))
  const needsUplink = forwards.length > 0 || used.some(({ outbound }) => outbound)
  const { hostLoopback } = settings
  const hostAddress = addressOn(host, settings)
  return {
    ...common,
    segments: used.map((subnet) => ({
      bridge: bridgeOf(subnet),
      gateway: formatIpv4(gatewayOf(subnet.prefix)),
      prefixBits: subnet.prefix.bits,
      outbound: subnet.outbound,
      isRouted: cards.some(
        (card) =>
          card.subnet === subnet.id.toLowerCase() &&
          groupKeys(card, subnets).some((key) => mayDenyInside(groups.get(key) ?? [])),
      ),
      nameServers: nameServersOf(record),
    })),
    ports: cards.map((card) => ({
      tap: card.tap,
      bridge: bridgeOf(must(subnets.get(card.subnet), 'Cards of other networks were left out')),
      mac: card.mac,
      address: formatIpv4(card.address),
      ...(card.hostName !== undefined && { hostName: card.hostName }),
    })),
    forwards: forwards.map(({ protocol, hostPort }) => ({ protocol, hostAddress, hostPort })),
    ...(needsUplink && { uplink: { hostLoopback } }),
    ruleset: makeRuleset({
      space,
      segments: used.map((subnet) => ({ bridge: bridgeOf(subnet), prefix: subnet.prefix, outbound: subnet.outbound })),
      cards: cards.map((card) => ({ ...card, groups: groupKeys(card, subnets).filter((key) => groups.has(key)) })),
      groups,
      forwards,
      uplink: {
        interface: UPLINK.interface,
        host: must(parseIpv4(UPLINK.host), 'The uplink has an address'),
        hostLoopback,
      },
    }),
  }
}

/** Where ports of public addresses listen: the address of the settings is one of the server's own host. */
export function addressOn(host: string | undefined, { address }: NetworkSettings): string {
  return host === undefined ? address : '127.0.0.1'
}

function bridgeOf({ number }: Subnet): string {
  return `br${number}`
}

/** A card as its machine's hypervisor takes it. Its MAC is the card's for life. */
export function networkOf(card: Card, network: string): MachineNetwork {
  return { kind: 'segment', mac: card.mac, network, interface: card.tap }
}
