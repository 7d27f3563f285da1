/**
 * kill -9 of the server at any moment after a deployment was accepted: the URL of its operation answers again, it ends once and
 * well, what was made and recorded is not made again, and its sealed order is gone.
 */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../rig/deadline.ts'
import { ServedHome } from '../server/served-home.ts'
import { VERSION } from './api-world.ts'
import { FaceClient } from './face-client.ts'

/** ms from the answer to the kill. */
const KILLS_MS = [0, 60, 150, 400]
const PARTS = 24
/** Each part waits for the one that many before it. */
const ABREAST = 3
const SECRET = 'hunter2-is-secure'

type Status = { status: string; error?: { message: string } }
type Event = { operationName: { value: string }; resourceId: string; status: { value: string } }

function templateOf(prefix: string): object {
  const resources = Array.from({ length: PARTS }, (_, at) => ({
    type: 'Microsoft.Authorization/locks',
    apiVersion: '2020-05-01',
    name: `${prefix}-${at}`,
    dependsOn: at < ABREAST ? [] : [`${prefix}-${at - ABREAST}`],
    properties: { level: 'CanNotDelete', notes: "[concat('note ', length(parameters('secret')))]" },
  }))
  return { contentVersion: '1.0.0.0', parameters: { secret: { type: 'securestring' } }, resources }
}

test('A deployment survives kill -9 of its server', async (t) => {
  await using served = await ServedHome.make()
  await served.serve()
  const client = new FaceClient(served.home)
  const { subscriptionId } = await client.record()
  const group = `/subscriptions/${subscriptionId}/resourceGroups/rg`
  assert.equal((await client.ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })).status, 201)

  for (const killMs of KILLS_MS)
    await t.test(`${killMs} ms after it was accepted`, async () => {
      const name = `d${killMs}`
      const put = await client.ask('PUT', `${group}/providers/Microsoft.Resources/deployments/${name}?${VERSION}`, {
        properties: { mode: 'Incremental', template: templateOf(name), parameters: { secret: { value: SECRET } } },
      })
      assert.equal(put.status, 201)
      await delay(killMs)
      await served.killServe()
      await served.serve()
      const { pathname, search } = new URL(String(put.headers['azure-asyncoperation']))
      const end = await eventually('the end of the deployment', 60_000, async () => {
        const { status, body } = await client.ask<Status>('GET', `${pathname}${search}`)
        assert.equal(status, 200)
        return ['Accepted', 'Running'].includes(body.status) ? undefined : body
      })
      assert.deepEqual(end, { status: 'Succeeded' })
      const log = await client.ask<{ value: Event[] }>(
        'GET',
        `/subscriptions/${subscriptionId}/providers/Microsoft.Insights/eventtypes/management/values?${VERSION}` +
          `&$filter=${encodeURIComponent("resourceGroupName eq 'rg'")}`,
      )
      const times = new Map<string, number>()
      for (const { operationName, resourceId, status } of log.body.value) {
        if (operationName.value !== 'Microsoft.Authorization/locks/write') continue
        const lock = resourceId.slice(resourceId.lastIndexOf('/') + 1)
        if (!lock.startsWith(`${name}-`)) continue
        assert.equal(status.value, 'Succeeded')
        times.set(lock, (times.get(lock) ?? 0) + 1)
      }
      assert.equal(times.size, PARTS, 'every part was made')
      const repeated = [...times.values()].filter((count) => count > 1).length
      assert.ok(repeated <= ABREAST, `${repeated} parts were made again; only those at work may be`)
      assert.deepEqual(await readdir(join(served.home, 'orders')), [])
      assert.deepEqual(await readdir(join(served.home, 'keys', 'orders')), [])
    })
})
