/**
 * kill -9 of the server, of the worker, and of both at once, at each step of what changes a machine that runs: disks that come and go are
 * where the record says, once; a script is run once or, where nobody can know, not a second time. The machine runs through all of it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { checkCommand } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { type Answer, VERSION } from './api-world.ts'
import type { Disk, Done } from './disk-world.ts'
import { KillWorld, processesOf, type Victim } from './machine-kill-world.ts'

const VICTIMS: readonly Victim[] = ['serve', 'worker', 'both']
/** More than any of the operations has. */
const STEPS_MAX = 20
const STEP_MS_MAX = 60_000

/**
 * Asks again and again; kills when one step more is on record each time, at its beginning and a moment later in turns, until the
 * operation is over before. `after` looks at what is left.
 */
async function killAtEach(
  world: KillWorld,
  victim: Victim,
  ask: (round: number) => Promise<Answer<unknown>>,
  after: (done: Done, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < STEPS_MAX; round += 1) {
    const answer = await ask(round)
    assert.equal(answer.status, 202, answer.text)
    const look = async (): Promise<Readonly<{ isOver: boolean }> | undefined> => {
      const { reached, isOver } = await world.progressOf(answer)
      return isOver || reached >= round ? { isOver } : undefined
    }
    const { isOver } = await eventually(`step ${round}`, STEP_MS_MAX, look, 1)
    if (!isOver && round % 2 === 1) await delay(30)
    await world.kill(victim)
    await after(await world.client.followed<Done>(answer), round)
    if (isOver) return
  }
  assert.fail('the operation has more steps than this test knows')
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
    for (const is of ['there', 'gone'] as const)
      await t.test(`${victim}: a disk that ${is === 'there' ? 'comes' : 'goes'}`, async () => {
        const [forth, back] = is === 'there' ? [attach, detach] : [detach, attach]
        if (is === 'gone') await world.succeed(await change(attach))
        await killAtEach(
          world,
          victim,
          () => change(forth),
          async (done, round) => {
            assert.equal(done.status, 'Succeeded', `step ${round}: ${JSON.stringify(done)}`)
            await settled(is, `step ${round}`)
            await world.succeed(await change(back))
          },
        )
        if (is === 'gone') await world.succeed(await change(detach))
        await settled('gone', 'at the end')
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
      const ask = (round: number): Promise<Answer<unknown>> => {
        const script = [`echo x >> /root/${victim}-${round}`, 'sleep 1', 'echo said']
        return world.client.ask('POST', world.url('m1', 'runCommand'), { commandId: 'RunShellScript', script })
      }
      await killAtEach(world, victim, ask, async (done, round) => {
        // Where the operation does not know what became of it, the script has had its time when this is asked.
        const ran = (await world.run('m1', `sleep 2; cat /root/${victim}-${round} 2>/dev/null; true`)).trim()
        if (done.status === 'Succeeded') assert.equal(ran, 'x', `step ${round}`)
        else {
          assert.notEqual(victim, 'serve', 'the worker goes on without its server, and keeps what the script said')
          assert.match(JSON.stringify(done.error), /nobody knows how far it came/, `step ${round}`)
          assert.ok(ran === 'x' || ran === '', `step ${round}: ${ran}`)
        }
        assert.equal(await world.power('m1'), 'running')
        assert.deepEqual(await processesOf(vmId), pids, 'it runs on, once')
      })
      const orders = await world.filesIn('machine-orders')
      assert.deepEqual(orders, [], 'no script is kept')
    })
})
