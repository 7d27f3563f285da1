/** The life of a machine with a real guest: made, started, looked at, paused, shut down, started again, removed. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { after, before, describe, it } from 'node:test'
import { inflateSync } from 'node:zlib'
import { systemClock } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { emptyMachine, freePort, MachineWorld } from './machine-world.ts'

let world: MachineWorld

/** The pixels of an 8-bit PNG; fails on anything that is not whole. */
function pixelsOf(png: Buffer): Buffer {
  assert.equal(png.toString('hex', 0, 8), '89504e470d0a1a0a')
  assert.equal(png.toString('latin1', png.length - 8, png.length - 4), 'IEND')
  const parts: Buffer[] = []
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT')
      parts.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)))
  }
  return inflateSync(Buffer.concat(parts))
}

async function fetchText(port: number): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}/`)).text()
}

describe('QemuHypervisor, one machine', () => {
  let forwarded: number

  before(async () => {
    world = await MachineWorld.make()
    forwarded = await freePort()
    await world.makeMicro('life', {
      networks: [
        {
          kind: 'user',
          mac: '52:54:00:00:10:01',
          restricted: true,
          forwards: [{ hostPort: forwarded, guestPort: 8080, protocol: 'tcp' }],
        },
      ],
    })
    await world.host.start('life')
    await world.waitReady('life')
  })
  after(() => world[Symbol.asyncDispose]())

  it('describes it as running, and a second start changes nothing', async () => {
    const first = await world.host.describe('life')
    assert.equal(first.power, 'running')
    assert.ok(first.accelerator)
    const again = await world.openHost().start('life')
    assert.equal(again.processId, first.processId)
  })

  it('runs it in a sandbox, in a session of its own, without our environment', async () => {
    const pid = (await world.host.describe('life')).processId ?? 0
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    assert.match(status, /^Seccomp:\t2$/m)
    const session = (path: string): string => readFileSync(path, 'utf8').split(') ')[1]?.split(' ')[3] ?? ''
    assert.notEqual(session(`/proc/${pid}/stat`), session('/proc/self/stat'))
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .map((entry) => entry.split('=')[0])
    assert.deepEqual(
      names.filter((n) => !['PATH', 'LANG', 'TZ', 'TMPDIR', 'LC_ALL', 'PWD', ''].includes(n ?? '')),
      [],
    )
  })

  it('shows its screen as a PNG with something on it', async () => {
    const shot = await world.host.screenshot('life')
    const pixels = pixelsOf(shot.png)
    assert.equal(pixels.length, (shot.widthPx * 3 + 1) * shot.heightPx)
    assert.ok(new Set(pixels).size > 1)
  })

  it('keeps what the guest wrote to its serial port', async () => {
    await world.run('life', 'echo marker-$((6 * 7)) > /dev/ttyS0')
    await eventually('the marker in the log', 5_000, async () =>
      (await world.host.serialLog('life')).bytes.includes('marker-42') ? true : undefined,
    )
    const { bytes, truncated } = await world.host.serialLog('life', { bytesMax: 10 })
    assert.equal(bytes.length, 10)
    assert.equal(truncated, true)
  })

  it('lets the host in through the forwarded port and the guest out nowhere', async () => {
    assert.match(await fetchText(forwarded), /hello-micro/)
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.end('host')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const knock = `printf 'GET /from-guest HTTP/1.0\\r\\n\\r\\n' | timeout 3 nc 10.0.2.2 ${port} || true`
    try {
      assert.doesNotMatch(await world.run('life', knock), /host/)
      assert.equal(asked.length, 0)
      await world.makeMicro('open', {
        networks: [{ kind: 'user', mac: '52:54:00:00:10:02', restricted: false, forwards: [] }],
      })
      await world.host.start('open')
      await world.waitReady('open')
      await eventually('the unrestricted guest to reach the host', 10_000, async () =>
        (await world.run('open', knock)).includes('host') ? true : undefined,
      )
      assert.ok(asked.includes('/from-guest')) // so the silence of the restricted guest means something
    } finally {
      server.close()
      await world.host.powerOff('open')
    }
  })

  it('pauses and resumes, and the guest goes on where it was', async () => {
    await world.run('life', 'echo kept > /run/kept')
    await world.host.pause('life')
    await world.host.pause('life')
    assert.equal((await world.host.describe('life')).power, 'paused')
    await assert.rejects(world.run('life', 'true', 300), { code: 'agent_unavailable' })
    await world.host.resume('life')
    assert.equal((await world.host.describe('life')).power, 'running')
    assert.equal(await world.run('life', 'cat /run/kept'), 'kept\n')
  })

  it('refuses to delete it while it runs', async () => {
    await assert.rejects(world.host.delete('life', { disks: 'keep' }), { code: 'machine_state_conflict' })
  })

  it('shuts down through the agent, and by the power button when there is no agent', async () => {
    const byAgent = await world.host.shutdown('life', { deadlineMs: 60_000, thenPowerOff: false })
    assert.equal(byAgent.by, 'agent')
    const stopped = await world.host.describe('life')
    assert.equal(stopped.power, 'stopped')
    assert.equal(stopped.lastEnd?.cause, 'shut_down')
    const again = await world.host.shutdown('life', { deadlineMs: 1, thenPowerOff: false })
    assert.equal(again.by, 'already_off')

    await world.host.start('life')
    await world.waitReady('life')
    assert.equal((await world.run('life', 'wc -l < /var/log/boots')).trim(), '2')
    await world.run('life', 'killall -STOP qemu-ga > /dev/null 2>&1 &').catch(() => {
      // The agent is stopped by the very command that it would have to report on.
    })
    const byButton = await world.host.shutdown('life', { deadlineMs: 60_000, thenPowerOff: false })
    assert.equal(byButton.by, 'acpi')
    assert.equal(byButton.notes.length, 1)
  })

  it('deletes the machine with its disks and leaves the base image alone', async () => {
    const { machine } = await world.host.describe('life')
    await world.host.delete('life', { disks: 'delete' })
    assert.equal(existsSync(machine.disks[0]?.path ?? ''), false)
    await assert.rejects(world.host.describe('life'), { code: 'machine_not_found' })
    await world.makeMicro('life')
  })
})

describe('QemuHypervisor.shutdown()', () => {
  it('powers off a machine that does not listen only when it may', async () => {
    await using world = await MachineWorld.make()
    await world.host.create(emptyMachine('deaf'))
    await world.host.start('deaf')
    const before = systemClock.monotonicMs()
    await assert.rejects(world.host.shutdown('deaf', { deadlineMs: 500, thenPowerOff: false }), { code: 'timed_out' })
    assert.ok(systemClock.monotonicMs() - before < 20_000)
    assert.equal((await world.host.describe('deaf')).power, 'running')
    const outcome = await world.host.shutdown('deaf', { deadlineMs: 500, thenPowerOff: true })
    assert.equal(outcome.by, 'power_off')
    assert.equal((await world.host.describe('deaf')).power, 'stopped')
  })
})
