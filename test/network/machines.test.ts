/** Two real machines in a segment: leases by their MACs, each other, nothing outside; their network outlives its tools. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { test } from 'node:test'
import { must } from '#base'
import { UPLINK } from '#engine/hypervisor'
import { systemClock } from '#runtime'
import { freePort, MachineWorld } from '../hypervisor/machine-world.ts'
import { loopbackServer, NetworkWorld, type WantedCard } from './network-world.ts'

const CARDS: readonly WantedCard[] = [
  { tap: 'hf0000000000a1', mac: '52:54:00:00:0a:01', address: '10.0.0.11', subnet: 's', hostName: 'one' },
  { tap: 'hf0000000000a2', mac: '52:54:00:00:0a:02', address: '10.0.0.12', subnet: 's', hostName: 'two' },
]

/** As a guest's own DHCP client does. The micro guest has an address from its image, which goes first. */
const LEASE = `cat > /tmp/lease <<'X'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"; ip route add default via "$router"; echo "nameserver $dns" > /etc/resolv.conf
echo "lease $ip"
X
chmod +x /tmp/lease; ip addr flush dev eth0; ip link set eth0 up; udhcpc -i eth0 -n -q -t 5 -s /tmp/lease`

function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write('GET / HTTP/1.0\r\n\r\n'))
    socket.setTimeout(5_000, () => socket.destroy())
    socket.on('data', (data: Buffer) => (text += data.toString()))
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })
}

test('two machines of a sealed segment reach each other and nothing else, and are reached by a port of the host', async () => {
  await using network = await NetworkWorld.make()
  await using machines = await MachineWorld.make()
  const hostPort = await freePort()
  const wanted = {
    subnets: { s: { prefix: '10.0.0.0/24', outbound: false } },
    cards: CARDS,
    forwards: [{ hostPort, address: '10.0.0.12', port: 8080 }],
    hostLoopback: true,
  }
  await network.apply(wanted)
  for (const { hostName, mac, tap } of CARDS) {
    const name = must(hostName, 'Both have names')
    await machines.makeMicro(name, { networks: [{ kind: 'segment', mac, network: network.id, interface: tap }] })
    await machines.host.start(name)
  }
  for (const { hostName, address } of CARDS) {
    await machines.waitReady(hostName ?? '')
    assert.match(await machines.run(hostName ?? '', LEASE), new RegExp(`lease ${address}`))
  }
  const pid = must((await machines.host.describe('one')).processId, 'It runs')
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  assert.match(status, /^CapEff:\t0+$/m, 'QEMU can do nothing to its network')
  assert.match(status, /^NoNewPrivs:\t1$/m)

  await machines.run('one', 'ping -c 1 -W 5 10.0.0.12')
  await machines.run('two', 'nslookup one | grep -q 10.0.0.11')
  const { server, port } = await loopbackServer('host')
  try {
    await assert.rejects(machines.run('one', `nc -w 3 ${UPLINK.host} ${port} < /dev/null | grep -q host`))
    await assert.rejects(machines.run('one', 'nslookup example.com'))
    await network.apply({ ...wanted, subnets: { s: { prefix: '10.0.0.0/24' } } })
    await machines.run('one', `nc -w 5 ${UPLINK.host} ${port} < /dev/null | grep -q host`)
    await network.apply(wanted)
    await assert.rejects(machines.run('one', `nc -w 3 ${UPLINK.host} ${port} < /dev/null | grep -q host`))
  } finally {
    server.close()
  }
  assert.match(await ask(hostPort), /hello-micro/)

  await network.killAll()
  await network.host.check()
  await machines.run('one', 'ping -c 1 -W 5 10.0.0.12')
  assert.match(await machines.run('two', LEASE), /lease 10\.0\.0\.12/)
  const endMs = systemClock.monotonicMs() + 10_000
  while (!/hello-micro/.test(await ask(hostPort))) assert.ok(systemClock.monotonicMs() < endMs, 'the port is back')
})
