/** Networks over the lives of a worker: made again from what is kept when it starts, and looked after by the next when it is killed. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { randomUuid } from '#base'
import { insideNetwork } from '#engine/hypervisor'
import { systemRandom } from '#runtime'
import { until } from '../jobs/processes.ts'
import { ServedHome } from '../server/served-home.ts'
import { markedProcesses, planOf } from './network-world.ts'

const UNTIL_MS_MAX = 60_000

test('a worker makes what was kept, goes on after kill -9 as another, and mends what was killed meanwhile', async () => {
  await using home = await ServedHome.make()
  const id = randomUuid(systemRandom)
  const folder = join(home.home, 'networks', id)
  const card = { tap: 'hf0000000000f1', mac: '52:54:00:00:0f:01', address: '10.0.0.4', subnet: 's' }
  const plan = (revision: number, cards: (typeof card)[]) =>
    writeFile(
      join(folder, 'plan.json'),
      JSON.stringify(planOf(id, revision, { subnets: { s: { prefix: '10.0.0.0/24' } }, cards })),
    )
  await mkdir(folder, { recursive: true })
  await plan(1, [card])
  const all = (): boolean => markedProcesses(id).length === 3
  try {
    await home.serve()
    await until('the network is made from its plan', all, UNTIL_MS_MAX)
    const before = markedProcesses(id)
    const { pid } = await home.worker()
    process.kill(pid, 'SIGKILL')
    for (const { pid: tool } of before.filter(({ part }) => part !== 'holder')) process.kill(tool, 'SIGKILL')
    const isMended = (): boolean =>
      all() &&
      markedProcesses(id).every(({ pid: now, part }) => part === 'holder' || !before.some((one) => one.pid === now))
    await until('the next worker mends it', isMended, UNTIL_MS_MAX)
    assert.notEqual((await home.worker()).pid, pid)
    assert.equal(
      markedProcesses(id).find(({ part }) => part === 'holder')?.pid,
      before.find(({ part }) => part === 'holder')?.pid,
    )
  } finally {
    await plan(2, [])
    await Promise.all(markedProcesses(id).map(async ({ pid }) => process.kill(pid, 'SIGKILL')))
  }
  await until('nothing of it is left', async () => (await insideNetwork(id)) === undefined, UNTIL_MS_MAX)
})
