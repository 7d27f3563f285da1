import assert from 'node:assert/strict'
import { mkdir, readdir, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ManualClock, SeededRandom } from '#base'
import { StoreError } from '../errors.ts'
import { freshFolder, removeFolders } from '../index/index-cache.rig.ts'
import { prune } from '../prune/act.ts'
import { Repository } from '../repository.ts'
import { withReserve } from '../with-reserve.ts'
import { FolderStore, SWEEP_AGE_MS_MIN } from './folder-store.ts'

after(removeFolders)
const SIZE = 3 * 1024 * 1024 + 5
const full = (): StoreError => new StoreError('store_full', 'full', {})

test('The reserve is one file of its size, no object, made once by however many; giving it back twice is no error', async () => {
  const store = await FolderStore.open(await freshFolder())
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => store.reserve.make(SIZE))), [true, true, true])
  assert.deepEqual(await readdir(store.location), ['.reserve'])
  assert.equal((await stat(join(store.location, '.reserve'))).size, SIZE)
  for await (const { key } of store.list('')) assert.fail(`${key} is listed`)
  assert.deepEqual([await store.reserve.release(), await store.reserve.release()], [true, false])
  assert.deepEqual(await readdir(store.location), [])
})

test('What is no plain file under the name of the reserve is left alone, and so is a file system that is too small', async () => {
  const store = await FolderStore.open(await freshFolder())
  assert.equal(await store.reserve.make(2 ** 52), false)
  await mkdir(join(store.location, 'precious'))
  await symlink('precious', join(store.location, '.reserve'))
  assert.deepEqual([await store.reserve.release(), await store.reserve.make(SIZE)], [false, false])
  assert.deepEqual((await readdir(store.location)).sort(), ['.reserve', 'precious'])
})

test('withReserve() gives the reserve back when the store is full, says what may be stored, and makes it again', async () => {
  const store = await FolderStore.open(await freshFolder())
  await store.reserve.make(SIZE)
  const told: unknown[] = []
  const work = async (scarceBytes?: number): Promise<string> => {
    told.push([scarceBytes, (await readdir(store.location)).length])
    if (told.length < 3) throw full()
    return 'done'
  }
  assert.equal(await withReserve(store, SIZE, work), 'done')
  assert.deepEqual(told, [
    [undefined, 1],
    [Math.floor(SIZE / 2), 0],
    [Math.floor(SIZE / 2), 0],
  ])
  assert.deepEqual(await readdir(store.location), ['.reserve'])
  await assert.rejects(
    withReserve(store, SIZE, () => Promise.reject(full())),
    { code: 'store_full' },
  )
  let calls = 0
  await assert.rejects(
    withReserve(store, SIZE, () => Promise.reject(new Error(`call ${(calls += 1)}`))),
    { message: 'call 1' },
  )
})

test('prune() removes what dead writers left, and only what is old', async () => {
  const store = await FolderStore.open(await freshFolder())
  const clock = new ManualClock(1_800_000_000_000)
  const environment = { clock, random: new SeededRandom(1), cacheFolder: await freshFolder(), writer: 'test' }
  const credential = { kind: 'passphrase', passphrase: 'p' } as const
  const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
  await Repository.init(store, { credential, chunkSizeBytes: 64 * 1024, kdfCost }, environment)
  for (const [name, ageMs] of [
    ['.tmp-0123456789abcdef', SWEEP_AGE_MS_MIN + 1000],
    ['.tmp-fedcba9876543210', 1000],
  ] as const) {
    const path = join(store.location, 'keys', name)
    await writeFile(path, 'left behind')
    const seconds = (clock.nowMs() - ageMs) / 1000
    await utimes(path, seconds, seconds)
  }
  await prune(await Repository.open(store, credential, environment), environment)
  const left = (await readdir(join(store.location, 'keys'))).filter((name) => name.startsWith('.tmp'))
  assert.deepEqual(left, ['.tmp-fedcba9876543210'])
})
