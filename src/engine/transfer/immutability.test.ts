/** Immutability end to end, on a store whose server keeps locks, on one that goes by this host, and on a real folder. */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { DAY_MS, FaultyStore, packKeyOf } from '#engine/repository'
import { contentOf, deleteEverything, KINDS, LockLab, removeFolders } from './immutability.rig.ts'
import { verifyWithKey } from './verify.ts'

after(removeFolders)

const FIRST = contentOf({ 0: 1, 1: 1, 2: 1, 5: 1, 6: 1, 9: 1 })
const SECOND = contentOf({ 0: 1, 1: 2, 2: 1, 5: 1, 6: 1, 9: 1 })
const OTHER = contentOf({ 0: 8, 1: 8, 2: 8, 3: 8, 4: 8, 7: 8 })

for (const kind of KINDS) {
  describe(`A locked point on a ${kind} store`, () => {
    it('is neither given up nor pruned before its lock ends, and frees its space after', async () => {
      const { lab, repository, store } = await LockLab.make(kind)
      const point = await lab.backUp(repository, FIRST, { lockDays: 7 })
      const untilMs = lab.host.nowMs() + 7 * DAY_MS
      assert.equal(repository.immutability.lockedUntilMs(point.id), untilMs)
      const packs = repository.log.state.packs.map(({ name }) => name)
      const present = async (): Promise<number> =>
        (await Promise.all(packs.map((name) => store.head(packKeyOf(name))))).filter((size) => size !== undefined)
          .length
      await assert.rejects(repository.forget([point.id]), { code: 'point_locked' })
      await lab.backUp(repository, OTHER)
      await lab.prune(repository)
      await lab.assertRestores(repository, point, FIRST)
      await lab.live(repository, 6)
      await assert.rejects(repository.forget([point.id]), { code: 'point_locked' })
      await lab.live(repository, 2)
      await repository.forget([point.id])
      const early = await lab.prune(repository)
      assert.equal(early.heldByStore, 0, 'the store was asked for up to 30 days more: nothing is tried')
      assert.deepEqual([early.plan.locked.length, await present()], [packs.length, packs.length])
      await lab.live(repository, 30)
      const late = await lab.prune(repository)
      assert.deepEqual([late.plan.locked, late.heldByStore, await present()], [[], 0, 0])
      assert.deepEqual((await verifyWithKey(repository, { store })).damage, [])
    })

    it('keeps every object that it needs from somebody who deletes by the same store, key slots and log included', async () => {
      const { lab, repository, store } = await LockLab.make(kind)
      const base = await lab.backUp(repository, FIRST)
      const point = await lab.backUp(repository, SECOND, { parent: base, changed: [1], lockDays: 3 })
      await lab.prune(repository)
      const { gone } = await deleteEverything(store)
      assert.ok(
        gone.every((key) => key.startsWith('log/')),
        `only entries after the commit may go: ${gone.join()}`,
      )
      const again = await lab.open(store)
      assert.deepEqual(
        again.points().map(({ id }) => id),
        [base.id, point.id],
      )
      await lab.assertRestores(again, point, SECOND)
      await lab.assertRestores(again, base, FIRST)
    })

    it('survives a clock that jumps ahead: nothing is given up or pruned by it', async () => {
      const { lab, repository, store } = await LockLab.make(kind)
      const point = await lab.backUp(repository, FIRST, { lockDays: 30 })
      await lab.backUp(repository, OTHER)
      lab.host.jumpTo(lab.host.nowMs() + 4000 * DAY_MS)
      await assert.rejects(repository.forget([point.id]), { code: 'point_locked' })
      if (kind === 'server') await lab.prune(repository)
      else await assert.rejects(lab.prune(repository), { code: 'clock_doubted' })
      const late = await lab.backUp(repository, SECOND) // backups go on
      await assert.rejects(repository.forget([point.id]), { code: 'point_locked' })
      const again = await lab.open(store)
      await lab.assertRestores(again, point, FIRST)
      await lab.assertRestores(again, late, SECOND)
      lab.host.jumpTo(lab.server.nowMs() + 60_000)
      await lab.prune(again)
      await lab.assertRestores(again, point, FIRST)
      await again.forget([late.id])
    })

    it('survives a clock that went back: the next point is locked as if it had not', async () => {
      const { lab, repository } = await LockLab.make(kind)
      const first = await lab.backUp(repository, FIRST, { lockDays: 10 })
      const trueMs = lab.host.nowMs()
      lab.host.jumpTo(trueMs - 400 * DAY_MS)
      const second = await lab.backUp(repository, SECOND, { lockDays: 10 })
      assert.ok((repository.immutability.lockedUntilMs(second.id) ?? 0) >= trueMs + 10 * DAY_MS)
      for (const { id } of [first, second]) await assert.rejects(repository.forget([id]), { code: 'point_locked' })
    })

    it('has its lock extended with every point that builds on it', async () => {
      const { lab, repository, store } = await LockLab.make(kind)
      const base = await lab.backUp(repository, FIRST, { lockDays: 1 })
      const next = await lab.backUp(repository, SECOND, { parent: base, changed: [1], lockDays: 200 })
      await lab.live(repository, 80)
      await repository.forget([base.id])
      await lab.prune(repository)
      for (const { name } of repository.log.state.packs.slice(0, 2))
        await assert.rejects(store.delete(packKeyOf(name)), { code: 'blob_locked' })
      await lab.assertRestores(repository, next, SECOND)
    })

    it('is not made when a lock cannot be had, with the reason; the locks that were taken do no harm', async () => {
      const { lab, repository, store } = await LockLab.make(kind)
      const faulty = new FaultyStore(store)
      const broken = await lab.open(faulty)
      faulty.failNext('lock', ...Array.from({ length: 3 }, () => ({ kind: 'before' }) as const))
      await assert.rejects(lab.backUp(broken, FIRST, { lockDays: 5 }), { code: 'lock_failed' })
      await repository.log.refresh()
      assert.deepEqual(repository.points(), [])
      const point = await lab.backUp(repository, SECOND)
      lab.pass(0.5)
      await lab.prune(repository)
      await lab.assertRestores(repository, point, SECOND)
    })
  })
}

