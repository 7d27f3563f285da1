/** What of a repository's frame has rotted, on either side of a mirror, is found by the check and put right from the other side. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { must, SeededRandom } from '#base'
import { type BlobStore, MemoryStore, Repository } from '#engine/repository'
import { CREDENTIAL, LockLab, removeFolders } from './immutability.rig.ts'
import {
  assertServes,
  cacheFolder,
  live,
  mirrorOnce,
  mirrorStore,
  objectsOf,
  removeMirrorFolders,
} from './mirror.rig.ts'
import { checkMirror } from './check-mirror.ts'

after(removeFolders)
after(removeMirrorFolders)

async function pair() {
  const { lab, repository, store } = await LockLab.make('host')
  assert.ok(store instanceof MemoryStore)
  const kept = await live(lab, repository)
  const target = mirrorStore(lab)
  await mirrorOnce(lab, store, target)
  const [slot] = await keysOf(store, 'keys/')
  return { lab, kept, repository, store, target, slot: must(slot, 'a slot') }
}

async function keysOf(store: BlobStore, prefix: string): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list(prefix)) keys.push(key)
  return keys
}

/** Replaces text of an object, so that it still decodes or does not. */
async function change(side: MemoryStore, key: string, from: RegExp, to: string): Promise<void> {
  const text = Buffer.from(await side.get(key)).toString()
  assert.match(text, from)
  side.overwrite(key, Buffer.from(text.replace(from, to)))
}

for (const side of ['source', 'target'] as const)
  for (const withKey of [true, false])
    for (const [what, object, from, to] of [
      ['a configuration that is no JSON any more', 'config', /^\{/, '['],
      ['a configuration of another id', 'config', /("id":\s*")./, '$1z'],
      ['a configuration of another id that could be one', 'config', /("id":\s*")[0-9a-f]{8}/, '$100000000'],
      ['the only key slot, which is no JSON any more', 'slot', /^\{/, '['],
      ['the only key slot, which is of another repository', 'slot', /("repository":\s*")[0-9a-f]{8}/, '$100000000'],
    ] as const)
      test(`Rot of the ${side} is healed ${withKey ? 'with' : 'without'} the key: ${what}`, async () => {
        const { lab, kept, store, target, slot } = await pair()
        const [before, beforeThere] = [await objectsOf(store), await objectsOf(target)]
        const key = object === 'slot' ? slot : 'config'
        await change(side === 'source' ? store : target, key, from, to)
        const credential = withKey ? { credential: CREDENTIAL } : {}
        const parts = { source: store, target, clock: lab.host, random: lab.random, ...credential }
        const found = await checkMirror(parts)
        const [hurt, whole] = side === 'source' ? [found.source, found.target] : [found.target, found.source]
        assert.deepEqual([hurt.hurt, hurt.healed, hurt.damage], [[key], [key], []])
        assert.deepEqual([found.ok, whole.hurt], [true, []])
        assert.deepEqual([...(await objectsOf(store))], [...before])
        assert.deepEqual([...(await objectsOf(target))], [...beforeThere])
        await assertServes(lab, target, kept)
        assert.deepEqual((await checkMirror(parts)).source.hurt, [])
      })

for (const side of ['source', 'target'] as const) {
  test(`A slot of the ${side} that decodes and does not open is healed with the key, and named without it`, async () => {
    const { lab, store, target, slot } = await pair()
    const before = await objectsOf(store)
    await change(side === 'source' ? store : target, slot, /("wrapped":\s*")..../, '$1AAAA')
    const parts = { source: store, target, clock: lab.host, random: lab.random }
    const blind = await checkMirror(parts)
    assert.equal(blind.ok, false)
    for (const one of [blind.source, blind.target])
      assert.deepEqual(one.damage, [{ kind: 'key_slot_corrupt', object: slot, points: [] }])
    const found = await checkMirror({ ...parts, credential: CREDENTIAL })
    assert.deepEqual([found.ok, (side === 'source' ? found.source : found.target).healed], [true, [slot]])
    assert.deepEqual([...(await objectsOf(store))], [...before])
    assert.deepEqual([...(await objectsOf(target))], [...before])
  })

  test(`A configuration of the ${side} that differs where it does not show is named: nobody knows which is right`, async () => {
    const { lab, store, target } = await pair()
    await change(side === 'source' ? store : target, 'config', /("createdAt":\s*")..../, '$19999')
    const found = await checkMirror({ source: store, target, clock: lab.host, random: lab.random })
    assert.equal(found.ok, false)
    for (const one of [found.source, found.target])
      assert.deepEqual(one.damage, [{ kind: 'config_damaged', object: 'config', points: [] }])
  })
}

test('What the mirror lost of its frame is put back, and a slot that the repository has withdrawn comes back from nowhere', async () => {
  const { lab, store, target, slot } = await pair()
  const before = await objectsOf(store)
  await target.delete('config')
  await target.delete(slot)
  const withdrawn = 'keys/0123456789abcdef'
  await target.put(withdrawn, [
    Buffer.from(
      Buffer.from(await store.get(slot))
        .toString()
        .replaceAll(slot.slice(5), withdrawn.slice(5)),
    ),
  ])
  const found = await checkMirror({ source: store, target, clock: lab.host, random: lab.random })
  assert.ok(found.ok)
  assert.deepEqual(found.target.healed, ['config'])
  assert.deepEqual([...(await objectsOf(store))], [...before])
  assert.notEqual(await target.head(slot), undefined)
})

test('The frame of a place that holds something else puts nothing right', async () => {
  const one = await pair()
  const other = mirrorStore(one.lab)
  const random = new SeededRandom(99)
  const environment = { clock: one.lab.host, random, cacheFolder: await cacheFolder(), writer: 'test' }
  await Repository.init(other, { credential: CREDENTIAL, chunkSizeBytes: 65536 }, environment)
  await change(one.store, 'config', /^\{/, '[')
  const hurt = await objectsOf(one.store)
  await assert.rejects(checkMirror({ source: one.store, target: other, clock: one.lab.host, random: one.lab.random }), {
    code: 'repository_damaged',
  })
  assert.deepEqual([...(await objectsOf(one.store))], [...hurt])
})
