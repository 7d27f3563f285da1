import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { HoldfastError } from '#base'
import { RpcClient } from './client.ts'
import { MESSAGE_BYTES_MAX, MessageReader, readHello } from './messages.ts'
import { type RpcMethods, RpcServer } from './server.ts'
import type { RpcAddress } from './transport.ts'

class Damaged extends HoldfastError {}

let folder = ''
let address: RpcAddress & { kind: 'unix' }
let close: (() => Promise<void> | void)[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-rpc-'))
  address = { kind: 'unix', path: join(folder, 's') }
})
afterEach(async () => {
  for (const step of close.toReversed()) await step()
  close = []
  await rm(folder, { recursive: true })
})

async function serveMethods(methods: RpcMethods): Promise<void> {
  const server = await RpcServer.open({ address, role: 'worker', version: '9.9', facts: { pid: 7 }, methods })
  close.push(() => server.close())
}

async function dialIn(): Promise<RpcClient> {
  const client = await RpcClient.open(address, 'control', '1.2')
  close.push(() => client.close())
  return client
}

/** Sends raw bytes; gives all that comes back until the other side ends. */
function sendRaw(...parts: readonly (string | Buffer)[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(address.path, () => {
      for (const part of parts) socket.write(part)
    })
    let said = ''
    socket.on('data', (data) => (said += data.toString()))
    socket.on('error', reject)
    socket.on('close', () => resolve(said))
  })
}

test('hello tells each side who the other is; the socket is the owner’s alone', async () => {
  await serveMethods({ whoami: (_params, { peer }) => [peer.role, peer.version] })
  const client = await dialIn()
  assert.deepEqual(client.peer, { holdfast: 1, role: 'worker', version: '9.9', facts: { pid: 7 } })
  assert.deepEqual(await client.call('whoami', null), ['control', '1.2'])
  assert.equal((await stat(address.path)).mode & 0o777, 0o600)
})

test('calls of one connection run beside each other, and each gets its own answer and events', async () => {
  const gates = new Map<unknown, PromiseWithResolvers<void>>([1, 2].map((n) => [n, Promise.withResolvers<void>()]))
  await serveMethods({
    wait: async (params, { event }) => {
      event(`began ${String(params)}`)
      await gates.get(params)?.promise
      return params
    },
  })
  const client = await dialIn()
  const events: unknown[] = []
  const began = Promise.withResolvers<void>()
  const onEvent = (event: unknown): void => {
    events.push(event)
    if (events.length === 2) began.resolve()
  }
  const first = client.call('wait', 1, { onEvent })
  const second = client.call('wait', 2, { onEvent })
  await began.promise
  gates.get(2)?.resolve()
  assert.equal(await second, 2)
  gates.get(1)?.resolve()
  assert.equal(await first, 1)
  assert.deepEqual(events, ['began 1', 'began 2'])
})

test('an error crosses the wire with code, facts, verdict and hint; an unknown method is refused by name', async () => {
  await serveMethods({
    fail: () => {
      throw new Damaged('chunk_corrupt', 'Chunk 7 is damaged.', {
        facts: { chunk: 7 },
        retry: 'later',
        hint: 'Verify.',
      })
    },
  })
  const client = await dialIn()
  await assert.rejects(client.call('fail', null), {
    code: 'chunk_corrupt',
    facts: { chunk: 7 },
    retry: 'later',
    hint: 'Verify.',
  })
  for (const name of ['nothing', 'toString', '__proto__']) {
    await assert.rejects(client.call(name, null), { code: 'rpc_method_unknown' })
  }
})

test('a caller that leaves tells the method, and the connection goes on', async () => {
  const left = Promise.withResolvers<void>()
  await serveMethods({
    wait: (_params, { signal, event }) => {
      event('here')
      return new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          left.resolve()
          resolve(null)
        })
      })
    },
    echo: (params) => params,
  })
  const client = await dialIn()
  const control = new AbortController()
  const call = client.call('wait', null, { signal: control.signal, onEvent: () => control.abort(new Error('enough')) })
  await assert.rejects(call, /enough/)
  await left.promise
  assert.equal(await client.call('echo', 'still here'), 'still here')
})

