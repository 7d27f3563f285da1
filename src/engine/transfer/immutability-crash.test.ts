/** A locked backup that dies in any of its writes, locks included: nothing is half promised, and no lock does harm. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { isHoldfastError, SeededRandom } from '#base'
import { FaultyStore, packKeyOf } from '#engine/repository'
import { contentOf, LockLab, removeFolders } from './immutability.rig.ts'
import { verifyWithKey } from './verify.ts'

after(removeFolders)

const FIRST = contentOf({ 0: 1, 1: 1, 2: 1, 5: 1 })
const SECOND = contentOf({ 0: 1, 1: 2, 2: 1, 5: 2 })

/** Which writes crash, done or not done: an even seed of this class says no first, an odd one yes. */
function chanceThatSays(yes: boolean): SeededRandom {
  for (let seed = 1; ; seed += 1) if (new SeededRandom(seed).chance(0.5) === yes) return new SeededRandom(seed)
}

async function crashIn(write: number, isDone: boolean): Promise<boolean> {
  const { lab, repository, store } = await LockLab.make('host')
  const base = await lab.backUp(repository, FIRST)
  const faulty = new FaultyStore(store)
  const dying = await lab.open(faulty)
  faulty.crashAfter(write, chanceThatSays(isDone))
  const died = await lab.backUp(dying, SECOND, { parent: base, changed: [1, 5], lockDays: 3 }).then(
    () => false,
    (error: unknown) => {
      assert.ok(isHoldfastError(error), String(error))
      return true
    },
  )
  const next = await lab.open(store)
  for (const { id } of next.points()) {
    const { header } = next.log.state.points.get(id) ?? assert.fail()
    if (header.lockedUntilMs === undefined) continue
    for (const ordinal of next.log.state.closureOf(header)) {
      const name = next.log.state.packs[ordinal]?.name ?? ''
      await assert.rejects(store.delete(packKeyOf(name)), { code: 'blob_locked' }, 'a point that exists is locked')
    }
  }
  const point = await lab.backUp(next, SECOND, { parent: base, changed: [1, 5], lockDays: 3 })
  for (let number = 1; number < next.log.state.head; number += 1)
    await assert.rejects(store.delete(`log/${String(number).padStart(12, '0')}`), { code: 'blob_locked' })
  await lab.live(next, 1)
  await lab.prune(next)
  await lab.assertRestores(next, point, SECOND)
  await lab.live(next, 40)
  await next.forget(next.points().flatMap(({ id }) => (id === base.id ? [] : [id])))
  await lab.prune(next)
  await lab.assertRestores(next, base, FIRST)
  assert.deepEqual((await verifyWithKey(next, { store })).damage, [])
  for await (const { key } of store.list('packs/'))
    assert.equal(next.log.state.packNamed(key.slice(-64))?.status, 'live', 'no lock outlives its end')
  return died
}

test('A locked backup that dies in any of its writes leaves a locked point or none, and locks that end', async () => {
  let writes = 0
  while (await crashIn(writes, false)) {
    await crashIn(writes, true)
    writes += 1
  }
  assert.ok(writes >= 9, `a pin, packs, locks of packs, slot, config and entries, the commit and its lock: ${writes}`)
})
