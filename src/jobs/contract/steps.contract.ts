/** The contract of steps: run once, recorded once, retried by verdict, bounded. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isHoldfastError } from '#base'
import type { StepContext } from '../port.ts'
import { define, type EngineWorld, Flaky, Gate, jobOf, pass } from './world.contract.ts'

export function describeSteps(world: () => EngineWorld): void {
  test('a job gives its output; its steps ran once, in order, and saw their values as JSON', async () => {
    const ran: string[] = []
    define(world(), async (job, input: { disk: number }) => {
      const read = await job.step('read', () => {
        ran.push('read')
        return { disk: input.disk, left: undefined }
      })
      await job.step('write', () => void ran.push('write'))
      return { read, keys: Object.keys(read) }
    })
    const id = await world().engine.start('job', { disk: 3 })
    await world().settle()
    const job = await jobOf(world(), id)
    assert.equal(job.status, 'succeeded')
    assert.deepEqual(job.output, { read: { disk: 3 }, keys: ['disk'] })
    assert.deepEqual(ran, ['read', 'write'])
  })

  test('a recorded step does not run again when the job is replayed', async () => {
    let runs = 0
    define(world(), async (job) => {
      const first = await job.step('first', () => (runs += 1))
      await job.sleep('pause', 60_000)
      return job.step('second', () => [first, runs])
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.equal((await jobOf(world(), id)).status, 'sleeping')
    await pass(world(), 59_999)
    assert.equal((await jobOf(world(), id)).status, 'sleeping')
    await pass(world(), 1)
    assert.deepEqual((await jobOf(world(), id)).output, [1, 1])
  })

  test('a milestone is on record at once, stands there once, and is known to later attempts of its step alone', async () => {
    const known: (readonly string[])[] = []
    const reach = async (step: StepContext): Promise<void> => {
      known.push(step.reached)
      await step.milestone('open', { takenAtMs: 7 })
      await step.milestone('open', { takenAtMs: 8 })
      const events = await world().engine.events(0, step.jobId)
      assert.equal(events.filter(({ kind }) => kind === 'milestone').length, 1)
      if (step.attempt === 1) throw new Flaky('store_unavailable', 'The store did not answer.', { retry: 'now' })
    }
    define(world(), async (job) => {
      await job.step('take', reach)
      return job.step('record', ({ reached }) => reached)
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.deepEqual((await jobOf(world(), id)).output, [])
    assert.deepEqual(known, [[], ['open']])
    const told = (await world().engine.events(0, id)).find(({ kind }) => kind === 'milestone')
    assert.deepEqual(told?.facts, { step: 'take', name: 'open', takenAtMs: 7 })
  })

  test('what a step waits for is waited out, however often: no attempt is counted, the job shows why, and can be cancelled', async () => {
    let isThere = false
    let failures = 0
    const run = (): string => {
      if (!isThere) throw new Flaky('host_away', 'The host is not connected.', { retry: 'later' })
      failures += 1
      if (failures < 3) throw new Flaky('worker_lost', 'The worker died.', { retry: 'now' })
      return 'came'
    }
    const retry = { attemptsMax: 3, delayMs: 10, delayMsMax: 10, waitsFor: ['host_away'] }
    define(world(), (job) => job.step('far', run, { retry }))
    const id = await world().engine.start('job', null)
    const other = await world().engine.start('job', null)
    await world().settle()
    for (let i = 0; i < 12; i += 1) await pass(world(), 30_000)
    assert.equal((await jobOf(world(), id)).status, 'sleeping')
    const [step] = await world().engine.steps(id)
    assert.deepEqual([step?.status, step?.error?.code, step?.attempts], ['retrying', 'host_away', 13])
    await world().engine.cancel(other, 'not wanted')
    await world().settle()
    assert.equal((await jobOf(world(), other)).status, 'cancelled')
    isThere = true
    await pass(world(), 30_000)
    const job = await jobOf(world(), id)
    assert.deepEqual([job.status, job.output, failures], ['succeeded', 'came', 3])
  })

  test('an error that may be retried is retried with doubling delays, each attempt with a greater epoch', async () => {
    const seen: { attempt: number; epoch: number; atMs: number }[] = []
    define(world(), (job) =>
      job.step(
        'flaky',
        ({ attempt, epoch }) => {
          seen.push({ attempt, epoch, atMs: world().clock.monotonicMs() })
          if (attempt < 4) throw new Flaky('store_unavailable', 'The store did not answer.', { retry: 'later' })
          return 'came'
        },
        { retry: { attemptsMax: 5, delayMs: 1000, delayMsMax: 1500 } },
      ),
    )
    const id = await world().engine.start('job', null)
    await world().settle()
    await pass(world(), 999)
    assert.equal(seen.length, 1)
    await pass(world(), 1)
    await pass(world(), 1500)
    await pass(world(), 1500)
    assert.deepEqual(
      seen.map(({ attempt, atMs }) => [attempt, atMs]),
      [1, 2, 3, 4].map((attempt) => [attempt, [0, 1000, 2500, 4000][attempt - 1]]),
    )
    assert.equal(new Set(seen.map(({ epoch }) => epoch)).size, 4)
    assert.deepEqual(
      seen.toSorted((a, b) => a.epoch - b.epoch),
      seen,
    )
    assert.equal((await jobOf(world(), id)).output, 'came')
  })

  test('a verdict of "now" is retried at once, "never" not at all, and a foreign error counts as "never"', async () => {
    const attempts = { now: 0, never: 0, foreign: 0 }
    define(world(), async (job) => {
      const tryIt = (name: keyof typeof attempts, error: Error) =>
        job
          .step(name, () => {
            attempts[name] += 1
            throw error
          })
          .then(undefined, (error: unknown) => (isHoldfastError(error) ? error.code : 'not ours'))
      return [
        await tryIt('now', new Flaky('contended', 'Lost the race.', { retry: 'now' })),
        await tryIt('never', new Flaky('chunk_corrupt', 'Damaged.')),
        await tryIt('foreign', new TypeError('x is not a function')),
      ]
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.deepEqual((await jobOf(world(), id)).output, ['contended', 'chunk_corrupt', 'job_failed'])
    assert.deepEqual(attempts, { now: 5, never: 1, foreign: 1 })
  })

  test('a failed job keeps code, facts, verdict and hint of its error', async () => {
    define(world(), (job) =>
      job.step('read', () => {
        throw new Flaky('chunk_missing', 'Chunk 7 is missing.', { facts: { chunk: 7 }, hint: 'Run repo verify.' })
      }),
    )
    const id = await world().engine.start('job', null)
    await world().settle()
    const { status, error } = await jobOf(world(), id)
    assert.equal(status, 'failed')
    const facts = { chunk: 7 }
    assert.deepEqual(error, {
      code: 'chunk_missing',
      message: 'Chunk 7 is missing.',
      facts,
      retry: 'never',
      hint: 'Run repo verify.',
    })
  })

  test('a step over its time is told so, and fails with timed_out once it stopped', async () => {
    const gate = new Gate()
    define(world(), (job) =>
      job.step('slow', ({ signal }) => gate.pass(signal), {
        timeoutMs: 5000,
        retry: { attemptsMax: 1, delayMs: 1, delayMsMax: 1 },
      }),
    )
    const id = await world().engine.start('job', null)
    await world().round()
    await gate.entered
    await pass(world(), 5000)
    assert.equal((await jobOf(world(), id)).error?.code, 'timed_out')
  })

  test('steps beside each other run together, and one that fails stops the others before cleanup begins', async () => {
    const gate = new Gate()
    const order: string[] = []
    define(world(), async (job) => {
      job.cleanup('undo', () => void order.push('undo'))
      await Promise.all([
        job.step('long', async ({ signal }) => {
          try {
            await gate.pass(signal)
          } finally {
            order.push('long left')
          }
        }),
        job.step('short', async () => {
          await gate.entered
          throw new Flaky('chunk_corrupt', 'Damaged.')
        }),
      ])
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.deepEqual(order, ['long left', 'undo'])
    assert.equal((await jobOf(world(), id)).error?.code, 'chunk_corrupt')
  })

  test('a value that JSON does not hold, or that is too large, fails the step by name', async () => {
    define(world(), async (job) => {
      const code = (error: unknown) => (isHoldfastError(error) ? error.code : 'not ours')
      const big = await job.step('big', () => 'x'.repeat(300_000)).then(undefined, code)
      const bigint = await job.step<unknown>('bigint', () => 7n).then(undefined, code)
      return [big, bigint]
    })
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.deepEqual((await jobOf(world(), id)).output, ['job_value_too_large', 'job_value_not_json'])
  })

  test('starting a known id again gives the job that exists', async () => {
    let runs = 0
    define(world(), (job) => job.step('once', () => (runs += 1)))
    await world().engine.start('job', null, { id: 'the-one' })
    await world().settle()
    assert.equal(await world().engine.start('job', null, { id: 'the-one' }), 'the-one')
    await world().settle()
    assert.equal(runs, 1)
  })

  test('a name used twice in one job fails it, rather than giving the first result for the second call', async () => {
    define(world(), async (job) => [await job.step('disk', () => 0), await job.step('disk', () => 1)])
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.equal((await jobOf(world(), id)).error?.code, 'job_step_repeated')
  })

  test('progress is kept with the job', async () => {
    define(world(), (job) =>
      job.step('read', ({ progress }) => {
        progress({ task: 'Reading disk 0', doneBytes: 512, totalBytes: 4096 })
        progress({ task: 'Reading disk 0', doneBytes: 4096, totalBytes: 4096 })
      }),
    )
    const id = await world().engine.start('job', null)
    await world().settle()
    assert.equal((await jobOf(world(), id)).progress?.doneBytes, 4096)
  })
}
