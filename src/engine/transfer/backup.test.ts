import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { KIB, MIB } from '#base'
import { assertRestores, backUpBytes, CHUNK, freshRepository, removeFolders, stamp } from './backup.rig.ts'

after(removeFolders)

test('backUp() keeps a disk with holes, an odd size and a short last chunk, and restoreDisk() gives it back exactly', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(37 * MIB + 3 * 512)
  stamp(bytes, 0, 3 * MIB, 1)
  stamp(bytes, 20 * MIB + 512, 5 * MIB, 1)
  stamp(bytes, bytes.length - 1024, 1024, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  assert.equal(point.mode, 'full')
  await assertRestores(repository, store, point, bytes)
  await repository.close()
})

test('backUp() of changes reads only the changed ranges and shares the rest with its parent', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(40 * MIB)
  stamp(bytes, 0, 30 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  stamp(bytes, 4096, 8192, 2)
  stamp(bytes, 17 * MIB, CHUNK, 2)
  bytes.fill(0, 25 * MIB, 26 * MIB)
  const dirty = [
    { offset: 4096, length: 8192 },
    { offset: 17 * MIB, length: CHUNK },
    { offset: 25 * MIB, length: MIB },
  ]
  const [parent] = first.disks
  assert(parent)
  const second = await backUpBytes(repository, store, bytes, { kind: 'since', dirty, parent }, first.id)
  assert.equal(second.mode, 'incremental')
  assert.equal(second.disks[0]?.readBytes, 8192 + CHUNK + MIB)
  assert.ok((second.disks[0]?.newBytes ?? 0) < 3 * CHUNK, 'two chunks and their nodes are new')
  await assertRestores(repository, store, second, bytes)
  await repository.close()
})

test('backUp() of a scan finds unchanged chunks by hash and stores only what differs', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(20 * MIB)
  stamp(bytes, 0, 20 * MIB, 1)
  await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  stamp(bytes, 5 * MIB, 512, 2)
  const second = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'bitmap_missing' })
  assert.equal(second.mode, 'scan')
  assert.equal(second.disks[0]?.reason, 'bitmap_missing')
  assert.equal(second.disks[0]?.readBytes, 20 * MIB)
  assert.ok((second.disks[0]?.newBytes ?? 0) <= CHUNK + 32 * KIB)
  await assertRestores(repository, store, second, bytes)
  await repository.close()
})

test('backUp() follows a disk that grew: its old short last chunk and its new tail', async () => {
  const { repository, store } = await freshRepository()
  const before = new Uint8Array(16 * MIB + 512)
  stamp(before, 0, before.length, 1)
  const first = await backUpBytes(repository, store, before, { kind: 'all', reason: 'first_backup' })
  const grown = new Uint8Array(70 * MIB)
  grown.set(before)
  stamp(grown, 60 * MIB, 4096, 2)
  const [parent] = first.disks
  assert(parent)
  const second = await backUpBytes(repository, store, grown, { kind: 'since', dirty: [], parent }, first.id)
  await assertRestores(repository, store, second, grown)
  await assertRestores(repository, store, first, before)
  await repository.close()
})

test('Points survive reopening with a cold cache, and a wrong passphrase opens nothing', async () => {
  const { repository, store, reopen } = await freshRepository()
  const bytes = new Uint8Array(9 * MIB)
  stamp(bytes, MIB, 4 * MIB, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const again = await reopen()
  assert.deepEqual(again.findPoint('latest'), point)
  await assertRestores(again, store, point, bytes)
  await assert.rejects(reopen('wrong'), { code: 'key_wrong' })
})
