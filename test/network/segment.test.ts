/** Segments on this host, with stand-ins for machines: who reaches whom, and what is there again after something was killed. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { must } from '#base'
import { ALL_PORTS, readPeer, type SecurityRule } from '#domain'
import { insideNetwork, UPLINK } from '#engine/hypervisor'
import { systemClock } from '#runtime'
import {
  isThere,
  loopbackServer,
  markedProcesses,
  NetworkWorld,
  planOf,
  type StandIn,
  type WantedCard,
  type WantedNetwork,
} from './network-world.ts'

const alpha: WantedCard = {
  tap: 'hf00000000000a',
  mac: '52:54:00:00:00:0a',
  address: '10.0.0.4',
  subnet: 'open',
  hostName: 'alpha',
}
const beta: WantedCard = {
  tap: 'hf00000000000b',
  mac: '52:54:00:00:00:0b',
  address: '10.0.0.77',
  subnet: 'open',
  hostName: 'beta',
}
const gamma: WantedCard = {
  tap: 'hf00000000000c',
  mac: '52:54:00:00:00:0c',
  address: '10.0.1.9',
  subnet: 'sealed',
  hostName: 'gamma',
}
const SUBNETS = { open: { prefix: '10.0.0.0/24' }, sealed: { prefix: '10.0.1.0/25', outbound: false } }

function rule(given: Partial<SecurityRule>): SecurityRule {
  const any = [must(readPeer('*'), 'anybody')]
  const ports = { sourcePorts: [ALL_PORTS], destinationPorts: [ALL_PORTS] }
  const ends = { sources: any, destinations: any }
  return { name: 'r', priority: 100, direction: 'Inbound', access: 'Deny', protocol: '*', ...ends, ...ports, ...given }
}

/** What a port of this host says; undefined when nobody is there or nothing comes within two seconds. */
function ask(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    let text = ''
    socket.setTimeout(2_000, () => socket.destroy())
    socket.on('data', (data: Buffer) => (text += data.toString()))
    socket.on('error', () => {})
    socket.on('close', () => resolve(text === '' ? undefined : text))
  })
}

function ascending(a = '', b = ''): number {
  return a < b ? -1 : a > b ? 1 : 0
}

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const endMs = systemClock.monotonicMs() + 20_000
  while (!(await holds())) {
    assert.ok(systemClock.monotonicMs() < endMs, what)
    await systemClock.sleep(50)
  }
}

