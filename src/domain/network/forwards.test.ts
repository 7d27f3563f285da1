import assert from 'node:assert/strict'
import { describe, it, test } from 'node:test'
import * as fc from 'fast-check'
import { must } from '#base'
import { assignHostPorts, forwardedPorts, type GuestPort, USUAL_PORTS } from './forwards.ts'
import { parseIpv4, parsePrefix } from './ipv4.ts'
import { ALL_PORTS, type Peer, type PortRange, readPeer, type SecurityRule } from './security-rules.ts'

const card = {
  address: must(parseIpv4('10.0.0.4'), 'an address'),
  space: [must(parsePrefix('10.0.0.0/16'), 'a prefix')],
  isOpen: false,
}

function peer(text: string): Peer {
  return must(readPeer(text), text)
}

function rule(
  priority: number,
  access: 'Allow' | 'Deny',
  ports: PortRange[],
  more: Partial<SecurityRule> = {},
): SecurityRule {
  return {
    name: `r${priority}`,
    priority,
    direction: 'Inbound',
    access,
    protocol: 'Tcp',
    sources: [peer('*')],
    destinations: [peer('*')],
    sourcePorts: [ALL_PORTS],
    destinationPorts: ports,
    ...more,
  }
}

function texts(ports: readonly GuestPort[]): string[] {
  return ports.map(({ protocol, port }) => `${port}/${protocol}`)
}

describe('forwardedPorts()', () => {
  it('forwards what a rule names, and nothing that only neighbours may reach', () => {
    const ssh = rule(1000, 'Allow', [{ from: 22, to: 22 }])
    assert.deepEqual(texts(forwardedPorts([[ssh]], card)), ['22/tcp'])
    assert.deepEqual(texts(forwardedPorts([[]], card)), [])
    const inside = rule(1000, 'Allow', [{ from: 22, to: 22 }], { sources: [peer('VirtualNetwork')] })
    assert.deepEqual(texts(forwardedPorts([[inside]], card)), [])
  })

  it('forwards the usual ports of a wide range, all of a narrow one', () => {
    assert.deepEqual(
      texts(forwardedPorts([[rule(1000, 'Allow', [ALL_PORTS])]], card)),
      USUAL_PORTS.map((port) => `${port}/tcp`),
    )
    const narrow = rule(1000, 'Allow', [{ from: 5000, to: 5003 }], { protocol: 'Udp' })
    assert.deepEqual(texts(forwardedPorts([[narrow]], card)), ['5000/udp', '5001/udp', '5002/udp', '5003/udp'])
  })

  it('wants every group to let it in, and heeds a denial before it', () => {
    const open = [
      rule(1000, 'Allow', [
        { from: 22, to: 22 },
        { from: 80, to: 80 },
      ]),
    ]
    const web = [rule(1000, 'Allow', [{ from: 80, to: 80 }])]
    assert.deepEqual(texts(forwardedPorts([open, web], card)), ['80/tcp'])
    const denied = [rule(500, 'Deny', [{ from: 80, to: 80 }]), ...open]
    assert.deepEqual(texts(forwardedPorts([denied], card)), ['22/tcp'])
  })

  it('forwards what only some may reach: who they are the rules decide', () => {
    const some = rule(1000, 'Allow', [{ from: 22, to: 22 }], { sources: [peer('198.51.100.0/24')] })
    assert.deepEqual(texts(forwardedPorts([[some]], card)), ['22/tcp'])
  })

  it('without a group depends on the kind of address', () => {
    assert.deepEqual(forwardedPorts([], card), [])
    assert.equal(forwardedPorts([], { ...card, isOpen: true }).length, USUAL_PORTS.length)
  })
})

test('assignHostPorts() keeps what is had, takes nothing that is taken, gives no port twice, and fails only when all are gone', () => {
  const guest = fc.record({
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    port: fc.integer({ min: 1, max: 6 }),
  })
  const wanted = fc.uniqueArray(guest, { selector: ({ protocol, port }) => `${protocol}${port}`, maxLength: 8 })
  const has = fc.uniqueArray(fc.tuple(guest, fc.integer({ min: 100, max: 109 })), {
    selector: ([, host]) => host,
    maxLength: 4,
  })
  fc.assert(
    fc.property(wanted, has, fc.array(fc.integer({ min: 100, max: 109 })), (wanted, had, takenList) => {
      const before = had.map(([one, hostPort]) => ({ ...one, hostPort }))
      const taken = new Set(takenList)
      const range = { from: 100, to: 109 }
      const given = assignHostPorts(wanted, before, taken, range)
      const free = 10 - taken.size
      if (given === undefined) return assert.ok(wanted.length > free, 'there was room')
      assert.deepEqual(texts(given), texts(wanted))
      assert.equal(new Set(given.map(({ hostPort }) => hostPort)).size, given.length)
      for (const one of given) {
        assert.ok(!taken.has(one.hostPort) && one.hostPort >= 100 && one.hostPort <= 109)
        const kept = before.filter(
          ({ protocol, port, hostPort }) => protocol === one.protocol && port === one.port && !taken.has(hostPort),
        )
        if (kept.length > 0)
          assert.ok(
            kept.some(({ hostPort }) => hostPort === one.hostPort),
            'it had one',
          )
      }
      return undefined
    }),
  )
})
