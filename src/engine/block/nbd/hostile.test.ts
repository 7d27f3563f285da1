/**
 * Peers that lie. A whole conversation is recorded, then played back cut short at every byte and with every byte changed:
 * the outcome must be the right bytes, a HoldfastError, or a wait that its deadline ends; never a hang or a raw error.
 */
import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import { HoldfastError, ManualClock } from '#base'
import { MemoryDevice } from '../memory-device.ts'
import { stampedBytes } from '../sector-stamp.ts'
import { BufferPool } from './buffer-pool.ts'
import { dirtyContext } from './export.ts'
import { clientOn, outcomeOf, pipe, settle } from './loopback.fixture.ts'
import { serveStream } from './serve-stream.ts'
import {
  encodeChunkHeader,
  encodeOptionReply,
  encodeRequest,
  encodeSimpleReply,
  encodeU32,
  REP,
  REPLY,
  SIMPLE_REPLY_BYTES,
} from './wire.ts'

const CONTEXT = 'qemu:dirty-bitmap:b'
const DATA = stampedBytes({ disk: 4, version: 2 }, 0, 2048)
const COOKIE_HIGH = 0x68_66_62_64

function disk(): MemoryDevice {
  const device = new MemoryDevice(256 * 1024)
  device.writeSync(0, DATA)
  return device
}

const contexts = new Map([[CONTEXT, dirtyContext([{ offset: 512, length: 512 }])]])

/** What a client does in the conversation; ends in a string that tells what it got. */
async function converse(stream: Duplex, clock: ManualClock): Promise<string> {
  const client = await clientOn(stream, { metaContexts: [CONTEXT], clock })
  const into = Buffer.alloc(600, 0xee)
  await client.read(100, into)
  const extents = await client.extents(0, client.sizeBytes)
  const dirty = await client.dirtyExtents(CONTEXT, 0, 2048)
  await client.write(1000, into.subarray(0, 50))
  await client.flush()
  await client.close()
  return JSON.stringify({ right: into.equals(DATA.subarray(100, 700)), extents, dirty })
}

type Step = { afterBytes: number; bytes: Buffer }

/** Both directions of the conversation with our own server: what it said, and after how many bytes of the client. */
async function record(): Promise<{ server: Step[]; client: Buffer; result: string }> {
  const [near, middleNear] = pipe()
  const [middleFar, far] = pipe()
  const server: Step[] = []
  const sent: Buffer[] = []
  let clientBytes = 0
  middleNear.on('data', (bytes: Buffer) => {
    clientBytes += bytes.length
    sent.push(bytes)
    middleFar.write(bytes)
  })
  middleFar.on('data', (bytes: Buffer) => {
    server.push({ afterBytes: clientBytes, bytes })
    middleNear.write(bytes)
  })
  const device = disk()
  const options = { exports: () => ({ source: device, target: device, contexts }), clock: new ManualClock() }
  void serveStream(far, options, { tls: undefined, pool: new BufferPool(0) })
  const result = await converse(near, new ManualClock())
  await settle()
  return { server, client: Buffer.concat(sent), result }
}

/** Plays the server's part: each step once the client has said as much as it had then, then silence or the end. */
function play(steps: readonly Step[], thenEnd: boolean): Duplex {
  const [near, far] = pipe()
  let received = 0
  let next = 0
  const advance = (): void => {
    for (let step = steps[next]; step !== undefined && received >= step.afterBytes; step = steps[next]) {
      far.write(step.bytes)
      next += 1
    }
    if (next === steps.length && thenEnd) far.end()
  }
  far.on('error', () => {})
  far.on('data', (bytes: Buffer) => {
    received += bytes.length
    advance()
  })
  advance()
  return near
}

function cut(steps: readonly Step[], length: number): Step[] {
  let left = length
  return steps.flatMap((step) => {
    const bytes = step.bytes.subarray(0, left)
    left -= bytes.length
    return bytes.length === 0 ? [] : [{ ...step, bytes }]
  })
}

function change(steps: readonly Step[], at: number, mask: number): Step[] {
  let start = 0
  return steps.map((step) => {
    const inStep = at - start
    start += step.bytes.length
    if (inStep < 0 || inStep >= step.bytes.length) return step
    const bytes = Buffer.from(step.bytes)
    bytes[inStep] = (bytes[inStep] ?? 0) ^ mask
    return { ...step, bytes }
  })
}

function assertTyped(outcome: { value: string } | { error: unknown }, what: string): void {
  if ('error' in outcome) assert.ok(outcome.error instanceof HoldfastError, `${what}: ${String(outcome.error)}`)
}

