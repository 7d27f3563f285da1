/**
 * The promises of blob-store.ts as tests. Every store must pass: `describeBlobStore('memory', () => new MemoryStore())`.
 * Each test opens an empty store of its own. Bytes say where they belong (object, position), so that swapped, shifted,
 * stale or zero bytes are seen.
 */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { isHoldfastError, MIB } from '#base'
import type { BlobInfo, BlobKey, BlobStore } from './blob-store.ts'

export type ContractOptions = Readonly<{
  /** Objects in the paging test; more than one page of the store's listing. */
  manyKeys?: number
  largeBytes?: number
  /** The store's wall time. Given: the store must have object lock. Absent: it must refuse. */
  nowMs?: () => number
}>

type Open = (t: TestContext) => BlobStore | Promise<BlobStore>

/** Bytes of which every aligned 8 carry the object's number and their own position. */
export function positionedBytes(object: number, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(length / 8) * 8)
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < bytes.length; at += 8) {
    view.setUint32(at, (object + 1) ^ 0x5a00_0000)
    view.setUint32(at + 4, at + 1)
  }
  return bytes.subarray(0, length)
}

export async function listAll(store: BlobStore, prefix: string, after?: BlobKey): Promise<BlobInfo[]> {
  const infos: BlobInfo[] = []
  for await (const info of store.list(prefix, after)) infos.push(info)
  return infos
}

async function keysOf(store: BlobStore, prefix: string, after?: BlobKey): Promise<BlobKey[]> {
  return (await listAll(store, prefix, after)).map((info) => info.key)
}

export function rejectsWith(promise: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(promise, (error) => isHoldfastError(error, code))
}

function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(actual.length, expected.length)
  assert.equal(Buffer.compare(actual, expected), 0, 'the bytes differ')
}

/** In batches: stores limit connections and files. */
async function putAll(store: BlobStore, keys: readonly BlobKey[]): Promise<void> {
  for (let i = 0; i < keys.length; i += 16) {
    await Promise.all(keys.slice(i, i + 16).map((key, at) => store.put(key, [positionedBytes(i + at, (i + at) % 50)])))
  }
}

export function describeBlobStore(name: string, open: Open, options: ContractOptions = {}): void {
  describe(`${name} keeps the promises of BlobStore`, () => {
    describeCreating(open)
    describeReading(open, options.largeBytes ?? 64 * MIB)
    describeListing(open, options.manyKeys ?? 2500)
    describeDeleting(open)
    if (options.nowMs === undefined) describeNoLocking(open)
    else describeLocking(open, options.nowMs)
    describeKeys(open)
  })
}

function describeCreating(open: Open): void {
  it('put() creates an object of the concatenated parts', async (t) => {
    const store = await open(t)
    const whole = positionedBytes(1, 1000)
    const parts = [whole.subarray(0, 1), whole.subarray(1, 1), whole.subarray(1, 700), whole.subarray(700)]
    assert.equal(await store.put('packs/ab/one', parts), 'created')
    assertSameBytes(await store.get('packs/ab/one'), whole)
  })

  it('put() never replaces, and says so', async (t) => {
    const store = await open(t)
    assert.equal(await store.put('log/1', [positionedBytes(1, 64)]), 'created')
    assert.equal(await store.put('log/1', [positionedBytes(2, 64)]), 'exists')
    assertSameBytes(await store.get('log/1'), positionedBytes(1, 64))
  })

  it('one of sixteen concurrent puts of a key creates, and its bytes stay', async (t) => {
    const store = await open(t)
    for (let round = 0; round < 5; round += 1) {
      const key = `log/${round}`
      const outcomes = await Promise.all(
        Array.from({ length: 16 }, (_, writer) => store.put(key, [positionedBytes(writer, 4096)])),
      )
      assert.equal(outcomes.filter((outcome) => outcome === 'created').length, 1)
      assertSameBytes(await store.get(key), positionedBytes(outcomes.indexOf('created'), 4096))
    }
  })

  it('put() does not hold on to the memory of the caller', async (t) => {
    const store = await open(t)
    const bytes = positionedBytes(3, 512).slice()
    await store.put('a', [bytes])
    bytes.fill(0xee)
    const got = await store.get('a')
    assertSameBytes(got, positionedBytes(3, 512))
    got.fill(0xdd)
    assertSameBytes(await store.get('a'), positionedBytes(3, 512))
  })
}