describe('A virtual network', () => {
  let world: NetworkWorld
  let a: StandIn
  let b: StandIn
  let c: StandIn
  const base: WantedNetwork = { subnets: SUBNETS, cards: [alpha, beta, gamma] }
  before(async () => {
    world = await NetworkWorld.make()
    await world.apply(base)
    a = await world.standIn(alpha)
    b = await world.standIn(beta)
    c = await world.standIn(gamma)
    await world.apply(base)
  })
  after(() => world[Symbol.asyncDispose]())

  it('gives each card the address of its record, and a strange card none', async () => {
    assert.equal(await a.lease(), '10.0.0.4/24 router 10.0.0.1 dns 10.0.0.1')
    assert.equal(await b.lease(), '10.0.0.77/24 router 10.0.0.1 dns 10.0.0.1')
    assert.equal(await c.lease(), '10.0.1.9/25 router 10.0.1.1 dns 10.0.1.1')
    await a.run('ip', 'link', 'set', 'eth0', 'address', '52:54:00:00:00:99')
    assert.equal(await a.lease(), undefined, 'a MAC that is nobody’s')
    assert.equal(await a.pings('10.0.0.1'), false, 'nor may it speak')
    await a.run('ip', 'link', 'set', 'eth0', 'address', alpha.mac)
    assert.equal(await a.lease(), '10.0.0.4/24 router 10.0.0.1 dns 10.0.0.1')
  })

  it('lets neighbours reach each other, in a subnet and across, by address and name', async () => {
    assert.ok(await a.pings('10.0.0.77'))
    assert.ok(await a.pings('10.0.1.9'))
    assert.ok(await c.pings('10.0.0.4'))
    assert.match((await a.run('busybox', 'nslookup', 'gamma', '10.0.0.1')) ?? '', /10\.0\.1\.9/)
    assert.match((await c.run('busybox', 'nslookup', 'alpha', '10.0.1.1')) ?? '', /10\.0\.0\.4/)
  })

  it('is one segment of layer 2 where no rule stands in the way', async () => {
    assert.match(
      (await a.run('busybox', 'arping', '-c', '1', '-w', '2', '-I', 'eth0', '10.0.0.77')) ?? '',
      new RegExp(beta.mac, 'i'),
    )
  })

  it('does not let a card speak with another’s address', async () => {
    await a.run('ip', 'addr', 'add', '10.0.0.50/24', 'dev', 'eth0')
    assert.equal(await a.run('busybox', 'ping', '-c', '1', '-W', '1', '-I', '10.0.0.50', '10.0.0.77'), undefined)
    await a.run('ip', 'addr', 'del', '10.0.0.50/24', 'dev', 'eth0')
  })

  it('reaches the host’s loopback only when told to, and the host’s other addresses never; sealed, nothing at all', async () => {
    const { server, port } = await loopbackServer('host')
    try {
      assert.equal(await a.fetch(UPLINK.host, port), undefined)
      await world.apply({ ...base, hostLoopback: true })
      assert.equal(await a.fetch(UPLINK.host, port), 'host')
      assert.equal(await c.fetch(UPLINK.host, port), undefined, 'the sealed subnet')
      assert.equal(await c.pings(UPLINK.own), false, 'not even the network’s own end')
      await world.apply(base)
      assert.equal(await a.fetch(UPLINK.host, port), undefined)
    } finally {
      server.close()
    }
    const rules = await world.inside('nft', 'list', 'set', 'ip', 'holdfast', 'host')
    assert.match(rules, /127\.0\.0\.1/)
    const answer = await c.run('busybox', 'nslookup', 'example.com', '10.0.0.1')
    assert.equal(answer, undefined, 'nor another segment’s name server')
  })

  it('has no way out at all when nothing asks for one', async () => {
    const sealed = { subnets: { ...SUBNETS, open: { prefix: '10.0.0.0/24', outbound: false } }, cards: base.cards }
    await world.apply(sealed)
    assert.doesNotMatch(await world.inside('ip', '-br', 'link'), /up0/)
    assert.ok(await a.pings('10.0.0.77'), 'inside all is as before')
    await world.apply(base)
    assert.match(await world.inside('ip', '-br', 'link'), /up0/)
  })

  it('forwards ports of the host, reports those that are taken, and drops what is not wanted any more', async () => {
    const { server, port: taken } = await loopbackServer('another program')
    const free = await loopbackServer('')
    await new Promise((resolve) => free.server.close(resolve))
    await b.serve(8080, 'beta')
    const forwards = [
      { hostPort: free.port, address: '10.0.0.77', port: 8080 },
      { hostPort: taken, address: '10.0.0.77', port: 8080 },
    ]
    try {
      const { busy } = await world.apply({ ...base, forwards })
      assert.deepEqual(busy, [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: taken }])
      await until('the forwarded port answers', async () => (await ask(free.port)) === 'beta')
      await world.apply(base)
      assert.equal(await ask(free.port), undefined)
    } finally {
      server.close()
    }
  })

  it('enforces its groups inside a subnet, across subnets and from outside', async () => {
    const denied = {
      ...beta,
      group: [
        rule({
          sources: [must(readPeer('10.0.0.4'), 'alpha')],
          protocol: 'Tcp',
          destinationPorts: [{ from: 8080, to: 8080 }],
        }),
      ],
    }
    const { port } = await loopbackServer('').then(async ({ server, port }) => {
      await new Promise((resolve) => server.close(resolve))
      return { port }
    })
    const forwards = [{ hostPort: port, address: '10.0.0.77', port: 8080 }]
    await until('it serves', async () => (await c.fetch('10.0.0.77', 8080)) === 'beta')
    assert.equal(await a.fetch('10.0.0.77', 8080), 'beta')
    await world.apply({ ...base, cards: [alpha, denied, gamma], forwards })
    assert.equal(await a.fetch('10.0.0.77', 8080), undefined, 'the one that is denied')
    assert.ok(await a.pings('10.0.0.77'), 'other traffic of it')
    await until('others', async () => (await c.fetch('10.0.0.77', 8080)) === 'beta')
    assert.equal(await ask(port), undefined, 'the Internet, which no rule lets in')
    const open = rule({ priority: 90, access: 'Allow', sources: [must(readPeer('Internet'), 'outside')] })
    await world.apply({ ...base, cards: [alpha, { ...beta, group: [...denied.group, open] }, gamma], forwards })
    await until('the Internet, let in', async () => (await ask(port)) === 'beta')
    const noOut = rule({ direction: 'Outbound', destinations: [must(readPeer('10.0.1.0/25'), 'sealed')] })
    await world.apply({ ...base, cards: [{ ...alpha, group: [noOut] }, beta, gamma] })
    assert.equal(await a.pings('10.0.1.9'), false, 'what leaves is judged too')
    assert.ok(await c.pings('10.0.0.4'), 'answers to others are not')
    await world.apply(base)
    assert.equal(await a.pings('10.0.1.9'), true)
  })

  it('is made again after any of its processes was killed, and machines keep their network', async () => {
    const parts = markedProcesses(world.id)
    assert.deepEqual(parts.map(({ part }) => part.split(' ')[0]).sort(ascending), ['dhcp', 'dhcp', 'holder', 'uplink'])
    for (const { pid, part } of parts) {
      process.kill(pid, 'SIGKILL')
      await until(`${part} is gone`, () => !isThere({ pid }))
      await world.host.check()
      assert.equal(markedProcesses(world.id).length, 4, `${part}: ${world.warnings.join('; ')}`)
      assert.ok(await a.pings('10.0.0.77'), part)
    }
    assert.equal(await a.lease(), '10.0.0.4/24 router 10.0.0.1 dns 10.0.0.1')
    assert.equal(await c.lease(), '10.0.1.9/25 router 10.0.1.1 dns 10.0.1.1')
    const before = markedProcesses(world.id)
    await world.open().check()
    assert.deepEqual(markedProcesses(world.id), before, 'another process’s look changes nothing')
  })

  it('ends what somebody began who was killed before it was ready, and takes another user’s process for nobody of it', async () => {
    const holder = must(
      markedProcesses(world.id).find(({ part }) => part === 'holder'),
      'It has a holder',
    )
    const env = { PATH: process.env['PATH'], HOLDFAST_NETWORK: world.id, HOLDFAST_NETWORK_PART: 'holder' }
    const unready = spawn('sleep', ['600'], { env })
    process.kill(holder.pid, 'SIGKILL')
    await until('it is gone', () => !isThere(holder))
    await world.host.check()
    assert.equal(unready.pid === undefined ? false : isThere({ pid: unready.pid }), false)
    assert.equal(markedProcesses(world.id).length, 4)
    assert.ok(await a.pings('10.0.0.77'))
    if (process.getuid?.() !== 0) return
    const stranger = spawn('sleep', ['600'], { env, uid: 65_532, gid: 65_532 })
    try {
      await world.apply(base)
      assert.ok(isThere({ pid: must(stranger.pid, 'It runs') }), 'a stranger’s process is left alone')
    } finally {
      stranger.kill('SIGKILL')
    }
  })

  it('heeds no older plan that comes late', async () => {
    const old = planOf(world.id, 0, { subnets: {}, cards: [] })
    assert.deepEqual(await world.host.apply(old), { busy: [], isOld: true })
    assert.ok(await a.pings('10.0.0.77'))
  })

  it('is made anew from what was kept when the host was restarted, and leaves nothing when no card is wanted', async () => {
    await world.killAll()
    for (const one of [a, b, c]) one.end()
    await until('nothing is left', async () => (await insideNetwork(world.id)) === undefined)
    await world.open().check()
    const links = await world.inside('ip', '-br', 'link')
    for (const { tap } of base.cards) assert.match(links, new RegExp(tap))
    await world.empty()
    assert.deepEqual(markedProcesses(world.id), [])
    assert.equal(await insideNetwork(world.id), undefined)
    await world.open().check()
    assert.equal(await insideNetwork(world.id), undefined)
  })
})
