/**
 * Virtual networks of this host for tests, with stand-ins for machines: a stand-in is a network namespace of its own inside
 * the network's users, joined to its port by a pair of virtual Ethernet cards, the outer of which has the tap's name. To the
 * bridge, the rules and DHCP it is a machine's card like any other, and it is there at once.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { must, randomUuid } from '#base'
import { formatIpv4, gatewayOf, makeRuleset, mayDenyInside, parseIpv4, parsePrefix, type SecurityRule } from '#domain'
import { insideNetwork, NetworkHost, type NetworkOutcome, type NetworkPlan, UPLINK } from '#engine/hypervisor'
import { identityOf, runCommand, systemClock, systemRandom } from '#runtime'

export type WantedCard = Readonly<{
  tap: string
  mac: string
  address: string
  subnet: string
  hostName?: string
  group?: readonly SecurityRule[]
}>
export type WantedSubnet = Readonly<{ prefix: string; outbound?: boolean }>
export type WantedNetwork = Readonly<{
  subnets: Readonly<Record<string, WantedSubnet>>
  cards: readonly WantedCard[]
  forwards?: readonly Readonly<{ hostPort: number; address: string; port: number }>[]
  hostLoopback?: boolean
}>

const SPACE = '10.0.0.0/16'

function prefixOf(text: string) {
  return must(parsePrefix(text), text)
}

function addressOf(text: string): number {
  return must(parseIpv4(text), text)
}

/** The plan that records like these come to. */
export function planOf(id: string, revision: number, wanted: WantedNetwork): NetworkPlan {
  const { subnets, cards, forwards = [], hostLoopback = false } = wanted
  const names = Object.keys(subnets)
  const segments = Object.values(subnets).map(({ prefix, outbound = true }, index) => ({
    bridge: `br${index}`,
    prefix: prefixOf(prefix),
    outbound,
  }))
  const bridgeOf = (subnet: string): string => `br${names.indexOf(subnet)}`
  const groups = new Map(cards.flatMap(({ tap, group }) => (group === undefined ? [] : [[tap, group] as const])))
  const isRouted = (bridge: string): boolean =>
    cards.some(({ subnet, group }) => bridgeOf(subnet) === bridge && group !== undefined && mayDenyInside(group))
  return {
    schema: 1,
    id,
    revision,
    segments: segments.map(({ bridge, prefix, outbound }) => ({
      bridge,
      gateway: formatIpv4(gatewayOf(prefix)),
      prefixBits: prefix.bits,
      outbound,
      isRouted: isRouted(bridge),
      nameServers: [],
    })),
    ports: cards.map(({ tap, mac, address, subnet, hostName }) => ({
      tap,
      mac,
      address,
      bridge: bridgeOf(subnet),
      ...(hostName !== undefined && { hostName }),
    })),
    forwards: forwards.map(({ hostPort }) => ({ protocol: 'tcp' as const, hostAddress: '127.0.0.1', hostPort })),
    ...((forwards.length > 0 || segments.some(({ outbound }) => outbound)) && { uplink: { hostLoopback } }),
    ruleset: makeRuleset({
      space: [prefixOf(SPACE)],
      segments,
      cards: cards.map(({ tap, mac, address, group }) => ({
        tap,
        mac,
        address: addressOf(address),
        groups: group === undefined ? [] : [tap],
      })),
      groups,
      forwards: forwards.map(({ hostPort, address, port }) => ({
        protocol: 'tcp',
        hostPort,
        port,
        address: addressOf(address),
      })),
      uplink: { interface: UPLINK.interface, host: addressOf(UPLINK.host), hostLoopback },
    }),
  }
}

