/** Backups of a running guest as durable jobs, while the processes that make them are killed. */
import assert from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB, must, SECTOR_BYTES } from '#base'
import { isObject, type JsonObject } from '#engine/hypervisor'
import { backupTask } from '#jobs'
import { processState, systemClock, systemRandom } from '#runtime'
import type { JobSummary, JobView, ListedPoint, StepView } from '#server'
import type { PointJson } from '../cli/command-line.ts'
import { until } from '../jobs/processes.ts'
import type { RunningGuest } from '../rig/guest-process.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { assertSectors, sectorData } from '../rig/sector-data.ts'
import { ServedHome } from './served-home.ts'

const DATA_MIB = 48
const SECTORS = (DATA_MIB * MIB) / SECTOR_BYTES

type Shown = Readonly<{ job: JobView; steps: readonly StepView[] }>
type Listed = Readonly<{ repositories: readonly unknown[]; points: readonly ListedPoint[] }>
type Output = Readonly<{ point: ListedPoint; mode: string }>

/** Writes the whole data disk through the block graph, as the guest would. */
async function writeData(guest: RunningGuest, version: number): Promise<void> {
  const pattern = join(guest.paths.folder, 'pattern')
  await writeFile(pattern, sectorData(1, 0, SECTORS, version))
  const line = `qemu-io -d /machine/peripheral/vd1/virtio-backend "write -q -s ${pattern} 0 ${DATA_MIB}M"`
  const said = await guest.rig((qmp) => qmp.execute('human-monitor-command', { 'command-line': line }))
  assert.equal(said, '')
  await rm(pattern)
}

/** Nodes, what devices read, exports and jobs: equal before and after a backup. */
function graphOf(guest: RunningGuest): Promise<unknown> {
  return guest.rig(async (qmp) => {
    const nodes = (await qmp.execute('query-named-block-nodes', { flat: true })) as JsonObject[]
    const drives = (await qmp.execute('query-block')) as JsonObject[]
    return {
      nodes: nodes.map((node) => `${String(node['node-name'])} ${String(node['drv'])} ${String(node['file'])}`).sort(),
      drives: drives.map(({ qdev, inserted }) => [qdev, isObject(inserted) ? inserted['node-name'] : null]),
      exports: await qmp.execute('query-block-exports'),
      jobs: await qmp.execute('query-block-jobs'),
    }
  })
}

async function assertUntouched(guest: RunningGuest, graph: unknown, home: ServedHome): Promise<void> {
  assert.deepEqual(await graphOf(guest), graph, 'nothing is left in QEMU')
  const status = await guest.rig((qmp) => qmp.execute('query-status'))
  assert.equal(isObject(status) ? status['status'] : undefined, 'running')
  assert.equal(await guest.run('echo alive'), 'alive\n')
  assert.deepEqual(await home.instants(), [], 'no instant is left open')
}

async function startBackup(home: ServedHome, guest: RunningGuest): Promise<string> {
  const { qmp, agent } = guest.paths
  const args = ['--store', 'store', '--machine', 'm', '--qmp', qmp, '--qga', agent]
  const { id } = await home.run<{ id: string }>('job', 'start', 'backup', ...args)
  return id
}

const isOpen = (home: ServedHome) => async (): Promise<boolean> => (await home.instants()).includes('open')

async function assertRestores(home: ServedHome, point: string, version: number): Promise<void> {
  await home.run('repo', 'restore', 'store', point, '--to', point)
  assertSectors(await readFile(join(home.folder, point, 'disk-1.raw')), 1, 0, () => version)
}

