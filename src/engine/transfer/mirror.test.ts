import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { must, SeededRandom } from '#base'
import {
  addKeySlot,
  DAY_MS,
  FaultyStore,
  listKeySlots,
  MemoryStore,
  Mirror,
  packKeyOf,
  promoteMirror,
  removeKeySlot,
  Repository,
} from '#engine/repository'
import { contentOf, LockLab, removeFolders } from './immutability.rig.ts'
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
import { verifyWithKey, verifyWithoutKey } from './verify.ts'

after(removeFolders)
after(removeMirrorFolders)

const logKey = (number: number): string => `log/${String(number).padStart(12, '0')}`

for (const withKey of [true, false]) {
  test(`A mirror is the repository, object for object, and again finds nothing to do (${withKey ? 'with' : 'without'} the key)`, async () => {
    const { lab, repository, store } = await LockLab.make('host')
    const kept = await live(lab, repository)
    const target = mirrorStore(lab)
    const cache = await cacheFolder()
    const own = withKey ? { repository, cacheFolder: cache } : { cacheFolder: cache }
    const first = await mirrorOnce(lab, store, target, own)
    assert.ok(first.packs > 0 && first.entries > 5 && first.bytes > 0)
    const second = await mirrorOnce(lab, store, target, own)
    assert.equal(second.packs, 0)
    assert.deepEqual([...(await objectsOf(target))], [...(await objectsOf(store))])
    const third = await mirrorOnce(lab, store, target, own)
    assert.deepEqual([third.entries, third.lag.entries, third.lag.points, third.lag.behindMs], [0, 0, [], 0])
    await assertServes(lab, target, kept)
    const verified = await verifyWithKey(await lab.open(target), { store: target })
    assert.deepEqual(verified.damage, [])
  })
}

test('A pass that dies in any of its writes leaves a mirror that restores what it lists, and the next pass makes it whole', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const kept = await live(lab, repository)
  const contents = new Map(kept.map(({ point, content }) => [point.id, content]))
  const trial = new FaultyStore(mirrorStore(lab))
  await mirrorOnce(lab, store, trial, { limits: { entriesMax: 2, bytesMax: 1 } })
  const expected = await objectsOf(store)
  assert.ok(trial.writes > 12)
  for (let write = 0; write < trial.writes; write += 1) {
    const target = mirrorStore(lab)
    const dying = new FaultyStore(target)
    dying.crashAfter(write, new SeededRandom(write))
    await assert.rejects(mirrorOnce(lab, store, dying, { limits: { entriesMax: 2, bytesMax: 1 } }), {
      code: 'store_unavailable',
    })
    if ((await target.head('config')) !== undefined) {
      const between = await lab.open(target)
      for (const point of between.points()) {
        const content = contents.get(point.id)
        if (content !== undefined) await lab.assertRestores(between, point, content)
      }
    }
    await mirrorOnce(lab, store, target)
    assert.deepEqual([...(await objectsOf(target))], [...expected], `after a crash in write ${write}`)
  }
})

test('A mirror that is far behind never names a pack that it lacks: batches end where nothing is missing', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const target = mirrorStore(lab)
  const one = await lab.backUp(repository, contentOf({ 0: 1, 1: 1, 2: 1, 3: 1 }))
  await mirrorOnce(lab, store, target)
  const kept = await live(lab, repository)
  await repository.forget([one.id])
  await lab.prune(repository)
  for (let writes = 1; writes < 40; writes += 1) {
    const dying = new FaultyStore(target)
    dying.crashAfter(writes, new SeededRandom(writes))
    await mirrorOnce(lab, store, dying, { limits: { entriesMax: 1, bytesMax: 1 } }).catch(() => undefined)
    // Whoever opens it, with the repository gone, finds every pack that is named.
    await lab.open(target)
    const { damage } = await verifyWithoutKey(target, { clock: lab.host, random: lab.random }, { store: target })
    assert.deepEqual(damage, [], `after a crash in write ${writes}`)
  }
  await assertServes(lab, target, kept)
})

test('What prune deletes goes from the mirror too, a day later, and never before the entry that says so is there', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const target = mirrorStore(lab)
  const cache = await cacheFolder()
  const own = { repository, cacheFolder: cache }
  const one = await lab.backUp(repository, contentOf({ 0: 1, 1: 1, 2: 1, 3: 1 }))
  await mirrorOnce(lab, store, target, own)
  const kept = await live(lab, repository)
  await repository.forget([one.id])
  await lab.prune(repository)
  const behind = await mirrorOnce(lab, store, target, own)
  assert.ok(behind.condemned > 0, 'kept for whoever reads from the mirror')
  assert.equal(behind.deleted, 0)
  await assertServes(lab, target, kept)
  lab.pass(1)
  const later = await mirrorOnce(lab, store, target, own)
  assert.ok(later.deleted > 0)
  assert.equal(later.condemned, 0)
  await mirrorOnce(lab, store, target, own)
  assert.deepEqual([...(await objectsOf(target))], [...(await objectsOf(store))])
  await assertServes(lab, target, kept)
})

