import assert from 'node:assert/strict'
import { describe, it, test } from 'node:test'
import * as fc from 'fast-check'
import { must } from '#base'
import { parseIpv4, parsePrefix, type Prefix } from './ipv4.ts'
import {
  ALL_PORTS,
  decidingRule,
  inOrder,
  mayDenyInside,
  type Packet,
  type Peer,
  readPeer,
  readPorts,
  type SecurityRule,
} from './security-rules.ts'
import { ruleLines } from './ruleset.ts'

const SPACE: readonly Prefix[] = [must(parsePrefix('10.0.0.0/16'), 'a prefix')]

function address(text: string): number {
  return must(parseIpv4(text), text)
}

function peer(text: string): Peer {
  return must(readPeer(text), text)
}

function rule(given: Partial<SecurityRule>): SecurityRule {
  return {
    name: 'r',
    priority: 100,
    direction: 'Inbound',
    access: 'Allow',
    protocol: '*',
    sources: [peer('*')],
    destinations: [peer('*')],
    sourcePorts: [ALL_PORTS],
    destinationPorts: [ALL_PORTS],
    ...given,
  }
}

function packet(given: Partial<Packet>): Packet {
  return {
    protocol: 'tcp',
    source: address('10.0.0.4'),
    destination: address('10.0.0.5'),
    sourcePort: 40_000,
    destinationPort: 22,
    isFromOutside: false,
    isToOutside: false,
    ...given,
  }
}

describe('decidingRule()', () => {
  const outside = { source: address('203.0.113.9'), isFromOutside: true }

  it('lets neighbours in and nobody else when there is no rule', () => {
    assert.equal(decidingRule([], 'Inbound', packet({}), SPACE).name, 'AllowVnetInBound')
    assert.equal(decidingRule([], 'Inbound', packet(outside), SPACE).name, 'DenyAllInBound')
    assert.equal(decidingRule([], 'Outbound', packet({}), SPACE).name, 'AllowVnetOutBound')
    const away = packet({ destination: address('203.0.113.9'), isToOutside: true })
    assert.equal(decidingRule([], 'Outbound', away, SPACE).name, 'AllowInternetOutBound')
  })

  it('takes the lowest priority that matches, whatever the order of the rules', () => {
    const open = rule({ name: 'open', priority: 300 })
    const closed = rule({ name: 'closed', priority: 200, access: 'Deny', destinationPorts: [{ from: 20, to: 25 }] })
    for (const rules of [
      [open, closed],
      [closed, open],
    ]) {
      assert.equal(decidingRule(rules, 'Inbound', packet(outside), SPACE).name, 'closed')
      assert.equal(decidingRule(rules, 'Inbound', packet({ ...outside, destinationPort: 26 }), SPACE).name, 'open')
    }
  })

  it('does not take a stranger with an address of ours for a neighbour', () => {
    const forged = packet({ source: address('10.0.0.9'), isFromOutside: true })
    assert.equal(decidingRule([], 'Inbound', forged, SPACE).name, 'DenyAllInBound')
    const internet = rule({ name: 'internet', sources: [peer('Internet')] })
    assert.equal(decidingRule([internet], 'Inbound', forged, SPACE).name, 'internet')
    assert.equal(decidingRule([internet], 'Inbound', packet({}), SPACE).name, 'AllowVnetInBound')
  })

  it('does not apply a rule that names ports to what has none', () => {
    const ssh = rule({ name: 'ssh', destinationPorts: [{ from: 22, to: 22 }] })
    assert.equal(decidingRule([ssh], 'Inbound', packet({ ...outside, protocol: 'icmp' }), SPACE).name, 'DenyAllInBound')
  })
})

test('readPeer() and readPorts() refuse what they do not mean', () => {
  assert.deepEqual(readPeer('virtualnetwork'), { kind: 'tag', tag: 'VirtualNetwork' })
  assert.deepEqual(readPeer('10.0.0.4'), { kind: 'prefix', prefix: { base: address('10.0.0.4'), bits: 32 } })
  for (const bad of ['Storage', 'AzureCloud', '10.0.0.1/8', 'fd00::/8', '']) assert.equal(readPeer(bad), undefined, bad)
  assert.deepEqual(readPorts('8000-8080'), { from: 8000, to: 8080 })
  for (const bad of ['', '80-', '90-80', '65536', 'ssh', '1,2']) assert.equal(readPorts(bad), undefined, bad)
})

test('mayDenyInside() is true exactly when some neighbour could be turned away', () => {
  assert.equal(mayDenyInside([]), false)
  assert.equal(mayDenyInside([rule({ access: 'Allow' })]), false)
  assert.equal(mayDenyInside([rule({ access: 'Deny', sources: [peer('Internet')] })]), false)
  assert.equal(mayDenyInside([rule({ access: 'Deny' })]), true)
  assert.equal(mayDenyInside([rule({ access: 'Deny', sources: [peer('10.0.0.4')] })]), true)
  const away = rule({ access: 'Deny', direction: 'Outbound', destinations: [peer('Internet')] })
  assert.equal(mayDenyInside([away]), false)
})