function describeReading(open: Open, largeBytes: number): void {
  it('get(), getRange() and head() tell an absent object', async (t) => {
    const store = await open(t)
    await rejectsWith(store.get('packs/none'), 'blob_not_found')
    await rejectsWith(store.getRange('packs/none', 0, 0), 'blob_not_found')
    await rejectsWith(store.getRange('packs/none', 0, 1), 'blob_not_found')
    assert.equal(await store.head('packs/none'), undefined)
  })

  it('getRange() gives exactly the range', async (t) => {
    const store = await open(t)
    const whole = positionedBytes(7, 10_000)
    await store.put('packs/x', [whole])
    for (const [offset, length] of [
      [0, 1],
      [0, 10_000],
      [9999, 1],
      [4095, 4098],
      [17, 1],
      [10_000, 0],
      [5, 0],
    ] as const) {
      assertSameBytes(await store.getRange('packs/x', offset, length), whole.subarray(offset, offset + length))
    }
  })

  it('get() and getRange() into the memory of the caller write nothing beside the answer', async (t) => {
    const store = await open(t)
    const whole = positionedBytes(8, 10_000)
    await store.put('packs/x', [whole])
    const memory = new Uint8Array(12_000)
    for (const [offset, length] of [
      [0, 10_000],
      [17, 9000],
      [9999, 1],
    ] as const) {
      memory.fill(0xee)
      const part = await store.getRange('packs/x', offset, length, memory)
      assertSameBytes(part, whole.subarray(offset, offset + length))
      assert.ok(memory.subarray(length).every((byte) => byte === 0xee))
    }
    memory.fill(0xee)
    assertSameBytes(await store.get('packs/x', memory), whole)
    assert.ok(memory.subarray(whole.length).every((byte) => byte === 0xee))
    assertSameBytes(await store.get('packs/x', memory.subarray(0, 9999)), whole)
    assertSameBytes(await store.getRange('packs/x', 5, 100, memory.subarray(0, 99)), whole.subarray(5, 105))
  })

  it('getRange() past the end fails and is never short', async (t) => {
    const store = await open(t)
    await store.put('packs/x', [positionedBytes(7, 100)])
    for (const [offset, length] of [
      [0, 101],
      [99, 2],
      [100, 1],
      [101, 0],
      [500, 1],
      [-1, 2],
      [0, -1],
      [0.5, 1],
    ] as const) {
      await rejectsWith(store.getRange('packs/x', offset, length), 'blob_range_invalid')
    }
  })

  it('an empty object is an object', async (t) => {
    const store = await open(t)
    assert.equal(await store.put('pins/empty', []), 'created')
    assert.equal(await store.put('pins/empty', [positionedBytes(1, 8)]), 'exists')
    assert.equal((await store.get('pins/empty')).length, 0)
    assert.equal((await store.getRange('pins/empty', 0, 0)).length, 0)
    assert.equal(await store.head('pins/empty'), 0)
    await rejectsWith(store.getRange('pins/empty', 0, 1), 'blob_range_invalid')
    assert.deepEqual(await listAll(store, ''), [{ key: 'pins/empty', sizeBytes: 0 }])
  })

  it(`an object of ${largeBytes} bytes in many parts comes back whole`, async (t) => {
    const store = await open(t)
    const whole = positionedBytes(9, largeBytes)
    const parts: Uint8Array[] = []
    for (let at = 0; at < largeBytes; at += 255 * 1024)
      parts.push(whole.subarray(at, Math.min(at + 255 * 1024, largeBytes)))
    assert.equal(await store.put('packs/large', parts), 'created')
    assert.equal(await store.head('packs/large'), largeBytes)
    assertSameBytes(await store.get('packs/large'), whole)
    const offset = largeBytes - 1_234_567
    assertSameBytes(await store.getRange('packs/large', offset, 1_000_001), whole.subarray(offset, offset + 1_000_001))
  })

  it('concurrent reads of different ranges do not mix', async (t) => {
    const store = await open(t)
    const whole = positionedBytes(4, 256 * 1024)
    await store.put('packs/x', [whole])
    const ranges = Array.from({ length: 24 }, (_, i) => ({ offset: i * 10_007, length: 1 + ((i * 977) % 20_000) }))
    const got = await Promise.all(ranges.map(({ offset, length }) => store.getRange('packs/x', offset, length)))
    for (const [i, { offset, length }] of ranges.entries()) {
      assertSameBytes(got[i] ?? new Uint8Array(), whole.subarray(offset, offset + length))
    }
  })
}

