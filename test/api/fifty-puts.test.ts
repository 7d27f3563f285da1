/** Fifty identical PUTs at once make one resource, whatever its type. Disks and snapshots have theirs beside their own tests. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listResources, listRoleAssignments } from '#catalog'
import { BUILT_IN_ROLES } from '#domain'
import { ApiWorld, followed, VERSION } from './api-world.ts'

const AT_ONCE = 50

test('Fifty identical PUTs at once make one resource', async (t) => {
  await using world = await ApiWorld.make()
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg1`
  await ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
  const { id: principalId } = await world.principal('somebody', [])
  const roleDefinitionId = BUILT_IN_ROLES.find(({ name }) => name === 'Reader')?.id
  const template = { contentVersion: '1.0.0.0', resources: [] }
  const bodies: Readonly<Record<string, unknown>> = {
    [`${world.subscription}/resourceGroups/rg2`]: { location: 'eastus', tags: { a: 'b' } },
    [`${group}/providers/Microsoft.Storage/storageAccounts/acct50`]: {
      location: 'eastus',
      sku: { name: 'Standard_LRS' },
    },
    [`${group}/providers/Microsoft.Resources/deployments/d50`]: { properties: { mode: 'Incremental', template } },
    [`${group}/providers/Microsoft.Authorization/roleAssignments/0b1f6471-1bf0-4dda-aec3-cb9272f09590`]: {
      properties: { roleDefinitionId, principalId },
    },
    [`${group}/providers/Microsoft.Authorization/locks/l50`]: { properties: { level: 'CanNotDelete' } },
  }
  for (const [id, body] of Object.entries(bodies))
    await t.test(id.split('/').slice(-2).join('/'), async () => {
      const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => ask('PUT', `${id}?${VERSION}`, body)))
      for (const { status, text } of answers) assert.ok(status >= 200 && status < 300, text)
      // A deployment that has ended is deployed again by the next of them, as on Azure.
      for (const answer of answers)
        if (answer.headers['azure-asyncoperation'] !== undefined) await followed(ask, answer)
      const found = (await listResources(world.catalog, {})).filter((one) => one.id === id)
      const roles = await listRoleAssignments(world.catalog, { principal: principalId })
      assert.equal(found.length + (id.includes('roleAssignments') ? roles.length : 0), 1)
    })
})
