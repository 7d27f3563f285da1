import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { isHoldfastError, ManualClock } from '#base'
import { systemClock } from '#runtime'
import { QmpClient } from './client.ts'
import { LineSplitter } from './line-splitter.ts'

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 3, "minor": 1, "major": 9}, "package": ""}, "capabilities": []}}\n'

type Request = { execute: string; id: string; arguments: Record<string, unknown> }
type Script = (request: Request, socket: Socket) => void

let folder: string
let path: string
let server: Server | undefined
const sockets = new Set<Socket>()

/** A peer at the edge of the world: greets, accepts the capabilities and leaves the rest to the script. */
async function peer(script: Script, greeting = GREETING): Promise<void> {
  server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {
      // The client under test may hang up at any moment.
    })
    socket.write(greeting)
    const splitter = new LineSplitter()
    socket.on('data', (bytes: Buffer) => {
      for (const line of splitter.push(bytes)) {
        const request = JSON.parse(line.toString()) as Request
        if (request.execute === 'qmp_capabilities') socket.write(`{"return": {}, "id": "${request.id}"}\n`)
        else script(request, socket)
      }
    })
  })
  await new Promise<void>((resolve) => server?.listen(path, resolve))
}

function connect(): Promise<QmpClient> {
  return QmpClient.connect(path, { clock: systemClock, connectTimeoutMs: 2_000, commandTimeoutMs: 2_000 })
}

const hasCode = (code: string) => (error: unknown) => isHoldfastError(error, code)

describe('QmpClient', () => {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hf-qmp-'))
    path = join(folder, 'qmp')
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())))
    server = undefined
    await rm(folder, { recursive: true })
  })

  it('reads the version from the greeting', async () => {
    await peer(() => {})
    const qmp = await connect()
    assert.deepEqual(qmp.version, { major: 9, minor: 1, micro: 3, package: '' })
    await qmp.close()
  })

  it('gives each of many commands its own answer, whatever their order', async () => {
    const held: Request[] = []
    await peer((request, socket) => {
      held.push(request)
      if (held.length < 3) return
      for (const one of held.reverse()) socket.write(`${JSON.stringify({ return: one.arguments['n'], id: one.id })}\n`)
    })
    const qmp = await connect()
    const answers = await Promise.all([1, 2, 3].map((n) => qmp.execute('x', { n })))
    assert.deepEqual(answers, [1, 2, 3])
    await qmp.close()
  })

  it('joins a message that comes in single bytes', async () => {
    await peer((request, socket) => {
      for (const byte of Buffer.from(`{"return": {"é": 7}, "id": "${request.id}"}\r\n`)) socket.write(Buffer.of(byte))
    })
    const qmp = await connect()
    assert.deepEqual(await qmp.execute('x'), { é: 7 })
    await qmp.close()
  })

  it('reports a refused command with class and description', async () => {
    await peer((request, socket) => {
      const error = { class: 'DeviceNotFound', desc: "Cannot find device 'x'" }
      socket.write(`${JSON.stringify({ error, id: request.id })}\n`)
    })
    const qmp = await connect()
    await assert.rejects(qmp.execute('blockdev-del'), (error: unknown) => {
      assert.ok(isHoldfastError(error, 'qmp_command_failed'))
      assert.deepEqual(error.facts, {
        command: 'blockdev-del',
        class: 'DeviceNotFound',
        desc: "Cannot find device 'x'",
      })
      return true
    })
    await qmp.close()
  })

  it('does not miss an event that comes before the answer of its command', async () => {
    await peer((request, socket) => {
      socket.write('{"event": "GONE", "data": {"id": "other"}, "timestamp": {"seconds": 1, "microseconds": 2500}}\n')
      socket.write('{"event": "GONE", "data": {"id": "mine"}, "timestamp": {"seconds": 3, "microseconds": 2500}}\n')
      socket.write(`{"return": {}, "id": "${request.id}"}\n`)
    })
    const qmp = await connect()
    const matches = (event: { data: Readonly<Record<string, unknown>> }): boolean => event.data['id'] === 'mine'
    const event = await qmp.executeUntil('del', {}, { event: 'GONE', matches, timeoutMs: 1_000 })
    assert.equal(event.atMs, 3_002.5)
    await qmp.close()
  })

  it('fails every command and every wait when QEMU goes away', async () => {
    await peer((request, socket) => {
      if (request.execute === 'die') socket.destroy()
    })
    const qmp = await connect()
    const wait = qmp.waitFor('NEVER', () => true, 5_000)
    const outcomes = await Promise.allSettled([qmp.execute('hang'), qmp.execute('die'), wait])
    for (const outcome of outcomes) {
      assert.equal(outcome.status, 'rejected')
      assert.ok(outcome.status === 'rejected' && isHoldfastError(outcome.reason, 'qmp_disconnected'))
    }
    await assert.rejects(qmp.execute('later'), hasCode('qmp_disconnected'))
    assert.equal((await qmp.ended).code, 'qmp_disconnected')
  })

  it('ends a command at its deadline and ignores the late answer', async () => {
    let late: (() => void) | undefined
    const asked = Promise.withResolvers<void>()
    await peer((request, socket) => {
      const answer = (): boolean => socket.write(`{"return": "${request.execute}", "id": "${request.id}"}\n`)
      if (request.execute === 'slow') late = answer
      else answer()
      asked.resolve()
    })
    const clock = new ManualClock()
    const qmp = await QmpClient.connect(path, { clock })
    const slow = qmp.execute('slow', {}, { timeoutMs: 100 })
    await asked.promise
    clock.advance(100)
    await assert.rejects(slow, hasCode('timed_out'))
    late?.()
    assert.equal(await qmp.execute('fast'), 'fast')
    await qmp.close()
  })

  it('says that the monitor is held when it is connected but never greeted', async () => {
    await peer(() => {}, '')
    const clock = new ManualClock()
    const connecting = QmpClient.connect(path, { clock, connectTimeoutMs: 50 })
    const endMs = systemClock.monotonicMs() + 2_000
    while (clock.sleeping === 0 && systemClock.monotonicMs() < endMs)
      await new Promise((resolve) => setImmediate(resolve))
    clock.advance(50)
    await assert.rejects(connecting, hasCode('qmp_busy'))
  })

  it('says that nobody listens', async () => {
    await assert.rejects(connect(), hasCode('qmp_unreachable'))
  })

  for (const [what, bytes] of [
    ['text that is no JSON', 'hello\n'],
    ['JSON that is no message', '[1]\n'],
    ['an answer without an id', '{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n'],
  ] as const) {
    it(`ends the connection over ${what}`, async () => {
      await peer((_request, socket) => void socket.write(bytes))
      const qmp = await connect()
      await assert.rejects(qmp.execute('x'), hasCode('qmp_protocol_violation'))
    })
  }
})

describe('LineSplitter', () => {
  it('cuts the same lines wherever the stream is cut', () => {
    const stream = Buffer.from('alpha\n\nbéta\nrest')
    for (let cut = 0; cut <= stream.length; cut += 1) {
      const splitter = new LineSplitter()
      const lines = [...splitter.push(stream.subarray(0, cut)), ...splitter.push(stream.subarray(cut))]
      assert.deepEqual(lines.map(String), ['alpha', '', 'béta'])
    }
  })

  it('refuses a line over the limit, also when it never ends', () => {
    const splitter = new LineSplitter(10)
    assert.deepEqual(splitter.push(Buffer.from('0123456789\n')).map(String), ['0123456789'])
    splitter.push(Buffer.from('01234'))
    assert.throws(() => splitter.push(Buffer.from('567890')), RangeError)
  })
})
