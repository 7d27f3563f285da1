/** Damage of the log, of the repository's own objects, and of caches; and what looks like damage and is none. */
import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ManualClock, must, SeededRandom } from '#base'
import { type MemoryStore, packKeyOf, prune, repairFrame, Repository } from '#engine/repository'
import { verifyWithoutKey } from '#engine/transfer'
import {
  backUpNote,
  CREDENTIAL,
  environmentOf,
  healthyStore,
  notesOf,
  open,
  removeFolders,
  restoreAll,
  verifyBoth,
} from './healthy.ts'

after(removeFolders)
const entry = (number: number): string => `log/${String(number).padStart(12, '0')}`

async function flip(store: MemoryStore, key: string, at: number): Promise<void> {
  const bytes = await store.get(key)
  bytes[at] = (bytes[at] ?? 0) ^ 0x10
  store.overwrite(key, bytes)
}

async function assertRefusesToWrite(store: MemoryStore, code: string, cacheFolder?: string): Promise<void> {
  const environment = await environmentOf(8)
  await assert.rejects(backUpNote(await open(store, cacheFolder), environment, 'b-full'), { code })
  await assert.rejects(prune(await open(store, cacheFolder), environment), { code })
  await assert.rejects((await open(store, cacheFolder)).forget([]), { code })
}

test('A missing entry in the middle is named; other points are restored; nothing is written', async () => {
  const store = await healthyStore()
  await store.delete(entry(6))
  const { withKey, without } = await verifyBoth(store)
  const expected = [{ kind: 'log_entry_missing', object: entry(6), points: [] }]
  assert.deepEqual([withKey.damage, without.damage], [expected, expected])
  const outcomes = await restoreAll(await open(store))
  assert.deepEqual(
    [...outcomes],
    [
      ['a-full', 'ok'],
      ['a-incremental', 'ok'],
      ['a-scan', 'ok'],
    ],
  )
  await assertRefusesToWrite(store, 'log_damaged')
})

test('A corrupt entry is named, whichever byte is changed; other points are restored; nothing is written', async () => {
  for (const at of [3, 9, 13, 40, 400, -40, -1]) {
    const store = await healthyStore()
    const { length } = await store.get(entry(6))
    await flip(store, entry(6), at < 0 ? length + at : at)
    const { withKey, without } = await verifyBoth(store)
    assert.deepEqual(withKey.damage, [{ kind: 'log_entry_corrupt', object: entry(6), points: [] }], `byte ${at}`)
    // Without the key too: the entries that follow agree on what its hash was.
    assert.deepEqual(without.damage, withKey.damage, `byte ${at}`)
    assert.equal((await restoreAll(await open(store))).get('a-scan'), 'ok')
    await assertRefusesToWrite(store, 'log_damaged')
  }
})

test('Points whose packs were named by a lost entry are named with it, with the key and without', async () => {
  const store = await healthyStore()
  await store.delete(entry(2))
  const { withKey, without } = await verifyBoth(store)
  const log = await open(store)
  for (const { damage } of [withKey, without]) {
    assert.deepEqual(
      damage.map(({ kind, object }) => [kind, object]),
      [['log_entry_missing', entry(2)]],
    )
    assert.deepEqual(notesOf(log, damage[0]?.points ?? []), ['a-incremental'])
  }
  const outcomes = await restoreAll(log)
  assert.deepEqual([outcomes.get('a-incremental'), outcomes.get('b-full')], ['chunk_missing', 'ok'])
})

test('With an entry missing, truncated or swapped, a damaged pack of a later entry still names the right points', async () => {
  const foreign = await (await healthyStore(2)).get(entry(2))
  const harms: ((store: MemoryStore) => Promise<void> | void)[] = [
    (store) => store.delete(entry(2)),
    async (store) => store.overwrite(entry(2), (await store.get(entry(2))).subarray(0, 300)),
    (store) => store.overwrite(entry(2), foreign),
  ]
  for (const [i, harm] of harms.entries()) {
    const store = await healthyStore()
    const { state } = (await open(store)).log
    const ofB = must(
      state.packs.find(({ addedIn }) => addedIn === 6),
      'b-full stored packs',
    )
    await harm(store)
    await store.delete(packKeyOf(ofB.name))
    const { withKey, without } = await verifyBoth(store)
    const log = await open(store)
    for (const { damage } of [withKey, without]) {
      assert.deepEqual(
        damage.map(({ kind, object, points }) => [kind, object, notesOf(log, points)]),
        [
          [i === 0 ? 'log_entry_missing' : 'log_entry_corrupt', entry(2), ['a-incremental']],
          ['pack_missing', packKeyOf(ofB.name), ['b-full']],
        ],
      )
    }
  }
})

test('A log without its newest entries: whoever saw them refuses to write, and the packs left behind tell everyone', async () => {
  const store = await healthyStore()
  const { cacheFolder } = await environmentOf(5)
  await (await open(store, cacheFolder)).close()
  for (const number of [5, 6, 7, 8]) await store.delete(entry(number))
  const seen = await open(store, cacheFolder)
  assert.equal(seen.rollback?.code, 'log_rolled_back')
  assert.deepEqual(
    [...(await restoreAll(seen))],
    [
      ['a-full', 'ok'],
      ['a-incremental', 'ok'],
    ],
  )
  await assertRefusesToWrite(store, 'log_rolled_back', cacheFolder)
  const { withKey, without } = await verifyBoth(store)
  const expected = [{ kind: 'log_rolled_back', object: entry(7), points: [] }]
  assert.deepEqual([withKey.damage, without.damage], [expected, expected])
  const before = await countOf(store)
  await prune(await open(store), await environmentOf(6))
  assert.ok((await countOf(store)) >= before, 'prune takes nothing of sessions that the log does not know')
})