test('What is locked in the repository is locked in the mirror, also against a clock that is years ahead', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const target = new MemoryStore({ name: 'mirror', clock: lab.host, clockOf: 'host' })
  const cache = await cacheFolder()
  const own = { repository, cacheFolder: cache }
  const content = contentOf({ 0: 1, 1: 1, 2: 1, 3: 1 })
  const point = await lab.backUp(repository, content, { lockDays: 40 })
  await mirrorOnce(lab, store, target, own)
  const until = store instanceof MemoryStore ? store.lockedUntilMs('config') : 0
  for await (const { key } of target.list('packs/')) assert.equal(target.lockedUntilMs(key), until, key)
  for await (const { key } of target.list('keys/')) assert.equal(target.lockedUntilMs(key), until, key)
  for (let number = 1; number <= 2; number += 1) assert.equal(target.lockedUntilMs(logKey(number)), until)
  await assert.rejects(repository.forget([point.id]), { code: 'point_locked' })
  lab.host.advance(3000 * DAY_MS)
  const report = await mirrorOnce(lab, store, target, { cacheFolder: await cacheFolder() })
  assert.equal(report.clockDoubted, true)
  assert.equal(report.deleted, 0)
  await lab.assertRestores(await lab.open(target), point, content)
})

test('A mirror whose store cannot lock is refused for a repository with locked points', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  await lab.backUp(repository, contentOf({ 0: 1 }), { lockDays: 40 })
  await assert.rejects(mirrorOnce(lab, store, new MemoryStore({ name: 'no locks' })), { code: 'lock_failed' })
})

test('A repository that was put back to an older state does not take its mirror with it', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const kept = await live(lab, repository)
  const target = mirrorStore(lab)
  await mirrorOnce(lab, store, target)
  const before = await objectsOf(target)
  await store.delete(logKey(repository.log.state.head))
  await assert.rejects(mirrorOnce(lab, store, target), { code: 'mirror_diverged' })
  assert.deepEqual([...(await objectsOf(target))], [...before])
  const other = await lab.open(store)
  await lab.backUp(other, contentOf({ 3: 5 }))
  await assert.rejects(mirrorOnce(lab, store, target), { code: 'mirror_diverged' })
  assert.deepEqual([...(await objectsOf(target))], [...before])
  await assertServes(lab, target, kept)
})

test('A mirror is read and not written to; once promoted it is a repository of its own and is not mirrored into again', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const kept = await live(lab, repository)
  const target = mirrorStore(lab)
  await mirrorOnce(lab, store, target)
  const mirror = await lab.open(target)
  assert.equal(mirror.isMirror, true)
  assert.equal(await mirror.beginReading('a restore'), undefined)
  for (const write of [
    () => mirror.beginSession('a backup'),
    () => mirror.forget([must(kept[0], 'one').point.id]),
    () => mirror.immutability.setPolicy({ state: 'unlocked', days: 3 }),
    () => lab.prune(mirror),
  ])
    await assert.rejects(write(), { code: 'repository_is_mirror' })
  assert.equal(await promoteMirror(target), true)
  await assert.rejects(mirrorOnce(lab, store, target), { code: 'mirror_promoted' })
  const own = await lab.open(target)
  const more = contentOf({ 5: 9 })
  const point = await lab.backUp(own, more)
  await assertServes(lab, target, [...kept, { point, content: more }])
  await assert.rejects(mirrorOnce(lab, store, target, { adopt: true }), { code: 'mirror_diverged' })
})

test('A copy that was made by other means is taken as the mirror only when that is asked for', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  await live(lab, repository)
  const target = mirrorStore(lab)
  for await (const { key } of store.list('')) await target.put(key, [await store.get(key)])
  await assert.rejects(mirrorOnce(lab, store, target), { code: 'mirror_promoted' })
  assert.equal((await mirrorOnce(lab, store, target, { adopt: true })).packs, 0)
  assert.equal((await lab.open(target)).isMirror, true)
})

test('A place that holds something else is not made a mirror', async () => {
  const { lab, store } = await LockLab.make('host')
  const other = mirrorStore(lab)
  const environment = {
    clock: lab.host,
    random: new SeededRandom(99),
    cacheFolder: await cacheFolder(),
    writer: 'test',
  }
  const credential = { kind: 'key-file', bytes: Buffer.alloc(32, 7) } as const
  await Repository.init(other, { credential, chunkSizeBytes: 65536 }, environment)
  await assert.rejects(mirrorOnce(lab, store, other), { code: 'mirror_foreign' })
  const stuff = mirrorStore(lab)
  await stuff.put('packs/aa/x', [Buffer.from('something')])
  await assert.rejects(mirrorOnce(lab, store, stuff), { code: 'mirror_foreign' })
  assert.deepEqual([...(await objectsOf(stuff)).keys()], ['packs/aa/x'])
})

