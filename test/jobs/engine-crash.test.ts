/** The job engine when processes die, stop and wake up: real processes on one catalog. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { must } from '#base'
import { Catalog } from '#catalog'
import { EmbeddedEngine, type EngineTiming, type JobView } from '#jobs'
import { identityOf, silentLogger, systemClock, systemRandom } from '#runtime'
import { Drill, killHard, until } from './processes.ts'

/** Longer than any test: who takes over earlier has proven the owner dead. */
const LONG_LEASE = { leaseMs: 600_000 }

let folder = ''
let catalog: Catalog
/** Looks and asks; runs nothing. */
let engine: EmbeddedEngine
let drills: Drill[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-crash-'))
  catalog = await Catalog.open(join(folder, 'catalog.sqlite'), systemClock)
  const process = must(identityOf(), 'This process has an identity')
  engine = new EmbeddedEngine({ catalog, clock: systemClock, random: systemRandom, process, logger: silentLogger })
  engine.define({ name: 'drill', version: 1, run: () => assert.fail('the test runs no job itself') })
  engine.queue('narrow', { concurrency: 2 })
})
afterEach(async () => {
  for (const { child } of drills) await killHard(child)
  drills = []
  await catalog.close()
  await rm(folder, { recursive: true })
})

async function startDrill(holds: boolean, timing: Partial<EngineTiming>): Promise<Drill> {
  const drill = new Drill(join(folder, 'catalog.sqlite'), join(folder, 'drill.log'), { holds, timing })
  drills.push(drill)
  await drill.hears('ready')
  return drill
}

function drillLog(): string[] {
  return readFileSync(join(folder, 'drill.log'), 'utf8').trim().split('\n')
}

const count = (what: string): number => drillLog().filter((line) => line.startsWith(what)).length

function ended(id: string): Promise<JobView> {
  return until(`job ${id} ends`, async () => {
    const job = await engine.get(id)
    return job?.finishedMs === undefined ? undefined : job
  })
}

async function recordedOnce(id: string): Promise<void> {
  const kinds = (await engine.events(0, id)).filter(({ kind }) => kind === 'step_succeeded')
  assert.equal(new Set(kinds.map(({ facts }) => facts['step'])).size, 5)
  assert.equal(kinds.length, 5)
}

for (const holdIn of [1, 3, 5]) {
  test(`kill -9 in step ${holdIn} of 5: a restart goes on from there at once, and no recorded step runs again`, async () => {
    const first = await startDrill(true, LONG_LEASE)
    const id = await engine.start('drill', { holdIn })
    await first.hears('held', id)
    await killHard(first.child)
    const second = await startDrill(false, LONG_LEASE)
    const job = await ended(id)
    const expected = [1, 2, 3, 4, 5].map((step) => (step < holdIn ? first.pid : second.pid))
    assert.deepEqual(job.output, expected)
    for (let step = 1; step <= 5; step += 1) assert.equal(count(`begin ${step} `), step === holdIn ? 2 : 1)
    assert.equal((await engine.steps(id)).find(({ name }) => name === `step ${holdIn}`)?.attempts, 2)
    await recordedOnce(id)
  })
}

test('a second process that stands by takes the jobs of a killed one over', async () => {
  const first = await startDrill(true, LONG_LEASE)
  const ids = [await engine.start('drill', { holdIn: 2 }), await engine.start('drill', { holdIn: 4 })]
  for (const id of ids) await first.hears('held', id)
  const second = await startDrill(false, LONG_LEASE)
  await killHard(first.child)
  for (const id of ids) {
    assert.equal((await ended(id)).status, 'succeeded')
    await recordedOnce(id)
  }
  const { output } = await ended(ids[0] ?? '')
  assert.equal((output as number[])[4], second.pid)
})

test('a process that is stopped loses its job with the lease, and when it wakes up it records nothing and goes on', async () => {
  const lease = { leaseMs: 900 }
  const zombie = await startDrill(true, lease)
  const id = await engine.start('drill', { holdIn: 3 })
  await zombie.hears('held', id)
  zombie.child.kill('SIGSTOP')
  const second = await startDrill(false, lease)
  const job = await ended(id)
  zombie.child.kill('SIGCONT')
  zombie.child.send('go on')
  await until('the zombie ends its step', () => drillLog().includes(`end 3 ${zombie.pid}`))
  const next = await engine.start('drill', { holdIn: 0 })
  await ended(next)
  zombie.child.send('stop')
  await zombie.hears('stopped')
  assert.deepEqual(job.output, [zombie.pid, zombie.pid, second.pid, second.pid, second.pid])
  assert.deepEqual((await engine.get(id))?.output, job.output)
  assert.equal(count('end 3 '), 3, 'both ended the step physically, and the next job its own')
  await recordedOnce(id)
})

test('a schedule of every second runs each slot once with two processes', async () => {
  await engine.schedule({ name: 'tick', cron: '* * * * * *', timeZone: 'UTC', job: 'drill', input: { holdIn: 0 } })
  await Promise.all([startDrill(false, LONG_LEASE), startDrill(false, LONG_LEASE)])
  await until('three slots have run', async () => (await engine.list({ status: ['succeeded'] })).length >= 3)
  const jobs = await engine.list()
  const slots = jobs.map(({ id }) => Number(id.split('@')[1]))
  assert.equal(new Set(slots).size, slots.length)
  assert.ok(slots.every((slot) => slot % 1000 === 0))
  for (const { id } of jobs) {
    const claims = (await engine.events(0, id)).filter(({ kind }) => kind === 'claimed' || kind === 'taken_over')
    assert.ok(claims.length <= 1)
  }
})

test('a queue of two runs two at most over two processes, also when one of them is killed', async () => {
  const processes = await Promise.all([startDrill(false, LONG_LEASE), startDrill(false, LONG_LEASE)])
  const ids: string[] = []
  for (let n = 0; n < 12; n += 1) ids.push(await engine.start('drill', { holdIn: 0 }, { queue: 'narrow' }))
  await until('some have run', async () => (await engine.list({ status: ['succeeded'] })).length >= 3)
  await killHard(must(processes[0], 'There are two').child)
  for (const id of ids) assert.equal((await ended(id)).status, 'succeeded')
  const running = new Set<string>()
  for (const { kind, jobId } of await engine.events(0)) {
    if (kind === 'claimed' || kind === 'taken_over') running.add(jobId)
    if (kind === 'succeeded') running.delete(jobId)
    assert.ok(running.size <= 2, `${running.size} at once`)
  }
  for (const id of ids) await recordedOnce(id)
})
