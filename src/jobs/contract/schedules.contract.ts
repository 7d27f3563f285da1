/** The contract of schedules: once per slot, catching up once, never over itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { define, type EngineWorld, jobOf, pass } from './world.contract.ts'

const HOUR_MS = 3_600_000
const NIGHTLY = { name: 'nightly', cron: '30 2 * * *', timeZone: 'Europe/Berlin', job: 'job', input: { policy: 7 } }

/** An instant of UTC. */
// oxlint-disable-next-line no-restricted-globals -- reads a date that is written here, no clock
const at = (iso: string): number => Date.parse(iso)

/** Moves the clock to an instant of UTC. */
async function passUntil(world: EngineWorld, iso: string): Promise<void> {
  await pass(world, at(iso) - world.clock.nowMs())
}

export function describeSchedules(world: () => EngineWorld): void {
  test('a slot runs once although two engines look, in the schedule’s own time zone', async () => {
    const other = await world().second()
    define(world(), (_job, input) => Promise.resolve(input))
    define(other as EngineWorld, (_job, input) => Promise.resolve(input))
    world().clock.jumpTo(at('2026-06-30T12:00:00Z'))
    await world().engine.schedule(NIGHTLY)
    await other.engine.schedule(NIGHTLY)
    await passUntil(world(), '2026-07-01T00:29:59Z')
    assert.equal((await world().engine.list()).length, 0)
    world().clock.advance(1000)
    await Promise.all([world().round(), other.round()])
    await Promise.all([world().settle(), other.settle()])
    const jobs = await world().engine.list()
    assert.equal(jobs.length, 1)
    assert.equal(jobs[0]?.id, `nightly@${at('2026-07-01T00:30:00Z')}`)
    assert.deepEqual(jobs[0]?.output, { policy: 7 })
  })

  test('over the changes of summer time each night has one slot', async () => {
    define(world(), async () => null)
    world().clock.jumpTo(at('2026-03-28T12:00:00Z'))
    await world().engine.schedule(NIGHTLY)
    for (let hours = 0; hours < 48; hours += 1) await pass(world(), HOUR_MS)
    const spring = (await world().engine.list()).map(({ id }) => Number(id.split('@')[1]))
    assert.deepEqual(spring.toReversed(), [at('2026-03-29T01:00:00Z'), at('2026-03-30T00:30:00Z')])
  })

  test('in the night that has 02:30 twice it runs once', async () => {
    define(world(), async () => null)
    world().clock.jumpTo(at('2026-10-24T12:00:00Z'))
    await world().engine.schedule(NIGHTLY)
    for (let hours = 0; hours < 24; hours += 1) await pass(world(), HOUR_MS)
    assert.equal((await world().engine.list()).length, 1)
  })

  for (const catchUp of ['once', 'skip'] as const) {
    test(`after three days of downtime ${catchUp === 'once' ? 'one' : 'no'} slot is made up for`, async () => {
      define(world(), async () => null)
      world().clock.jumpTo(at('2026-06-30T12:00:00Z'))
      await world().engine.schedule({ ...NIGHTLY, catchUp })
      await passUntil(world(), '2026-07-03T12:00:00Z')
      assert.equal((await world().engine.list()).length, catchUp === 'once' ? 1 : 0)
      const [view] = await world().engine.schedules()
      assert.equal(view?.skipped, catchUp === 'once' ? 2 : 3)
      assert.equal(view?.nextMs, at('2026-07-04T00:30:00Z'))
      await passUntil(world(), '2026-07-04T00:30:10Z')
      assert.equal((await world().engine.list()).length, catchUp === 'once' ? 2 : 1)
    })
  }

  test('a slot is passed over while the job of an earlier one goes on', async () => {
    define(world(), (job) => job.waitForSignal('end'))
    world().clock.jumpTo(at('2026-06-30T12:00:00Z'))
    await world().engine.schedule(NIGHTLY)
    await passUntil(world(), '2026-07-01T00:30:00Z')
    await passUntil(world(), '2026-07-02T00:30:00Z')
    const [running, ...more] = await world().engine.list()
    assert.ok(running !== undefined && more.length === 0)
    await world().engine.signal(running.id, 'end')
    await world().settle()
    await passUntil(world(), '2026-07-03T00:30:00Z')
    assert.equal((await world().engine.list()).length, 2)
    assert.equal((await jobOf(world(), running.id)).status, 'succeeded')
    assert.equal((await world().engine.schedules())[0]?.skipped, 1)
  })

  test('times that make no sense are refused by name', async () => {
    define(world(), async () => null)
    await assert.rejects(world().engine.schedule({ ...NIGHTLY, cron: '61 2 * * *' }), { code: 'cron_invalid' })
    await assert.rejects(world().engine.schedule({ ...NIGHTLY, timeZone: 'Europe/Atlantis' }), {
      code: /^(cron_invalid|time_zone_unknown)$/,
    })
  })
}