test('Backup jobs survive kill -9 of the worker and of the server, and a lost catalog is filled again', async (t) => {
  await using guest = await startMicroGuest({ disks: [{ sizeMib: DATA_MIB }] })
  await using home = await ServedHome.make()
  await home.run('repo', 'init', 'store')
  await writeData(guest, 1)
  const graph = await graphOf(guest)
  await home.serve()

  await t.test('kill -9 of the worker in the middle: another one makes the point, the guest runs on', async () => {
    const worker = await home.worker()
    const id = await startBackup(home, guest)
    await until('the instant is open', isOpen(home))
    process.kill(worker.pid, 'SIGKILL')
    const job = await home.run<JobView>('job', 'watch', id)
    assert.equal(job.status, 'succeeded')
    assert.notEqual((await home.worker()).pid, worker.pid)
    const { steps } = await home.run<Shown>('job', 'show', id)
    const step = must(
      steps.find(({ name }) => name === 'back-up'),
      'The job backs up',
    )
    assert.ok(step.attempts >= 2, 'it was begun again')
    await assertUntouched(guest, graph, home)
    const { point } = job.output as Output
    assert.deepEqual(
      (await home.run<PointJson[]>('repo', 'list', 'store')).map((made) => made.id),
      [point.pointId],
      'one job makes one point',
    )
    await assertRestores(home, point.pointId, 1)
  })

  await t.test('kill -9 of the server in the middle: the worker goes on, the next one completes the job', async () => {
    await writeData(guest, 2)
    const worker = await home.worker()
    const id = await startBackup(home, guest)
    await until('the instant is open', isOpen(home))
    await home.killServe()
    assert.equal(processState(worker), 'alive')
    await home.serve()
    const job = await home.run<JobView>('job', 'watch', id)
    assert.equal(job.status, 'succeeded')
    assert.equal((await home.worker()).pid, worker.pid)
    await assertUntouched(guest, graph, home)
    const { point, mode } = job.output as Output
    assert.equal(mode, 'incremental', 'changes were tracked since the point of the first job')
    assert.equal((await home.run<PointJson[]>('repo', 'list', 'store')).length, 2)
    await assertRestores(home, point.pointId, 2)
  })

  await t.test('a task that is asked again after its result was lost gives its point and makes no other', async () => {
    const [job] = await home.run<JobSummary[]>('job', 'list', '--limit', '1')
    const shown = await home.run<Shown>('job', 'show', must(job, 'There are jobs').id)
    const task = backupTask({
      clock: systemClock,
      random: systemRandom,
      writer: 'test',
      cacheFolder: join(home.folder, 'cache'),
      stateFolder: home.home,
      warn: () => assert.fail('every instant was recovered'),
    })
    const key = { job: shown.job.id, step: 'back-up', epoch: 99 }
    const context = {
      key,
      epoch: () => 99,
      progress: () => undefined,
      milestone: () => undefined,
      recorded: () => Promise.resolve(),
      reached: new Set<string>(),
      signal: new AbortController().signal,
    }
    const { point } = (await task(shown.job.input, context)) as Output
    assert.deepEqual(point, (shown.job.output as Output).point)
    assert.equal((await home.run<PointJson[]>('repo', 'list', 'store')).length, 2)
  })

  await t.test('a cancelled job lets go of the guest', async () => {
    await writeData(guest, 3)
    const id = await startBackup(home, guest)
    await until('the instant is open', isOpen(home))
    await home.run('job', 'cancel', id, '--reason', 'wrong machine')
    const { code, message } = await home.fail('job', 'watch', id)
    assert.deepEqual([code, message], ['cancelled', 'The job was cancelled: wrong machine.'])
    await assertUntouched(guest, graph, home)
    assert.equal((await home.run<PointJson[]>('repo', 'list', 'store')).length, 2)
  })

  await t.test('the catalog is deleted: a new one is filled from the repository', async () => {
    const before = await home.run<Listed>('catalog', 'list')
    assert.equal(before.points.length, 2)
    await home.run('stop')
    for (const end of ['', '-wal', '-shm']) await rm(join(home.home, `catalog.sqlite${end}`), { force: true })
    await home.serve()
    assert.deepEqual(await home.run<Listed>('catalog', 'list'), { repositories: [], points: [] })
    const job = await home.run<JobView>('catalog', 'rebuild', '--store', 'store')
    assert.equal(job.status, 'succeeded')
    assert.deepEqual((await home.run<Listed>('catalog', 'list')).points, before.points)
  })
})
