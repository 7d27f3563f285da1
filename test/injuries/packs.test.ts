/** Damage of packs: one damaged repository per kind of damage; verify names exactly it, and exactly whom it touches. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { must } from '#base'
import { type MemoryStore, packKeyOf } from '#engine/repository'
import {
  backUpNote,
  environmentOf,
  healthyStore,
  notesOf,
  open,
  removeFolders,
  restoreAll,
  verifyBoth,
} from './healthy.ts'

after(removeFolders)

type Injury = Readonly<{
  name: string
  kind: 'pack_missing' | 'pack_corrupt'
  harm: (store: MemoryStore, key: string) => Promise<void>
  /** What restoring a touched point fails with; none: the damage touches nobody. */
  code?: string
  /** Whether a scan stores again what the damage took, so that the points are whole once more. */
  heals: boolean
}>

async function edit(store: MemoryStore, key: string, change: (bytes: Uint8Array) => Uint8Array): Promise<void> {
  store.overwrite(key, change(await store.get(key)))
}

const flip = (at: (length: number) => number) => (store: MemoryStore, key: string) =>
  edit(store, key, (bytes) => {
    const place = at(bytes.length)
    bytes[place] = (bytes[place] ?? 0) ^ 0x08
    return bytes
  })

const INJURIES: readonly Injury[] = [
  {
    name: 'a missing pack',
    kind: 'pack_missing',
    harm: (store, key) => store.delete(key),
    code: 'chunk_missing',
    heals: true,
  },
  {
    name: 'a pack cut to half',
    kind: 'pack_corrupt',
    harm: (store, key) => edit(store, key, (bytes) => bytes.subarray(0, bytes.length / 2)),
    code: 'chunk_missing',
    heals: true,
  },
  {
    name: 'an empty pack',
    kind: 'pack_corrupt',
    harm: (store, key) => edit(store, key, () => new Uint8Array()),
    code: 'chunk_missing',
    heals: true,
  },
  // A scan knows chunks by their names and does not read them: what rots inside a readable table it takes for good.
  {
    name: 'a flipped bit in a chunk',
    kind: 'pack_corrupt',
    harm: flip(() => 100),
    code: 'chunk_corrupt',
    heals: false,
  },
  {
    name: 'a flipped bit in the table',
    kind: 'pack_corrupt',
    harm: flip((length) => length - 64 - 40),
    code: 'chunk_missing',
    heals: true,
  },
  {
    name: 'a flipped bit in the footer',
    kind: 'pack_corrupt',
    harm: flip((length) => length - 20),
    code: 'chunk_missing',
    heals: true,
  },
  { name: 'a flipped bit in the salt of the header', kind: 'pack_corrupt', harm: flip(() => 30), heals: true },
  { name: 'a flipped bit in the magic of the header', kind: 'pack_corrupt', harm: flip(() => 3), heals: true },
  {
    name: 'bytes after the end',
    kind: 'pack_corrupt',
    harm: (store, key) => edit(store, key, (bytes) => Buffer.concat([bytes, Buffer.alloc(9)])),
    heals: true,
  },
  {
    name: 'a pack of another repository under its key',
    kind: 'pack_corrupt',
    harm: async (store, key) => {
      const other = await healthyStore(2)
      for await (const { key: foreign } of other.list('packs/')) return store.overwrite(key, await other.get(foreign))
    },
    code: 'chunk_missing',
    heals: true,
  },
]

test('The healthy repository is healthy', async () => {
  const store = await healthyStore()
  const { withKey, without } = await verifyBoth(store)
  assert.deepEqual([withKey.damage, without.damage], [[], []])
  assert.deepEqual([...(await restoreAll(await open(store))).values()], ['ok', 'ok', 'ok', 'ok'])
})

for (const injury of INJURIES) {
  test(`verify names ${injury.name}, and exactly the points that cannot be restored`, async () => {
    const touchedByPack: number[] = []
    const packs = (await open(await healthyStore())).log.state.packs.map(({ name }) => packKeyOf(name))
    for (const [ordinal, key] of packs.entries()) {
      const store = await healthyStore()
      await injury.harm(store, key)
      const { withKey, without } = await verifyBoth(store)
      const repository = await open(store)
      const outcomes = await restoreAll(repository)
      const failed = [...outcomes].filter(([, code]) => code !== 'ok').map(([note]) => note)
      for (const note of failed) assert.equal(outcomes.get(note), injury.code, `pack ${ordinal}: ${note}`)
      const [found] = withKey.damage
      assert.deepEqual([withKey.damage.length, found?.kind, found?.object], [1, injury.kind, key])
      assert.deepEqual(notesOf(repository, must(found, 'One').points), failed.sort(), `pack ${ordinal}`)
      const [bound] = without.damage
      assert.deepEqual([without.damage.length, bound?.kind, bound?.object], [1, injury.kind, key])
      const upper = notesOf(repository, must(bound, 'One').points)
      assert.ok(failed.every((note) => upper.includes(note)) && upper.length > 0, 'an upper bound')
      touchedByPack.push(failed.length)
    }
    if (injury.code === undefined) assert.ok(touchedByPack.every((count) => count === 0))
    else assert.ok(touchedByPack.some((count) => count > 1) && touchedByPack.some((count) => count > 0 && count < 4))
  })

  test(`after ${injury.name} backups go on${injury.heals ? ', and a scan makes what it saves whole again' : ''}`, async () => {
    const store = await healthyStore()
    const key = packKeyOf(must((await open(store)).log.state.packs[0], 'The first pack').name)
    await injury.harm(store, key)
    const repository = await open(store)
    await backUpNote(repository, await environmentOf(8), 'a-full')
    const outcomes = await restoreAll(await open(store))
    assert.equal(outcomes.get('a-full'), injury.heals ? 'ok' : 'chunk_corrupt')
  })
}