describe('A locked commit', () => {
  it('locks what others wrote to the log while it was on its way: the chain up to it cannot be broken', async () => {
    const { lab, repository, store } = await LockLab.make('host')
    const base = await lab.backUp(repository, FIRST, { lockDays: 7 })
    const slow = new FaultyStore(store, lab.host)
    const writer = await lab.open(slow)
    const delayed = { kind: 'delayed', ms: 10 } as const
    const meanwhile = async (): Promise<void> => slow.failNext('put', delayed, delayed) // the pack, and the commit
    const committed = lab.backUp(writer, SECOND, { parent: base, changed: [1], lockDays: 7, meanwhile })
    for (let put = 0; put < 2; put += 1) {
      while (lab.host.sleeping === 0) await new Promise((resolve) => setImmediate(resolve))
      await repository.log.append(() => ({ fields: {} }))
      lab.host.advance(10)
    }
    const { number = 0 } = writer.log.state.points.get((await committed).id) ?? {}
    assert.equal(writer.log.state.head, number, 'nothing came after it')
    for (let entry = 1; entry <= number; entry += 1)
      await assert.rejects(store.delete(`log/${String(entry).padStart(12, '0')}`), { code: 'blob_locked' })
  })
})

describe('A chain of locked points', () => {
  it('asks the store for few locks: an incremental for what is new, and for all only when 30 days are over', async () => {
    const { lab, repository } = await LockLab.make('host')
    const { locks } = repository.immutability
    let point = await lab.backUp(repository, FIRST, { lockDays: 7 })
    const full = locks.calls
    const calls: number[] = []
    for (let day = 1; day <= 34; day += 1) {
      lab.pass(1)
      const before = locks.calls
      const content = contentOf({ 0: 1, 1: day + 1, 2: 1, 5: 1, 6: 1, 9: 1 })
      point = await lab.backUp(repository, content, { parent: point, changed: [1], lockDays: 7 })
      calls.push(locks.calls - before)
    }
    const many = calls.filter((count) => count > 6)
    assert.ok(full >= 6 && calls.every((count) => count >= 3), 'a pack, the pin, the commit')
    assert.equal(many.length, 1, `once in 34 days everything is extended: ${calls.join()}`)
    // A cache that is lost costs calls and nothing else.
    const again = await lab.open(repository.store)
    const next = await lab.backUp(again, SECOND, { lockDays: 7 })
    assert.ok(again.immutability.locks.calls > 70)
    await lab.assertRestores(again, next, SECOND)
  })
})