test('the end of the connection fails what is open with rpc_closed, and tells the method', async () => {
  const gone = Promise.withResolvers<unknown>()
  const entered = Promise.withResolvers<void>()
  await serveMethods({
    wait: (_params, { signal }) => {
      signal.addEventListener('abort', () => gone.resolve(signal.reason))
      entered.resolve()
      return gone.promise
    },
  })
  const client = await dialIn()
  const call = client.call('wait', null)
  await entered.promise
  client.close()
  await assert.rejects(call, { code: 'rpc_closed', retry: 'later' })
  assert.equal(((await gone.promise) as Damaged).code, 'rpc_closed')
})

test('nobody there is rpc_unreachable, to be tried again later', async () => {
  await assert.rejects(RpcClient.open(address, 'control', '1'), { code: 'rpc_unreachable', retry: 'later' })
})

test('an answer or a request that is too large is refused, and the connection goes on', async () => {
  await serveMethods({ grow: (bytes) => 'x'.repeat(Number(bytes)), echo: (params) => params })
  const client = await dialIn()
  await assert.rejects(client.call('grow', MESSAGE_BYTES_MAX), { code: 'rpc_message_too_large' })
  await assert.rejects(client.call('echo', 'x'.repeat(MESSAGE_BYTES_MAX)), { code: 'rpc_message_too_large' })
  assert.equal(await client.call('echo', 'fine'), 'fine')
})

const HELLO = '{"holdfast":1,"role":"control","version":"1"}\n'

test('what is no message ends the connection with its reason', async () => {
  await serveMethods({ echo: (params) => params })
  assert.match(await sendRaw('GET / HTTP/1.1\r\n\r\n'), /rpc_protocol_violation/)
  assert.match(await sendRaw('{"id":1,"method":"echo"}\n'), /rpc_protocol_violation/)
  assert.match(await sendRaw('{"holdfast":2,"role":"control","version":"1"}\n'), /rpc_version_unknown/)
  assert.match(await sendRaw(HELLO, '[1]\n'), /rpc_protocol_violation/)
  assert.match(await sendRaw(HELLO, '{"id":"1","method":"echo"}\n'), /rpc_protocol_violation/)
  assert.match(await sendRaw(Buffer.alloc(MESSAGE_BYTES_MAX + 1, 'x')), /rpc_message_too_large/)
})

test('a server of another protocol version, or one that hangs up, is refused by the client', async () => {
  const answer = async (text: string): Promise<void> => {
    const sockets: Socket[] = []
    const server = createServer((socket) => {
      sockets.push(socket)
      socket.end(text)
    })
    await new Promise<void>((resolve) => void server.listen(address.path, resolve))
    try {
      await RpcClient.open(address, 'control', '1')
    } finally {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    }
  }
  await assert.rejects(answer('{"holdfast":3,"role":"worker","version":"1"}\n'), { code: 'rpc_version_unknown' })
  await assert.rejects(answer(''), { code: 'rpc_closed' })
  await assert.rejects(answer('hello\n'), { code: 'rpc_protocol_violation' })
})

test('MessageReader gives the same messages however the stream is cut', () => {
  const messages = [{ id: 1, text: 'größer\nals' }, { id: 2 }, { id: 3, text: '☃'.repeat(5) }]
  const bytes = Buffer.from(messages.map((message) => `${JSON.stringify(message)}\n`).join(''))
  for (let size = 1; size <= bytes.length; size += 1) {
    const reader = new MessageReader()
    const read = []
    for (let at = 0; at < bytes.length; at += size) read.push(...reader.push(bytes.subarray(at, at + size)))
    assert.deepEqual(read, messages, `in pieces of ${size}`)
  }
})

test('readHello() refuses every hello of which a field is missing', () => {
  const whole = { holdfast: 1, role: 'worker', version: '1' }
  for (const field of Object.keys(whole)) {
    assert.throws(() => readHello({ ...whole, [field]: undefined }), { code: 'rpc_protocol_violation' }, field)
  }
})