/** The stupidest reading of the lines that nft gets: each clause looked at by itself, the first line that fits decides. */
function nftVerdict(lines: readonly string[], one: Packet): 'return' | 'drop' | undefined {
  const inSet = (text: string, holds: (element: string) => boolean): boolean => text.split(', ').some(holds)
  const holds = (prefix: string, value: number): boolean => {
    const { base, bits } = must(parsePrefix(prefix), prefix)
    return Math.floor(base / 2 ** (32 - bits)) === Math.floor(value / 2 ** (32 - bits))
  }
  const hasPort = (range: string, value: number): boolean => {
    const [from = '', to = from] = range.split('-')
    return value >= Number(from) && value <= Number(to)
  }
  const clauses: readonly (readonly [RegExp, (found: RegExpExecArray) => boolean])[] = [
    [
      /^(iif|oif)name (!= )?"up0" /,
      ([, side, not]) => {
        const isOutside = side === 'iif' ? one.isFromOutside : one.isToOutside
        return isOutside !== (not !== undefined)
      },
    ],
    [
      /^ip (s|d)addr @space /,
      ([, side]) => SPACE.some((space) => holds(`10.0.0.0/${space.bits}`, side === 's' ? one.source : one.destination)),
    ],
    [
      /^ip (s|d)addr \{ ([^}]+) \} /,
      ([, side, set = '']) => inSet(set, (text) => holds(text, side === 's' ? one.source : one.destination)),
    ],
    [/^meta l4proto \{ tcp, udp \} /, () => one.protocol !== 'icmp'],
    [/^meta l4proto (tcp|udp|icmp) /, ([, name]) => one.protocol === name],
    [
      /^th (s|d)port \{ ([^}]+) \} /,
      ([, side, set = '']) =>
        one.protocol !== 'icmp' &&
        inSet(set, (text) => hasPort(text, side === 's' ? one.sourcePort : one.destinationPort)),
    ],
  ]
  for (const line of lines) {
    let rest = line
    let fits = true
    while (rest !== 'return' && rest !== 'drop') {
      const clause = clauses.find(([pattern]) => pattern.test(rest))
      assert.ok(clause !== undefined, `nobody can read ${rest}`)
      const found = must(clause[0].exec(rest), 'it was tested')
      fits &&= clause[1](found)
      rest = rest.slice(found[0].length)
    }
    if (fits) return rest
  }
  return undefined
}

test('ruleLines() decide as the rules do, over rules and packets of all kinds', () => {
  const port = fc.integer({ min: 0, max: 40 })
  const ports = fc.oneof(
    fc.constant([ALL_PORTS]),
    fc.array(
      fc.tuple(port, port).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) })),
      { minLength: 1, maxLength: 3 },
    ),
  )
  const peers = fc.array(
    fc
      .constantFrom(
        '*',
        'VirtualNetwork',
        'Internet',
        'AzureLoadBalancer',
        '10.0.0.4',
        '10.0.0.0/29',
        '10.0.0.0/16',
        '203.0.113.0/24',
      )
      .map(peer),
    { minLength: 1, maxLength: 3 },
  )
  const rules = fc.array(
    fc.record({
      access: fc.constantFrom('Allow' as const, 'Deny' as const),
      protocol: fc.constantFrom('*' as const, 'Tcp' as const, 'Udp' as const, 'Icmp' as const),
      sources: peers,
      destinations: peers,
      sourcePorts: ports,
      destinationPorts: ports,
      direction: fc.constantFrom('Inbound' as const, 'Outbound' as const),
    }),
    { maxLength: 5 },
  )
  const end = fc.constantFrom('10.0.0.4', '10.0.0.9', '10.0.77.1', '203.0.113.5', '192.0.2.1').map(address)
  const packets = fc.record({
    protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'icmp' as const),
    source: end,
    destination: end,
    sourcePort: port,
    destinationPort: port,
    isFromOutside: fc.boolean(),
    isToOutside: fc.boolean(),
  })
  fc.assert(
    fc.property(rules, packets, fc.constantFrom('Inbound' as const, 'Outbound' as const), (given, one, direction) => {
      const all = given.map((each, index) => rule({ ...each, priority: 4000 - index * 10, name: `r${index}` }))
      const deciding = decidingRule(all, direction, one, SPACE)
      const lines = linesOf(all, direction)
      const expected = deciding.access === 'Allow' ? 'return' : 'drop'
      assert.equal(nftVerdict(lines, one), expected, `${deciding.name} of\n${lines.join('\n')}`)
    }),
    { numRuns: 2000 },
  )
})

function linesOf(rules: readonly SecurityRule[], direction: SecurityRule['direction']): string[] {
  return inOrder(rules, direction).flatMap((one) => ruleLines(one, 'up0'))
}
