import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { isHoldfastError, KIB, messageOf, MIB } from '#base'
import { FaultyStore, MemoryStore, prune, Repository } from '#engine/repository'
import {
  assertRestores,
  backUpBytes,
  CHUNK,
  clock,
  credential,
  environmentOf,
  freshRepository,
  kdfCost,
  random,
  removeFolders,
  stamp,
} from './backup.rig.ts'
import { verifyWithKey, verifyWithoutKey } from './verify.ts'

after(removeFolders)

test('prune() gives back the space of forgotten points and keeps every other point whole', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(24 * MIB)
  stamp(bytes, 0, 24 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  stamp(bytes, 0, 12 * MIB, 2)
  const second = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'bitmap_missing' })
  await repository.forget([first.id])
  const report = await prune(repository, { clock, random }, { wasteShareMax: 0.1 })
  assert.equal(report.plan.rewrite.length, 1, 'half of the first pack is needed by the second point')
  assert.ok(report.freedBytes > 0 && report.heldBack === 0)
  await assertRestores(repository, store, second, bytes)
  assert.deepEqual((await verifyWithKey(repository, { store })).damage, [])
  assert.deepEqual((await verifyWithoutKey(store, { clock, random }, { store })).damage, [])
  const again = await prune(repository, { clock, random }, { wasteShareMax: 0.1 })
  assert.deepEqual(
    [again.plan.drop, again.plan.rewrite, again.plan.strays, again.deleted],
    [[], [], [], 0],
    'a second prune finds nothing to do',
  )
  await repository.close()
})

test('prune() beside a writer that was stopped in the middle deletes nothing that the writer then commits', async () => {
  const { repository, store, reopen } = await freshRepository()
  const bytes = new Uint8Array(8 * MIB)
  stamp(bytes, 0, 8 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const other = await reopen()
  let pruned: Promise<unknown> | undefined
  stamp(bytes, 0, 64 * KIB, 2)
  const second = await backUpBytes(
    repository,
    store,
    bytes,
    { kind: 'all', reason: 'bitmap_missing' },
    undefined,
    async () => {
      // The writer stands still between two reads; its point relies on packs of the first, which is forgotten and pruned now.
      pruned ??= other.forget([first.id]).then(() => prune(other, { clock, random }))
      await pruned
    },
  )
  await assertRestores(repository, store, second, bytes)
  assert.deepEqual((await verifyWithKey(await reopen(), { store })).damage, [])
})

test('prune() after the pin of a stopped writer ran out: the writer notices at its commit and stores again', async () => {
  const { repository, store, reopen } = await freshRepository()
  const bytes = new Uint8Array(8 * MIB)
  stamp(bytes, 0, 8 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const other = await reopen()
  let pruned: Promise<{ deleted: number }> | undefined
  const second = await backUpBytes(
    repository,
    store,
    bytes,
    { kind: 'all', reason: 'bitmap_missing' },
    undefined,
    async () => {
      if (pruned === undefined) {
        await other.forget([first.id])
        clock.jumpTo(clock.nowMs() + 3 * 3600_000)
        pruned = prune(other, { clock, random })
      }
      await pruned
    },
  )
  assert.ok(((await pruned)?.deleted ?? 0) > 0, 'the packs that the writer relied on are gone')
  await assertRestores(repository, store, second, bytes)
  assert.deepEqual((await verifyWithKey(await reopen(), { store })).damage, [])
})

test('prune() finds the objects that a crash left after their deletion entry', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(2 * MIB)
  stamp(bytes, 0, 2 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  await repository.forget([first.id])
  const faulty = new FaultyStore(store)
  const other = await Repository.open(faulty, credential, await environmentOf())
  faulty.failNext('delete', { kind: 'before' })
  await assert.rejects(prune(other, { clock, random }), { code: 'store_unavailable' })
  const again = await prune(repository, { clock, random })
  assert.equal(again.plan.leftovers.length, 1)
  for await (const { key } of store.list('packs/')) assert.fail(`${key} is garbage and still there`)
})

test('prune() passes over objects that the store has locked, and takes them when the lock has ended', async () => {
  const store = new MemoryStore({ name: 'locking', clock })
  await Repository.init(store, { credential, chunkSizeBytes: CHUNK, kdfCost }, await environmentOf())
  const repository = await Repository.open(store, credential, await environmentOf())
  const bytes = new Uint8Array(2 * MIB)
  stamp(bytes, 0, 2 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  for await (const { key } of store.list('packs/')) await store.lock(key, clock.nowMs() + 1000)
  await repository.forget([first.id])
  assert.equal((await prune(repository, { clock, random })).deleted, 0)
  clock.advance(2000)
  assert.equal((await prune(repository, { clock, random })).deleted, 1)
})

test('Two prunes whose pins ran out, and that chose different copies of a chunk, never delete both', async () => {
  const { repository, store, reopen } = await freshRepository()
  const bytes = new Uint8Array(2 * MIB)
  stamp(bytes, 0, 2 * MIB, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  stamp(bytes, 0, MIB, 2)
  await repository.forget([(await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'x' })).id])
  const options = { wasteShareMax: 0 }
  // The slow one stands still in each of its writes in turn, while its pin runs out and the other prunes everything.
  for (let write = 0; write < 6; write += 1) {
    const faulty = new FaultyStore(store, clock)
    for (let i = 0; i < write; i += 1) faulty.failNext('put', { kind: 'delayed', ms: 0 })
    faulty.failNext('put', { kind: 'delayed', ms: 3 * 3600_000 })
    const slow = await Repository.open(faulty, credential, await environmentOf())
    const state = { done: false }
    const running = prune(slow, { clock, random }, options).then(
      () => (state.done = true),
      (error: unknown) => {
        state.done = true
        assert.ok(isHoldfastError(error, 'prune_overtaken', 'pack_missing', 'chunk_missing'), messageOf(error))
      },
    )
    for (let idle = 0; idle < 50 && !state.done; idle += 1) {
      await new Promise((resolve) => setImmediate(resolve))
      if (clock.sleeping > 0 && idle > 40) {
        clock.jumpTo(clock.nowMs() + 3 * 3600_000)
        await prune(await reopen(), { clock, random }, options)
        clock.advance(3 * 3600_000)
      } else if (clock.sleeping > 0) clock.advance(0)
    }
    while (!state.done) {
      clock.advance(3 * 3600_000)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await running
    const original = new Uint8Array(2 * MIB)
    stamp(original, 0, 2 * MIB, 1)
    await assertRestores(await reopen(), store, point, original)
  }
})

test('Verify beside a prune that deletes takes nothing of it for damage', async () => {
  const { repository, store, reopen } = await freshRepository()
  const bytes = new Uint8Array(2 * MIB)
  stamp(bytes, 0, 2 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const verifier = await reopen()
  await repository.forget([first.id])
  await prune(repository, { clock, random })
  assert.deepEqual((await verifyWithKey(verifier, { store })).damage, [], 'its view of the log is older than the prune')
})