test('A pack that rotted before it was mirrored holds nothing else up: it is owed, and its points do not count as mirrored', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  assert.ok(store instanceof MemoryStore)
  const one = await lab.backUp(repository, contentOf({ 0: 1, 1: 1, 2: 1 }))
  const hurt = packKeyOf(must(repository.log.state.packs[0], 'a pack').name)
  const right = await store.get(hurt)
  store.overwrite(hurt, Buffer.from(right).fill(0, 40, 60))
  const content = contentOf({ 4: 7, 5: 7 })
  const two = await lab.backUp(repository, content)
  const target = mirrorStore(lab)
  const cache = await cacheFolder()
  const own = { cacheFolder: cache, repository }
  const report = await mirrorOnce(lab, store, target, own)
  assert.deepEqual(report.owed.map(packKeyOf), [hurt])
  assert.deepEqual(report.lag.points, [one.id])
  await lab.assertRestores(await lab.open(target), two, content)
  // Who mirrors from another host, or lost the cache, does not take it for complete.
  const elsewhere = { cacheFolder: await cacheFolder(), repository }
  for (const again of [
    await mirrorOnce(lab, store, target, elsewhere),
    await mirrorOnce(lab, store, target, elsewhere),
  ]) {
    assert.deepEqual(again.owed.map(packKeyOf), [hurt])
    assert.deepEqual(again.lag.points, [one.id])
  }
  store.overwrite(hurt, right)
  const mended = await mirrorOnce(lab, store, target, own)
  assert.deepEqual([mended.owed, mended.packs, mended.lag.points], [[], 1, []])
})

test('Faults of either store end a pass, and the next one goes on: what arrived changed on the way is never taken in', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const kept = await live(lab, repository)
  const [from, to] = [new FaultyStore(store), new FaultyStore(mirrorStore(lab))]
  from.failNext('get', { kind: 'corrupt' }, { kind: 'before' }, { kind: 'truncated' }, { kind: 'corrupt' })
  to.failNext('put', { kind: 'before' }, { kind: 'after' }, { kind: 'full' }, { kind: 'after' })
  const cache = await cacheFolder()
  for (let attempt = 0; attempt < 12; attempt += 1)
    await mirrorOnce(lab, from, to, { cacheFolder: cache }).catch(() => undefined)
  const inner = await mirrorOnce(lab, from, to, { cacheFolder: cache })
  assert.deepEqual([inner.owed, inner.lag.points], [[], []])
  await assertServes(lab, to, kept)
  assert.deepEqual((await verifyWithKey(await lab.open(to), { store: to })).damage, [])
})

test('A key that was withdrawn opens no mirror, and the last one never goes', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  await live(lab, repository)
  const added = await addKeySlot(store, repository.keys.master, {
    repositoryId: repository.config.id,
    credential: { kind: 'key-file', bytes: Buffer.alloc(32, 5) },
    label: 'second',
    nowIso: '2026-01-01T00:00:00.000Z',
    random: lab.random,
  })
  const target = mirrorStore(lab)
  await mirrorOnce(lab, store, target)
  assert.equal((await listKeySlots(target, repository.config.id)).length, 2)
  await assert.rejects(removeKeySlot(target, repository.config.id, added.id), { code: 'repository_is_mirror' })
  await removeKeySlot(store, repository.config.id, added.id)
  await lab.backUp(repository, contentOf({ 3: 3 }))
  await mirrorOnce(lab, store, target)
  assert.deepEqual(
    (await listKeySlots(target, repository.config.id)).map(({ id }) => id),
    (await listKeySlots(store, repository.config.id)).map(({ id }) => id),
  )
})

test('The lag says which points the mirror lacks and since when', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  const target = mirrorStore(lab)
  const parts = { source: store, target, repository, clock: lab.host, random: lab.random, writer: 'test' }
  const mirror = await Mirror.open({ ...parts, cacheFolder: await cacheFolder() })
  await mirror.pass()
  const one = await lab.backUp(repository, contentOf({ 0: 1 }))
  lab.host.advance(5000)
  const two = await lab.backUp(repository, contentOf({ 0: 2 }))
  lab.host.advance(2000)
  const { points, behindMs } = await mirror.lag()
  assert.deepEqual(points, [one.id, two.id])
  assert.ok(behindMs >= 7000)
  const { lag } = await mirror.pass()
  assert.deepEqual(lag.points, [])
})