async function countOf(store: MemoryStore): Promise<number> {
  let count = 0
  for await (const _ of store.list('packs/')) count += 1
  return count
}

test('A damaged, missing or newer configuration is an error that says so', async () => {
  const cases: [(store: MemoryStore) => Promise<void> | void, string][] = [
    [(store) => store.delete('config'), 'repository_damaged'],
    [(store) => store.overwrite('config', new Uint8Array(10)), 'repository_damaged'],
    [
      (store) =>
        store.overwrite(
          'config',
          Buffer.from('{"format":"holdfast-repository","version":"9","id":"' + 'a'.repeat(32) + '"}'),
        ),
      'repository_too_new',
    ],
  ]
  for (const [harm, code] of cases) {
    const store = await healthyStore()
    await harm(store)
    await assert.rejects(open(store), { code })
    await assert.rejects(verifyWithoutKey(store, await environmentOf(4), { store }), { code })
  }
})

test('Where a log lies without a configuration no repository is made, and a mirror brings the old one back', async () => {
  const store = await healthyStore()
  const config = await store.get('config')
  await store.delete('config')
  const before = await objectsOf(store)
  const options = { credential: CREDENTIAL, chunkSizeBytes: 64 * 1024 }
  await assert.rejects(Repository.init(store, options, await environmentOf(9)), {
    code: 'repository_damaged',
    message: /log\/000000000001/,
  })
  assert.deepEqual(await objectsOf(store), before, 'nothing was written')
  assert.deepEqual(await repairFrame(store, await healthyStore()), ['config'])
  assert.deepEqual(await store.get('config'), config)
  assert.equal((await restoreAll(await open(store))).get('a-scan'), 'ok')
})

async function objectsOf(store: MemoryStore): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list('')) keys.push(key)
  return keys
}

test('An authentic entry that commits a point without its record is damage: nothing may be pruned by what is not known', async () => {
  const store = await healthyStore()
  const repository = await open(store)
  const [point] = repository.points()
  const header = { id: '7'.repeat(32), uses: '0' }
  const bodies = [undefined, { points: [] }, { points: [must(point, 'Some point')] }]
  for (const body of bodies) {
    const copy = await healthyStore()
    const writer = await open(copy)
    await writer.log.append(() => ({ fields: { points: [header] }, ...(body === undefined ? {} : { body }) }))
    const { withKey } = await verifyBoth(copy)
    assert.deepEqual(withKey.damage, [{ kind: 'log_entry_corrupt', object: entry(9), points: [] }])
    await assertRefusesToWrite(copy, 'log_damaged')
  }
})

test('The configuration of another repository opens nothing and makes every entry foreign', async () => {
  const store = await healthyStore()
  store.overwrite('config', await (await healthyStore(2)).get('config'))
  await assert.rejects(open(store), { code: 'repository_damaged' })
  const { damage } = await verifyWithoutKey(store, await environmentOf(4), { store })
  assert.deepEqual(new Set(damage.map(({ kind }) => kind)), new Set(['key_slots_missing', 'log_entry_corrupt']))
  assert.equal(damage.filter(({ kind }) => kind === 'log_entry_corrupt').length, 8)
})

test('A repository without key slots says so with and without a key', async () => {
  const store = await healthyStore()
  for await (const { key } of store.list('keys/')) await store.delete(key)
  await assert.rejects(open(store), { code: 'repository_damaged' })
  const { damage } = await verifyWithoutKey(store, await environmentOf(4), { store })
  assert.deepEqual(damage, [{ kind: 'key_slots_missing', object: 'keys/', points: [] }])
})

test('A damaged index cache harms nobody: it is built anew, at the latest by the second attempt', async () => {
  const store = await healthyStore()
  const { cacheFolder } = await environmentOf(5)
  const id = (await open(store)).config.id
  const folder = join(cacheFolder, id, 'index')
  const warm = await open(store, cacheFolder)
  await warm.index()
  await warm.close()
  for (const kind of ['index.json', 'run-']) {
    for (const share of [0.2, 0.5, 0.95]) {
      const file = (await readdir(folder)).find((name) => name.startsWith(kind)) ?? ''
      const bytes = await readFile(join(folder, file))
      const at = Math.floor(bytes.length * share)
      bytes[at] = (bytes[at] ?? 0) ^ 1
      await writeFile(join(folder, file), bytes)
      const first = [...(await restoreAll(await open(store, cacheFolder))).values()]
      assert.ok(
        first.every((code) => code === 'ok' || code === 'index_damaged'),
        `${file} at ${at}: ${first.join()}`,
      )
      assert.deepEqual([...(await restoreAll(await open(store, cacheFolder))).values()], ['ok', 'ok', 'ok', 'ok'])
    }
  }
})

test('Stray packs are garbage, no damage; prune removes them', async () => {
  const store = await healthyStore()
  const name = 'ab'.repeat(32)
  await store.put(`packs/ab/${name}`, [new Uint8Array(500)])
  await store.put('packs/readme', [new Uint8Array(5)])
  const { withKey, without } = await verifyBoth(store)
  assert.deepEqual([withKey.damage, without.damage], [[], []])
  const report = await prune(await open(store), {
    clock: new ManualClock(1_900_000_000_000),
    random: new SeededRandom(1),
  })
  assert.deepEqual(report.plan.strays, [name])
  assert.equal(await store.head(`packs/ab/${name}`), undefined)
})
