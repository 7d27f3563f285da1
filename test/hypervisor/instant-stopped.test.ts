import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { KIB, MIB, toHex } from '#base'
import { checkCommand, runCommand, systemRandom } from '#runtime'
import { openRunningInstant, openStoppedInstant, recoverInstants, type TrackingRequest } from '#engine/hypervisor'
import { BlankMachine } from './blank-machine.ts'
import { apply, assertSameDisk } from './instant-reader.ts'
import type { OwnerRequest } from './instant-owner.ts'

const TRACKER = 'a1b2c3d4'
const OWNER = join(import.meta.dirname, 'instant-owner.ts')

let machine: BlankMachine | undefined

function track(committed: string | undefined): TrackingRequest & { next: string } {
  const next = toHex(systemRandom.bytes(6))
  return { tracker: TRACKER, next, committed: { 'disk-0': committed, 'disk-1': committed }, granularityBytes: 64 * KIB }
}

async function contentOf(vm: BlankMachine, lun: number): Promise<Buffer> {
  const path = join(vm.folder, 'content')
  await checkCommand('qemu-img', [
    'convert',
    '-U',
    '-f',
    vm.disks[lun]?.format ?? 'qcow2',
    '-O',
    'raw',
    vm.pathOf(lun),
    path,
  ])
  return readFile(path)
}

const stopped = (vm: BlankMachine) => ({ description: vm.describe(), stoppedCleanly: true })

/** Starting the machine as its owner would, while somebody holds a disk. */
async function startFails(vm: BlankMachine, lun: number): Promise<string> {
  const drive = `file=${vm.pathOf(lun)},format=${vm.disks[lun]?.format ?? 'qcow2'},if=virtio`
  const result = await runCommand(
    'qemu-system-x86_64',
    ['-accel', 'tcg', '-nodefaults', '-display', 'none', '-S', '-drive', drive],
    { timeoutMs: 20_000 },
  )
  assert.notEqual(result.exitCode, 0)
  return result.stderr
}

async function assertNothingLeft(vm: BlankMachine): Promise<void> {
  const host = vm.host()
  for (const folder of [host.journalFolder, host.runFolder]) assert.deepEqual(await readdir(folder), [])
}

/** A machine with a committed generation, changes after it, and stopped. */
async function stoppedWithChanges(copies: Buffer[]): Promise<{ vm: BlankMachine; base: string }> {
  const vm = await BlankMachine.create([{}, {}])
  machine = vm
  const tracking = track(undefined)
  const full = await openRunningInstant(vm.host(), vm.running(), { consistency: 'crash', tracking })
  for (const disk of full.disks) await apply(vm.folder, disk, copies)
  await full.commit()
  for (const lun of [0, 1]) await vm.write(lun, (1 + lun) * MIB, 3 * 512)
  await vm.stop()
  return { vm, base: tracking.next }
}

/** The started machine's next instant knows every change since `committed`. */
async function assertTracked(vm: BlankMachine, committed: string, copies: readonly Buffer[]): Promise<void> {
  await vm.start()
  for (const lun of [0, 1]) await vm.write(lun, 4 * MIB, 512)
  const instant = await openRunningInstant(vm.host(), vm.running(), {
    consistency: 'crash',
    tracking: track(committed),
  })
  const attempt = [...copies]
  for (const disk of instant.disks) {
    assert.deepEqual(disk.changes, { kind: 'since', generation: committed })
    await apply(vm.folder, disk, attempt)
    assertSameDisk(attempt[disk.lun], vm.model[disk.lun], `disk ${disk.lun}`)
  }
  await instant.commit()
}

