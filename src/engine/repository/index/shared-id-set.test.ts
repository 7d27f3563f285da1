import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { SeededRandom } from '#base'
import type { ChunkId } from '../crypto.ts'
import { SharedIdSet } from './shared-id-set.ts'

function idsOf(seed: number, count: number): ChunkId[] {
  const random = new SeededRandom(seed)
  return Array.from({ length: count }, () => random.bytes(32) as ChunkId)
}

test('claim() says yes once for each id; has() knows exactly those', () => {
  const set = SharedIdSet.exactFor(2000)
  const [ids, others] = [idsOf(1, 2000), idsOf(2, 500)]
  assert.ok(ids.every((id) => set.claim(id)))
  assert.ok(ids.every((id) => !set.claim(id) && set.has(id)))
  assert.ok(others.every((id) => !set.has(id)))
})

test('A set that is full says that ids are new, and never hangs', () => {
  const set = SharedIdSet.forIds(1)
  const claimed = idsOf(3, 1000).filter((id) => set.claim(id))
  assert.equal(claimed.length, 1000)
})

const THREAD = `
import { parentPort, workerData } from 'node:worker_threads'
const { SharedIdSet } = await import(workerData.module)
const { SeededRandom } = await import(workerData.random)
const set = new SharedIdSet(workerData.buffer)
const random = new SeededRandom(9)
let claimed = 0
for (let i = 0; i < workerData.count; i += 1) if (set.claim(random.bytes(32))) claimed += 1
parentPort.postMessage(claimed)
`

test('Threads that claim the same ids at once each claim some, and no id twice', async () => {
  const count = 20_000
  const set = SharedIdSet.forIds(2 * count)
  const workers = Array.from({ length: 4 }, () => {
    const module = new URL('./shared-id-set.ts', import.meta.url).href
    const random = new URL('../../../base/random.ts', import.meta.url).href
    const workerData = { buffer: set.buffer, count, module, random }
    return new Worker(new URL(`data:text/javascript,${encodeURIComponent(THREAD)}`), { workerData })
  })
  const claimed = await Promise.all(workers.map(async (worker) => Number((await once(worker, 'message'))[0])))
  assert.equal(
    claimed.reduce((sum, some) => sum + some, 0),
    count,
  )
})
