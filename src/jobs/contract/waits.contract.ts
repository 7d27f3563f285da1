/** The contract of waits: signals, children, sleeps. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { define, type EngineWorld, Flaky, jobOf, pass } from './world.contract.ts'

export function describeWaits(world: () => EngineWorld): void {
  test('a signal is taken in order, also one that came before the wait', async () => {
    define(world(), async (job) => {
      const first = await job.waitForSignal('approve', { as: 'first' })
      const second = await job.waitForSignal('approve', { as: 'second' })
      return [first, second]
    })
    const id = await world().engine.start('job', null)
    await world().engine.signal(id, 'approve', { by: 'operator 1' })
    await world().settle()
    assert.equal((await jobOf(world(), id)).status, 'waiting')
    await world().engine.signal(id, 'approve', { by: 'operator 2' })
    await world().settle()
    assert.deepEqual((await jobOf(world(), id)).output, [{ by: 'operator 1' }, { by: 'operator 2' }])
    await assert.rejects(world().engine.signal(id, 'approve'), { code: 'job_over' })
  })

  test('a wait that is over time gives undefined, and stays so when the signal comes later', async () => {
    define(world(), async (job) => {
      const answer = await job.waitForSignal('approve', { timeoutMs: 1000 })
      await job.sleep('more', 1000)
      return answer === undefined ? 'nobody came' : 'someone came'
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    await pass(world(), 1000)
    await world().engine.signal(id, 'approve')
    await world().settle()
    await pass(world(), 1000)
    assert.equal((await jobOf(world(), id)).output, 'nobody came')
  })

  test('children run beside each other, their outputs and errors reach the parent', async () => {
    define(
      world(),
      (job, n: number) =>
        job.step('square', () => {
          if (n === 3) throw new Flaky('machine_gone', 'Machine 3 is gone.')
          return n * n
        }),
      'square',
    )
    define(world(), (job) =>
      Promise.all(
        [1, 2, 3].map((n) =>
          job.child<number>(`machine-${n}`, 'square', n).then(undefined, (error: unknown) => (error as Flaky).code),
        ),
      ),
    )
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.deepEqual((await jobOf(world(), id)).output, [1, 4, 'machine_gone'])
    const children = await world().engine.list({ parent: id })
    assert.equal(children.length, 3)
  })

  test('a parent at rest takes no place in a queue of one', async () => {
    world().engine.queue('narrow', { concurrency: 1 })
    define(world(), (job) => job.step('work', () => 'done'), 'leaf')
    define(world(), (job) => job.child('leaf', 'leaf', null))
    const id = await world().engine.start('job', null, { queue: 'narrow' })
    await world().settle()
    assert.equal((await jobOf(world(), id)).output, 'done')
  })

  test('a sleep beside a wait ends at the earlier of the two', async () => {
    define(world(), async (job) => {
      const first = await Promise.race([
        job.sleep('patience', 5000).then(() => 'slept'),
        job.waitForSignal('go').then(() => 'went'),
      ])
      return first
    })
    const slept = await world().engine.start('job', null)
    const went = await world().engine.start('job', null)
    await world().settle()
    await world().engine.signal(went, 'go')
    await pass(world(), 4999)
    assert.equal((await jobOf(world(), went)).output, 'went')
    assert.equal((await jobOf(world(), slept)).status, 'sleeping')
    await pass(world(), 1)
    assert.equal((await jobOf(world(), slept)).output, 'slept')
  })
}