describe('A policy', () => {
  it('locks every new point, can be loosened while it is unlocked, and never again once it is locked', async () => {
    const { lab, repository } = await LockLab.make('server')
    const { immutability } = repository
    const first = await lab.backUp(repository, FIRST)
    await assert.rejects(immutability.setPolicy({ state: 'locked', days: 9 }), { code: 'immutability_locked' })
    await immutability.setPolicy({ state: 'unlocked', days: 9 })
    const second = await lab.backUp(repository, SECOND, { expiresInDays: 20 })
    await immutability.setPolicy({ state: 'disabled', days: 0 })
    const third = await lab.backUp(repository, OTHER)
    await immutability.setPolicy({ state: 'unlocked', days: 9 })
    await immutability.setPolicy({ state: 'locked', days: 9 })
    for (const next of [
      { state: 'disabled', days: 0 },
      { state: 'locked', days: 8 },
      { state: 'unlocked', days: 99 },
    ] as const)
      await assert.rejects(immutability.setPolicy(next), { code: 'immutability_locked' })
    await immutability.setPolicy({ state: 'locked', days: 10 })
    const fourth = await lab.backUp(repository, FIRST)
    const days = [first, second, third, fourth].map(({ id }) => {
      const until = immutability.lockedUntilMs(id)
      return until === undefined ? undefined : (until - lab.host.nowMs()) / DAY_MS
    })
    assert.deepEqual(days, [undefined, 20, undefined, 10])
    await repository.forget([first.id, third.id])
    await assert.rejects(repository.forget([second.id]), { code: 'point_locked' })
  })

  it('that an entry loosens against the rules, points that one gives up, packs that one deletes: every reader passes over it', async () => {
    const { lab, repository, store } = await LockLab.make('server')
    await repository.immutability.setPolicy({ state: 'unlocked', days: 9 })
    await repository.immutability.setPolicy({ state: 'locked', days: 9 })
    const point = await lab.backUp(repository, FIRST)
    const names = repository.log.state.packs.map(({ name }) => name)
    await repository.log.append(() => ({
      fields: { immutability: { state: 'disabled', days: 0 }, forgotten: [point.id], tombstones: names },
    }))
    await repository.log.append(() => ({ fields: { deletions: names } }))
    for (const reader of [repository, await lab.open(store)]) {
      assert.deepEqual(reader.log.state.immutability, { state: 'locked', days: 9 })
      assert.deepEqual(
        reader.points().map(({ id }) => id),
        [point.id],
      )
      await lab.assertRestores(reader, point, FIRST)
    }
  })
})

describe('An operator', () => {
  it('drops the pin of a host whose clock was far ahead when the log began, which held every prune back', async () => {
    const { lab, repository } = await LockLab.make('host')
    const trueMs = lab.host.nowMs()
    lab.host.jumpTo(trueMs + 400 * DAY_MS)
    const died = await repository.beginSession('a backup that died')
    lab.host.jumpTo(trueMs)
    const point = await lab.backUp(repository, FIRST)
    await repository.forget([point.id])
    lab.pass(2)
    const held = await lab.prune(repository)
    assert.ok(held.heldBack > 0)
    assert.match(held.heldBy.join(), /a backup that died \(entry 1, test, at the latest 2027-/)
    await repository.dropPins([1])
    const { heldBack, deleted } = await lab.prune(repository)
    assert.ok(heldBack === 0 && deleted > 0)
    assert.ok(died.owns(1), 'and who holds it may still end')
    await died.end()
  })

  it('accepts a clock after a long silence, and then pruning and expiry go on', async () => {
    const { lab, repository } = await LockLab.make('folder')
    const point = await lab.backUp(repository, FIRST, { lockDays: 7 })
    lab.pass(90)
    await assert.rejects(lab.prune(repository), { code: 'clock_doubted' })
    await assert.rejects(repository.forget([point.id]), { code: 'point_locked' })
    assert.equal((await repository.immutability.status()).clock.plausible, false)
    await repository.immutability.acceptTime()
    await repository.forget([point.id])
    assert.ok((await lab.prune(repository)).deleted >= 2)
  })
})
