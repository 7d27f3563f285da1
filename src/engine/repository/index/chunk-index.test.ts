import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { must, SeededRandom } from '#base'
import { type ChunkId, contentHash } from '../crypto.ts'
import { logKey } from '../log/entry.ts'
import type { CommitLog } from '../log/log.ts'
import { keys, openLog } from '../log/log.rig.ts'
import { packBufferBytes, PackBuilder } from '../pack-builder.ts'
import { packKeyOf } from '../pack-format.ts'
import { MemoryStore } from '../stores/memory-store.ts'
import { ChunkIndex } from './chunk-index.ts'
import { freshFolder, removeFolders } from './index-cache.rig.ts'

after(removeFolders)
const random = new SeededRandom(41)
const buffer = new Uint8Array(packBufferBytes())

/** Stores and names one pack of some chunks; gives their ids. */
async function addPack(store: MemoryStore, log: CommitLog): Promise<ChunkId[]> {
  const builder = new PackBuilder(keys, random, 1, buffer)
  const ids = Array.from({ length: 5 }, () => {
    const plain = random.bytes(100)
    const id = keys.chunkId(contentHash(plain))
    builder.add(id, plain, 'data')
    return id
  })
  const { name, bytes } = builder.finish()
  await store.put(packKeyOf(name), [bytes])
  await log.append(() => ({ fields: { packs: [{ name, lengthBytes: bytes.length }] } }))
  return ids
}

async function opened(folder: string, store: MemoryStore): Promise<{ index: ChunkIndex; log: CommitLog }> {
  const log = await openLog(store)
  const index = await ChunkIndex.open(folder, store, keys, log)
  await index.refresh()
  return { index, log }
}

/** That every id is found in the pack that it was put into: five ids a pack, packs in the order of the log. */
function assertFinds(index: ChunkIndex, ids: readonly ChunkId[]): void {
  assert.deepEqual(
    ids.map((id) => index.reader.storedIn(id)),
    ids.map((_, i) => Math.floor(i / 5)),
  )
}

test('The index follows the log, is cached, and is built anew when its cache is damaged in any file', async () => {
  const [folder, store] = [await freshFolder(), new MemoryStore()]
  const log = await openLog(store)
  const ids: ChunkId[] = []
  for (let i = 0; i < 6; i += 1) ids.push(...(await addPack(store, log)))
  const first = await opened(folder, store)
  assertFinds(first.index, ids)
  ids.push(...(await addPack(store, first.log)))
  await first.index.refresh()
  assertFinds(first.index, ids)
  first.index.close()
  for (const kind of ['index.json', 'run-']) {
    for (const harm of [0, 0.5, 'other'] as const) {
      const file = must(
        (await readdir(folder)).find((name) => name.startsWith(kind)),
        'The cache was saved',
      )
      const bytes = await readFile(join(folder, file))
      const other = Buffer.from('{"format":"holdfast-index-cache"}')
      await writeFile(join(folder, file), harm === 'other' ? other : bytes.subarray(0, bytes.length * harm))
      const { index } = await opened(folder, store)
      assertFinds(index, ids)
      index.close()
    }
  }
})

test('A cache of another log, or one that is ahead of the log, is not believed', async () => {
  const folder = await freshFolder()
  const [store, other] = [new MemoryStore(), new MemoryStore()]
  const log = await openLog(store)
  const ids = [...(await addPack(store, log)), ...(await addPack(store, log))]
  ;(await opened(folder, store)).index.close()
  const otherLog = await openLog(other, { seed: 2 })
  const otherIds = await addPack(other, otherLog)
  const foreign = await opened(folder, other)
  assertFinds(foreign.index, otherIds)
  assert.ok(ids.every((id) => foreign.index.reader.storedIn(id) === undefined))
  foreign.index.close()
  ;(await opened(folder, store)).index.close()
  await store.delete(logKey(2))
  const behind = await opened(folder, store)
  assertFinds(behind.index, ids.slice(0, 5))
  assert.equal(behind.index.reader.storedIn(must(ids[7], 'Seventh')), undefined)
})

test('An index made while an entry of the log was missing is not kept: its ordinals are not those of the whole log', async () => {
  const [folder, store] = [await freshFolder(), new MemoryStore()]
  const log = await openLog(store)
  const ids: ChunkId[] = []
  for (let i = 0; i < 4; i += 1) ids.push(...(await addPack(store, log)))
  const entry = await store.get(logKey(2))
  await store.delete(logKey(2))
  ;(await opened(folder, store)).index.close()
  await store.put(logKey(2), [entry])
  const mended = await opened(folder, store)
  assertFinds(mended.index, ids)
})

test('Two processes that share a cache folder both find everything, whoever saves and merges last', async () => {
  const [folder, store] = [await freshFolder(), new MemoryStore()]
  const log = await openLog(store)
  const ids: ChunkId[] = []
  const sharing = [await opened(folder, store), await opened(folder, store)]
  for (let round = 0; round < 8; round += 1) {
    ids.push(...(await addPack(store, log)))
    for (const { index, log: own } of round % 2 === 0 ? sharing : sharing.toReversed()) {
      await own.refresh()
      await index.refresh()
      assertFinds(index, ids)
    }
    const fresh = await opened(folder, store)
    assertFinds(fresh.index, ids)
    fresh.index.close()
  }
})

test('A pack that the log names while tables are being read is not passed over', async () => {
  const [folder, store] = [await freshFolder(), new MemoryStore()]
  const log = await openLog(store)
  const ids = await addPack(store, log)
  const index = await ChunkIndex.open(folder, store, keys, log)
  const refreshing = index.refresh()
  ids.push(...(await addPack(store, log)))
  await refreshing
  await index.refresh()
  assertFinds(index, ids)
})

test('A reader that was handed out goes on while the runs that it looks into are merged', async () => {
  const [folder, store] = [await freshFolder(), new MemoryStore()]
  const log = await openLog(store)
  const ids = await addPack(store, log)
  const { index, log: own } = await opened(folder, store)
  const { reader } = index
  for (let i = 0; i < 4; i += 1) {
    await addPack(store, log)
    await own.refresh()
    await index.refresh()
    assert.ok(ids.every((id) => reader.storedIn(id) === 0))
  }
})

test('A pack whose table cannot be read is left out, and tried again by the next open', async () => {
  const [folder, store] = [await freshFolder(), new MemoryStore()]
  const log = await openLog(store)
  const ids = [...(await addPack(store, log)), ...(await addPack(store, log))]
  const key = packKeyOf(must(log.state.packs[1], 'Second').name)
  const bytes = await store.get(key)
  store.overwrite(key, bytes.subarray(0, 100))
  const { index } = await opened(folder, store)
  assertFinds(index, ids.slice(0, 5))
  assert.equal(index.unreadable.size, 1)
  store.overwrite(key, bytes)
  assertFinds((await opened(folder, store)).index, ids)
})
