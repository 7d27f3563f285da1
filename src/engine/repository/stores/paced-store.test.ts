import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KIB, ManualClock } from '#base'
import { Pace } from '#runtime'
import { describeBlobStore, positionedBytes } from '../blob-store.contract.ts'
import { MemoryStore } from './memory-store.ts'
import { PacedStore } from './paced-store.ts'

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await Promise.resolve()
}

describeBlobStore('a paced store without a limit', () => new PacedStore(new MemoryStore(), new Pace(new ManualClock())))

test('PacedStore counts what is put and what is got, whole and in part; all else passes at once', async () => {
  const clock = new ManualClock()
  clock.advance(10_000)
  const pace = new Pace(clock)
  const inner = new MemoryStore()
  const store = new PacedStore(inner, pace)
  const bytes = positionedBytes(1, 100 * KIB)
  pace.set(100 * KIB)
  assert.equal(await store.put('packs/a', [bytes.subarray(0, 60 * KIB), bytes.subarray(60 * KIB)]), 'created')
  // The burst is used up: what follows waits for its time, and what moves no bytes does not.
  let got: Uint8Array | undefined
  const getting = store.getRange('packs/a', 10 * KIB, 50 * KIB).then((part) => (got = part))
  await settle()
  assert.equal(await store.head('packs/a'), bytes.length)
  assert.equal(got, undefined)
  clock.advance(500)
  await settle()
  clock.advance(500)
  await getting
  assert.deepEqual(Buffer.from(got ?? []), Buffer.from(bytes.subarray(10 * KIB, 60 * KIB)))
  pace.set(0)
  assert.deepEqual(Buffer.from(await store.get('packs/a')), Buffer.from(bytes))
})
