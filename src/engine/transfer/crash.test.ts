import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { must } from '#base'
import type { ByteRange } from '#engine/block'
import {
  addKeySlot,
  isDelta,
  listKeySlots,
  MemoryStore,
  openMaster,
  type PointRecord,
  removeKeySlot,
} from '#engine/repository'
import { COST, CrashLab, type CrashProcess, CREDENTIAL, diskOf } from './crash.rig.ts'
import { DELTA_LIMITS, NO_DELTAS } from './delta-plan.ts'

const lab = new CrashLab()
after(() => lab.clean())

const FIRST = diskOf(12, { 0: 1, 1: 1, 2: 1, 5: 1, 6: 1, 9: 1, 11: 1 })
const SECOND = diskOf(12, { 0: 1, 1: 2, 2: 1, 5: 2, 6: 1, 7: 2, 11: 1 })
const THIRD = diskOf(12, { 0: 3, 1: 2, 2: 3, 6: 1, 7: 2, 8: 3 })
const ALL = { kind: 'all', reason: 'simulated' } as const
const CHUNK_DIRTY = [1, 5, 7, 9].map((chunk) => ({ offset: chunk * 65536, length: 65536 }))

/** FIRST with 4 KiB of other versions at the start of some chunks, and where that is. */
function smallChanges(versions: Readonly<Record<number, number>>): { bytes: Uint8Array; dirty: ByteRange[] } {
  const bytes = Uint8Array.from(FIRST)
  const dirty = Object.keys(versions).map((chunk) => ({ offset: Number(chunk) * 65536, length: 4096 }))
  for (const { offset, length } of dirty) bytes.set(diskOf(12, versions).subarray(offset, offset + length), offset)
  return { bytes, dirty }
}

async function initialised(): Promise<MemoryStore> {
  const store = new MemoryStore({ name: 'prepared' })
  await (await lab.process(store, 1)).init()
  return store
}

async function withPoints(): Promise<MemoryStore> {
  const store = await initialised()
  const process = await lab.process(store, 2)
  await process.backUp(FIRST, ALL, 'first')
  await process.backUp(SECOND, ALL, 'second')
  await process.backUp(THIRD, ALL, 'third')
  return store
}

async function pointNoted(process: CrashProcess, note: string): Promise<PointRecord | undefined> {
  return (await process.open()).points().find(({ notes }) => notes[0] === note)
}

/** Crashes `work` in each of its writes and compares what is then visible with an undisturbed run. */
async function crashEverywhere(store: MemoryStore, work: (process: CrashProcess) => Promise<unknown>): Promise<number> {
  const undisturbed = await lab.crashFree(store, work)
  const expected = await lab.visible(undisturbed)
  const writes = await lab.writesOf(store, work)
  for (let n = 0; n < writes; n += 1) {
    for (const lastIsDone of [false, true]) {
      const end = await lab.crashAndRepeat(store, n, lastIsDone, work)
      assert.deepEqual(await lab.visible(end), expected, `a crash in write ${n}, ${lastIsDone ? '' : 'not '}done`)
    }
  }
  return writes
}

test('A full backup that dies in any of its writes is made whole by the next run', async () => {
  const writes = await crashEverywhere(await initialised(), (process) => process.backUp(FIRST, ALL, 'first'))
  assert.ok(writes >= 4, 'a pin, packs, the commit')
})

test('An incremental backup that dies in any of its writes is made whole by the next run', async () => {
  const store = await initialised()
  await (await lab.process(store, 2)).backUp(FIRST, ALL, 'first')
  await crashEverywhere(store, async (process) => {
    const parent = must(await pointNoted(process, 'first'), 'The prepared store holds it')
    const changes = { kind: 'since', dirty: CHUNK_DIRTY, parent: must(parent.disks[0], 'One disk') } as const
    await process.backUp(SECOND, changes, 'second', parent.id)
  })
})

