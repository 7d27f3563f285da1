import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { freshFolder, removeFolders } from './index/index-cache.rig.ts'
import { logKey } from './log/entry.ts'
import { openLog } from './log/log.rig.ts'
import { recallHead, rememberHead, rollbackOf } from './remembered-head.ts'
import { MemoryStore } from './stores/memory-store.ts'

after(removeFolders)

async function logOf(entries: number, seed: number): Promise<MemoryStore> {
  const store = new MemoryStore()
  const log = await openLog(store, { seed })
  for (let i = 0; i < entries; i += 1) await log.append(() => ({ fields: {} }))
  return store
}

test('A log that ends before what was seen, or shows another entry there, was rolled back', async () => {
  const store = await logOf(5, 1)
  const { headHash } = (await openLog(store)).state
  const seen = { number: 5, hash: headHash }
  assert.equal(await rollbackOf(await openLog(store), seen, ''), undefined)
  await store.delete(logKey(5))
  assert.equal((await rollbackOf(await openLog(store), seen, ''))?.code, 'log_rolled_back')
  const forked = await openLog(store, { seed: 9 })
  await forked.append(() => ({ fields: {} }))
  await forked.append(() => ({ fields: {} }))
  assert.equal((await rollbackOf(await openLog(store), seen, ''))?.code, 'log_rolled_back')
  assert.equal((await rollbackOf(await openLog(await logOf(5, 2)), seen, ''))?.code, 'log_rolled_back')
})

test('A log that grew is no roll-back, and damage before what was seen is reported as damage', async () => {
  const store = await logOf(5, 1)
  const log = await openLog(store)
  const seen = { number: 5, hash: log.state.headHash }
  await log.append(() => ({ fields: {} }))
  assert.equal(await rollbackOf(await openLog(store), seen, ''), undefined)
  const bytes = await store.get(logKey(5))
  bytes[20] = (bytes[20] ?? 0) ^ 1
  store.overwrite(logKey(5), bytes)
  const damaged = await openLog(store)
  assert.deepEqual([damaged.damage.length, await rollbackOf(damaged, seen, '')], [1, undefined])
})

test('What is remembered comes back; a damaged memory is none', async () => {
  const folder = join(await freshFolder(), 'deep')
  assert.equal(await recallHead(folder), undefined)
  await rememberHead(folder, { number: 7, hash: 'h' })
  assert.deepEqual(await recallHead(folder), { number: 7, hash: 'h' })
  for (const text of ['', '{', 'null', '[]', '{"number":"7","hash":"h"}']) {
    await writeFile(join(folder, 'head.json'), text)
    assert.equal(await recallHead(folder), undefined)
  }
})