describe('openStoppedInstant()', () => {
  afterEach(async () => {
    await machine?.remove()
    machine = undefined
  })

  it('gives the images themselves and keeps the machine from starting until it is closed', async () => {
    const vm = await BlankMachine.create([{}, { format: 'raw' }])
    machine = vm
    await vm.stop()
    const instant = await openStoppedInstant(vm.host(), stopped(vm), { consistency: 'filesystem' })
    assert.equal(instant.consistency, 'filesystem')
    for (const disk of instant.disks) {
      assert.deepEqual(disk.source, { kind: 'image', path: vm.pathOf(disk.lun), format: disk.format })
      assertSameDisk(await contentOf(vm, disk.lun), vm.model[disk.lun], `disk ${disk.lun}`)
      assert.match(await startFails(vm, disk.lun), /Failed to get "write" lock/)
    }
    await instant.check()
    await assert.rejects(
      openStoppedInstant(vm.host(), stopped(vm), { consistency: 'crash', tracking: track(undefined) }),
      { code: 'disk_in_use' },
    )
    await instant.commit()
    await instant.commit()
    await assertNothingLeft(vm)
    await vm.start()
    assert.equal(await vm.status(), 'running')
  })

  it('reads the changes that the machine made before it stopped, and hands tracking on to its next run', async () => {
    const copies: Buffer[] = []
    const { vm, base } = await stoppedWithChanges(copies)
    const tracking = track(base)
    const instant = await openStoppedInstant(vm.host(), stopped(vm), { consistency: 'filesystem', tracking })
    for (const disk of instant.disks) {
      assert.deepEqual(disk.changes, { kind: 'since', generation: base })
      const dirtyBytes = await apply(vm.folder, disk, copies)
      assert.equal(dirtyBytes, 64 * KIB)
      assertSameDisk(copies[disk.lun], vm.model[disk.lun], `disk ${disk.lun}`)
    }
    await instant.commit()
    await assertNothingLeft(vm)
    await assertTracked(vm, tracking.next, copies)
  })

  it('gives tracking back when it is aborted', async () => {
    const copies: Buffer[] = []
    const { vm, base } = await stoppedWithChanges(copies)
    const instant = await openStoppedInstant(vm.host(), stopped(vm), {
      consistency: 'filesystem',
      tracking: track(base),
    })
    await instant.abort('the test says so')
    await assertNothingLeft(vm)
    await assertTracked(vm, base, copies)
  })

  it('refuses a machine that runs, without touching its images', async () => {
    const vm = await BlankMachine.create([{}])
    machine = vm
    await assert.rejects(
      openStoppedInstant(vm.host(), stopped(vm), { consistency: 'crash', tracking: track(undefined) }),
      { code: 'disk_in_use' },
    )
    assert.deepEqual(await vm.bitmaps(0), [])
  })

  const CASES = [
    { dieAt: 'prepare', end: 'commit', inLog: false },
    { dieAt: 'prepare.bitmaps', end: 'commit', inLog: false },
    { dieAt: 'prepare.daemon', end: 'commit', inLog: false },
    { dieAt: 'open', end: 'commit', inLog: false },
    { dieAt: 'open', end: 'commit', inLog: true },
    { dieAt: 'commit', end: 'commit', inLog: true },
    { dieAt: 'dismantled', end: 'commit', inLog: true },
    { dieAt: 'abort', end: 'abort', inLog: false },
    { dieAt: 'dismantled', end: 'abort', inLog: false },
  ] as const
  for (const { dieAt, end, inLog } of CASES) {
    it(`recovers from its owner's death at "${dieAt}" of ${end}, with the point ${inLog ? '' : 'not '}in the log`, async () => {
      const copies: Buffer[] = []
      const { vm, base } = await stoppedWithChanges(copies)
      const atInstant = vm.model.map((bytes) => Buffer.from(bytes))
      const tracking = track(base)
      const { clock: _clock, random: _random, ...host } = vm.host()
      const request: OwnerRequest = {
        dieAt,
        end,
        tracking,
        machine: vm.running(),
        host,
        consistency: 'filesystem',
        stopped: true,
      }
      const child = spawn(process.execPath, [OWNER, JSON.stringify(request)], {
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL'])
      const { clock, journalFolder } = vm.host()
      const recovered = await recoverInstants({ clock, journalFolder, isCommitted: () => Promise.resolve(inLog) })
      assert.deepEqual(
        recovered.map((one) => one.error ?? one.outcome),
        [inLog ? 'committed' : 'aborted'],
      )
      await assertNothingLeft(vm)
      await assertTracked(vm, inLog ? tracking.next : base, inLog ? atInstant : copies)
    })
  }
})