function describeListing(open: Open, manyKeys: number): void {
  it('list() of nothing is empty', async (t) => {
    const store = await open(t)
    assert.deepEqual(await listAll(store, ''), [])
    assert.deepEqual(await listAll(store, 'packs/'), [])
    assert.deepEqual(await listAll(store, 'packs/ab/cd/ef', 'packs/ab'), [])
  })

  it('list() ascends by bytes of the key, across folders', async (t) => {
    const store = await open(t)
    // "-" and "." come before "/", digits and letters after: a folder does not sort as its bare name.
    const keys = ['a-b', 'a.b', 'a/b', 'a/b-', 'a0', 'aa/a', 'ab', 'b/c/d/e/f/g', 'b/c/d0', 'z']
    await putAll(store, [...keys].reverse())
    assert.deepEqual(await keysOf(store, ''), [...keys].sort())
  })

  it('list() tells sizes', async (t) => {
    const store = await open(t)
    await store.put('packs/a', [positionedBytes(1, 3), positionedBytes(1, 5)])
    await store.put('packs/b', [positionedBytes(1, 70_000)])
    assert.deepEqual(await listAll(store, 'packs/'), [
      { key: 'packs/a', sizeBytes: 8 },
      { key: 'packs/b', sizeBytes: 70_000 },
    ])
  })

  it('list() takes any prefix and any key to start after', async (t) => {
    const store = await open(t)
    const keys = ['log/01', 'log/02', 'log/10', 'logs', 'packs/aa/1', 'packs/aa/2', 'packs/ab/1', 'packs/b', 'pins/x']
    await putAll(store, keys)
    const model = (prefix: string, after?: string): string[] =>
      keys.filter((key) => key.startsWith(prefix) && (after === undefined || key > after))
    const prefixes = [
      '',
      'l',
      'log',
      'log/',
      'log/0',
      'log/01',
      'packs/a',
      'packs/aa/',
      'packs/aa/1',
      'packs/ab',
      'q',
      'log/01/',
    ]
    const afters = [undefined, 'a', 'log', 'log/01', 'log/015', 'packs/aa', 'packs/aa/1', 'packs/aaa', 'packs/zz', 'zz']
    for (const prefix of prefixes) {
      for (const after of afters)
        assert.deepEqual(await keysOf(store, prefix, after), model(prefix, after), `${prefix} after ${after}`)
    }
  })

  it(`list() gives ${manyKeys} objects once each, whole and from the middle`, async (t) => {
    const store = await open(t)
    const keys = Array.from({ length: manyKeys }, (_, i) => {
      const hex = ((i * 2_654_435_761) >>> 0).toString(16).padStart(8, '0')
      return `packs/${hex.slice(0, 1)}/${hex.slice(1, 2)}/${hex}`
    })
    await putAll(store, keys)
    const ascending = [...keys].sort()
    assert.deepEqual(await keysOf(store, 'packs/'), ascending)
    const middle = Math.floor(manyKeys / 2)
    assert.deepEqual(await keysOf(store, 'packs/', ascending[middle]), ascending.slice(middle + 1))
  })

  it('list() can be left early', async (t) => {
    const store = await open(t)
    await putAll(store, ['a', 'b', 'c'])
    for await (const info of store.list('')) {
      assert.equal(info.key, 'a')
      break
    }
    assert.deepEqual(await keysOf(store, 'b'), ['b'])
  })
}

