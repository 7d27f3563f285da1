import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { must } from '#base'
import type { ContentHash } from '#engine/repository'
import { type CachedChunk, ChunkCache } from './chunk-cache.ts'
import type { DecodeItem } from './threads/decode-runner.ts'

const SLOT = 16

/** The content of chunk n, and the bytes that it decodes to. */
const contentOf = (chunk: number): ContentHash => Uint8Array.of(chunk) as ContentHash
const bytesOf = (chunk: number): Uint8Array => Uint8Array.from({ length: SLOT }, (_, i) => chunk * 16 + i)

type Task = { chunks: number[]; end: () => Promise<void>; fail: (error: Error) => Promise<void> }

async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

/** A cache whose tasks end when the test says so. */
function rig(slots: number, lanes = 1) {
  const memory = new SharedArrayBuffer(slots * SLOT)
  const tasks: Task[] = []
  const begin = (items: readonly DecodeItem[]): Promise<readonly number[]> =>
    new Promise((resolve, reject) => {
      const chunks = items.map(({ content }) => must(content[0], 'One byte'))
      const end = (): Promise<void> => {
        for (const [i, { at }] of items.entries()) new Uint8Array(memory).set(bytesOf(must(chunks[i], 'Inside')), at)
        resolve(items.map(() => SLOT))
        return settle()
      }
      const fail = (error: Error): Promise<void> => {
        reject(error)
        return settle()
      }
      tasks.push({ chunks, end, fail })
    })
  const cache = new ChunkCache({ memory, slotBytes: SLOT, lanes, decode: (_lane, items) => begin(items) })
  const got: CachedChunk[] = []
  const errors: unknown[] = []
  const want = (chunk: number, hold = false, signal?: AbortSignal): void =>
    cache.want(chunk, contentOf(chunk), {
      ready: (ready) => {
        assert.deepEqual(Uint8Array.from(must(ready.bytes, 'Ready')), bytesOf(chunk))
        if (hold) cache.hold(ready)
        got.push(ready)
      },
      failed: (error) => errors.push(error),
      signal,
    })
  const endAll = async (): Promise<void> => {
    await settle()
    for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) await task.end()
  }
  return { cache, tasks, got, errors, want, endAll }
}

describe('ChunkCache', () => {
  it('decodes once what many want, and gives it at once from then on', async () => {
    const { cache, tasks, got, want, endAll } = rig(4)
    want(1)
    want(1)
    await settle()
    want(1)
    assert.deepEqual(
      tasks.map(({ chunks }) => chunks),
      [[1]],
    )
    await endAll()
    assert.equal(got.length, 3)
    want(1)
    assert.equal(got.length, 4)
    assert.equal(cache.find(1), got[0])
    assert.equal(cache.find(2), undefined)
  })

  it('shares out what one turn wants, and takes what is wanted before what is fetched ahead', async () => {
    const { cache, tasks, want } = rig(64, 2)
    for (let chunk = 20; chunk < 30; chunk += 1) cache.fetchAhead(chunk, contentOf(chunk))
    want(25)
    for (let chunk = 1; chunk < 4; chunk += 1) want(chunk)
    await settle()
    const chunks = tasks.map((task) => task.chunks)
    assert.deepEqual(chunks.flat().slice(0, 4), [25, 1, 2, 3])
    assert.equal(chunks.length, 4, 'two tasks in each of two lanes')
    assert.equal(new Set(chunks.flat()).size, chunks.flat().length, 'nothing is decoded twice')
  })

  it('fails a damaged chunk alone, and tries it again for the next reader', async () => {
    const { tasks, got, errors, want, endAll } = rig(16)
    for (let chunk = 1; chunk <= 8; chunk += 1) want(chunk)
    await settle()
    const damaged = new Error('planted')
    assert.deepEqual(tasks[0]?.chunks, [1, 2, 3, 4])
    await tasks.shift()?.fail(damaged)
    for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) {
      if (task.chunks.includes(3)) await task.fail(damaged)
      else await task.end()
      await settle()
    }
    assert.deepEqual(errors, [damaged])
    assert.deepEqual(
      got.map(({ number }) => number).sort((a, b) => a - b),
      [1, 2, 4, 5, 6, 7, 8],
    )
    want(3)
    await endAll()
    assert.equal(got.at(-1)?.number, 3)
  })

  it('does not decode what nobody waits for any more', async () => {
    const { tasks, got, errors, want, endAll } = rig(16)
    const leaving = new AbortController()
    for (let chunk = 1; chunk <= 8; chunk += 1) want(chunk)
    await settle()
    want(11, false, leaving.signal)
    want(12, false, leaving.signal)
    want(12)
    leaving.abort()
    await endAll()
    assert.deepEqual(tasks, [])
    assert.ok(!got.some(({ number }) => number === 11))
    assert.equal(got.filter(({ number }) => number === 12).length, 2)
    assert.deepEqual(
      errors.map((error) => (error as { code: string }).code),
      ['cancelled'],
    )
  })

  it('leaves what is held where it is, waits while all is held, and goes on when something is given back', async () => {
    const { cache, tasks, got, want, endAll } = rig(3)
    for (const chunk of [1, 2, 3]) want(chunk, true)
    await endAll()
    want(4)
    await endAll()
    assert.equal(got.length, 3, 'no slot, no chunk')
    for (const chunk of got) assert.deepEqual(Uint8Array.from(chunk.bytes ?? []), bytesOf(chunk.number))
    cache.release(must(cache.find(2), 'Held, hence here'))
    await endAll()
    assert.deepEqual(tasks, [])
    assert.equal(got.at(-1)?.number, 4)
    assert.equal(cache.find(2), undefined)
    assert.equal(cache.find(1)?.number, 1)
  })

  it('keeps what is used again over a scan of what is used once', async () => {
    const { cache, want, endAll } = rig(8)
    want(1)
    await endAll()
    for (let chunk = 10; chunk < 100; chunk += 1) {
      assert.ok(cache.find(1) !== undefined, `it was evicted before ${chunk}`)
      want(chunk)
      await endAll()
    }
  })
})
