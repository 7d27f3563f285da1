/** The contract of order and ownership: queues, keys, priorities, two engines on one store, versions, history. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JobContext } from '../port.ts'
import { define, type EngineWorld, Gate, jobOf, pass } from './world.contract.ts'

export function describeOrder(world: () => EngineWorld): void {
  describeQueues(world)
  describeOwners(world)
  describeVersions(world)
}

function describeQueues(world: () => EngineWorld): void {
  test('a queue runs no more than its limit, over two engines, and per key no more than that limit', async () => {
    const other = await world().second()
    let [running, most] = [0, 0]
    const runningPerKey = new Map<string, number>()
    let mostPerKey = 0
    const work = async (job: JobContext, key: string): Promise<void> => {
      await job.step('work', async () => {
        running += 1
        runningPerKey.set(key, (runningPerKey.get(key) ?? 0) + 1)
        most = Math.max(most, running)
        mostPerKey = Math.max(mostPerKey, runningPerKey.get(key) ?? 0)
        await new Promise((resolve) => setImmediate(resolve))
        running -= 1
        runningPerKey.set(key, (runningPerKey.get(key) ?? 0) - 1)
      })
    }
    for (const each of [world(), other]) {
      each.engine.queue('hosts', { concurrency: 3, perKeyConcurrency: 1 })
      each.engine.define({ name: 'job', version: 1, run: work })
    }
    const ids: string[] = []
    for (let n = 0; n < 12; n += 1) {
      const key = `machine-${Math.floor(n / 3)}`
      ids.push(await world().engine.start('job', key, { queue: 'hosts', key }))
    }
    while ((await world().engine.list({ status: ['succeeded'] })).length < ids.length) {
      await Promise.all([world().round(), other.round()])
      await Promise.all([world().settle(), other.settle()])
    }
    assert.equal(most, 3)
    assert.equal(mostPerKey, 1)
  })

  test('the smaller priority runs first, then the job that was due first', async () => {
    const order: string[] = []
    world().engine.queue('one', { concurrency: 1 })
    define(world(), (job, name: string) => job.step('work', () => void order.push(name)))
    const { engine, clock } = world()
    const now = clock.nowMs()
    await engine.start('job', 'later', { queue: 'one', notBeforeMs: now + 2 })
    await engine.start('job', 'sooner', { queue: 'one', notBeforeMs: now + 1 })
    await engine.start('job', 'urgent', { queue: 'one', notBeforeMs: now + 3, priority: 1 })
    await world().settle()
    assert.deepEqual(order, [])
    await pass(world(), 3)
    assert.deepEqual(order, ['urgent', 'sooner', 'later'])
  })

  test('an unknown kind, an unknown queue and an unknown job are refused by name', async () => {
    define(world(), async () => null)
    await assert.rejects(world().engine.start('jbo', null), { code: 'job_kind_unknown' })
    await assert.rejects(world().engine.start('job', null, { queue: 'fast' }), { code: 'job_queue_unknown' })
    await assert.rejects(world().engine.cancel('nobody'), { code: 'job_unknown' })
    await assert.rejects(world().engine.signal('nobody', 'go'), { code: 'job_unknown' })
  })
}

function describeOwners(world: () => EngineWorld): void {
  test('a silent owner loses its job when the lease ran out, and can then record nothing', async () => {
    const other = await world().second()
    const gates = { first: new Gate(), second: new Gate() }
    const epochs: number[] = []
    const define = (each: Pick<EngineWorld, 'engine'>, name: keyof typeof gates): void => {
      each.engine.define({
        name: 'job',
        version: 1,
        run: (job) =>
          job.step('write', async ({ epoch }) => {
            epochs.push(epoch)
            await gates[name].pass()
            return name
          }),
      })
    }
    define(world(), 'first')
    define(other, 'second')
    const succeeded = async (): Promise<number> =>
      (await world().engine.events(0, id)).filter(({ kind }) => kind === 'step_succeeded').length
    const id = await world().engine.start('job', null)
    await world().round()
    await gates.first.entered
    world().clock.advance(14_000)
    await other.round()
    assert.equal(epochs.length, 1, 'the lease holds for 15 s')
    world().clock.advance(2000)
    await other.round()
    await gates.second.entered
    gates.first.open()
    await world().settle()
    const early = await succeeded()
    gates.second.open()
    await other.settle()
    assert.equal(early, 0, 'the first owner ended its step while the second one ran: nothing was recorded')
    const job = await jobOf(world(), id)
    assert.deepEqual([job.status, job.output], ['succeeded', 'second'])
    assert.ok(epochs[1] !== undefined && epochs[0] !== undefined && epochs[1] > epochs[0])
    assert.equal(await succeeded(), 1)
  })

  test('a job that was lost and comes back is not run beside its own last life', async () => {
    const other = await world().second()
    const gate = new Gate()
    let [running, most] = [0, 0]
    const stubborn = (job: JobContext) =>
      job.step('stubborn', async () => {
        most = Math.max(most, (running += 1))
        await gate.pass()
        running -= 1
      })
    world().engine.define({ name: 'job', version: 1, run: stubborn })
    other.engine.define({
      name: 'job',
      version: 1,
      run: (job) => job.step('stubborn', ({ signal }) => new Gate().pass(signal)),
    })
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    world().clock.advance(16_000)
    await other.round()
    await other.engine.stop()
    for (let n = 0; n < 3; n += 1) {
      world().clock.advance(2000)
      await world().round()
    }
    gate.open()
    await pass(world(), 2000)
    assert.equal((await jobOf(world(), id)).status, 'succeeded')
    assert.equal(most, 1)
  })

  test('a lease that is renewed is not taken', async () => {
    const other = await world().second()
    const gate = new Gate()
    define(world(), (job) => job.step('write', () => gate.pass()))
    other.engine.define({ name: 'job', version: 1, run: () => assert.fail('it was taken') })
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    for (let n = 0; n < 10; n += 1) {
      world().clock.advance(5000)
      await world().round()
      await other.settle()
    }
    gate.open()
    await world().settle()
    assert.equal((await jobOf(world(), id)).status, 'succeeded')
  })

  test('an engine that stops gives its jobs back at once, and the interrupted step does not count as crashed', async () => {
    const other = await world().second()
    const gate = new Gate()
    const reasons: string[] = []
    const run = (hold: boolean) => (job: JobContext) =>
      job.step('copy', async ({ signal, attempt }) => {
        signal.addEventListener('abort', () => reasons.push((signal.reason as { code: string }).code))
        if (hold) await gate.pass(signal)
        return attempt
      })
    world().engine.define({ name: 'job', version: 1, run: run(true) })
    other.engine.define({ name: 'job', version: 1, run: run(false) })
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    await world().engine.stop()
    assert.deepEqual(reasons, ['engine_stopping'])
    assert.equal((await jobOf(world(), id)).status, 'queued')
    await other.settle()
    const job = await jobOf(other, id)
    assert.deepEqual([job.status, job.output], ['succeeded', 2])
  })

  test('a cancellation from another process reaches the owner', async () => {
    const other = await world().second()
    const gate = new Gate()
    define(world(), (job) => job.step('copy', ({ signal }) => gate.pass(signal)))
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    await other.engine.cancel(id, 'from elsewhere')
    await world().round()
    await world().settle()
    assert.equal((await jobOf(world(), id)).status, 'cancelled')
  })
}

function describeVersions(world: () => EngineWorld): void {
  test('a job in flight keeps the version and the flags that it was created with', async () => {
    const { engine } = world()
    engine.define({ name: 'job', version: 1, run: (job) => job.sleep('s', 1000).then(() => 'old') })
    const old = await engine.start('job', null)
    await world().settle()
    engine.define({
      name: 'job',
      version: 2,
      flags: { 1: 'The manifest is sealed before the bitmap is dropped.' },
      run: async (job) => (job.has(1) ? 'new' : 'wrong'),
    })
    const fresh = await engine.start('job', null)
    await pass(world(), 1000)
    assert.equal((await jobOf(world(), old)).output, 'old')
    assert.equal((await jobOf(world(), fresh)).output, 'new')
  })

  test('a job of a version that this process does not know waits for one that does', async () => {
    const other = await world().second()
    other.engine.define({ name: 'job', version: 2, run: async () => 'known' })
    define(world(), async () => 'never')
    const id = await other.engine.start('job', null)
    await world().settle()
    assert.equal((await jobOf(world(), id)).status, 'queued')
    await other.settle()
    assert.equal((await jobOf(world(), id)).output, 'known')
  })

  test('a job created before a flag existed does not have it', async () => {
    const other = await world().second()
    const flags = { 1: 'Children are named by disk UUID, no longer by LUN.' }
    define(world(), async () => 'never runs here')
    other.engine.define({ name: 'job', version: 1, flags, run: async (job) => job.has(1) })
    const id = await world().engine.start('job', null)
    await other.settle()
    assert.equal((await jobOf(world(), id)).output, false)
  })

  test('history is forgotten with all that belongs to it, but not a child whose parent goes on', async () => {
    const { engine, clock } = world()
    define(world(), (job) => job.step('leaf', () => 1), 'leaf')
    define(world(), async (job) => {
      await job.child('child', 'leaf', null)
      await job.waitForSignal('end')
    })
    const alone = await engine.start('leaf', null)
    const parent = await engine.start('job', null)
    await world().settle()
    clock.advance(1000)
    assert.equal(await engine.forgetHistory(clock.nowMs()), 1)
    assert.equal(await engine.get(alone), undefined)
    assert.deepEqual(await engine.steps(alone), [])
    assert.deepEqual(await engine.events(0, alone), [])
    await engine.signal(parent, 'end')
    await world().settle()
    clock.advance(1)
    assert.equal(await engine.forgetHistory(clock.nowMs()), 2)
  })

  test('events tell the story of a job in order', async () => {
    define(world(), (job) => job.step('work', () => 1))
    const id = await world().engine.start('job', null)
    await world().settle()
    const kinds: string[] = []
    for await (const event of world().engine.tail(id)) kinds.push(event.kind)
    assert.deepEqual(kinds, ['created', 'claimed', 'step_begun', 'step_succeeded', 'succeeded'])
  })
}
