import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { KIB, MIB } from '#base'
import { prune } from '#engine/repository'
import { assertRestores, backUpBytes, clock, freshRepository, random, removeFolders, stamp } from './backup.rig.ts'
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
