import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock, SeededRandom } from '#base'
import { describeBlobStore, listAll, positionedBytes, rejectsWith } from '../blob-store.contract.ts'
import { FaultyStore } from './faulty-store.ts'
import { MemoryStore } from './memory-store.ts'
import { RetryingStore } from './retrying-store.ts'

describeBlobStore('a faulty store without faults', () => new FaultyStore(new MemoryStore()))

describeBlobStore('a retrying store', () => new RetryingStore(new MemoryStore(), new ManualClock()))

const bytes = positionedBytes(1, 64)

describe('FaultyStore', () => {
  it('a fault before the work leaves nothing, one after it leaves the object', async () => {
    const store = new FaultyStore(new MemoryStore())
    store.failNext('put', { kind: 'before' }, { kind: 'after' }, { kind: 'full' })
    await rejectsWith(store.put('a', [bytes]), 'store_unavailable')
    assert.equal(await store.head('a'), undefined)
    await rejectsWith(store.put('a', [bytes]), 'store_unavailable')
    assert.equal(await store.head('a'), 64)
    await rejectsWith(store.put('b', [bytes]), 'store_full')
    assert.equal(await store.put('b', [bytes]), 'created')
  })

  it('lies with short and with wrong bytes, and with a short listing', async () => {
    const store = new FaultyStore(new MemoryStore())
    await store.put('a', [bytes])
    await store.put('b', [bytes])
    store.failNext('get', { kind: 'truncated' }, { kind: 'corrupt' })
    store.failNext('list', { kind: 'truncated' }, { kind: 'after' })
    assert.equal((await store.get('a')).length, 32)
    assert.notDeepEqual(await store.get('a'), bytes)
    assert.deepEqual(await store.get('a'), bytes)
    assert.equal((await listAll(store, '')).length, 1)
    await rejectsWith(listAll(store, ''), 'store_unavailable')
    assert.equal((await listAll(store, '')).length, 2)
  })

  it('delays by the clock', async () => {
    const clock = new ManualClock()
    const store = new FaultyStore(new MemoryStore(), clock)
    store.failNext('head', { kind: 'delayed', ms: 500 })
    const head = store.head('a')
    assert.equal(clock.sleeping, 1)
    clock.advance(500)
    assert.equal(await head, undefined)
  })

  it('crashAfter(n) lets n writes pass, does the next or not, and is dead from then on', async () => {
    const seen = new Set<number | undefined>()
    for (let seed = 0; seed < 20; seed += 1) {
      const inner = new MemoryStore()
      const store = new FaultyStore(inner)
      store.crashAfter(2, new SeededRandom(seed))
      await store.put('a', [bytes])
      await store.put('b', [bytes])
      await rejectsWith(store.put('c', [bytes]), 'store_unavailable')
      await rejectsWith(store.get('a'), 'store_unavailable')
      await rejectsWith(listAll(store, ''), 'store_unavailable')
      assert.equal(store.crashed, true)
      assert.equal(await inner.head('b'), 64)
      seen.add(await inner.head('c'))
    }
    assert.deepEqual(seen, new Set([undefined, 64]))
  })

  it('fails by chance in the same way for the same seed', async () => {
    const run = async (seed: number): Promise<string> => {
      const store = new FaultyStore(new MemoryStore())
      store.failByChance(new SeededRandom(seed), { before: 0.2, after: 0.2, full: 0.1 })
      let story = ''
      for (let i = 0; i < 60; i += 1) {
        story += await store.put(`k${i}`, [bytes]).then(
          () => '.',
          (error: Error) => (error.message.includes('space') ? 'f' : 'x'),
        )
      }
      return story
    }
    assert.equal(await run(7), await run(7))
    assert.notEqual(await run(7), await run(8))
    assert.match(await run(7), /\.*x/)
  })
})
