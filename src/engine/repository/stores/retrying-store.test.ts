import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '#base'
import { listAll, positionedBytes, rejectsWith } from '../blob-store.contract.ts'
import { FaultyStore, type StoreFault } from './faulty-store.ts'
import { MemoryStore } from './memory-store.ts'
import { RetryingStore } from './retrying-store.ts'

const bytes = positionedBytes(1, 64)
const before: StoreFault = { kind: 'before' }

/** Waits cost nothing here: a clock whose sleeps end at once, counted. */
class EagerClock extends ManualClock {
  slept = 0
  override async sleep(ms: number): Promise<void> {
    this.slept += ms
  }
}

function rig(): { faulty: FaultyStore; clock: EagerClock; store: RetryingStore } {
  const faulty = new FaultyStore(new MemoryStore())
  const clock = new EagerClock()
  return { faulty, clock, store: new RetryingStore(faulty, clock, { attemptsMax: 3, delayMs: 100, delayMsMax: 1000 }) }
}

describe('RetryingStore', () => {
  it('tries again what may succeed at once, with growing delays, and then gives up', async () => {
    const { faulty, clock, store } = rig()
    faulty.failNext('head', before, before)
    assert.equal(await store.head('a'), undefined)
    assert.equal(clock.slept, 300)
    faulty.failNext('head', before, before, before)
    await rejectsWith(store.head('a'), 'store_unavailable')
  })

  it('says "exists" of its own object when the reply of the put was lost', async () => {
    const { faulty, store } = rig()
    faulty.failNext('put', { kind: 'after' })
    assert.equal(await store.put('a', [bytes]), 'exists')
    assert.deepEqual(await store.get('a'), bytes)
  })

  it('does not wait for a full disk or an absent object', async () => {
    const { faulty, clock, store } = rig()
    faulty.failNext('put', { kind: 'full' })
    await rejectsWith(store.put('a', [bytes]), 'store_full')
    await rejectsWith(store.get('a'), 'blob_not_found')
    assert.equal(clock.slept, 0)
  })

  it('goes on with a broken listing where it broke', async () => {
    const { faulty, store } = rig()
    for (const key of ['a', 'b', 'c', 'd']) await store.put(key, [bytes])
    const after: StoreFault = { kind: 'after' }
    faulty.failNext('list', before, after, before, after, after)
    assert.deepEqual(
      (await listAll(store, '')).map((info) => info.key),
      ['a', 'b', 'c', 'd'],
    )
    faulty.failNext('list', before, before, before)
    await rejectsWith(listAll(store, ''), 'store_unavailable')
  })
})
