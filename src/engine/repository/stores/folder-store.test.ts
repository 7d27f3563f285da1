import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rename, rm, statfs, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { GIB, ManualClock } from '#base'
import { systemClock } from '#runtime'
import { describeBlobStore, listAll, positionedBytes, rejectsWith } from '../blob-store.contract.ts'
import { fileServerTime } from './folder-locks.ts'
import { FolderStore, SWEEP_AGE_MS_MIN } from './folder-store.ts'

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-store-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const lockClock = new ManualClock()
describeBlobStore('a folder store', async (t) => FolderStore.open(await temporaryFolder(t), { clock: lockClock }), {
  nowMs: () => lockClock.nowMs(),
})

describe('FolderStore', () => {
  it('a lock ends by the clock, outlives the store object, and its markers go with the object', async (t) => {
    const folder = await temporaryFolder(t)
    const clock = new ManualClock()
    const store = await FolderStore.open(folder, { clock })
    await store.put('packs/aa/1', [positionedBytes(1, 10)])
    await store.lock('packs/aa/1', clock.nowMs() + 1000)
    await store.lock('packs/aa/1', clock.nowMs() + 3000)
    await store.close()
    const again = await FolderStore.open(folder, { clock })
    clock.advance(2000)
    await rejectsWith(again.delete('packs/aa/1'), 'blob_locked')
    assert.deepEqual(await listAll(again, ''), [{ key: 'packs/aa/1', sizeBytes: 10 }])
    clock.advance(1000)
    await again.delete('packs/aa/1')
    assert.deepEqual(await listAll(again, ''), [])
    const left = await readdir(join(folder, '.locks'), { withFileTypes: true, recursive: true })
    assert.deepEqual(
      left.filter((entry) => entry.isFile()),
      [],
    )
    await again.put('packs/aa/1', [positionedBytes(2, 10)])
    await again.delete('packs/aa/1')
  })

  it('a folder of this host has no clock of its own; one of a file server tells that of a fresh file', async (t) => {
    const folder = await temporaryFolder(t)
    assert.equal(await (await FolderStore.open(folder)).timeMs(), undefined)
    const { type } = await statfs(folder)
    const timeMs = await fileServerTime(folder, new Set([type]))
    assert.ok(timeMs !== undefined && Math.abs(timeMs - systemClock.nowMs()) < 60_000)
    assert.deepEqual(await readdir(folder), [])
  })

  it('open() tells a folder that is missing, or is a file, unless it may create it', async (t) => {
    const folder = await temporaryFolder(t)
    await rejectsWith(FolderStore.open(join(folder, 'none')), 'store_location_invalid')
    await rejectsWith(FolderStore.open(join(folder, 'none/below'), { create: true }), 'store_location_invalid')
    await writeFile(join(folder, 'file'), 'x')
    await rejectsWith(FolderStore.open(join(folder, 'file')), 'store_location_invalid')
    await rejectsWith(FolderStore.open(join(folder, 'file'), { create: true }), 'store_location_invalid')
    const made = await FolderStore.open(join(folder, 'made'), { create: true })
    await FolderStore.open(join(folder, 'made'), { create: true })
    assert.equal(await made.put('a/b', [positionedBytes(1, 9)]), 'created')
  })

  it('two stores on one folder: one of them creates', async (t) => {
    const folder = await temporaryFolder(t)
    const stores = await Promise.all([FolderStore.open(folder), FolderStore.open(folder)])
    for (let round = 0; round < 20; round += 1) {
      const outcomes = await Promise.all(stores.map((store, i) => store.put(`log/${round}`, [positionedBytes(i, 99)])))
      assert.deepEqual(outcomes.sort(), ['created', 'exists'])
    }
  })

  it('nothing but the objects is left in the folder', async (t) => {
    const folder = await temporaryFolder(t)
    const store = await FolderStore.open(folder)
    await Promise.all(Array.from({ length: 8 }, (_, i) => store.put('packs/a', [positionedBytes(i, 10)])))
    assert.deepEqual(await readdir(join(folder, 'packs')), ['a'])
  })

  it('an object that is larger than any of ours is not read into memory, and its parts still are', async (t) => {
    const folder = await temporaryFolder(t)
    const store = await FolderStore.open(folder)
    await writeFile(join(folder, 'huge'), 'begins')
    await truncate(join(folder, 'huge'), GIB + 1)
    await rejectsWith(store.get('huge'), 'blob_too_large')
    assert.equal(Buffer.from(await store.getRange('huge', 0, 6)).toString(), 'begins')
  })

  it('list() passes over temporary and foreign files; sweep() removes temporary ones when they are old', async (t) => {
    const folder = await temporaryFolder(t)
    const store = await FolderStore.open(folder)
    await store.put('packs/ab/1', [positionedBytes(1, 10)])
    const old = join(folder, 'packs/ab', `.tmp-${randomBytes(8).toString('hex')}`)
    const young = join(folder, `.tmp-${randomBytes(8).toString('hex')}`)
    for (const path of [old, young, join(folder, 'README'), join(folder, '.tmp-mine')]) await writeFile(path, 'x')
    const clock = new ManualClock()
    await utimes(old, clock.nowMs() / 1000, clock.nowMs() / 1000)
    await utimes(young, clock.nowMs() / 1000 + 100, clock.nowMs() / 1000 + 100)
    assert.deepEqual(await listAll(store, ''), [{ key: 'packs/ab/1', sizeBytes: 10 }])
    assert.equal(await store.sweep(clock, 1000), 0)
    clock.advance(1001)
    assert.equal(await store.sweep(clock, 1000), 1)
    assert.equal(await store.sweep(clock), 0, 'a day is not over')
    clock.advance(SWEEP_AGE_MS_MIN + 100_000)
    assert.equal(await store.sweep(clock), 1)
    assert.deepEqual((await readdir(join(folder, 'packs/ab'))).sort(), ['1'])
  })

  it('list() fails on a symbolic link rather than pass over what may lie behind it', async (t) => {
    const folder = await temporaryFolder(t)
    const store = await FolderStore.open(folder)
    await store.put('packs/a', [positionedBytes(1, 10)])
    await mkdir(join(folder, 'elsewhere'))
    await symlink(join(folder, 'elsewhere'), join(folder, 'packs', 'linked'))
    await rejectsWith(listAll(store, 'packs/'), 'store_location_invalid')
    await rejectsWith(store.get('packs/linked'), 'blob_not_found')
  })

  it('a key cannot be a folder of another', async (t) => {
    const store = await FolderStore.open(await temporaryFolder(t))
    await store.put('a/b', [positionedBytes(1, 10)])
    await rejectsWith(store.put('a', []), 'blob_key_invalid')
    await rejectsWith(store.put('a/b/c', []), 'blob_key_invalid')
    await rejectsWith(store.get('a'), 'blob_not_found')
    assert.equal(await store.head('a'), undefined)
    assert.equal(await store.head('a/b/c'), undefined)
  })

  it('with the folder gone or replaced, nothing is reported missing and nothing is created', async (t) => {
    const folder = await temporaryFolder(t)
    const root = join(folder, 'store')
    const store = await FolderStore.open(root, { create: true })
    await store.put('packs/a', [positionedBytes(1, 10)])
    await rename(root, join(folder, 'moved'))
    for (const replaced of [false, true]) {
      if (replaced) await mkdir(root)
      await rejectsWith(store.get('packs/a'), 'store_unavailable')
      await rejectsWith(store.head('packs/a'), 'store_unavailable')
      await rejectsWith(store.put('packs/b', []), 'store_unavailable')
      await rejectsWith(store.delete('packs/a'), 'store_unavailable')
      await rejectsWith(listAll(store, ''), 'store_unavailable')
      assert.deepEqual(await readdir(folder), replaced ? ['moved', 'store'] : ['moved'])
    }
    assert.deepEqual(await readdir(root), [])
  })
})
