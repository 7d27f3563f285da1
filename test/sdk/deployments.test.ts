/** ARM templates by the newest JavaScript SDK. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Deployment } from '@azure/arm-resourcesdeployments'
import { all, SdkWorld } from './sdk-world.ts'

const GROUP = 'rg1'
const SECRET = 'never-shown-5126'

const TEMPLATE = {
  $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
  contentVersion: '1.0.0.0',
  parameters: { name: { type: 'string' }, password: { type: 'securestring' } },
  resources: [
    {
      type: 'Microsoft.Compute/disks',
      apiVersion: '2023-04-02',
      name: "[concat(parameters('name'), copyIndex())]",
      location: '[resourceGroup().location]',
      copy: { name: 'disks', count: 2 },
      properties: { creationData: { createOption: 'Empty' }, diskSizeGB: 1 },
    },
  ],
  outputs: { size: { type: 'int', value: "[reference(concat(parameters('name'), '1')).diskSizeGB]" } },
}

function deployment(template: object): Deployment {
  const parameters = { name: { value: 'sd' }, password: { value: SECRET } }
  return { properties: { mode: 'Incremental', template, parameters } }
}

test('SDK: deployments', async (t) => {
  await using world = await SdkWorld.make()
  const skip = await world.lacks('Microsoft.Resources/deployments', 'Microsoft.Compute/disks')
  if (skip !== false) return t.test('deployments', { skip }, () => {})
  const { resources, deployments: client, compute } = world.clients
  const { deployments, deploymentOperations } = client
  await resources.resourceGroups.createOrUpdate(GROUP, { location: 'eastus' })

  await t.test('a template is validated without anything being made', async () => {
    const valid = await deployments.validate(GROUP, 'v1', deployment(TEMPLATE))
    assert.equal(valid.error, undefined)
    assert.deepEqual(await all(compute.disks.list()), [])
    const broken = { ...TEMPLATE, outputs: { x: { type: 'string', value: "[parameters('nope')]" } } }
    const refused = await deployments.validate(GROUP, 'v1', deployment(broken))
    assert.equal(refused.error?.code, 'InvalidTemplate', 'the refusal is the result')
  })

  await t.test('a template is deployed; its outputs come back, its secret does not', async () => {
    const done = await deployments.createOrUpdate(GROUP, 'd1', deployment(TEMPLATE))
    assert.equal(done.properties?.provisioningState, 'Succeeded')
    const { outputs } = done.properties as { outputs: { size: { value: number } } }
    assert.equal(outputs.size.value, 1)
    assert.equal(done.properties?.outputResources?.length, 2)
    assert.ok(!JSON.stringify(done).includes(SECRET))
    assert.deepEqual(new Set((await all(compute.disks.list())).map(({ name }) => name)), new Set(['sd0', 'sd1']))
    const listed = await all(deployments.listByResourceGroup(GROUP))
    assert.ok(listed.some(({ name }) => name === 'd1'))
    assert.ok((await all(deploymentOperations.list(GROUP, 'd1'))).length >= 2)
    assert.equal((await deployments.checkExistence(GROUP, 'd1')).body, true)
  })
  return undefined
})