test('A repository is initialised in no store that is marked as a mirror of another', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  await live(lab, repository)
  const target = mirrorStore(lab)
  const dying = new FaultyStore(target)
  dying.crashAfter(1, new SeededRandom(1))
  await mirrorOnce(lab, store, dying).catch(() => undefined)
  assert.notEqual(await target.head('mirror'), undefined)
  const environment = { clock: lab.host, random: lab.random, cacheFolder: await cacheFolder(), writer: 'test' }
  const credential = { kind: 'passphrase', passphrase: 'other' } as const
  await assert.rejects(Repository.init(target, { credential, chunkSizeBytes: 65536 }, environment), {
    code: 'repository_is_mirror',
  })
})

for (const withKey of [true, false]) {
  test(`Bit rot on either side is found and healed from the other (${withKey ? 'with' : 'without'} the key)`, async () => {
    const { lab, repository, store } = await LockLab.make('host')
    assert.ok(store instanceof MemoryStore)
    const kept = await live(lab, repository)
    const target = mirrorStore(lab)
    await mirrorOnce(lab, store, target)
    const [before, beforeThere] = [await objectsOf(store), await objectsOf(target)]
    const rot = async (side: MemoryStore, key: string): Promise<void> => {
      const bytes = Uint8Array.from(await side.get(key))
      const at = Math.floor(bytes.length / 2)
      bytes[at] = (bytes[at] ?? 0) ^ 1
      side.overwrite(key, bytes)
    }
    const packs = [...before.keys()].filter((key) => key.startsWith('packs/'))
    const [a, b] = packs
    const hurt = [must(a, 'a pack'), logKey(3)]
    const hurtThere = [must(b, 'a pack'), logKey(5)]
    for (const key of hurt) await rot(store, key)
    for (const key of hurtThere) await rot(target, key)
    await target.delete(logKey(4))
    const own = withKey ? { repository: await lab.open(store) } : {}
    const parts = { source: store, target, clock: lab.host, random: lab.random, ...own }
    const found = await checkMirror(parts)
    assert.ok(found.ok)
    for (const key of hurt) assert.ok(found.source.healed.includes(key), key)
    for (const key of [...hurtThere, logKey(4)]) assert.ok(found.target.healed.includes(key), key)
    assert.deepEqual([...(await objectsOf(store))], [...before])
    assert.deepEqual([...(await objectsOf(target))], [...beforeThere])
    const again = await checkMirror(parts)
    assert.deepEqual([again.ok, again.source.hurt, again.target.hurt], [true, [], []])
    await assertServes(lab, target, kept)
  })
}

test('What is hurt on both sides stays hurt and is named with its points', async () => {
  const { lab, repository, store } = await LockLab.make('host')
  assert.ok(store instanceof MemoryStore)
  const kept = await live(lab, repository)
  const target = mirrorStore(lab)
  await mirrorOnce(lab, store, target)
  const key = packKeyOf(
    must(
      repository.log.state.packs.find(({ status }) => status === 'live'),
      'a pack',
    ).name,
  )
  for (const side of [store, target]) side.overwrite(key, Buffer.from(await side.get(key)).fill(1, 30, 40))
  const found = await checkMirror({ source: store, target, clock: lab.host, random: lab.random })
  assert.equal(found.ok, false)
  for (const { damage } of [found.source, found.target]) {
    assert.deepEqual(
      damage.map(({ kind, object }) => [kind, object]),
      [['pack_corrupt', key]],
    )
    assert.ok(damage[0]?.points.some((id) => kept.some(({ point }) => point.id === id)))
  }
})

test('What rotted under a lock is mended in its place, where the program keeps the lock, and stays locked', async () => {
  const { lab, repository, store } = await LockLab.make('folder')
  const content = contentOf({ 0: 1, 1: 1, 2: 1, 3: 1 })
  const point = await lab.backUp(repository, content, { lockDays: 40 })
  const target = new MemoryStore({ name: 'mirror', clock: lab.host, clockOf: 'host' })
  await mirrorOnce(lab, store, target)
  const key = packKeyOf(must(repository.log.state.packs[0], 'a pack').name)
  const path = join(store.location, key)
  const right = await readFile(path)
  await writeFile(path, Buffer.from(right).fill(9, 50, 60))
  target.overwrite(logKey(2), Buffer.from(await target.get(logKey(2))).fill(0, 20, 30))
  const found = await checkMirror({ source: store, target, repository, clock: lab.host, random: lab.random })
  assert.ok(found.ok)
  assert.deepEqual([found.source.healed, found.target.healed], [[key], [logKey(2)]])
  assert.deepEqual(await readFile(path), right)
  for (const [side, one] of [
    [store, key],
    [target, logKey(2)],
  ] as const)
    // prettier-ignore
    await assert.rejects(side.delete(one), { code: 'blob_locked' })
  await lab.assertRestores(await lab.open(target), point, content)
})
