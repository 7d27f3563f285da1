/** holdfast protect: a machine protected, backed up, looked at, stopped, deleted and brought back, as a user types it. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { Catalog } from '#catalog'
import { systemClock } from '#runtime'
import { FaceClient } from '../api/face-client.ts'
import { insertSimulatedMachines } from '../rig/simulated-machine.ts'
import { ServedHome } from '../server/served-home.ts'

const SIZE = 4 * MIB
const AT = ['-g', 'web', '-v', 'v1']

type Item = { properties: { protectionState: string; friendlyName: string; isScheduledForDeferredDelete: boolean } }
type Job = { name: string; properties: { operation: string; status: string } }
type Point = { name: string }

test('holdfast protect', async (t) => {
  await using served = await ServedHome.make()
  await served.serve()
  const { subscriptionId: subscription } = await new FaceClient(served.home).record()
  await served.run('group', 'create', 'web', '-l', 'eastus')
  await served.run('vault', 'create', 'v1', '-g', 'web', '-l', 'eastus')
  const file = join(served.folder, 'web1.raw')
  await writeFile(file, randomBytes(SIZE))
  const catalog = await Catalog.open(join(served.home, 'catalog.sqlite'), systemClock)
  const group = `/subscriptions/${subscription}/resourceGroups/web`
  await insertSimulatedMachines(catalog, [{ group, subscription, name: 'web1', disks: [{ file, sizeBytes: SIZE }] }])
  await catalog.close()

  await t.test('enable, now, list, show, points and jobs', async () => {
    const item = await served.run<Item>('protect', 'enable', 'web1', ...AT)
    assert.equal(item.properties.protectionState, 'IRPending')
    const job = await served.run<Job>('protect', 'now', 'web1', '--keep-days', '90', ...AT)
    assert.equal(job.properties.status, 'Completed')
    const items = await served.run<Item[]>('protect', 'list', ...AT)
    assert.deepEqual(
      items.map(({ properties }) => [properties.friendlyName, properties.protectionState]),
      [['web1', 'Protected']],
    )
    const [point, ...others] = await served.run<Point[]>('protect', 'point', 'list', 'web1', ...AT)
    assert.ok(point !== undefined && others.length === 0)
    const shown = await served.run<Point>('protect', 'point', 'show', 'web1', point.name, ...AT)
    assert.equal(shown.name, point.name)
    const jobs = await served.run<Job[]>('protect', 'job', 'list', '--operation', 'Backup', ...AT)
    assert.deepEqual(
      jobs.map(({ name }) => name),
      [job.name],
    )
    assert.equal((await served.run<Job>('protect', 'job', 'wait', job.name, ...AT)).name, job.name)
  })

  await t.test('stop by policy and for ever, delete, undelete, enable again; the newest point stays', async () => {
    const states: string[] = []
    for (const keep of ['by-policy', 'forever'])
      states.push((await served.run<Item>('protect', 'stop', 'web1', '--keep', keep, ...AT)).properties.protectionState)
    assert.deepEqual(states, ['BackupsSuspended', 'ProtectionStopped'])
    const deleted = await served.run<Job>('protect', 'stop', 'web1', '--keep', 'nothing', '--yes', ...AT)
    assert.equal(deleted.properties.operation, 'DeleteBackupData')
    const item = await served.run<Item>('protect', 'show', 'web1', ...AT)
    assert.equal(item.properties.isScheduledForDeferredDelete, true)
    assert.equal((await served.run<Item>('protect', 'undelete', 'web1', ...AT)).properties.protectionState, 'ProtectionStopped') // prettier-ignore
    await served.run('protect', 'enable', 'web1', '--policy', 'EnhancedPolicy', ...AT)
    const [point] = await served.run<Point[]>('protect', 'point', 'list', 'web1', ...AT)
    const refused = await served.fail('protect', 'point', 'delete', 'web1', point?.name ?? '', '--yes', ...AT)
    assert.equal(refused.exitCode, 5)
  })

  await t.test('what cannot be is refused with the right exit code', async () => {
    assert.equal((await served.fail('protect', 'enable', 'web9', ...AT)).exitCode, 3)
    assert.equal((await served.fail('protect', 'stop', 'web1', '--keep', 'nothing', ...AT)).exitCode, 5)
    assert.equal((await served.fail('protect', 'enable', 'web1', '--only-luns', 'x', ...AT)).exitCode, 2)
  })
})