test('Delta nodes: a version that dies in any of its writes is made whole by the next run, appended, merged or folded', async () => {
  const store = await initialised()
  const process = await lab.process(store, 2)
  const first = await process.backUp(FIRST, ALL, 'first')
  const small = smallChanges({ 0: 7, 1: 7, 5: 7, 9: 7 })
  const parent = must(first.disks[0], 'One disk')
  const second = await process.backUp(small.bytes, { kind: 'since', ...small, parent }, 'second', first.id)
  assert.ok(isDelta(must(second.disks[0], 'One disk').root))
  const limits = { append: DELTA_LIMITS, merge: { ...DELTA_LIMITS, depthMax: 1 }, fold: NO_DELTAS }
  for (const deltas of Object.values(limits)) {
    await crashEverywhere(store, async (again) => {
      const before = must(await pointNoted(again, 'second'), 'The prepared store holds it')
      const third = smallChanges({ 0: 7, 1: 8, 5: 7, 6: 8, 9: 7 })
      const dirty = third.dirty.filter(({ offset }) => offset === 65536 || offset === 6 * 65536)
      const changes = { kind: 'since', dirty, parent: must(before.disks[0], 'One disk') } as const
      await again.backUp(third.bytes, changes, 'third', before.id, deltas)
    })
  }
})

test('A scan that dies in any of its writes is made whole by the next run', async () => {
  const store = await initialised()
  await (await lab.process(store, 2)).backUp(FIRST, ALL, 'first')
  await crashEverywhere(store, (process) => process.backUp(SECOND, ALL, 'second'))
})

test('forget() that dies in its write has forgotten or not, and once run again has', async () => {
  await crashEverywhere(await withPoints(), async (process) => {
    const point = await pointNoted(process, 'second')
    if (point !== undefined) await (await process.open()).forget([point.id])
    else assert.equal(await pointNoted(process, 'second'), undefined)
  })
})

test('prune() that dies in any of its writes or deletions loses nothing, and the next prune finishes it', async () => {
  const store = await withPoints()
  const process = await lab.process(store, 3)
  const repository = await process.open()
  await repository.forget([must(await pointNoted(process, 'first'), 'There').id])
  const writes = await crashEverywhere(store, (again) => again.prune())
  assert.ok(writes >= 6, 'a pin, a new pack, three entries, deletions')
})

test('init() that dies in any of its writes can be run again, and its dead slot opens nothing', async () => {
  const empty = new MemoryStore({ name: 'empty' })
  const work = async (process: CrashProcess): Promise<void> => {
    if ((await process.store.head('config')) === undefined) await process.init()
    await process.open()
  }
  const writes = await lab.writesOf(empty, work)
  for (let n = 0; n < writes; n += 1) {
    for (const lastIsDone of [false, true]) {
      const store = await lab.crashAndRepeat(empty, n, lastIsDone, work)
      const { config } = await (await lab.process(store, 9)).open()
      const slots = await listKeySlots(store, config.id)
      assert.equal(slots.length, 1, 'the slot of the dead run is not one of this repository')
      await assert.rejects(removeKeySlot(store, config.id, slots[0]?.id ?? ''), { code: 'key_slot_last' })
    }
  }
})

test('Adding and dropping key slots may die anywhere: some credential always opens', async () => {
  const store = await initialised()
  const { config } = await (await lab.process(store, 3)).open()
  const other = { kind: 'key-file', bytes: new Uint8Array(32).fill(7) } as const
  const change = async (process: CrashProcess): Promise<void> => {
    const { master, slotId } = await openMaster(process.store, config.id, CREDENTIAL).catch(() =>
      openMaster(process.store, config.id, other),
    )
    const options = { repositoryId: config.id, label: 'new', nowIso: '', random: process.random, cost: COST }
    await addKeySlot(process.store, master, { ...options, credential: other })
    await removeKeySlot(process.store, config.id, slotId)
  }
  const writes = await lab.writesOf(store, change)
  for (let n = 0; n < writes; n += 1) {
    for (const lastIsDone of [false, true]) {
      const end = await lab.crashAndRepeat(store, n, lastIsDone, change)
      assert.equal((await openMaster(end, config.id, other)).master.length, 32)
    }
  }
})
