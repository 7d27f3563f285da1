/**
 * Bodies as they go over the wire, held against Azure's own models twice: against the types of the newest SDKs, by the
 * compiler, and against the mappers of older ones, which know what is required and which names there are.
 */
import assert from 'node:assert/strict'
import { request } from 'node:https'
import { test } from 'node:test'
import type { DiskProperties, SnapshotProperties } from '@azure/arm-compute'
import type { ResourceGroup } from '@azure/arm-resources'
import { must } from '#base'
import { SdkWorld } from './sdk-world.ts'
import { breaches, mappersOf } from './wire-check.ts'

/** The last of the old generation that has deployments too. */
const RESOURCES = 'arm-deployments-with-mappers'
const COMPUTE = 'arm-compute-with-mappers'
const GROUP = 'rg1'

/** A model as JSON: times are text. */
type Wire<T> = T extends globalThis.Date ? string : T extends object ? { [K in keyof T]: Wire<T[K]> } : T
type Tracked<P> = Readonly<{
  id: string
  name: string
  type: string
  location: string
  tags: Readonly<Record<string, string>>
  sku: Readonly<{ name: string; tier: string }>
  properties: Wire<P>
}>

async function asked<T>(world: SdkWorld, path: string, version: string): Promise<T> {
  const token = await world.clients.credential.getToken(`${world.record.endpoint}/.default`)
  const url = `${world.record.endpoint}${path}?api-version=${version}`
  const headers = { authorization: `Bearer ${must(token, 'There is a token').token}` }
  return new Promise((resolve, reject) => {
    const sent = request(url, { ca: world.ca, headers }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () => {
        const text = Buffer.concat(parts).toString()
        if (response.statusCode === 200) resolve(JSON.parse(text) as T)
        else reject(new Error(`${path}: ${response.statusCode} ${text}`))
      })
    })
    sent.on('error', reject)
    sent.end()
  })
}

test('the check of bodies finds what is wrong', async () => {
  const mappers = await mappersOf(RESOURCES)
  const good = { id: '/x', name: 'rg', type: 't', location: 'eastus', tags: { a: '1' }, properties: {} }
  assert.deepEqual(breaches(mappers, 'ResourceGroup', good), [])
  const bad = { ...good, location: undefined, tags: { a: 1 }, propertys: {}, properties: { provisioningState: 7 } }
  assert.deepEqual(breaches(mappers, 'ResourceGroup', bad).sort(), [
    'ResourceGroup.location is missing',
    'ResourceGroup.properties.provisioningState is no String: 7',
    'ResourceGroup.propertys is unknown',
    'ResourceGroup.tags.a is no String: 1',
  ])
})

test('bodies are as Azure’s models have them', async (t) => {
  await using world = await SdkWorld.make()
  const { clients, subscription } = world
  const group = `${subscription}/resourceGroups/${GROUP}`
  const [resources, compute] = [await mappersOf(RESOURCES), await mappersOf(COMPUTE)]
  await clients.resources.resourceGroups.createOrUpdate(GROUP, { location: 'eastus', tags: { env: 'wire' } })
  const [noDisks, noSnapshots, noDeployments] = [
    await world.lacks('Microsoft.Compute/disks'),
    await world.lacks('Microsoft.Compute/snapshots'),
    await world.lacks('Microsoft.Resources/deployments'),
  ]

  await t.test('resource group', async () => {
    const body = await asked<ResourceGroup>(world, group, '2024-11-01')
    const expected: Wire<ResourceGroup> = {
      id: group,
      name: GROUP,
      type: 'Microsoft.Resources/resourceGroups',
      location: 'eastus',
      tags: { env: 'wire' },
      properties: { provisioningState: 'Succeeded' },
    }
    assert.deepEqual(body, expected)
    assert.deepEqual(breaches(resources, 'ResourceGroup', body), [])
  })

  await t.test('providers and their list', async () => {
    const body = await asked<{ value: unknown[] }>(world, `${subscription}/providers`, '2024-11-01')
    assert.deepEqual(breaches(resources, 'ProviderListResult', body), [])
    assert.ok(body.value.length >= 3)
  })

  await t.test('disk, empty', { skip: noDisks }, async () => {
    const creationData = { createOption: 'Empty' }
    await clients.compute.disks.createOrUpdate(GROUP, 'd1', { location: 'eastus', diskSizeGB: 2, creationData })
    const path = `${group}/providers/Microsoft.Compute/disks/d1`
    const body = await asked<Tracked<DiskProperties>>(world, path, '2023-04-02')
    assert.deepEqual(breaches(compute, 'Disk', body), [])
    const { timeCreated, uniqueId, creationData: made, diskSizeBytes, provisioningState } = body.properties
    assert.ok(timeCreated && uniqueId)
    assert.deepEqual([made.createOption, diskSizeBytes, provisioningState], ['Empty', 2 * 1024 ** 3, 'Succeeded'])
    const list = await asked<unknown>(world, `${group}/providers/Microsoft.Compute/disks`, '2023-04-02')
    assert.deepEqual(breaches(compute, 'DiskList', list), [])
    const all = await asked<unknown>(world, `${group}/resources`, '2024-11-01')
    assert.deepEqual(breaches(resources, 'ResourceListResult', all), [])
  })

  await t.test('snapshot, full and incremental', { skip: noSnapshots }, async () => {
    const sourceResourceId = `${group}/providers/Microsoft.Compute/disks/d1`
    for (const incremental of [false, true]) {
      const name = incremental ? 'inc' : 'full'
      const wanted = { location: 'eastus', incremental, creationData: { createOption: 'Copy', sourceResourceId } }
      await clients.compute.snapshots.createOrUpdate(GROUP, name, wanted)
      const path = `${group}/providers/Microsoft.Compute/snapshots/${name}`
      const body = await asked<Tracked<SnapshotProperties>>(world, path, '2023-10-02')
      assert.deepEqual(breaches(compute, 'Snapshot', body), [])
      assert.deepEqual([body.properties.incremental, body.sku.name], [incremental, 'Standard_LRS'])
    }
  })

  await t.test('deployment and its operations', { skip: noDeployments }, async () => {
    const template = {
      $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
      contentVersion: '1.0.0.0',
      resources: [],
      outputs: { where: { type: 'string', value: '[resourceGroup().location]' } },
    }
    await clients.deployments.deployments.createOrUpdate(GROUP, 'dep', {
      properties: { mode: 'Incremental', template },
    })
    const path = `${group}/providers/Microsoft.Resources/deployments/dep`
    const body = await asked<unknown>(world, path, '2024-11-01')
    assert.deepEqual(breaches(resources, 'DeploymentExtended', body), [])
    const operations = await asked<unknown>(world, `${path}/operations`, '2024-11-01')
    assert.deepEqual(breaches(resources, 'DeploymentOperationsListResult', operations), [])
  })
})
