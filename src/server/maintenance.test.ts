import assert from 'node:assert/strict'
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { must, randomUuid, SeededRandom } from '#base'
import {
  findOperation,
  inspectCatalog,
  insertOperation,
  listActivity,
  listOperationsWithoutJob,
  recordActivity,
} from '#catalog'
import { EmbeddedEngine } from '#jobs'
import { identityOf, silentLogger, systemClock, systemRandom } from '#runtime'
import { AdminWorld } from './admin.fixture.ts'
import { copiesFolder } from './catalog-copies.ts'
import { DAY_MS, Maintenance } from './maintenance.ts'

const random = new SeededRandom(1)

async function addOperation(world: AdminWorld, id: string): Promise<void> {
  const operation = { id, kind: 'k', subscription: 's', location: 'l', resourceKey: 'r', action: 'a', principal: 'p' }
  const rest = {
    request: 'q',
    reply: { kind: 'empty' },
    job: 'noop',
    jobInput: null,
    queue: 'q',
    jobKey: undefined,
  } as const
  await world.catalog.write((trx) => insertOperation(trx, { ...operation, ...rest, createdMs: world.clock.nowMs() }))
}

test('sweep() forgets what is over by its age; an operation is never left without its job', async () => {
  await using world = await AdminWorld.make()
  const { catalog, clock, home } = world
  const process = must(identityOf(), 'This process has an identity')
  const engine = new EmbeddedEngine({ catalog, clock, random: systemRandom, logger: silentLogger, process })
  engine.define({ name: 'noop', version: 1, run: () => Promise.resolve(null) })
  engine.queue('q', { concurrency: 1 })
  const retention = { activityDays: 5, operationDays: 10, jobDays: 10 }
  const maintenance = new Maintenance({ home, catalog, engine, clock, logger: silentLogger, retention })
  const [old, young, waiting] = [1, 2, 3].map(() => randomUuid(random)) as [string, string, string]
  const event = {
    correlation: 'c',
    caller: 'c',
    action: 'a',
    resource: '/r',
    status: 'Succeeded',
    httpStatus: 200,
  } as const
  const record = (id: string) =>
    recordActivity(catalog, { ...event, id, atMs: clock.nowMs(), operation: undefined, facts: {} })

  await record('old')
  for (const id of [old, waiting]) await addOperation(world, id)
  await engine.start('noop', null, { id: old, queue: 'q' })
  await engine.tick()
  await engine.settled()
  clock.advance(4 * DAY_MS)
  await record('young')
  await addOperation(world, young)
  await engine.start('noop', null, { id: young, queue: 'q' })
  await engine.tick()
  await engine.settled()
  clock.advance(4 * DAY_MS)
  await maintenance.sweep()
  assert.deepEqual(
    (await listActivity(catalog, { limit: 9 })).map(({ id }) => id),
    ['young'],
  )
  clock.advance(3 * DAY_MS)
  await maintenance.sweep()
  assert.equal(await findOperation(catalog, old), undefined)
  assert.equal(await engine.get(old), undefined)
  assert.ok(await findOperation(catalog, young))
  const unstarted = (await listOperationsWithoutJob(catalog)).map(({ id }) => id)
  assert.deepEqual(unstarted, [waiting], 'what a crash kept from starting is kept; what is over is not taken for it')
})

test('sweep() takes temporary files of dead writers, and no others', async () => {
  await using world = await AdminWorld.make()
  const { catalog, clock, home } = world
  const engine = { forgetHistory: () => Promise.resolve(0) }
  const retention = { activityDays: 1, operationDays: 1, jobDays: 1 }
  const maintenance = new Maintenance({ home, catalog, engine, clock, logger: silentLogger, retention })
  await mkdir(world.folder('keys'))
  for (const name of ['.tmp-old', '.tmp-new', 'kept']) {
    await writeFile(world.folder(`keys/${name}`), 'x')
    const ageMs = name === '.tmp-new' ? 0 : 2 * DAY_MS
    const seconds = (clock.nowMs() - ageMs) / 1000
    await utimes(world.folder(`keys/${name}`), seconds, seconds)
  }
  await maintenance.sweep()
  assert.deepEqual((await readdir(world.folder('keys'))).sort(), ['.tmp-new', 'kept'])
})

test('sweep() keeps a copy of the catalog a day, seven at most', async () => {
  await using world = await AdminWorld.make()
  const { catalog, clock, home } = world
  clock.jumpTo(systemClock.nowMs()) // Ages of files are counted by the host's clock.
  const engine = { forgetHistory: () => Promise.resolve(0) }
  const retention = { activityDays: 1, operationDays: 1, jobDays: 1 }
  const maintenance = new Maintenance({ home, catalog, engine, clock, logger: silentLogger, retention })
  await maintenance.sweep()
  await maintenance.sweep()
  const first = await readdir(copiesFolder(home))
  assert.equal(first.length, 1)
  for (let day = 0; day < 9; day += 1) {
    clock.advance(DAY_MS)
    await maintenance.sweep()
  }
  const kept = await readdir(copiesFolder(home))
  assert.equal(kept.length, 7)
  assert.ok(!kept.includes(first[0] ?? ''), 'the oldest went')
  assert.deepEqual(inspectCatalog(join(copiesFolder(home), kept[0] ?? '')).findings, [])
})
