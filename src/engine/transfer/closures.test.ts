/**
 * What a point may need is an upper bound, also when its content lay twice in the store and one copy went: then locks hold the
 * other one. Seen as a user sees it: somebody with the store's credentials deletes all that he can, and the locked point restores.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { must } from '#base'
import { type BlobStore, packKeyOf, type PointRecord, prune, type Repository } from '#engine/repository'
import { contentOf, deleteEverything, LockLab, removeFolders } from './immutability.rig.ts'
import { repairPacks } from './repair.ts'

after(removeFolders)

const FIRST = contentOf({ 0: 1, 1: 1, 2: 1, 5: 1, 6: 1, 9: 1 })
const SECOND = contentOf({ 0: 1, 1: 2, 2: 1, 5: 1, 6: 1, 9: 1 })

type Twice = Readonly<{ lab: LockLab; store: BlobStore; repository: Repository; points: readonly PointRecord[] }>

/** Two hosts that back up the same content at once: neither knows of the other's packs, and all is stored twice. */
async function storedTwice(): Promise<Twice> {
  const { lab, repository, store } = await LockLab.make('server')
  const other = await lab.open(store)
  const points: PointRecord[] = []
  const meanwhile = async (): Promise<unknown> => points.push(await lab.backUp(other, FIRST))
  points.push(await lab.backUp(repository, FIRST, { meanwhile }))
  const [mine = [], theirs = []] = points.map(({ id }) => closureOf(repository, id))
  assert.ok(mine.length > 0 && mine.length === theirs.length, 'as many packs each')
  assert.ok(!mine.some((ordinal) => theirs.includes(ordinal)), 'none in common')
  return { lab, store, repository, points }
}

function closureOf({ log }: Repository, id: string): number[] {
  return [...log.state.closureOf(must(log.state.points.get(id), 'A live point').header)]
}

/** A locked incremental on the point outlives whoever deletes all that the store lets him. */
async function assertLockHolds({ lab, store, repository }: Twice, base: PointRecord): Promise<void> {
  const point = await lab.backUp(repository, SECOND, { parent: base, changed: [1], lockDays: 3 })
  await deleteEverything(store)
  const again = await lab.open(store)
  await lab.assertRestores(again, point, SECOND)
}

for (const at of [0, 1]) {
  test(`A locked point on the ${at === 0 ? 'first' : 'second'} of two that stored the same needs only what is locked, after a prune`, async () => {
    const twice = await storedTwice()
    const packs = twice.repository.log.state.packs.length
    const report = await twice.lab.prune(twice.repository)
    assert.equal(report.plan.drop.length, packs / 2, 'one copy of all goes')
    await assertLockHolds(twice, must(twice.points[at], 'One of two'))
  })

  test(`A locked point on the ${at === 0 ? 'first' : 'second'} of two that stored the same needs only what is locked, after a repair`, async () => {
    const twice = await storedTwice()
    const { repository, store, lab } = twice
    const base = must(twice.points[at], 'One of two')
    for (const ordinal of closureOf(repository, base.id))
      await store.delete(packKeyOf(must(repository.log.state.packs[ordinal], 'Known').name))
    const report = await repairPacks(repository, { store, random: lab.random })
    assert.equal(report.chunksLost, 0)
    await assertLockHolds(twice, base)
  })
}

test('A copy that a scan stored anew, because a check had found the old one hurt, joins the points that need it', async () => {
  const { lab, repository, store } = await LockLab.make('server')
  const base = await lab.backUp(repository, FIRST)
  const hurt = closureOf(repository, base.id).map((ordinal) => must(repository.log.state.packs[ordinal], 'Known').name)
  await (await repository.index()).suspect(hurt)
  await lab.backUp(repository, FIRST)
  const report = await lab.prune(repository)
  assert.deepEqual(new Set(report.plan.drop), new Set(hurt), 'the hurt copies go')
  await assertLockHolds({ lab, repository, store, points: [] }, base)
})

test('What joined the closures is said once, also where the prune that said it was held back', async () => {
  const { lab, repository } = await storedTwice()
  const other = await repository.beginSession('slow')
  const entries: number[] = []
  for (const _ of [1, 2]) {
    const { head } = repository.log.state
    await prune(repository, { clock: lab.host, random: lab.random }, { wasteShareMax: 0.9 })
    entries.push(repository.log.state.head - head)
  }
  assert.deepEqual(entries, [4, 3], 'pin, copies, tombstones, unpin; then all but the copies')
  await other.end()
})
