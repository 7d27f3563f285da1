import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { ManualClock } from '#base'
import { describeBlockDevice } from '../block-device.contract.ts'
import { MemoryDevice } from '../memory-device.ts'
import { openNbd } from './client.ts'
import { settle } from './loopback.fixture.ts'
import { serveNbd } from './server.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-nbd-'))
})
after(() => rm(folder, { recursive: true }))

const MIB = 1024 * 1024
let sockets = 0
const freshSocket = (): string => join(folder, `s${(sockets += 1)}`)

for (const connections of [1, 3]) {
  describeBlockDevice(`an NBD client on a unix socket with ${connections} connection(s)`, {
    sizeBytes: 3 * MIB + 1536,
    steps: 60,
    open: async (sizeBytes) => {
      const device = new MemoryDevice(sizeBytes)
      const socketPath = freshSocket()
      const server = await serveNbd({ listen: { socketPath }, exports: () => ({ source: device, target: device }) })
      return { device: await openNbd({ socketPath, exportName: '', connections }), end: server.close }
    },
  })
}

describe('serveNbd()', () => {
  const exports = () => ({ source: new MemoryDevice(MIB) })

  it('makes the socket private and removes it at the end, and nothing else', async () => {
    const socketPath = freshSocket()
    const server = await serveNbd({ listen: { socketPath }, exports })
    assert.equal((await stat(socketPath)).mode & 0o777, 0o600)
    await server.close()
    assert.deepEqual(
      (await readdir(folder)).filter((name) => socketPath.endsWith(name) || name.startsWith('.')),
      [],
    )
  })

  it('refuses to take the socket of a live server', async () => {
    const socketPath = freshSocket()
    const first = await serveNbd({ listen: { socketPath }, exports })
    await assert.rejects(serveNbd({ listen: { socketPath }, exports }), { code: 'nbd_address_in_use' })
    const client = await openNbd({ socketPath, exportName: '' })
    assert.equal(client.sizeBytes, MIB)
    await client.close()
    await first.close()
  })

  it('replaces the socket that a dead server left', async () => {
    const socketPath = freshSocket()
    const moved = `${socketPath}-dead`
    const dead = createServer().listen(moved)
    await once(dead, 'listening')
    await rename(moved, socketPath)
    await new Promise((resolve) => dead.close(resolve))
    const server = await serveNbd({ listen: { socketPath }, exports })
    const client = await openNbd({ socketPath, exportName: '' })
    await client.close()
    await server.close()
  })

  it('gives the socket of a dead server to one of many that start at once', async () => {
    const socketPath = freshSocket()
    const dead = createServer().listen(`${socketPath}-dead`)
    await once(dead, 'listening')
    await rename(`${socketPath}-dead`, socketPath)
    await new Promise((resolve) => dead.close(resolve))
    const starts = await Promise.allSettled(
      Array.from({ length: 6 }, () => serveNbd({ listen: { socketPath }, exports })),
    )
    const servers = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []))
    assert.equal(servers.length, 1)
    const client = await openNbd({ socketPath, exportName: '' })
    await client.close()
    for (const start of starts) {
      if (start.status === 'rejected') assert.equal((start.reason as { code: string }).code, 'nbd_address_in_use')
    }
    for (const server of servers) await server.close()
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.startsWith('.')),
      [],
    )
  })

  it('does not touch a file that is no socket, or take a path that is too long', async () => {
    const path = freshSocket()
    await writeFile(path, 'precious')
    await assert.rejects(serveNbd({ listen: { socketPath: path }, exports }), { code: 'nbd_address_in_use' })
    const long = join(folder, 'x'.repeat(120))
    await assert.rejects(serveNbd({ listen: { socketPath: long }, exports }), { code: 'invalid_argument' })
  })

  it('serves plain TCP on loopback only', async () => {
    await assert.rejects(serveNbd({ listen: { host: '0.0.0.0', port: 0 }, exports }), { code: 'invalid_argument' })
    const server = await serveNbd({ listen: { host: '127.0.0.1', port: 0 }, exports })
    const client = await openNbd({ host: '127.0.0.1', port: server.port ?? 0, exportName: '' })
    assert.equal(client.sizeBytes, MIB)
    await client.close()
    await server.close()
  })

  it('drops a client that does not negotiate in time, and clients beyond its limit', async () => {
    const socketPath = freshSocket()
    const clock = new ManualClock()
    const ends: unknown[] = []
    const server = await serveNbd({
      listen: { socketPath },
      exports,
      clock,
      connectionsMax: 1,
      onClientEnd: (error) => ends.push(error),
    })
    const idle = connect(socketPath)
    idle.resume()
    await once(idle, 'connect')
    while (server.clients() === 0) await settle()
    const second = connect(socketPath)
    second.resume()
    await once(second, 'close')
    clock.advance(20_000)
    await once(idle, 'close')
    assert.equal((ends[0] as { code?: string }).code, 'nbd_timed_out')
    await server.close()
  })
})

describe('openNbd()', () => {
  it('says that nobody answers, and may be tried again', async () => {
    const attempt = openNbd({ socketPath: join(folder, 'none'), exportName: '' })
    await assert.rejects(attempt, { code: 'nbd_unreachable', retry: 'later' })
  })

  it('gives up on a server that says nothing', async () => {
    const socketPath = freshSocket()
    const silent = createServer((socket) => socket.on('error', () => {})).listen(socketPath)
    await once(silent, 'listening')
    const clock = new ManualClock()
    const opening = openNbd({ socketPath, exportName: '', clock })
    const rejected = assert.rejects(opening, { code: 'nbd_timed_out' })
    while (clock.sleeping === 0) await settle()
    clock.advance(11_000)
    await rejected
    await new Promise((resolve) => silent.close(resolve))
  })

  it('is ended by its signal', async () => {
    const socketPath = freshSocket()
    const silent = createServer((socket) => socket.on('error', () => {})).listen(socketPath)
    await once(silent, 'listening')
    const controller = new AbortController()
    const opening = openNbd({ socketPath, exportName: '', signal: controller.signal })
    controller.abort()
    await assert.rejects(opening, { code: 'cancelled' })
    await new Promise((resolve) => silent.close(resolve))
  })
})
