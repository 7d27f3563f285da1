import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SeededRandom } from '#base'
import { describeBlockDevice } from '../block-device.contract.ts'
import type { BlockSource } from '../device.ts'
import { BlockError } from '../errors.ts'
import { FaultyBlockDevice } from '../faulty-block-device.ts'
import { MemoryDevice } from '../memory-device.ts'
import { stampedBytes } from '../sector-stamp.ts'
import { dirtyContext, type NbdExport } from './export.ts'
import { burstOfReads, clientOn, serverOn, settle } from './loopback.fixture.ts'

const MIB = 1024 * 1024

function exported(device: MemoryDevice | FaultyBlockDevice, more: Partial<NbdExport> = {}) {
  return { exports: (name: string) => (name === '' ? { source: device, target: device, ...more } : undefined) }
}

for (const [name, shredMax] of [
  ['whole reads', 1 << 20],
  ['shredded reads', 50],
] as const) {
  const random = new SeededRandom(7)
  describeBlockDevice(`an NBD client of our server, with ${name}`, {
    sizeBytes: shredMax === 50 ? 300_000 : 5 * MIB + 512,
    steps: shredMax === 50 ? 25 : 100,
    open: async (sizeBytes) => {
      const stream = serverOn(exported(new MemoryDevice(sizeBytes)), () => 1 + random.below(shredMax))
      return { device: await clientOn(stream), end: () => Promise.resolve() }
    },
  })
}

describe('NbdClient', () => {
  it('tells apart data, holes and what is dirty', async () => {
    const device = new MemoryDevice(10 * MIB)
    device.writeSync(MIB, stampedBytes({ disk: 1, version: 1 }, MIB, MIB))
    const dirty = [
      { offset: 65_536, length: 131_072 },
      { offset: 9 * MIB, length: MIB },
    ]
    const contexts = new Map([['qemu:dirty-bitmap:b0', dirtyContext(dirty)]])
    const client = await clientOn(serverOn(exported(device, { contexts })), {
      metaContexts: ['qemu:dirty-bitmap:b0', 'qemu:dirty-bitmap:other'],
    })
    assert.deepEqual(client.metaContexts, ['qemu:dirty-bitmap:b0'])
    assert.deepEqual(await client.extents(0, 10 * MIB), [
      { offset: 0, length: MIB, kind: 'hole' },
      { offset: MIB, length: MIB, kind: 'data' },
      { offset: 2 * MIB, length: 8 * MIB, kind: 'hole' },
    ])
    assert.deepEqual(await client.dirtyExtents('qemu:dirty-bitmap:b0', 0, 10 * MIB), dirty)
    assert.deepEqual(await client.dirtyExtents('qemu:dirty-bitmap:b0', 100_000, 9 * MIB), [
      { offset: 100_000, length: 96_608 },
      { offset: 9 * MIB, length: 100_000 },
    ])
    await assert.rejects(client.dirtyExtents('qemu:dirty-bitmap:other', 0, 512), { code: 'nbd_refused' })
    await client.close()
  })

  it('asks for the states of a large disk in order, and fails as a whole when one answer does', async () => {
    const GIB = 1024 * MIB
    const device = new MemoryDevice(70 * GIB + 512)
    const places = [0, 4 * GIB - 65_536, 4 * GIB, 33 * GIB, 70 * GIB]
    for (const place of places) device.writeSync(place, stampedBytes({ disk: 1, version: 1 }, place, 512))
    const faulty = new FaultyBlockDevice(device)
    const client = await clientOn(serverOn(exported(faulty)))
    const extents = await client.extents(0, device.sizeBytes)
    assert.deepEqual(
      extents.filter((extent) => extent.kind === 'data'),
      [
        { offset: 0, length: 65_536, kind: 'data' },
        { offset: 4 * GIB - 65_536, length: 131_072, kind: 'data' },
        { offset: 33 * GIB, length: 65_536, kind: 'data' },
        { offset: 70 * GIB, length: 512, kind: 'data' },
      ],
    )
    const calls = faulty.calls('extents')
    assert.ok(calls >= 18 && calls < 30, `${calls} questions`)
    faulty.fail('extents', undefined, new Error('planted'), new Error('planted'))
    await assert.rejects(client.extents(0, device.sizeBytes), { code: 'nbd_io_error' })
    assert.equal((await client.extents(GIB, 512)).length, 1)
    await client.close()
  })

  it('reads and writes more than one request may carry', async () => {
    const device = new MemoryDevice(70 * MIB)
    const client = await clientOn(serverOn(exported(device)))
    const data = stampedBytes({ disk: 2, version: 5 }, 512, 69 * MIB)
    await client.write(512, data)
    const into = Buffer.alloc(data.length)
    await client.read(512, into)
    assert.ok(into.equals(data))
    await client.close()
  })

  it('refuses to write to a read-only export without asking the server', async () => {
    const device = new MemoryDevice(MIB)
    const client = await clientOn(serverOn({ exports: () => ({ source: device }) }))
    assert.equal(client.isReadOnly, true)
    await assert.rejects(client.write(0, new Uint8Array(512)), { code: 'nbd_refused' })
    await client.flush()
    await client.close()
  })

  it('names an export that is not there', async () => {
    await assert.rejects(clientOn(serverOn({ exports: () => undefined }), { exportName: 'none' }), {
      code: 'nbd_export_not_found',
    })
  })

  it("passes the device's errors on as its own, and goes on", async () => {
    const device = new MemoryDevice(MIB)
    const full = new BlockError('target_full', 'planted')
    const faulty = new FaultyBlockDevice(device).fail('read', new Error('planted')).fail('write', full)
    const client = await clientOn(serverOn(exported(faulty)))
    await assert.rejects(client.read(0, new Uint8Array(512)), { code: 'nbd_io_error', message: /planted/ })
    await assert.rejects(client.write(0, new Uint8Array(512)), { code: 'target_full' })
    await client.write(0, stampedBytes({ disk: 1, version: 1 }, 0, 512))
    await client.read(0, new Uint8Array(512))
    await client.close()
  })

  it('cancels a read at once and lets the late reply pass by', async () => {
    const device = new MemoryDevice(MIB)
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    const faulty = new FaultyBlockDevice(device).fail('read', () => held)
    const client = await clientOn(serverOn(exported(faulty)))
    const controller = new AbortController()
    const into = Buffer.alloc(65_536, 0xee)
    const reading = client.read(0, into, controller.signal)
    await settle()
    controller.abort()
    await assert.rejects(reading, { code: 'cancelled' })
    release()
    const other = Buffer.alloc(512, 1)
    await client.read(0, other)
    assert.ok(other.every((byte) => byte === 0))
    assert.ok(
      into.every((byte) => byte === 0xee),
      'the buffer of a cancelled read is left alone',
    )
    await assert.rejects(client.read(0, into, AbortSignal.abort()), { code: 'cancelled' })
    await client.close()
  })

  it('fails what is in flight, and all that comes later, when the server goes away', async () => {
    const faulty = new FaultyBlockDevice(new MemoryDevice(MIB)).fail('read', () => new Promise(() => {}))
    const stream = serverOn(exported(faulty))
    const client = await clientOn(stream)
    const reading = client.read(0, new Uint8Array(512))
    await settle()
    stream.destroy()
    await assert.rejects(reading, { code: 'nbd_disconnected', retry: 'later' })
    await assert.rejects(client.read(0, new Uint8Array(512)), { code: 'nbd_disconnected' })
    await client.close()
  })
})

