/** Damage of checkpoints, and of entries before one: no point is hidden by it, and nothing is deleted on its word. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { must, SeededRandom } from '#base'
import {
  checkpointKey,
  encodeCheckpoint,
  type MemoryStore,
  openCheckpoint,
  prune,
  removeCheckpoints,
} from '#engine/repository'
import { environmentOf, healthyStore, open, removeFolders, restoreAll, verifyBoth } from './healthy.ts'

after(removeFolders)
const entry = (number: number): string => `log/${String(number).padStart(12, '0')}`
const ALL_WHOLE = ['a-full', 'a-incremental', 'b-full', 'a-scan'].map((note) => [note, 'ok'])

async function packsOf(store: MemoryStore): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list('packs/')) keys.push(key)
  return keys
}

test('Every kind of damage to a checkpoint is named as that, hides no point and hinders nobody', async () => {
  const harms: ((good: Uint8Array) => Uint8Array)[] = [
    (good) => good.map((byte, at) => (at === good.length - 1 ? byte ^ 1 : byte)),
    (good) => good.map((byte, at) => (at === 200 ? byte ^ 1 : byte)),
    (good) => good.subarray(0, good.length / 2),
    () => new Uint8Array(),
  ]
  for (const [i, harm] of harms.entries()) {
    const store = await healthyStore(1, 4)
    const good = await store.get(checkpointKey(8))
    store.overwrite(checkpointKey(8), harm(good))
    const { withKey, without } = await verifyBoth(store)
    const expected = [{ kind: 'checkpoint_corrupt', object: checkpointKey(8), points: [] }]
    assert.deepEqual(withKey.damage, expected, `harm ${i}`)
    // The MAC is the last byte's only guard: without the key it is not seen, and does not matter to what is open.
    assert.deepEqual(without.damage, i === 0 ? [] : expected, `harm ${i}`)
    const repository = await open(store)
    assert.equal(repository.log.from, 4, 'the older one serves')
    assert.deepEqual([...(await restoreAll(repository))], ALL_WHOLE)
    await prune(repository, await environmentOf(6))
  }
})

test('A checkpoint that lost a point, though its writer held the key, is contradicted before anything is deleted', async () => {
  const store = await healthyStore(1, 4)
  const repository = await open(store)
  const { keys, config } = repository
  const good = must(openCheckpoint(keys, await store.get(checkpointKey(8)), config.id, 8), 'It is whole')
  const lost = { state: { ...good.state, points: good.state.points.slice(1) }, records: good.records.slice(1) }
  store.overwrite(checkpointKey(8), encodeCheckpoint(keys, config.id, new SeededRandom(3).bytes(32), lost))
  const before = await packsOf(store)
  const environment = await environmentOf(6)
  const misled = await open(store)
  assert.equal(misled.points().length, 3)
  await assert.rejects(prune(misled, environment), { code: 'log_damaged' })
  assert.deepEqual(await packsOf(store), before)
  const { withKey, without } = await verifyBoth(store)
  const expected = [{ kind: 'checkpoint_corrupt', object: checkpointKey(8), points: [] }]
  assert.deepEqual([withKey.damage, without.damage], [expected, expected])
  assert.deepEqual(await removeCheckpoints(store, await misled.readWholeLog()), [checkpointKey(8)])
  const mended = await open(store)
  assert.deepEqual([...(await restoreAll(mended))], ALL_WHOLE)
  await prune(mended, environment)
  assert.deepEqual([...(await restoreAll(await open(store)))], ALL_WHOLE)
})

test('An entry that is missing before a checkpoint loses no point; verify names it, and nothing is pruned', async () => {
  const store = await healthyStore(1, 4)
  await store.delete(entry(6))
  const repository = await open(store)
  assert.deepEqual([...(await restoreAll(repository))], ALL_WHOLE)
  const { withKey, without } = await verifyBoth(store)
  const expected = [{ kind: 'log_entry_missing', object: entry(6), points: [] }]
  assert.deepEqual([withKey.damage, without.damage], [expected, expected])
  await assert.rejects(prune(repository, await environmentOf(6)), { code: 'log_damaged' })
})

test('A log that was put back behind a checkpoint that stayed is told by it', async () => {
  const store = await healthyStore(1, 4)
  for (const number of [5, 6, 7, 8]) await store.delete(entry(number))
  const { withKey, without } = await verifyBoth(store)
  for (const { damage } of [withKey, without])
    assert.ok(damage.some(({ kind, object }) => kind === 'log_rolled_back' && object === checkpointKey(8)))
})

test('Prune proves a checkpoint once, and the next time reads only what came since', async () => {
  const store = await healthyStore(1, 4)
  const { cacheFolder } = await environmentOf(5)
  const environment = await environmentOf(6)
  await prune(await open(store, cacheFolder), environment)
  await store.delete(entry(2)) // before what was proven
  await prune(await open(store, cacheFolder), environment)
  await assert.rejects(prune(await open(store), environment), { code: 'log_damaged' })
})
