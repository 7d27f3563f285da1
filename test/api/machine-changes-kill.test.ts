/**
 * kill -9 of the server, of the worker, and of both at once (that alone, but with --long), at each step of what changes a machine that runs: disks that come and go are
 * where the record says, once; a script is run once or, where nobody can know, not a second time. The machine runs through all of it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { checkCommand } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { IS_LONG } from '../rig/long.ts'
import { type Answer, VERSION } from './api-world.ts'
import type { Disk, Done } from './disk-world.ts'
import { KillWorld, processesOf, type Victim } from './machine-kill-world.ts'

const VICTIMS: readonly Victim[] = IS_LONG ? ['serve', 'worker', 'both'] : ['both']
/** More than any of the operations has. */
const STEPS_MAX = 20
const STEP_MS_MAX = 60_000

/**
 * Begins an operation and kills when it has come to the step, or a moment later. Whether it was over before, which says that it has no
 * further steps.
 */
async function killAt(world: KillWorld, victim: Victim, step: number, answer: Answer<unknown>): Promise<boolean> {
  assert.equal(answer.status, 202, answer.text)
  const look = async (): Promise<Readonly<{ isOver: boolean }> | undefined> => {
    const { reached, isOver } = await world.progressOf(answer)
    return isOver || reached >= step ? { isOver } : undefined
  }
  const { isOver } = await eventually(`step ${step}`, STEP_MS_MAX, look, 1)
  if (!isOver && step % 2 === 1) await delay(30)
  await world.kill(victim)
  return isOver
}

test('kill -9 at each step of disks that come and go: where the record says, once', async (t) => {
  await using world = await KillWorld.make()
  await world.guest('m1')
  const disk = await world.disk('data', { createOption: 'Empty' }, { diskSizeGB: 1 })
  const { vmId } = (await world.show('m1')).properties
  const pids = await processesOf(vmId)
  const luns = async (): Promise<number[]> =>
    (await world.show('m1')).properties.storageProfile.dataDisks.map(({ lun }) => lun)
  const inGuest = (): Promise<string> =>
    world.run('m1', 'ls -d /sys/bus/scsi/devices/*:0:0:*/block/* 2>/dev/null | wc -l')
  const shown = async (): Promise<Disk> => (await world.client.ask<Disk>('GET', `${disk}?${VERSION}`)).body
  const change = (body: unknown): Promise<Answer<unknown>> =>
    world.client.ask('POST', world.url('m1', 'attachDetachDataDisks'), body)
  const settled = async (is: 'there' | 'gone', what: string): Promise<void> => {
    assert.deepEqual(await luns(), is === 'there' ? [0] : [], what)
    assert.equal((await inGuest()).trim(), is === 'there' ? '1' : '0', what)
    const { managedBy, properties } = await shown()
    assert.equal(properties.diskState, is === 'there' ? 'Attached' : 'Unattached', what)
    assert.equal(managedBy === undefined, is === 'gone', what)
    assert.equal((await world.show('m1')).properties.provisioningState, 'Succeeded', what)
    assert.equal(await world.power('m1'), 'running', what)
    assert.deepEqual(await processesOf(vmId), pids, `${what}: it runs on, once`)
  }
  const attach = { dataDisksToAttach: [{ diskId: disk, lun: 0 }] }
  const detach = { dataDisksToDetach: [{ diskId: disk }] }

  for (const victim of VICTIMS)
    await t.test(victim, async () => {
      const isOver = { there: false, gone: false }
      for (let step = 0; !isOver.there || !isOver.gone; step += 1) {
        assert.ok(step < STEPS_MAX, 'the operations have more steps than this test knows')
        for (const is of ['there', 'gone'] as const) {
          const answer = await change(is === 'there' ? attach : detach)
          isOver[is] = await killAt(world, victim, step, answer)
          const done = await world.client.followed<Done>(answer)
          assert.equal(done.status, 'Succeeded', `${is}, step ${step}: ${JSON.stringify(done)}`)
          await settled(is, `${is}, step ${step}`)
        }
      }
    })

  const file = await world.fileOf('disks', 'data')
  await checkCommand('qemu-img', ['check', '-q', file]) // it takes QEMU's lock: nobody has it open
})

test('kill -9 at each step of a script in a guest: it is run once, or not a second time', async (t) => {
  await using world = await KillWorld.make()
  await world.guest('m1')
  const { vmId } = (await world.show('m1')).properties
  const pids = await processesOf(vmId)
  for (const victim of VICTIMS)
    await t.test(victim, async () => {
      let isOver = false
      for (let step = 0; !isOver; step += 1) {
        assert.ok(step < STEPS_MAX, 'the operation has more steps than this test knows')
        const mark = `/root/${victim}-${step}`
        const body = { commandId: 'RunShellScript', script: [`echo x >> ${mark}`, 'sleep 1', 'echo said'] }
        const answer = await world.client.ask('POST', world.url('m1', 'runCommand'), body)
        isOver = await killAt(world, victim, step, answer)
        const done = await world.client.followed<Done>(answer)
        // Where the operation does not know what became of it, the script has had its time when this is asked.
        const ran = (await world.run('m1', `sleep 2; cat ${mark} 2>/dev/null; true`)).trim()
        if (done.status === 'Succeeded') assert.equal(ran, 'x', `step ${step}`)
        else {
          assert.notEqual(victim, 'serve', 'the worker goes on without its server, and keeps what the script said')
          assert.match(JSON.stringify(done.error), /nobody knows how far it came/, `step ${step}`)
          assert.ok(ran === 'x' || ran === '', `step ${step}: ${ran}`)
        }
        assert.equal(await world.power('m1'), 'running')
        assert.deepEqual(await processesOf(vmId), pids, 'it runs on, once')
      }
      const orders = await world.filesIn('machine-orders')
      assert.deepEqual(orders, [], 'no script is kept')
    })
})
