/** ARM templates, deployed by unmodified `az`, which sends them as text with their comments. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

const DEPLOYMENTS = 'Microsoft.Resources/deployments'
const DISKS = 'Microsoft.Compute/disks'

/** Two disks by a copy loop; a secret that must not be shown again. */
const TEMPLATE = `{
  // comments are sent too
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "name": { "type": "string", "defaultValue": "td" },
    "count": { "type": "int" },
    "password": { "type": "securestring" }
  },
  /* a block
     of them */
  "variables": { "kind": "[format('{0}-{1}', parameters('name'), 'made')]" },
  "resources": [
    {
      "type": "Microsoft.Compute/disks",
      "apiVersion": "2023-04-02",
      "name": "[format('{0}{1}', parameters('name'), copyIndex())]",
      "location": "[resourceGroup().location]",
      "tags": { "kind": "[variables('kind')]" },
      "copy": { "name": "disks", "count": "[parameters('count')]" },
      "properties": { "creationData": { "createOption": "Empty" }, "diskSizeGB": 4 }
    }
  ],
  "outputs": {
    "id": { "type": "string", "value": "[resourceId('Microsoft.Compute/disks', format('{0}0', parameters('name')))]" },
    "size": { "type": "int", "value": "[reference(format('{0}1', parameters('name'))).diskSizeGB]" }
  }
}
`
const EMPTY = JSON.stringify({
  $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
  contentVersion: '1.0.0.0',
  resources: [],
  outputs: { where: { type: 'string', value: '[resourceGroup().location]' } },
})
const SECRET = 'never-shown-7391'

type Deployment = Readonly<{
  name: string
  properties: Readonly<{
    provisioningState: string
    parameters: Readonly<Record<string, Readonly<{ type: string; value?: unknown }>>> | null
    outputs: Readonly<Record<string, Readonly<{ type: string; value: unknown }>>> | null
    outputResources: readonly Readonly<{ id: string }>[] | null
  }>
}>

test('az: deployments', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, subscription } = world
  const flow = world.flows(t)
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const group = ['deployment', 'group']
  const file = await az.file('template.json', TEMPLATE)
  const at = (name: string): string[] => ['-g', 'rg1', '-n', name]
  const given = ['-f', file, '-p', 'count=2', `password=${SECRET}`]

  await flow(
    'deployment group create without resources',
    async () => {
      const empty = await az.file('empty.json', EMPTY)
      const { properties } = await az.run<Deployment>(...group, 'create', ...at('d0'), '-f', empty)
      assert.equal(properties.outputs?.['where']?.value, 'eastus')
    },
    DEPLOYMENTS,
  )

  await flow(
    'deployment group validate makes nothing',
    async () => {
      await az.run(...group, 'validate', ...at('d1'), ...given)
      assert.deepEqual(await az.run('resource', 'list', '-g', 'rg1'), [])
      const broken = await az.file('broken.json', TEMPLATE.replace("parameters('count')]", "parameters('nope')]"))
      await az.refused(
        'InvalidTemplate',
        ...group,
        'validate',
        ...at('d2'),
        '-f',
        broken,
        '-p',
        'count=2',
        'password=x',
      )
    },
    DEPLOYMENTS,
  )

  await flow(
    'deployment group create: a copy loop, outputs, a secret that is not shown',
    async () => {
      const made = await az.run<Deployment>(...group, 'create', ...at('d1'), ...given)
      const { provisioningState, outputs, outputResources, parameters } = made.properties
      assert.equal(provisioningState, 'Succeeded')
      const id = `${subscription}/resourceGroups/rg1/providers/Microsoft.Compute/disks/td`
      assert.deepEqual([outputs?.['id']?.value, outputs?.['size']?.value], [`${id}0`, 4])
      assert.deepEqual(new Set(outputResources?.map(({ id }) => id)), new Set([`${id}0`, `${id}1`]))
      assert.equal(parameters?.['password']?.value, undefined)
      const disks = await az.run<{ name: string; tags: { kind: string } }[]>('disk', 'list', '-g', 'rg1')
      const named = disks.map(({ name, tags }) => `${name} ${tags.kind}`)
      assert.deepEqual(new Set(named), new Set(['td0 td-made', 'td1 td-made']))
    },
    DEPLOYMENTS,
    DISKS,
  )

  await flow(
    'deployment group show, list, operation list',
    async () => {
      const shown = await az.run<Deployment>(...group, 'show', ...at('d1'))
      assert.ok(!JSON.stringify(shown).includes(SECRET))
      const names = (await az.run<Deployment[]>(...group, 'list', '-g', 'rg1')).map(({ name }) => name)
      assert.ok(names.includes('d1'))
      const operations = await az.run<{ properties: { provisioningState: string } }[]>(
        'deployment',
        'operation',
        'group',
        'list',
        ...at('d1'),
      )
      assert.ok(operations.length >= 2)
    },
    DEPLOYMENTS,
    DISKS,
  )

  await flow(
    'group delete takes what was deployed with it',
    async () => {
      await az.run('group', 'delete', '-n', 'rg1', '--yes')
      assert.deepEqual(await az.run('resource', 'list'), [])
    },
    DEPLOYMENTS,
    DISKS,
  )
})