describe('serveNbd', () => {
  it('flushes for FUA and FLUSH, and tells the end of an orderly client', async () => {
    const device = new MemoryDevice(MIB)
    const ends: unknown[] = []
    const client = await clientOn(serverOn({ ...exported(device), onClientEnd: (error) => ends.push(error) }))
    await client.flush()
    assert.equal(device.flushes, 1)
    await client.close()
    await settle()
    assert.deepEqual(ends, [undefined])
  })

  it('serves what waited for room in its own buffer, though the client sends nothing more', async () => {
    const device = new MemoryDevice(MIB)
    const held: (() => void)[] = []
    const faulty = new FaultyBlockDevice(device)
    faulty.fail('read', ...Array.from({ length: 300 }, () => () => new Promise<void>((resolve) => held.push(resolve))))
    const stream = serverOn(exported(faulty))
    // Two clients' worth of requests in one burst: more than may run at once, all of it small enough to be buffered.
    const sent = await burstOfReads(stream, 300)
    while (sent.replies() < 300) {
      const waiting = held.splice(0)
      assert.ok(waiting.length > 0 && waiting.length <= 128, `${waiting.length} requests run at once`)
      for (const release of waiting) release()
      await settle()
    }
    stream.destroy()
  })

  it('holds a bounded number of requests for a client that does not read its replies', async () => {
    let started = 0
    const source: BlockSource = {
      sizeBytes: 1024 * MIB,
      parallelism: 1,
      read: () => {
        started += 1
        return Promise.resolve()
      },
      extents: () => Promise.resolve([]),
      close: () => Promise.resolve(),
    }
    const stream = serverOn({ exports: () => ({ source }) })
    const client = await clientOn(stream)
    const sent = Array.from({ length: 400 }, (_, i) => client.read(i * MIB, new Uint8Array(MIB)))
    const outcomes = Promise.allSettled(sent)
    stream.pause()
    await settle(100)
    assert.ok(started <= 64, `${started} reads were started`)
    stream.destroy()
    await outcomes
  })
})