const LEASE_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface" && ip addr add "$ip/$mask" dev "$interface" && ip route add default via "$router"
echo "lease $ip/$mask router $router dns $dns"
`

/** Processes of a network, found as the kernel tells of them. */
export function markedProcesses(network: string): { pid: number; part: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      const environment = readFileSync(`/proc/${name}/environ`, 'latin1').split('\0')
      if (!environment.includes(`HOLDFAST_NETWORK=${network}`)) return []
      if (readFileSync(`/proc/${name}/stat`, 'latin1').includes(') Z ')) return []
      const part = environment.find((one) => one.startsWith('HOLDFAST_NETWORK_PART='))?.split('=')[1] ?? ''
      return [{ pid: Number(name), part }]
    } catch {
      return [] // no process, or another's
    }
  })
}

/** A process that ends has no environment any more before it is gone. */
export function isThere({ pid }: Readonly<{ pid: number }>): boolean {
  return identityOf(pid) !== undefined
}

/** A machine's stand-in. */
export class StandIn {
  readonly card: WantedCard
  readonly #world: NetworkWorld
  readonly #holder: ChildProcess

  constructor(world: NetworkWorld, card: WantedCard, holder: ChildProcess) {
    this.#world = world
    this.card = card
    this.#holder = holder
  }

  get words(): string[] {
    return [
      'nsenter',
      `--target=${must(this.#holder.pid, 'It runs')}`,
      '--user',
      '--preserve-credentials',
      '--net',
      '--',
    ]
  }

  /** What it prints; undefined when it fails. */
  async run(...words: readonly string[]): Promise<string | undefined> {
    const [program = '', ...args] = [...this.#world.asTools, ...this.words, ...words]
    const { exitCode, stdout, stderr } = await runCommand(program, args, { timeoutMs: 20_000 })
    return exitCode === 0 ? stdout.toString('utf8') + stderr : undefined
  }

  /** Asks for its lease, as a machine does when it boots; undefined when none is given. */
  async lease(): Promise<string | undefined> {
    const said = await this.run(
      'busybox',
      'udhcpc',
      '-i',
      'eth0',
      '-n',
      '-q',
      '-f',
      '-t',
      '3',
      '-T',
      '1',
      '-s',
      this.#world.leaseScript,
    )
    return /lease (.+)/.exec(said ?? '')?.[1]
  }

  /** Serves one text on a port until the world ends. */
  async serve(port: number, text: string): Promise<void> {
    const script = `while :; do printf '%s' '${text}' | busybox nc -l -p ${port} -w 5 > /dev/null; done`
    this.#world.start([...this.words, 'sh', '-c', script])
    while ((await this.run('sh', '-c', `busybox netstat -ltn | grep -q ':${port} '`)) === undefined)
      await systemClock.sleep(20)
  }

  /** What the server says, or undefined when it is not reached within `seconds`. */
  fetch(address: string, port: number, seconds = 2): Promise<string | undefined> {
    return this.run('sh', '-c', `busybox nc -w ${seconds} ${address} ${port} < /dev/null`).then((text) =>
      text === undefined || text === '' ? undefined : text,
    )
  }

  async pings(address: string): Promise<boolean> {
    return (await this.run('busybox', 'ping', '-c', '1', '-W', '2', address)) !== undefined
  }

  end(): void {
    this.#holder.kill('SIGKILL')
  }
}

export class NetworkWorld {
  readonly id = randomUuid(systemRandom)
  readonly folder: string
  readonly host: NetworkHost
  readonly warnings: string[] = []
  #revision = 0
  readonly #children: ChildProcess[] = []

  private constructor(folder: string) {
    this.folder = folder
    this.host = this.open()
  }

  static async make(): Promise<NetworkWorld> {
    const world = new NetworkWorld(await mkdtemp(join(tmpdir(), 'hfn-')))
    await writeFile(world.leaseScript, LEASE_SCRIPT, { mode: 0o755 })
    return world
  }

  /** Another process's view of the same networks. */
  open(): NetworkHost {
    const warn = (facts: Record<string, unknown>, message: string): void =>
      void this.warnings.push(`${message} ${JSON.stringify(facts)}`)
    return new NetworkHost({ folder: join(this.folder, 'networks'), clock: systemClock, warn })
  }

  get leaseScript(): string {
    return join(this.folder, 'lease.sh')
  }

  get asTools(): readonly string[] {
    return process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'] : []
  }

  apply(wanted: WantedNetwork): Promise<NetworkOutcome> {
    this.#revision += 1
    return this.host.apply(planOf(this.id, this.#revision, wanted))
  }

  empty(): Promise<NetworkOutcome> {
    return this.apply({ subnets: {}, cards: [] })
  }

  /** What a tool says inside, as the network's root. */
  async inside(...words: readonly string[]): Promise<string> {
    const [program = '', ...args] = [...must(await insideNetwork(this.id), 'The network is there'), ...words]
    const { stdout, stderr, exitCode } = await runCommand(program, args, {
      env: { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
    })
    assert.equal(exitCode, 0, stderr)
    return stdout.toString('utf8')
  }

  /** Kills every process of the network but machines. */
  async killAll(): Promise<void> {
    const tools = markedProcesses(this.id).filter(({ part }) => part !== 'machine')
    for (const { pid } of tools) process.kill(pid, 'SIGKILL')
    while (tools.some(isThere)) await systemClock.sleep(10)
  }

  start(words: readonly string[]): ChildProcess {
    const [program = '', ...args] = [...this.asTools, ...words]
    const child = spawn(program, args, { stdio: 'ignore' })
    this.#children.push(child)
    return child
  }

  /** A stand-in for the machine with this card; its network must have it. Apply again when all have come. */
  async standIn(card: WantedCard): Promise<StandIn> {
    const words = must(await insideNetwork(this.id), 'The network is there')
    const enter = words.slice(words.indexOf('nsenter'))
    const holder = this.start([...enter, 'unshare', '--net', '--', 'sleep', 'infinity'])
    const one = new StandIn(this, card, holder)
    const outer = await this.inside('readlink', '/proc/self/ns/net')
    while (((await one.run('readlink', '/proc/self/ns/net')) ?? outer) === outer) await systemClock.sleep(10)
    await this.inside('ip', 'link', 'del', card.tap)
    const pair = ['ip', 'link', 'add', card.tap, 'type', 'veth', 'peer', 'name', 'eth0', 'address', card.mac]
    await this.inside(...pair, 'netns', String(holder.pid))
    await one.run('ip', 'link', 'set', 'lo', 'up')
    await one.run('ip', 'link', 'set', 'eth0', 'up')
    return one
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL')
    await this.empty()
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** A server on this host's loopback that says one text to whoever connects. */
export async function loopbackServer(text: string): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => socket.on('error', () => {}).end(text))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  return { server, port: address.port }
}
