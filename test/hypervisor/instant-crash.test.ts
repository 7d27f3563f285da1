import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { KIB, toHex } from '#base'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { findWatchdog, openRunningInstant, recoverInstants, type TrackingRequest } from '#engine/hypervisor'
import { BlankMachine, until } from './blank-machine.ts'
import { apply, assertSameDisk } from './instant-reader.ts'
import type { OwnerRequest } from './instant-owner.ts'

const TRACKER = 'a1b2c3d4'
const OWNER = join(import.meta.dirname, 'instant-owner.ts')

let machine: BlankMachine | undefined
let watchdogPid: number | undefined

function track(committed: string | undefined): TrackingRequest & { next: string } {
  const next = toHex(systemRandom.bytes(6))
  return { tracker: TRACKER, next, committed: { 'disk-0': committed, 'disk-1': committed }, granularityBytes: 64 * KIB }
}

async function runOwner(
  vm: BlankMachine,
  request: Pick<OwnerRequest, 'dieAt' | 'end' | 'tracking'>,
  watchdog: 'start' | 'elsewhere',
) {
  const { clock: _clock, random: _random, ...host } = vm.host({ watchdog })
  const whole: OwnerRequest = { ...request, machine: vm.running(), host, consistency: 'crash' }
  const child = spawn(process.execPath, [OWNER, JSON.stringify(whole)], { stdio: ['ignore', 'ignore', 'inherit'] })
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
  return signal
}

/** Takes a committed instant and keeps its bytes, so that later changes have something to build on. */
async function takeBase(vm: BlankMachine, copies: Buffer[]): Promise<string> {
  const tracking = track(undefined)
  const instant = await openRunningInstant(vm.host(), vm.running(), { consistency: 'crash', tracking })
  for (const disk of instant.disks) await apply(vm.folder, disk, copies)
  await instant.commit()
  return tracking.next
}

/** The next instant still knows every change since `committed`. */
async function assertTracked(vm: BlankMachine, committed: string, copies: readonly Buffer[]): Promise<void> {
  const tracking = track(committed)
  const instant = await openRunningInstant(vm.host(), vm.running(), { consistency: 'crash', tracking })
  const attempt = [...copies]
  for (const disk of instant.disks) {
    assert.deepEqual(disk.changes, { kind: 'since', generation: committed })
    await apply(vm.folder, disk, attempt)
    assertSameDisk(attempt[disk.lun], vm.model[disk.lun], `disk ${disk.lun}`)
  }
  await instant.commit()
}

async function assertNoFiles(vm: BlankMachine): Promise<void> {
  const host = vm.host()
  for (const folder of [host.scratchFolder, host.runFolder]) assert.deepEqual(await readdir(folder), [])
  const records = (await readdir(host.journalFolder)).filter((name) => name.endsWith('.instant.json'))
  assert.deepEqual(records, [])
}

/**
 * The owner hangs as soon as its journal says `pause`. From `stop` to `cont` QEMU needs nothing of it, so that the pause
 * that it leaves, one of whose commands QEMU read only some, is made here.
 */
async function pauseAfterOwner(vm: BlankMachine): Promise<void> {
  const { journalFolder } = vm.host()
  await until('the owner is about to pause', async () => {
    const names = (await readdir(journalFolder).catch(() => [] as string[])).filter((name) =>
      name.endsWith('.instant.json'),
    )
    const texts = await Promise.all(names.map((name) => readFile(join(journalFolder, name), 'utf8').catch(() => '')))
    return texts.some((text) => text.includes('"step":"pause"'))
  })
  await vm.qmp.execute('stop')
}

