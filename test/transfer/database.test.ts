/**
 * A database under load is backed up again and again with the guest's pre- and post-scripts, by the command line as a user runs it.
 * Every point, restored, holds a clean database with every transaction that the guest had told to be durable before, and no
 * transaction under way. And a point whose backup was killed between the scripts leaves the guest at work.
 */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '#runtime'
import { ended, type PointJson, runJson, start, testFolder } from '../cli/command-line.ts'
import { until } from '../hypervisor/blank-machine.ts'
import type { RunningGuest } from '../rig/guest-process.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { makeSqliteDisk } from '../rig/sqlite-disk.ts'
import { checkDatabase, SqliteLoad } from '../rig/sqlite-load.ts'

const POINTS = 10

type Taken = Readonly<{ point: PointJson; committedBefore: number; committedAfter: number }>

const folder = await testFolder()
let guest: RunningGuest
let load: SqliteLoad

const backup = (): string[] =>
  `repo backup store --machine db --strict --consistency app --qmp ${guest.paths.qmp} --qga ${guest.paths.agent}`.split(
    ' ',
  )

async function take(): Promise<Taken> {
  const committedBefore = await load.committed()
  const point = await runJson<PointJson>(folder, backup())
  return { point, committedBefore, committedAfter: await load.committed() }
}

/** Restores the point and says what its database holds. */
async function checkPoint({ point, committedBefore, committedAfter }: Taken): Promise<number> {
  await runJson(folder, ['repo', 'restore', 'store', point.id, '--to', point.id])
  const scratch = join(folder, `check-${point.id}`)
  await mkdir(scratch)
  const { transactions, journal } = await checkDatabase(join(folder, point.id, 'disk-1.raw'), scratch)
  assert.ok(!journal, 'No transaction was under way')
  assert.ok(transactions >= committedBefore, `${transactions} transactions, but ${committedBefore} were durable before`)
  assert.ok(transactions <= committedAfter, `${transactions} transactions, but only ${committedAfter} afterwards`)
  return transactions
}

describe('A database under load', () => {
  before(async () => {
    const disk = join(folder, 'sqlite.raw')
    await makeSqliteDisk(disk)
    guest = await startMicroGuest({ disks: [{ path: disk, format: 'raw' }] })
    load = await SqliteLoad.start(guest, 'vdb')
    await runJson(folder, ['repo', 'init', 'store'])
  })
  after(() => guest.destroy())

  it(`is whole in each of ${POINTS} application-consistent points, with every transaction of before`, async () => {
    const taken: Taken[] = []
    for (let i = 0; i < POINTS; i += 1) {
      await load.untilCommitted((await load.committed()) + 5)
      taken.push(await take())
    }
    assert.deepEqual(
      taken.map(({ point }) => point.consistency),
      Array<string>(POINTS).fill('application'),
    )
    assert.equal((await load.quieted()).join(' '), Array<string>(POINTS).fill('quiet awake').join(' '))
    const found: number[] = []
    for (const one of taken) found.push(await checkPoint(one))
    console.log(`transactions in the points: ${found.join(' ')}`)
    assert.deepEqual(found, [...new Set(found)], 'Work went on between the points')
  })

  it('goes on when its backup is killed between the scripts, and the next point is whole', async () => {
    const quietedBefore = (await load.quieted()).length
    const child = start(folder, backup())
    const end = ended(child)
    await until('it is quieted', async () => (await load.quieted()).length > quietedBefore)
    child.kill('SIGKILL')
    await end
    const diedMs = systemClock.monotonicMs()
    await until('it is awake', async () => (await load.quieted()).at(-1) === 'awake')
    const now = await load.committed()
    await load.untilCommitted(now + 2)
    console.log(`at work again ${(systemClock.monotonicMs() - diedMs).toFixed(0)} ms after the backup's death`)
    await checkPoint(await take())
  })
})
