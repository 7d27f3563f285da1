/**
 * kill -9 of the server and of the worker while machines are made, started and stopped, and a host that goes down with all of
 * them: what was answered is done, what was to run runs, once, and what was off is off.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { processState } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import type { Done } from './disk-world.ts'
import { KillWorld, processesOf } from './machine-kill-world.ts'

/** ms after the request was sent. */
const KILLS_MS = [0, 40, 150, 400, 900]

for (const victim of ['serve', 'worker'] as const)
  test(`kill -9 of the ${victim} while a machine is made: it runs, once`, async () => {
    await using world = await KillWorld.make()
    for (const [at, ms] of KILLS_MS.entries()) {
      const name = `m${at}`
      const answer = await world.put(name)
      assert.equal(answer.status, 201, answer.text)
      await new Promise((resolve) => setTimeout(resolve, ms))
      await world.kill(victim)
      const done = await world.client.followed<Done>(answer)
      assert.equal(done.status, 'Succeeded', `after ${ms} ms: ${JSON.stringify(done)}`)
      assert.equal(await world.power(name), 'running', `after ${ms} ms`)
      assert.equal((await processesOf(answer.body.properties.vmId)).length, 1, `after ${ms} ms`)
    }
  })

test('kill -9 of the worker while machines are stopped and started: each is what was asked for', async () => {
  await using world = await KillWorld.make()
  const { vmId } = (await world.made('m1')).properties
  for (const ms of KILLS_MS) {
    for (const [action, count] of [
      ['deallocate', 0],
      ['start', 1],
    ] as const) {
      const answer = await world.client.ask('POST', world.url('m1', action))
      assert.equal(answer.status, 202, answer.text)
      await new Promise((resolve) => setTimeout(resolve, ms))
      await world.kill('worker')
      if (action === 'deallocate') {
        // An empty machine has no guest that could be asked: the plug is what ends it.
        for (const { machine } of (await world.host.discover()).machines) await world.host.powerOff(machine.name)
      }
      const done = await world.client.followed<Done>(answer)
      assert.equal(done.status, 'Succeeded', `${action} after ${ms} ms: ${JSON.stringify(done)}`)
      assert.equal((await processesOf(vmId)).length, count, `${action} after ${ms} ms`)
    }
  }
})

test('A host that goes down: what ran runs again, what was off is off, nothing runs twice', async () => {
  await using world = await KillWorld.make()
  const runs = (await world.made('runs')).properties.vmId
  const off = (await world.made('off')).properties.vmId
  const stop = await world.client.ask('POST', `${world.url('off', 'powerOff')}&skipShutdown=true`)
  assert.equal((await world.client.followed<Done>(stop)).status, 'Succeeded')
  const worker = await world.home.worker()
  await world.home.killServe()
  if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
  for (const pid of await processesOf(runs)) process.kill(pid, 'SIGKILL')
  await eventually('it is gone', 10_000, async () => ((await processesOf(runs)).length === 0 ? true : undefined))
  await world.home.serve()
  await eventually('it runs again', 120_000, async () => ((await world.power('runs')) === 'running' ? true : undefined))
  assert.equal((await processesOf(runs)).length, 1)
  assert.equal((await processesOf(off)).length, 0)
  assert.equal(await world.power('off'), 'stopped')
  // A server that comes back changes nothing of what runs.
  const [before] = await processesOf(runs)
  await world.kill('serve')
  assert.deepEqual(await processesOf(runs), [before])
  assert.equal(await world.power('runs'), 'running')
})
