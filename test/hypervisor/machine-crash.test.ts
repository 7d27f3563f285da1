/** What is found after something died: QEMU, the guest's own end, the process that started the machine, half a start. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { machinePaths } from '#engine/hypervisor'
import { eventually } from '../rig/deadline.ts'
import { emptyMachine, MachineWorld } from './machine-world.ts'

const pidOf = async (world: MachineWorld, name: string): Promise<number> => {
  const { processId } = await world.host.describe(name)
  assert.ok(processId !== undefined && processId > 1)
  return processId
}

/** Starts a machine from a process of its own and kills that process without warning. */
async function startAndDie(world: MachineWorld, name: string): Promise<void> {
  const script = `
    const { QemuHypervisor } = await import('#engine/hypervisor')
    const { systemClock, systemRandom } = await import('#runtime')
    const instants = { isInstantOpen: async () => false }
    const host = new QemuHypervisor({ roots: ${JSON.stringify(world.roots)}, clock: systemClock, random: systemRandom, instants })
    await host.start(${JSON.stringify(name)})
    console.log('started')
    setInterval(() => {}, 1000)`
  const server = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(server.stdout, 'data')
  server.kill('SIGKILL')
  await once(server, 'exit')
}

describe('QemuHypervisor after a death', () => {
  it('finds a running machine whose server was killed, and ends it', async () => {
    await using world = await MachineWorld.make()
    await world.host.create(emptyMachine('orphan'))
    await startAndDie(world, 'orphan')
    const [found] = (await world.host.discover()).machines
    assert.equal(found?.power, 'running')
    const pid = found.processId ?? 0
    assert.match(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), /guest=orphan/)
    await world.host.powerOff('orphan')
    assert.throws(() => process.kill(pid, 0))
    assert.deepEqual((await world.host.describe('orphan')).lastEnd?.cause, 'powered_off')
  })

  it('shows a machine whose QEMU was killed as crashed, and starts it again', async () => {
    await using world = await MachineWorld.make()
    await world.host.create(emptyMachine('victim'))
    await startAndDie(world, 'victim')
    process.kill(await pidOf(world, 'victim'), 'SIGKILL')
    const crashed = await eventually('the crash', 5_000, async () => {
      const status = await world.host.describe('victim')
      return status.power === 'running' ? undefined : status
    })
    assert.equal(crashed.power, 'crashed')
    assert.equal(crashed.lastEnd?.cause, 'process_died')
    assert.equal(crashed.lastEnd.exitCode, 137)
    assert.equal((await world.host.start('victim')).power, 'running')
  })

  it('takes a guest that powered itself off while nobody looked for stopped', async () => {
    await using world = await MachineWorld.make()
    await world.makeMicro('quiet')
    await startAndDie(world, 'quiet')
    await world.waitReady('quiet')
    await world.run('quiet', 'poweroff &').catch(() => {
      // The agent may go down before it has answered.
    })
    const status = await eventually('the end', 60_000, async () => {
      const now = await world.host.describe('quiet')
      return now.power === 'running' ? undefined : now
    })
    assert.equal(status.power, 'stopped')
    assert.equal(status.lastEnd?.cause, 'guest_shutdown')
    assert.equal(status.lastEnd.exitCode, 0)
  })

  it('adopts a machine whose start was cut short after QEMU came up', async () => {
    await using world = await MachineWorld.make()
    await world.host.create(emptyMachine('half'))
    const { processId } = await world.host.start('half')
    const { run } = machinePaths(world.roots, 'half')
    const {
      process: _process,
      accelerator: _accelerator,
      notes: _notes,
      ...rest
    } = JSON.parse(readFileSync(run, 'utf8'))
    writeFileSync(run, JSON.stringify({ ...rest, phase: 'starting' })) // as it was on disk before the monitor answered
    assert.equal((await world.host.describe('half')).power, 'running')
    const adopted = await world.host.start('half')
    assert.equal(adopted.processId, processId)
    assert.equal(adopted.accelerator, 'tcg')
  })

  it('starts one process when two ask at the same time', async () => {
    await using world = await MachineWorld.make()
    await world.host.create(emptyMachine('once'))
    const [one, other] = await Promise.all([world.host.start('once'), world.openHost().start('once')])
    assert.equal(one.processId, other.processId)
  })

  it("says what QEMU said when an image is another machine's, and leaves the machine stopped", async () => {
    await using world = await MachineWorld.make()
    const disk = { lun: 0, role: 'os', bus: 'virtio-blk', source: { from: 'empty', sizeBytes: 1 << 20 } } as const
    const first = await world.host.create(emptyMachine('first', { disks: [disk] }))
    const path = first.machine.disks[0]?.path ?? ''
    const shared = { ...disk, source: { from: 'image', path, format: 'qcow2' } } as const
    await world.host.create(emptyMachine('second', { disks: [shared] }))
    await world.host.start('first')
    await assert.rejects(world.host.start('second'), (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, 'machine_start_failed')
      assert.match(error.message, /Failed to get "write" lock|Is another process using the image/)
      assert.match(error.hint ?? '', /another process/i)
      return true
    })
    const status = await world.host.describe('second')
    assert.equal(status.power, 'stopped')
    assert.equal(status.lastEnd?.cause, 'start_failed')
  })

  it('shows a machine whose description is damaged and hides no other', async () => {
    await using world = await MachineWorld.make()
    for (const name of ['a', 'b', 'c']) await world.host.create(emptyMachine(name))
    const { description } = machinePaths(world.roots, 'b')
    const whole = readFileSync(description)
    writeFileSync(description, whole.subarray(0, 40))
    const { machines, unreadable } = await world.host.discover()
    assert.deepEqual(
      machines.map((status) => status.machine.name),
      ['a', 'c'],
    )
    assert.deepEqual(
      unreadable.map(({ name, error }) => [name, error.code]),
      [['b', 'machine_invalid']],
    )
  })

  it('leaves nothing of a machine that could not be made', async () => {
    await using world = await MachineWorld.make()
    const good = { lun: 0, role: 'os', bus: 'ide', source: { from: 'empty', sizeBytes: 1 << 20 } } as const
    const missing = {
      lun: 1,
      role: 'data',
      bus: 'ide',
      source: { from: 'image', path: '/absent', format: 'raw' },
    } as const
    await assert.rejects(world.host.create(emptyMachine('broken', { disks: [good, missing] })))
    assert.deepEqual(await world.host.discover(), { machines: [], unreadable: [] })
    await world.host.create(emptyMachine('broken', { disks: [good] }))
    await assert.rejects(world.host.create(emptyMachine('broken')), { code: 'machine_exists' })
  })
})