describe('a client of a lying server', () => {
  it('ends in a typed error at every prefix of a conversation, cut or silent', async () => {
    const { server, result } = await record()
    const total = server.reduce((sum, step) => sum + step.bytes.length, 0)
    assert.match(result, /"right":true/)
    for (let length = 0; length < total; length += 1) {
      for (const thenEnd of [true, false]) {
        const clock = new ManualClock()
        const outcome = await outcomeOf(clock, converse(play(cut(server, length), thenEnd), clock))
        assert.ok('error' in outcome, `${length} of ${total} bytes were enough`)
        assertTyped(outcome, `${length} bytes`)
      }
    }
  })

  it('survives every changed byte of a conversation', async () => {
    const { server, result } = await record()
    const total = server.reduce((sum, step) => sum + step.bytes.length, 0)
    let refused = 0
    for (let at = 0; at < total; at += 1) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const clock = new ManualClock()
        const outcome = await outcomeOf(clock, converse(play(change(server, at, mask), true), clock))
        assertTyped(outcome, `byte ${at} ^ ${mask}`)
        if ('error' in outcome || outcome.value !== result) refused += 1
      }
    }
    assert.ok(refused > total, `only ${refused} of ${3 * total} changes were noticed at all`)
  })
})

/** A server that negotiates as ours does, and then answers the first request with `reply`. */
async function answered(reply: (cookie: { cookieHigh: number; cookieLow: number }) => Buffer): Promise<unknown> {
  const { server } = await record()
  const requestIndex = server.findIndex((step, index) => index > 0 && step.bytes.readUInt32BE(0) === 0x668e33ef)
  const negotiation = server.slice(0, requestIndex)
  const first = server[requestIndex]
  assert.ok(first !== undefined)
  const cookie = { cookieHigh: COOKIE_HIGH, cookieLow: 1 }
  const clock = new ManualClock()
  const stream = play([...negotiation, { ...first, bytes: reply(cookie) }], false)
  const outcome = await outcomeOf(clock, converse(stream, clock))
  return 'error' in outcome ? outcome.error : 'no error'
}

function dataChunk(
  cookie: { cookieHigh: number; cookieLow: number },
  at: number,
  length: number,
  flags: number,
): Buffer {
  const chunk = encodeChunkHeader(cookie, REPLY.OFFSET_DATA, flags, 8 + length, 8 + length)
  chunk.writeBigUInt64BE(BigInt(at), 20)
  chunk.fill(7, 28)
  return chunk
}

describe('NbdClient refuses', () => {
  const cases: Record<string, (cookie: { cookieHigh: number; cookieLow: number }) => Buffer> = {
    'bytes after the request': (cookie) => dataChunk(cookie, 101, 600, 1),
    'bytes before the request': (cookie) => dataChunk(cookie, 99, 600, 1),
    'bytes at an offset beyond all numbers': (cookie) => {
      const chunk = dataChunk(cookie, 0, 600, 1)
      chunk.fill(0xff, 20, 28)
      return chunk
    },
    'overlapping chunks': (cookie) => Buffer.concat([dataChunk(cookie, 100, 300, 0), dataChunk(cookie, 399, 301, 1)]),
    'a reply that ends early': (cookie) => dataChunk(cookie, 100, 599, 1),
    'a data chunk of two gigabytes': (cookie) => encodeChunkHeader(cookie, REPLY.OFFSET_DATA, 1, 2 ** 31),
    'a block status for a read': (cookie) => encodeChunkHeader(cookie, REPLY.BLOCK_STATUS, 1, 12, 12),
    'a cookie that it did not make': (cookie) => dataChunk({ ...cookie, cookieLow: 2 }, 100, 600, 1),
    'a simple reply to a read': (cookie) => encodeSimpleReply(cookie, 0),
    'empty chunks without end': (cookie) => encodeChunkHeader(cookie, REPLY.NONE, 0, 0),
    'an unknown chunk': (cookie) => encodeChunkHeader(cookie, 77, 1, 0),
    'an error without a number': (cookie) => encodeChunkHeader(cookie, REPLY.ERROR, 1, 6, 6).fill(0, 20),
    'errors without end': (cookie) => {
      const error = encodeChunkHeader(cookie, REPLY.ERROR, 0, 6, 6)
      error.writeUInt32BE(5, 20)
      error.writeUInt16BE(0, 24)
      return Buffer.concat(Array.from({ length: 2000 }, () => error))
    },
    'a reply that is no reply': () => Buffer.alloc(40, 0x41),
  }
  for (const [name, reply] of Object.entries(cases)) {
    it(name, async () => {
      const error = await answered(reply)
      assert.ok(error instanceof HoldfastError, String(error))
      assert.equal(error.code, 'nbd_protocol_violation', error.message)
    })
  }

  it('option replies that are too long, or without end', async () => {
    const greeting = Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1')
    const long = encodeOptionReply(8, REP.ACK)
    long.writeUInt32BE(0x7fff_ffff, 16)
    const endless = Buffer.concat(
      Array.from({ length: 2000 }, () => encodeOptionReply(10, REP.META_CONTEXT + 90, encodeU32(1))),
    )
    for (const reply of [long, Buffer.concat([encodeOptionReply(8, REP.ACK), endless])]) {
      const clock = new ManualClock()
      const outcome = await outcomeOf(
        clock,
        converse(play([{ afterBytes: 0, bytes: Buffer.concat([greeting, reply]) }], false), clock),
      )
      assert.ok('error' in outcome && outcome.error instanceof HoldfastError)
      assert.equal(outcome.error.code, 'nbd_protocol_violation')
    }
  })
})