function describeDeleting(open: Open): void {
  it('delete() removes one object, and again is harmless', async (t) => {
    const store = await open(t)
    await putAll(store, ['packs/aa/1', 'packs/aa/2'])
    await store.delete('packs/aa/1')
    await store.delete('packs/aa/1')
    await store.delete('packs/never/was')
    assert.equal(await store.head('packs/aa/1'), undefined)
    await rejectsWith(store.get('packs/aa/1'), 'blob_not_found')
    assert.deepEqual(await keysOf(store, ''), ['packs/aa/2'])
  })

  it('a deleted key can be created anew with other bytes', async (t) => {
    const store = await open(t)
    await store.put('a', [positionedBytes(1, 100)])
    await store.delete('a')
    assert.equal(await store.put('a', [positionedBytes(2, 50)]), 'created')
    assertSameBytes(await store.get('a'), positionedBytes(2, 50))
  })
}

function describeNoLocking(open: Open): void {
  it('lock() is refused where the store cannot enforce it', async (t) => {
    const store = await open(t)
    assert.equal(store.capabilities.lock, 'none')
    await store.put('a', [positionedBytes(1, 10)])
    await rejectsWith(store.lock('a', 4_000_000_000_000), 'lock_unsupported')
  })
}

function describeLocking(open: Open, nowMs: () => number): void {
  it('a locked object cannot be deleted, and its lock only extends', async (t) => {
    const store = await open(t)
    assert.notEqual(store.capabilities.lock, 'none')
    const day = 86_400_000
    await store.put('packs/a', [positionedBytes(1, 10)])
    await store.lock('packs/a', nowMs() + 2 * day)
    await store.lock('packs/a', nowMs() + 1 * day) // shorter: no effect, no error
    await store.lock('packs/a', nowMs() + 3 * day)
    await Promise.all([5, 4, 6, 2].map((days) => store.lock('packs/a', nowMs() + days * day)))
    await rejectsWith(store.delete('packs/a'), 'blob_locked')
    assertSameBytes(await store.get('packs/a'), positionedBytes(1, 10))
    assert.equal(await store.put('packs/a', [positionedBytes(2, 10)]), 'exists')
    await rejectsWith(store.lock('packs/none', nowMs() + day), 'blob_not_found')
  })
}

function describeKeys(open: Open): void {
  it('keys outside the grammar are refused by every call', async (t) => {
    const store = await open(t)
    const long = 'k'.repeat(201)
    for (const key of [
      '',
      '/',
      'a/',
      '/a',
      'a//b',
      '.',
      '..',
      'a/../b',
      '.tmp-1',
      'a/.b',
      'A',
      'a b',
      'ä',
      'a\0',
      'a\\b',
      'a%2f',
      long,
    ]) {
      await rejectsWith(store.put(key, []), 'blob_key_invalid')
      await rejectsWith(store.get(key), 'blob_key_invalid')
      await rejectsWith(store.getRange(key, 0, 0), 'blob_key_invalid')
      await rejectsWith(store.head(key), 'blob_key_invalid')
      await rejectsWith(store.delete(key), 'blob_key_invalid')
    }
    for (const prefix of ['/', '../', 'a//', 'A', '.']) await rejectsWith(listAll(store, prefix), 'blob_key_invalid')
  })

  it('the longest key and every allowed character work', async (t) => {
    const store = await open(t)
    const keys = [`packs/${'k'.repeat(194)}`, 'abcdefghijklmnopqrstuvwxyz/0123456789/-.-']
    await putAll(store, keys)
    assert.deepEqual(await keysOf(store, ''), [...keys].sort())
    for (const key of keys) assert.ok((await store.head(key)) !== undefined)
  })
}
