/** A server of a source that lends its memory: at once, later, or not at all; everything comes back whatever the client does. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { MIB, must, SeededRandom } from '#base'
import type { BlockSource, Loan } from '../device.ts'
import { MemoryDevice } from '../memory-device.ts'
import { stampedBytes } from '../sector-stamp.ts'
import { openNbd } from './client.ts'
import { burstOfReads, clientOn, serverOn, settle } from './loopback.fixture.ts'
import { serveNbd } from './server.ts'

const STAMP = { disk: 9, version: 3 }
const PIECE_BYTES = 100_000

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-nbd-'))
})
after(() => rm(folder, { recursive: true }))

/** Lends odd pieces of its content, which are overwritten when they come back: a server that goes on using them is found out. */
class Lender implements BlockSource {
  readonly sizeBytes: number
  readonly parallelism = 16
  readonly #device: MemoryDevice
  readonly #random = new SeededRandom(21)
  lentNow = 0
  lentEver = 0
  bytesLentMax = 0
  #bytesLent = 0

  constructor(bytes: Buffer) {
    this.sizeBytes = bytes.length
    this.#device = MemoryDevice.from(bytes)
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.#device.read(offset, into)
  }

  lend(offset: number, length: number): Loan | Promise<Loan> | undefined {
    const way = this.#random.below(3)
    if (way === 0) return undefined
    const loan = this.#loan(offset, length)
    return way === 1 ? loan : settle(1 + this.#random.below(3)).then(() => loan)
  }

  async extents(offset: number, length: number) {
    return this.#device.extents(offset, length)
  }

  async close(): Promise<void> {}

  #loan(offset: number, length: number): Loan {
    const parts: Buffer[] = []
    for (let at = offset; at < offset + length; at += PIECE_BYTES) {
      const part = Buffer.from(new SharedArrayBuffer(Math.min(PIECE_BYTES, offset + length - at)))
      this.#device.readSync(at, part)
      parts.push(part)
    }
    this.lentNow += 1
    this.lentEver += 1
    this.#bytesLent += length
    this.bytesLentMax = Math.max(this.bytesLentMax, this.#bytesLent)
    let released = false
    const release = (): void => {
      assert.equal(released, false, 'a loan is given back once')
      released = true
      this.lentNow -= 1
      this.#bytesLent -= length
      for (const part of parts) part.fill(0xee)
    }
    return { parts, release }
  }
}

const CONTENT = stampedBytes(STAMP, 0, 5 * MIB + 512)

async function untilAllIsBack(lender: Lender): Promise<void> {
  for (let turn = 0; turn < 1000 && lender.lentNow > 0; turn += 1) await settle(1)
  assert.equal(lender.lentNow, 0, 'everything that was lent came back')
}

describe('a server of a source that lends', () => {
  for (const connections of [1, 4]) {
    it(`gives the right bytes to many reads at once, of any size and place, over ${connections} connection(s)`, async () => {
      const lender = new Lender(CONTENT)
      const socketPath = join(folder, `right-${connections}`)
      const server = await serveNbd({ listen: { socketPath }, exports: () => ({ source: lender }) })
      const client = await openNbd({ socketPath, exportName: '', connections })
      const random = new SeededRandom(22)
      const reads = Array.from({ length: 400 }, async () => {
        const length = random.pick([1, 511, 512, 4096, 16_384, 16_385, 100_000, 300_001, MIB])
        const offset = random.below(CONTENT.length - length + 1)
        const into = Buffer.alloc(length)
        await client.read(offset, into)
        assert.ok(into.equals(CONTENT.subarray(offset, offset + length)), `${length} at ${offset}`)
      })
      await Promise.all(reads)
      assert.ok(lender.lentEver > 100)
      await client.close()
      await server.close()
      await untilAllIsBack(lender)
    })
  }

  it('answers a client without structured replies, in one burst and in pieces of one byte', async () => {
    const lender = new Lender(CONTENT)
    const stream = serverOn({ exports: () => ({ source: lender }) })
    const sent = await burstOfReads(stream, 300)
    for (let turn = 0; turn < 100 && sent.replies() < 300; turn += 1) await settle(1)
    assert.equal(sent.replies(), 300)
    stream.destroy()
    const shredded = await clientOn(serverOn({ exports: () => ({ source: lender }) }, () => 1))
    const into = Buffer.alloc(5000)
    await shredded.read(777, into)
    assert.ok(into.equals(CONTENT.subarray(777, 5777)))
    await shredded.close()
    await untilAllIsBack(lender)
  })

  it('lends a bounded amount to a client that does not read, and takes it back when that client goes', async () => {
    const lender = new Lender(stampedBytes(STAMP, 0, 40 * MIB))
    const socketPath = join(folder, 'unread')
    const server = await serveNbd({ listen: { socketPath }, exports: () => ({ source: lender }) })
    const socket = connect(socketPath)
    // What the client does not take: 128 reads of 1 MiB each, of which a bounded number may begin.
    await burstOfReads(socket, 1)
    socket.pause()
    const request = Buffer.alloc(28)
    request.writeUInt32BE(0x25609513, 0)
    request.writeUInt32BE(MIB, 24)
    for (let i = 0; i < 128; i += 1) {
      request.writeUInt32BE(i, 12)
      socket.write(Buffer.from(request))
    }
    for (let turn = 0; turn < 1000 && lender.lentNow < 10; turn += 1) await settle(1)
    await settle(100)
    assert.ok(lender.bytesLentMax > MIB && lender.bytesLentMax <= 33 * MIB, `${lender.bytesLentMax} bytes were lent`)
    socket.destroy()
    await untilAllIsBack(lender)
    await server.close()
  })

  it('takes back what is fetched for a client that is gone when it is there', async () => {
    const waiting: ((loan: Loan) => void)[] = []
    let back = 0
    const source: BlockSource = {
      sizeBytes: MIB,
      parallelism: 1,
      read: () => Promise.reject(new Error('Everything is lent')),
      lend: () => new Promise((resolve) => waiting.push(resolve)),
      extents: () => Promise.resolve([]),
      close: () => Promise.resolve(),
    }
    const stream = serverOn({ exports: () => ({ source }) })
    await burstOfReads(stream, 20)
    assert.equal(waiting.length, 20)
    stream.destroy()
    await settle()
    for (const give of waiting) give({ parts: [new Uint8Array(1)], release: () => (back += 1) })
    await settle()
    assert.equal(back, 20)
  })

  it('answers a loan that fails with an error and goes on', async () => {
    const lender = new Lender(CONTENT)
    let failures = 2
    const source: BlockSource = {
      sizeBytes: lender.sizeBytes,
      parallelism: 1,
      read: (offset, into) => lender.read(offset, into),
      lend: (offset, length) => {
        failures -= 1
        if (failures === 1) throw new Error('planted at once')
        if (failures === 0) return Promise.reject(new Error('planted later'))
        return lender.lend(offset, length)
      },
      extents: (offset, length) => lender.extents(offset, length),
      close: () => Promise.resolve(),
    }
    const client = await clientOn(serverOn({ exports: () => ({ source }) }))
    const into = Buffer.alloc(512)
    await assert.rejects(client.read(0, into), { code: 'nbd_io_error', message: /planted at once/ })
    await assert.rejects(client.read(0, into), { code: 'nbd_io_error', message: /planted later/ })
    await client.read(512, into)
    assert.ok(into.equals(CONTENT.subarray(512, 1024)))
    await client.close()
    must(failures < 0 ? true : undefined, 'Both were planted')
  })
})