/** Gives our server `bytes` and then the end; tells how it took it. */
async function serveBytes(bytes: Buffer, thenEnd = true): Promise<{ ends: unknown[]; replies: Buffer }> {
  const [near, far] = pipe()
  const clock = new ManualClock()
  const ends: unknown[] = []
  const replies: Buffer[] = []
  near.on('error', () => {})
  near.on('data', (reply: Buffer) => replies.push(reply))
  const device = disk()
  const exports = (name: string) => (name === '' ? { source: device, target: device, contexts } : undefined)
  void serveStream(
    far,
    { exports, clock, onClientEnd: (error) => ends.push(error) },
    { tls: undefined, pool: new BufferPool(0) },
  )
  near.write(bytes)
  if (thenEnd) near.end()
  await settle(12)
  for (let round = 0; round < 3 && ends.length === 0; round += 1) {
    clock.advance(16_000)
    await settle(6)
  }
  near.destroy()
  await settle(4)
  return { ends, replies: Buffer.concat(replies) }
}

describe('a server of a lying client', () => {
  it('ends the connection once, with a typed error or in order, at every prefix', async () => {
    const { client } = await record()
    for (let length = 0; length <= client.length; length += 1) {
      const { ends } = await serveBytes(client.subarray(0, length))
      assert.equal(ends.length, 1, `${length} bytes: ${ends.length} ends`)
      assert.ok(ends[0] === undefined || ends[0] instanceof HoldfastError, `${length} bytes: ${String(ends[0])}`)
    }
  })

  it('survives every changed byte', async () => {
    const { client } = await record()
    for (let at = 0; at < client.length; at += 1) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const bytes = Buffer.from(client)
        bytes[at] = (bytes[at] ?? 0) ^ mask
        const { ends } = await serveBytes(bytes)
        assert.equal(ends.length, 1, `byte ${at} ^ ${mask}: ${ends.length} ends`)
        assert.ok(ends[0] === undefined || ends[0] instanceof HoldfastError, `byte ${at}: ${String(ends[0])}`)
      }
    }
  })

  it('ignores what follows the leave', async () => {
    const { client } = await record()
    const { ends } = await serveBytes(Buffer.concat([client, Buffer.alloc(100_000, 0x5a)]))
    assert.deepEqual(ends, [undefined])
  })

  it('drops a client that is silent in the negotiation', async () => {
    const { ends } = await serveBytes(encodeU32(3), false)
    assert.equal((ends[0] as HoldfastError).code, 'nbd_timed_out')
  })

  it('answers requests beyond the end, unknown ones and odd flags with an error, and goes on', async () => {
    const { client } = await record()
    const negotiation = client.subarray(0, client.indexOf(Buffer.from('25609513', 'hex')))
    const request = { flags: 0, type: 0, cookieHigh: 1, offset: 0, length: 512 }
    const bad = [
      { ...request, offset: 256 * 1024 - 511 },
      { ...request, offset: 2 ** 52 },
      { ...request, length: 2 ** 31 },
      { ...request, type: 99 },
      { ...request, flags: 8 },
      { ...request, type: 6, offset: 256 * 1024, length: 1 },
      { ...request, type: 7, length: 0 },
    ]
    const requests = [...bad, request].map((one, i) => encodeRequest({ ...one, cookieLow: i }))
    const { ends, replies } = await serveBytes(Buffer.concat([negotiation, ...requests]), false)
    const good = replies.subarray(replies.length - 512 - 28)
    assert.equal(good.readUInt32BE(12), bad.length, 'the last reply is the good one')
    assert.ok(good.subarray(28).equals(DATA.subarray(0, 512)))
    assert.equal(ends.length, 1)
  })

  it('drops a client that wants to write more than a request may carry', async () => {
    const { client } = await record()
    const negotiation = client.subarray(0, client.indexOf(Buffer.from('25609513', 'hex')))
    const request = encodeRequest({
      flags: 0,
      type: 1,
      cookieHigh: 0,
      cookieLow: 0,
      offset: 0,
      length: 33 * 1024 * 1024,
    })
    const { ends } = await serveBytes(Buffer.concat([negotiation, request]), false)
    assert.equal((ends[0] as HoldfastError).code, 'nbd_protocol_violation')
  })
})

it('a simple reply is 16 bytes, a request 28 (doc/proto.md)', () => {
  const cookie = { cookieHigh: 0x01020304, cookieLow: 0x05060708 }
  assert.equal(encodeSimpleReply(cookie, 5).toString('hex'), '67446698000000050102030405060708')
  assert.equal(SIMPLE_REPLY_BYTES, 16)
  const request = encodeRequest({ ...cookie, flags: 1, type: 6, offset: 2 ** 40 + 7, length: 512 })
  assert.equal(request.toString('hex'), '25609513000100060102030405060708000001000000000700000200')
})
