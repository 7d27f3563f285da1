import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { MIB, must } from '#base'
import { MemoryDevice } from '#engine/block'
import { MemoryStore, packKeyOf, type Repository } from '#engine/repository'
import { assertRestores, backUpBytes, clock, freshRepository, random, removeFolders, stamp } from './backup.rig.ts'
import { copyPoints } from './copy.ts'
import { repairPacks } from './repair.ts'
import { restoreDisk } from './restore.ts'
import { verifyWithKey } from './verify.ts'

after(removeFolders)

async function flipBit(store: MemoryStore, repository: Repository, ordinal: number, at: number): Promise<void> {
  const key = packKeyOf(must(repository.log.state.packs[ordinal], 'a pack').name)
  const bytes = Uint8Array.from(await store.get(key))
  bytes[at] = (bytes[at] ?? 0) ^ 0x10
  await store.delete(key)
  await store.put(key, [bytes])
}

test('copyPoints() brings points into a repository with another key, sharing what they share, and again finds nothing to do', async () => {
  const from = await freshRepository()
  const to = await freshRepository()
  const bytes = new Uint8Array(18 * MIB)
  stamp(bytes, 0, 10 * MIB, 1)
  const first = await backUpBytes(from.repository, from.store, bytes, { kind: 'all', reason: 'first_backup' })
  const before = Uint8Array.from(bytes)
  stamp(bytes, MIB, 4096, 2)
  const second = await backUpBytes(from.repository, from.store, bytes, { kind: 'all', reason: 'bitmap_missing' })
  const report = await copyPoints(from.repository, to.repository, from.repository.points(), { random })
  assert.deepEqual(report.copied, [first.id, second.id])
  await assertRestores(to.repository, to.store, first, before)
  await assertRestores(to.repository, to.store, second, bytes)
  assert.deepEqual((await verifyWithKey(await to.reopen(), { store: to.store })).damage, [])
  const again = await copyPoints(from.repository, to.repository, from.repository.points(), { random })
  assert.deepEqual([again.copied, again.present], [[], [first.id, second.id]])
})

test('copyPoints() says what the target has given up, and brings it back under another id when asked to: a point is there or not, never said to be', async () => {
  const from = await freshRepository()
  const to = await freshRepository()
  const bytes = new Uint8Array(4 * MIB)
  stamp(bytes, 0, 2 * MIB, 1)
  const point = await backUpBytes(from.repository, from.store, bytes, { kind: 'all', reason: 'first_backup' })
  await copyPoints(from.repository, to.repository, [point], { random })
  await to.repository.forget([point.id])
  const left = await copyPoints(from.repository, to.repository, [point], { random })
  assert.deepEqual([left.copied, left.present, left.givenUp], [[], [], [point.id]])
  assert.deepEqual(to.repository.points(), [])
  const { copied } = await copyPoints(from.repository, to.repository, [point], { random, again: true })
  const target = await to.reopen()
  assert.deepEqual(
    target.points().map(({ id, origin }) => [id, origin]),
    [[must(copied[0], 'One was copied'), point.id]],
  )
  await assertRestores(target, to.store, must(target.points()[0], 'It is there'), bytes)
  const again = await copyPoints(from.repository, target, [point], { random, again: true })
  assert.deepEqual([again.copied, again.present], [[], [point.id]])
  const session = await target.beginSession('a test')
  await assert.rejects(session.commit([{ record: point, packs: [], reliesOn: [] }]), { code: 'point_forgotten' })
})

test('repairPacks() takes a damaged chunk from another repository and saves the others, and the point restores again', async () => {
  const hurt = await freshRepository()
  const copy = await freshRepository()
  const bytes = new Uint8Array(12 * MIB)
  stamp(bytes, 0, 12 * MIB, 1)
  const point = await backUpBytes(hurt.repository, hurt.store, bytes, { kind: 'all', reason: 'first_backup' })
  await copyPoints(hurt.repository, copy.repository, [point], { random })
  await flipBit(hurt.store, hurt.repository, 0, 500)
  const disk = must(point.disks[0], 'one disk')
  const target = await hurt.reopen()
  await assert.rejects(
    restoreDisk(target, disk, { opened: new MemoryDevice(bytes.length) }, { store: hurt.store, clock }),
    { code: 'chunk_corrupt' },
  )
  const found = await verifyWithKey(target, { store: hurt.store })
  assert.deepEqual(
    found.damage.map(({ kind, points }) => [kind, points]),
    [['pack_corrupt', [point.id]]],
  )
  const report = await repairPacks(target, { store: hurt.store, random, source: copy.repository })
  assert.equal(report.chunksLost, 0)
  assert.equal(report.chunksFromSource, 1, 'one chunk was hurt')
  assert.ok(report.chunksSaved > 10)
  await assertRestores(target, hurt.store, point, bytes)
  assert.deepEqual((await verifyWithKey(await hurt.reopen(), { store: hurt.store })).damage, [])
})

test('repairPacks() puts a missing pack back from a mirror', async () => {
  const { repository, store, reopen } = await freshRepository()
  const bytes = new Uint8Array(6 * MIB)
  stamp(bytes, 0, 6 * MIB, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const mirror = new MemoryStore({ name: 'mirror' })
  for await (const { key } of store.list('')) await mirror.put(key, [await store.get(key)])
  await store.delete(packKeyOf(must(repository.log.state.packs[0], 'a pack').name))
  const cold = await reopen()
  assert.deepEqual(
    (await verifyWithKey(cold, { store })).damage.map(({ kind, points }) => [kind, points]),
    [['pack_missing', [point.id]]],
  )
  assert.equal((await repairPacks(cold, { store, random, mirror })).packsFromMirror, 1)
  await assertRestores(cold, store, point, bytes)
  assert.deepEqual((await verifyWithKey(await reopen(), { store })).damage, [])
})
