import assert from 'node:assert/strict'
import { rename } from 'node:fs/promises'
import { test } from 'node:test'
import { GIB } from '#base'
import { listActivity, listPools, putPool } from '#catalog'
import { silentLogger, systemRandom } from '#runtime'
import { AdminWorld } from './admin.fixture.ts'
import { alarmOf, SpaceWatch } from './space-watch.ts'

test('alarmOf() is raised when the reserve is touched, not before', () => {
  const place = { kind: 'pool', region: 'attic', name: 'p', reserveBytes: 2 * GIB } as const
  const space = (freeBytes: number) => ({ freeBytes, totalBytes: 9 * GIB, device: '1' })
  assert.equal(alarmOf({ ...place, space: space(2 * GIB) }), undefined)
  assert.match(alarmOf({ ...place, space: space(2 * GIB - 1) })?.says ?? '', /attic\/p has 2\.0 GiB free, less than/)
  assert.match(alarmOf({ ...place, space: undefined })?.says ?? '', /cannot be read/)
})

test('look() tells of an alarm once when it begins and once when it is over', async () => {
  await using world = await AdminWorld.make()
  const { catalog, clock, hosts } = world
  const reserve = { pool: 0, store: 0 }
  const watch = new SpaceWatch({ catalog, clock, random: systemRandom, logger: silentLogger, reserve, hosts })
  const events = async () =>
    (await listActivity(catalog, { limit: 20 }))
      .map(({ action }) => action)
      .filter((action) => action.includes('alarm'))
  await world.ask('region.add', { name: 'attic' })
  await world.ask('pool.add', { region: 'attic', name: 'p', path: world.folder('pool') })
  await world.ask('store.add', { region: 'attic', name: 's', location: world.folder('store') })
  await watch.look()
  assert.deepEqual([watch.alarms, await events()], [[], []])
  const [pool] = await listPools(catalog)
  assert.ok(pool !== undefined)
  await catalog.write((trx) => putPool(trx, { ...pool, reserveBytes: Number.MAX_SAFE_INTEGER }))
  await rename(world.folder('store'), world.folder('away'))
  for (let i = 0; i < 3; i += 1) await watch.look()
  assert.deepEqual(
    watch.alarms.map(({ kind, name }) => [kind, name]),
    [
      ['pool', 'p'],
      ['store', 's'],
    ],
  )
  assert.deepEqual((await events()).sort(), [
    'Holdfast.Places/pools/alarm/raised',
    'Holdfast.Places/stores/alarm/raised',
  ])
  await catalog.write((trx) => putPool(trx, { ...pool, reserveBytes: 0 }))
  await watch.look()
  assert.deepEqual(
    watch.alarms.map(({ kind }) => kind),
    ['store'],
  )
  assert.equal((await events())[0], 'Holdfast.Places/pools/alarm/over')
})