const OPENING = [
  'prepare',
  'prepare.bitmaps',
  'prepare.files',
  'prepare.nodes',
  'pause',
  'pause.sent',
  'pause.inserted',
  'exported',
  'open',
]
const CASES = [
  ...OPENING.map((dieAt) => ({ dieAt, end: 'commit', inLog: false }) as const),
  { dieAt: 'open', end: 'commit', inLog: true },
  { dieAt: 'commit', end: 'commit', inLog: true },
  { dieAt: 'dismantled', end: 'commit', inLog: true },
  { dieAt: 'abort', end: 'abort', inLog: false },
  { dieAt: 'dismantled', end: 'abort', inLog: false },
] as const

describe('An instant whose owner is killed', () => {
  afterEach(async () => {
    if (watchdogPid !== undefined) process.kill(watchdogPid, 'SIGKILL')
    watchdogPid = undefined
    await machine?.remove()
    machine = undefined
  })

  for (const { dieAt, end, inLog } of CASES) {
    it(`at "${dieAt}" of ${end}, with the point ${inLog ? '' : 'not '}in the log, is recovered without losing tracking`, async () => {
      const vm = await BlankMachine.create([{}, { format: 'raw' }])
      machine = vm
      const graph = await vm.graph()
      const copies: Buffer[] = []
      const base = await takeBase(vm, copies)
      for (const lun of [0, 1]) await vm.write(lun, 300 * KIB, 1024)
      const atInstant = vm.model.map((bytes) => Buffer.from(bytes))
      const tracking = track(base)
      assert.equal(await runOwner(vm, { dieAt, end, tracking }, 'elsewhere'), 'SIGKILL')

      const { clock, journalFolder } = vm.host()
      const recover = () =>
        recoverInstants({
          clock,
          journalFolder,
          isCommitted: (_, generation) => Promise.resolve(inLog && generation === tracking.next),
        })
      const recovered = await recover()
      assert.deepEqual(
        recovered.map(({ outcome, error }) => error ?? outcome),
        [inLog ? 'committed' : 'aborted'],
      )
      assert.deepEqual(await recover(), [])
      assert.deepEqual(await vm.graph(), graph)
      assert.equal(await vm.status(), 'running')
      await assertNoFiles(vm)

      for (const lun of [0, 1]) await vm.write(lun, 900 * KIB, 512)
      await assertTracked(vm, inLog ? tracking.next : base, inLog ? atInstant : copies)
    })
  }

  for (const dieAt of ['pause.sent', 'pause.inserted', 'open']) {
    it(`at "${dieAt}" is freed by the watchdog within seconds`, async () => {
      const vm = await BlankMachine.create([{}, {}])
      machine = vm
      const graph = await vm.graph()
      const copies: Buffer[] = []
      const base = await takeBase(vm, copies)
      const tracking = track(base)
      assert.equal(await runOwner(vm, { dieAt, end: 'commit', tracking }, 'start'), 'SIGKILL')
      const diedMs = systemClock.monotonicMs()
      const { journalFolder } = vm.host()
      watchdogPid = (await findWatchdog(systemClock, journalFolder))?.pid
      assert.ok(watchdogPid !== undefined, 'A watchdog watches')
      await until('the machine runs', async () => (await vm.status()) === 'running', 5_000)
      await until(
        'the graph is as before',
        async () => JSON.stringify(await vm.graph()) === JSON.stringify(graph),
        5_000,
      )
      console.log(`freed ${(systemClock.monotonicMs() - diedMs).toFixed(0)} ms after death at ${dieAt}`)
      await vm.write(0, 0, 512)
      const isCommitted = () => Promise.resolve(false)
      await until('the watchdog is done', async () => {
        const left = await recoverInstants({ clock: systemClock, journalFolder, isCommitted })
        return left.every((one) => one.outcome === 'aborted')
      })
      await assertTracked(vm, base, copies)
    })
  }

  it('leaves a living owner alone, and ends one that hangs with the machine paused', async () => {
    const vm = await BlankMachine.create([{}])
    machine = vm
    const graph = await vm.graph()
    const { clock: _clock, random: _random, ...host } = vm.host({ watchdog: 'start' })
    const request: OwnerRequest = {
      machine: vm.running(),
      host,
      consistency: 'crash',
      end: 'commit',
      dieAt: 'hang:pause',
      tracking: track(undefined),
    }
    const child = spawn(process.execPath, [OWNER, JSON.stringify(request)], { stdio: ['ignore', 'ignore', 'inherit'] })
    const exit = once(child, 'exit')
    await pauseAfterOwner(vm)
    const pausedMs = systemClock.monotonicMs()
    watchdogPid = (await findWatchdog(systemClock, host.journalFolder))?.pid
    await until('the watchdog continued it', async () => (await vm.status()) === 'running', 10_000)
    const freedMs = systemClock.monotonicMs() - pausedMs
    assert.ok(freedMs > 2_500, `A living owner has its three seconds, not ${freedMs} ms`)
    assert.deepEqual(await exit, [null, 'SIGKILL'])
    await until('the graph is as before', async () => JSON.stringify(await vm.graph()) === JSON.stringify(graph), 5_000)
    console.log(`a hanging owner was ended ${freedMs.toFixed(0)} ms after the pause began`)
  })

  it('continues a machine for a hanging owner through the rescue monitor, and the owner fails when it wakes', async () => {
    const vm = await BlankMachine.create([{}])
    machine = vm
    const graph = await vm.graph()
    const { clock: _clock, random: _random, ...host } = vm.host({ watchdog: 'start' })
    const running = vm.running()
    const sockets = { ...running.sockets, rescueSocketPath: join(vm.folder, 'rescue.qmp') }
    const request: OwnerRequest = {
      machine: { ...running, sockets },
      host,
      consistency: 'crash',
      end: 'commit',
      dieAt: 'hang:pause',
      tracking: track(undefined),
    }
    const child = spawn(process.execPath, [OWNER, JSON.stringify(request)], { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()))
    const exit = once(child, 'close')
    await pauseAfterOwner(vm)
    watchdogPid = (await findWatchdog(systemClock, host.journalFolder))?.pid
    await until('the watchdog continued it', async () => (await vm.status()) === 'running', 10_000)
    child.kill('SIGCONT')
    assert.deepEqual(await exit, [1, null])
    assert.match(said, /continued in the middle of its instant/)
    assert.deepEqual(await vm.graph(), graph)
    assert.deepEqual(await vm.bitmaps(0), [])
    await assertNoFiles(vm)
  })

  it('is forgotten when QEMU was killed too, and the next one scans', async () => {
    const vm = await BlankMachine.create([{}])
    machine = vm
    const base = await takeBase(vm, [])
    await runOwner(vm, { dieAt: 'open', end: 'commit', tracking: track(base) }, 'elsewhere')
    await vm.kill()
    const { clock, journalFolder } = vm.host()
    const recovered = await recoverInstants({ clock, journalFolder, isCommitted: () => Promise.resolve(false) })
    assert.deepEqual(
      recovered.map((one) => one.outcome),
      ['aborted'],
    )
    await assertNoFiles(vm)
    await checkCommand('qemu-img', ['check', '-q', vm.pathOf(0)])
    await vm.start()
    const instant = await openRunningInstant(vm.host(), vm.running(), { consistency: 'crash', tracking: track(base) })
    assert.deepEqual(instant.disks[0]?.changes, { kind: 'all', reason: 'bitmap_missing' })
    await instant.commit()
  })

  it('keeps its tracking through a clean stop of the machine although nothing recovered it', async () => {
    const vm = await BlankMachine.create([{}, {}])
    machine = vm
    const copies: Buffer[] = []
    const base = await takeBase(vm, copies)
    for (const lun of [0, 1]) await vm.write(lun, 0, 2048)
    await runOwner(vm, { dieAt: 'open', end: 'commit', tracking: track(base) }, 'elsewhere')
    for (const lun of [0, 1]) await vm.write(lun, 1_000 * KIB, 512)
    await vm.stop()
    await vm.start()
    await assertTracked(vm, base, copies)
  })
})
