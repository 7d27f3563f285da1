import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { FolderStore, Repository } from '#engine/repository'
import { credential, environmentOf, kdfCost, removeFolders } from '../backup.rig.ts'
import { ThreadPool } from './thread-pool.ts'

/** Nice values of this process's threads that are not 0: field 19 of proc(5) stat, counted after the name in brackets. */
async function niceThreads(): Promise<number[]> {
  const threads = await readdir('/proc/self/task')
  const stats = await Promise.all(threads.map((id) => readFile(`/proc/self/task/${id}/stat`, 'utf8').catch(() => '')))
  return stats.map((text) => Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16])).filter((nice) => nice > 0)
}

test('The threads of a backup or a verify yield to the guests of the host, those that serve a guest do not', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-nice-'))
  t.after(async () => {
    await rm(folder, { recursive: true })
    await removeFolders()
  })
  const environment = await environmentOf()
  const store = await FolderStore.open(folder)
  await Repository.init(store, { credential, chunkSizeBytes: 65_536, kdfCost }, environment)
  const repository = await Repository.open(store, credential, environment)
  const init = { store: { kind: 'folder', path: folder } as const, access: await repository.threadAccess() }
  assert.deepEqual(await niceThreads(), [])
  const verify = await ThreadPool.start('verify', init, { threads: 2 })
  assert.deepEqual(await niceThreads(), [10, 10])
  const decode = await ThreadPool.start(
    'decode',
    { ...init, memory: new SharedArrayBuffer(65_536), slotBytes: 65_536 },
    { threads: 2 },
  )
  assert.deepEqual(await niceThreads(), [10, 10], 'a guest that boots waits for these')
  await decode.close()
  await verify.close()
  await repository.close()
})
