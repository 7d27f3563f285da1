/** Machines that end without being told to: noticed, told, and started again, later each time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listActivity } from '#catalog'
import { ByteClient } from '#jobs'
import { dial, silentLogger, systemClock, systemRandom } from '#runtime'
import { MachineWatch } from '#server'
import { eventually } from '../rig/deadline.ts'
import { MachineApiWorld } from './machine-api-world.ts'

function watchOver(world: MachineApiWorld): MachineWatch {
  const { catalog, jobs: engine, home } = world.api
  const machines = new ByteClient(() => dial(home.socket('bytes')))
  const parts = { catalog, engine, machines, clock: systemClock, random: systemRandom, logger: silentLogger }
  return new MachineWatch({ ...parts, everyMs: 100 })
}

async function told(world: MachineApiWorld, what: string): Promise<number> {
  const events = await listActivity(world.api.catalog, { limit: 100, resourcePrefix: world.id('m1') })
  return events.filter(({ action }) => action === `Microsoft.Compute/virtualMachines/${what}`).length
}

test('A QEMU that dies is noticed, and its machine is started again, once', async () => {
  await using world = await MachineApiWorld.make()
  const os = await world.microDisk('os1')
  await world.succeed(await world.put('m1', os))
  const watch = watchOver(world)
  watch.begin()
  try {
    const before = await world.processId('m1')
    assert.ok(before)
    process.kill(before, 'SIGKILL')
    const after = await eventually('another QEMU runs', 60_000, async () => {
      const pid = await world.processId('m1')
      return pid !== undefined && pid !== before ? pid : undefined
    })
    await world.untilPower('m1', 'running')
    assert.equal(await told(world, 'crashed'), 1)
    assert.equal(await told(world, 'startAgain'), 1)
    assert.equal(await world.processId('m1'), after)
    assert.equal((await world.record('m1')).backing['crashes'], 1)
    assert.equal((await world.disk('os1')).properties.diskState, 'Attached')
    // A second death soon after waits longer, and is counted.
    process.kill(after, 'SIGKILL')
    await eventually('the second death is known', 60_000, async () =>
      (await world.record('m1')).backing['crashes'] === 2 ? true : undefined,
    )
    await world.untilPower('m1', 'running')
  } finally {
    await watch.leave()
  }
})

test('A guest that powers off is off, and stays so', async () => {
  await using world = await MachineApiWorld.make()
  const os = await world.microDisk('os1')
  await world.succeed(await world.put('m1', os))
  await world.ready('m1')
  const watch = watchOver(world)
  watch.begin()
  try {
    await world.run('m1', '(sleep 1; poweroff -f || busybox poweroff -f) > /dev/null 2>&1 &')
    await eventually('the record knows', 60_000, async () =>
      (await world.record('m1')).backing['power'] === 'stopped' ? true : undefined,
    )
    const { backing } = await world.record('m1')
    assert.deepEqual([backing['wanted'], backing['allocated']], ['off', true])
    assert.equal(await told(world, 'guestPowerOff'), 1)
    assert.equal(await told(world, 'crashed'), 0)
    await watch.look()
    assert.equal(await world.power('m1'), 'stopped')
    assert.equal(await told(world, 'startAgain'), 0)
  } finally {
    await watch.leave()
  }
})
