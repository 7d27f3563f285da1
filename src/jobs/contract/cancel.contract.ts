/** The contract of cancellation and cleanup. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BaseError } from '#base'
import type { JobContext } from '../port.ts'
import { define, type EngineWorld, Gate, jobOf, pass } from './world.contract.ts'

export function describeCancel(world: () => EngineWorld): void {
  test('a queued job that never ran is cancelled at once', async () => {
    define(world(), (job) => job.step('never', () => assert.fail('it ran')))
    const id = await world().engine.start('job', null, { notBeforeMs: world().clock.nowMs() + 1000 })
    assert.equal(await world().engine.cancel(id, 'not needed'), true)
    assert.equal((await jobOf(world(), id)).status, 'cancelled')
    await pass(world(), 2000)
    assert.equal(await world().engine.cancel(id), false)
  })

  test('a running step is told, then cleanup runs newest first and is not told', async () => {
    const gate = new Gate()
    const order: string[] = []
    define(world(), async (job) => {
      job.cleanup('thaw', ({ signal }) => void order.push(`thaw ${signal.aborted}`))
      job.cleanup('drop bitmap', () => void order.push('drop bitmap'))
      await job.step('copy', ({ signal }) => gate.pass(signal))
      order.push('went on')
    })
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    await world().engine.cancel(id, 'wrong disk')
    await world().settle()
    const job = await jobOf(world(), id)
    assert.equal(job.status, 'cancelled')
    assert.equal(job.error?.code, 'cancelled')
    assert.deepEqual(job.error?.facts, { reason: 'wrong disk' })
    assert.deepEqual(order, ['drop bitmap', 'thaw false'])
  })

  for (const [where, wait] of [
    ['sleeping', (job: JobContext) => job.sleep('long', 1e9)],
    ['waiting', (job: JobContext) => job.waitForSignal('never')],
  ] as const) {
    test(`a ${where} job wakes to clean up`, async () => {
      let cleaned = 0
      define(world(), async (job) => {
        job.cleanup('undo', () => void (cleaned += 1))
        await wait(job)
        assert.fail('it went on')
      })
      const id = await world().engine.start('job', null)
      await world().settle()
      assert.equal((await jobOf(world(), id)).status, where)
      await world().engine.cancel(id)
      await world().settle()
      assert.equal((await jobOf(world(), id)).status, 'cancelled')
      assert.equal(cleaned, 1)
    })
  }

  test('a cancelled parent waits for its child to clean up before it does', async () => {
    const order: string[] = []
    define(
      world(),
      async (job) => {
        job.cleanup('child undo', () => void order.push('child'))
        await job.waitForSignal('never')
      },
      'leaf',
    )
    define(world(), async (job) => {
      job.cleanup('parent undo', () => void order.push('parent'))
      await job.child('leaf', 'leaf', null)
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    await world().engine.cancel(id)
    await world().settle()
    assert.deepEqual(order, ['child', 'parent'])
    assert.equal((await jobOf(world(), id)).status, 'cancelled')
    assert.equal((await jobOf(world(), `${id}.leaf`)).status, 'cancelled')
  })

  test('a workflow that swallows its cancellation can do no further step and ends cancelled', async () => {
    const gate = new Gate()
    define(world(), async (job) => {
      await job.step('copy', ({ signal }) => gate.pass(signal)).catch(() => 'swallowed')
      await job.step('go on', () => assert.fail('it went on')).catch(() => 'swallowed')
      return 'all is well'
    })
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    await world().engine.cancel(id)
    await world().settle()
    assert.equal((await jobOf(world(), id)).status, 'cancelled')
  })

  test('a step that finished in spite of the cancellation is recorded, and the job ends as it does', async () => {
    const gate = new Gate()
    define(world(), (job) =>
      job.step('commit', async () => {
        await gate.pass()
        return 'committed'
      }),
    )
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    await world().engine.cancel(id)
    await world().round()
    gate.open()
    await world().settle()
    const job = await jobOf(world(), id)
    assert.deepEqual([job.status, job.output], ['succeeded', 'committed'])
  })

  test('cleanup that is to run always runs after success, the other kind does not; its retries are durable', async () => {
    const order: string[] = []
    define(world(), async (job) => {
      job.cleanup('undo', () => void order.push('undo'))
      job.cleanup(
        'close',
        ({ attempt }) => {
          order.push(`close ${attempt}`)
          if (attempt === 1) throw new BaseError('timed_out', 'Slow.', { retry: 'later' })
        },
        { when: 'always' },
      )
      return job.step('work', () => 'done')
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.equal((await jobOf(world(), id)).status, 'sleeping')
    await pass(world(), 1000)
    assert.deepEqual(order, ['close 1', 'close 2'])
    assert.equal((await jobOf(world(), id)).output, 'done')
  })
}
