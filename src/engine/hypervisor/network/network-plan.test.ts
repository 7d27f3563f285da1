import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { dhcpConfiguration } from './dhcp.ts'
import { type NetworkPlan, readNetworkPlan } from './network-plan.ts'
import { bridgeMac } from './segments.ts'

const PLAN: NetworkPlan = {
  schema: 1,
  id: '11111111-2222-4333-8444-555555555555',
  revision: 7,
  segments: [
    { bridge: 'br0', gateway: '10.0.0.1', prefixBits: 20, outbound: true, isRouted: false, nameServers: [] },
    { bridge: 'br1', gateway: '10.1.0.1', prefixBits: 25, outbound: false, isRouted: true, nameServers: ['9.9.9.9'] },
  ],
  ports: [
    { tap: 'hf00000000000a', bridge: 'br0', mac: '52:54:00:00:00:0a', address: '10.0.0.4', hostName: 'alpha' },
    { tap: 'hf00000000000b', bridge: 'br1', mac: '52:54:00:00:00:0b', address: '10.1.0.9' },
  ],
  forwards: [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 20_000 }],
  uplink: { hostLoopback: false },
  ruleset: 'table ip holdfast {}',
}

describe('readNetworkPlan()', () => {
  it('gives back what JSON made of a plan, and nothing that does not belong to it', () => {
    const given = { ...JSON.parse(JSON.stringify(PLAN)), more: 1 } as object
    assert.deepEqual(readNetworkPlan(given), PLAN)
  })

  it('refuses every word that could become another word of a command', () => {
    const port = PLAN.ports[0]
    const segment = PLAN.segments[0]
    const bad: readonly object[] = [
      { schema: 2 },
      { id: '../../etc' },
      { revision: -1 },
      { segments: [{ ...segment, bridge: 'br0 up' }] },
      { segments: [{ ...segment, gateway: '10.0.0.1\nlink del br0' }] },
      { segments: [{ ...segment, prefixBits: 31 }] },
      { segments: [{ ...segment, nameServers: ['9.9.9.9\nserver=1.1.1.1'] }] },
      { ports: [{ ...port, tap: 'eth0' }] },
      { ports: [{ ...port, mac: '52:54:00:00:00:0a,10.0.0.1' }] },
      { ports: [{ ...port, mac: '53:54:00:00:00:0a' }] },
      { ports: [{ ...port, hostName: 'a\ndhcp-script=/x' }] },
      { ports: [{ ...port, bridge: 'br9' }] },
      { forwards: [{ protocol: 'tcp', hostAddress: 'localhost', hostPort: 1 }] },
      { forwards: [{ protocol: 'icmp', hostAddress: '127.0.0.1', hostPort: 1 }] },
      { ruleset: 7 },
    ]
    for (const one of bad)
      assert.throws(() => readNetworkPlan({ ...PLAN, ...one }), { code: 'network_invalid' }, JSON.stringify(one))
    for (const one of [null, [], 'plan', {}]) assert.throws(() => readNetworkPlan(one), { code: 'network_invalid' })
  })
})

describe('dhcpConfiguration()', () => {
  const lines = (index: number): string[] => {
    const segment = PLAN.segments[index]
    assert.ok(segment !== undefined)
    return dhcpConfiguration(PLAN, segment).split('\n')
  }

  it('has the cards of its own segment, and the names of the whole network', () => {
    assert.ok(lines(0).includes('dhcp-host=52:54:00:00:00:0a,10.0.0.4,alpha,infinite'))
    assert.ok(!lines(0).some((line) => line.includes('52:54:00:00:00:0b')))
    assert.ok(lines(1).includes('dhcp-host=52:54:00:00:00:0b,10.1.0.9,infinite'))
    assert.ok(lines(1).includes('host-record=alpha,alpha.internal.holdfast,10.0.0.4'))
    assert.ok(lines(0).includes('dhcp-range=10.0.0.1,static,255.255.240.0,infinite'))
    assert.ok(lines(1).includes('dhcp-range=10.1.0.1,static,255.255.255.128,infinite'))
  })

  it('asks outside only for a segment that may reach outside', () => {
    assert.ok(lines(0).some((line) => line.startsWith('server=')))
    assert.ok(!lines(1).some((line) => line.startsWith('server=')))
    assert.ok(lines(1).includes('dhcp-option=option:dns-server,9.9.9.9'))
  })
})

describe('bridgeMac()', () => {
  it('is the same every time, its own for each bridge, and locally administered', () => {
    assert.equal(bridgeMac(PLAN.id, 'br0'), bridgeMac(PLAN.id, 'br0'))
    assert.notEqual(bridgeMac(PLAN.id, 'br0'), bridgeMac(PLAN.id, 'br1'))
    assert.match(bridgeMac(PLAN.id, 'br0'), /^02(:[0-9a-f]{2}){5}$/)
  })
})
