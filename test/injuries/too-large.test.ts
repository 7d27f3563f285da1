/** Objects of a folder that somebody blew up beyond all measure: named as damage, never read into memory, no hindrance to the rest. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { GIB, must } from '#base'
import { FolderStore, packKeyOf } from '#engine/repository'
import { verifyWithKey, verifyWithoutKey } from '#engine/transfer'
import { environmentOf, healthyStore, open, removeFolders, restoreAll } from './healthy.ts'

after(removeFolders)

async function healthyFolder(): Promise<FolderStore> {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-large-'))
  after(() => rm(path, { recursive: true }))
  const [memory, folder] = [await healthyStore(), await FolderStore.open(path)]
  for await (const { key } of memory.list('')) await folder.put(key, [await memory.get(key)])
  return folder
}

const blowUp = (store: FolderStore, key: string): Promise<void> => truncate(join(store.location, key), 3 * GIB)

test('A huge entry of the log is a corrupt one, a huge checkpoint none, a huge pack damaged and still read', async () => {
  const store = await healthyFolder()
  const { state } = (await open(store)).log
  const key = packKeyOf(must(state.packs[0], 'A pack').name)
  await store.put('checkpoints/000000000004', [new Uint8Array(9)])
  for (const one of [key, 'log/000000000006', 'checkpoints/000000000004']) await blowUp(store, one)
  const repository = await open(store)
  const environment = await environmentOf(4)
  const reports = [await verifyWithKey(repository, { store }), await verifyWithoutKey(store, environment, { store })]
  for (const { damage } of reports)
    assert.deepEqual(
      damage.map(({ kind, object }) => [kind, object]),
      [
        ['log_entry_corrupt', 'log/000000000006'],
        ['checkpoint_corrupt', 'checkpoints/000000000004'],
        ['pack_corrupt', key],
      ],
    )
  assert.deepEqual(
    [...(await restoreAll(repository))],
    [
      ['a-full', 'ok'],
      ['a-incremental', 'ok'],
      ['a-scan', 'ok'],
    ],
  )
})
