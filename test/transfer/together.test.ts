/** Machines that are backed up as a group: one instant, a point each, all or none; whatever dies in between. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { must } from '#base'
import { MemoryDevice } from '#engine/block'
import { findWatchdog } from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import { type MemberBackup, restoreDisk } from '#engine/transfer'
import { systemClock, systemRandom } from '#runtime'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { backUpGroup, initStore, openStore, PROGRAM } from './together-world.ts'

let folder: string
let repository: Repository
let machines: readonly BlankMachine[]
let stopped: BlankMachine
let runs = 0

const storePath = (): string => join(folder, 'store')
const stateFolder = (): string => join(folder, 'state')

function membersNow(): MemberBackup[] {
  const running = machines.map((vm, i) => ({
    machine: `group/vm${i}`,
    sources: [
      {
        kind: 'machine' as const,
        name: `vm${i}`,
        sockets: { qmpSocketPath: join(vm.folder, 'instant.qmp') },
        disks: vm.disks.map((_disk, lun) => ({ diskId: `vm${i}-${lun}`, path: vm.pathOf(lun) })),
      },
    ],
  }))
  const image = {
    kind: 'image' as const,
    name: 'off',
    diskId: 'off-0',
    path: stopped.pathOf(0),
    format: 'qcow2' as const,
  }
  return [...running, { machine: 'group/off', sources: [image] }]
}

async function take(note = `run ${(runs += 1)}`, onRead?: (made: readonly PointRecord[]) => void) {
  const members = membersNow()
  const wanted = { storePath: storePath(), stateFolder: stateFolder(), members, once: note }
  return backUpGroup(repository, { ...wanted, ...(onRead !== undefined && { onRead }) })
}

/** All points are of one instant and hold what the machines hold now. */
async function assertOneInstant(points: readonly PointRecord[]): Promise<void> {
  assert.deepEqual(
    points.map(({ machine }) => machine),
    ['group/vm0', 'group/vm1', 'group/off'],
  )
  const [first] = points
  for (const { group, takenAt } of points) {
    assert.deepEqual(group, first?.group)
    assert.equal(takenAt, first?.takenAt)
    assert.ok(group !== undefined && group.skewMs >= 0 && group.name === 'shop')
    assert.deepEqual(group.machines, ['group/vm0', 'group/vm1', 'group/off'])
  }
  const models = [...machines, stopped].map(({ model }) => model)
  for (const [i, point] of points.entries()) {
    for (const disk of point.disks) {
      const device = new MemoryDevice(disk.virtualSizeBytes)
      await restoreDisk(repository, disk, { opened: device }, { store: repository.store, clock: systemClock })
      const found = Buffer.alloc(disk.virtualSizeBytes)
      await device.read(0, found)
      const expected = must(models[i]?.[disk.lun], 'A model of each disk')
      assert.ok(expected.equals(found), `disk ${disk.lun} of ${point.machine}`)
    }
  }
}

async function writeAll(at: number): Promise<void> {
  for (const vm of machines) await vm.write(0, at, 64 * 1024)
}

const madeBy = (note: string): PointRecord[] => repository.points().filter(({ notes }) => notes.includes(note))
const modes = (points: readonly PointRecord[]): string[] => points.map(({ mode }) => mode)

describe('A group of machines', () => {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hf-together-'))
    await mkdir(storePath())
    await initStore(storePath())
    repository = await openStore(storePath())
    machines = await Promise.all([BlankMachine.create([{}, { format: 'raw' }]), BlankMachine.create([{}])])
    stopped = await BlankMachine.create([{}])
    await stopped.stop()
  })
  after(async () => {
    const journal = join(stateFolder(), 'instants', repository.config.id)
    const watchdog = await findWatchdog(systemClock, journal)
    if (watchdog !== undefined) process.kill(watchdog.pid, 'SIGKILL')
    await repository.close()
    for (const vm of [...machines, stopped]) await vm.remove()
    await rm(folder, { recursive: true, force: true })
  })

  it('has a point each of one instant, first full, then of what changed, and once for each run', async () => {
    const full = await take('first')
    await assertOneInstant(full)
    assert.deepEqual(modes(full), ['full', 'full', 'full'])
    assert.deepEqual(await take('first'), full)
    await writeAll(64 * 1024)
    const next = await take()
    await assertOneInstant(next)
    assert.notEqual(next[0]?.group?.instant, full[0]?.group?.instant)
    assert.deepEqual(modes(next).slice(1), ['incremental', 'incremental'])
  })

  it('has no point of a run in which one machine was lost, and loses no tracking of the others', async () => {
    await writeAll(128 * 1024)
    const [, second] = machines
    const failing = take('lost', (made) => {
      if (made.length === 1) process.kill(must(second, 'There are two').pid, 'SIGKILL')
    })
    await assert.rejects(failing)
    await repository.log.refresh()
    assert.deepEqual(madeBy('lost'), [])
    await second?.start()
    const next = await take()
    await assertOneInstant(next)
    assert.equal(next[0]?.disks[0]?.mode, 'incremental', 'The first machine goes on from its point before')
  })

  it('begins again when it was killed between two points: those that were made are given up', async () => {
    await writeAll(192 * 1024)
    const note = `killed ${systemRandom.bytes(4).join('')}`
    const args = [PROGRAM, storePath(), stateFolder(), JSON.stringify(membersNow()), note]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL'])
    await repository.log.refresh()
    assert.equal(madeBy(note).length, 1)
    const again = await take(note)
    await assertOneInstant(again)
    await repository.log.refresh()
    assert.equal(madeBy(note).length, 3)
    assert.equal(again[1]?.disks[0]?.mode, 'incremental')
    assert.equal(again[0]?.disks[0]?.mode, 'incremental')
    for (const vm of machines) assert.equal(await vm.status(), 'running')
  })
})
