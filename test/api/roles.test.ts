/** Role assignments over the API, as `az role assignment` makes them; tags; the lists over all types; the activity log. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { insertResource } from '#catalog'
import { BUILT_IN_ROLES, OWNER_ROLE } from '#domain'
import { ApiWorld, VERSION } from './api-world.ts'

const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)
type Failure = { error: { code: string; message: string } }
type Assignment = {
  id: string
  name: string
  properties: { scope: string; principalId: string; roleDefinitionId: string }
}
type List<T> = { value: T[] }
const NAME = '11111111-2222-3333-4444-555555555555'

test('Roles are given and taken away over the API', async (t) => {
  await using world = await ApiWorld.make()
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg`
  await ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
  const other = await world.principal('operator', [])
  const path = `${group}/providers/Microsoft.Authorization/roleAssignments/${NAME}?${VERSION}`
  const roleDefinitionId = `${world.subscription}/providers/Microsoft.Authorization/roleDefinitions/${roleNamed('Contributor')}`
  const body = {
    properties: { roleDefinitionId, principalId: other.id, principalType: 'ServicePrincipal', condition: null },
  }

  await t.test('what is given holds at once, and what is taken away is gone at once', async () => {
    assert.equal((await other.ask('GET', `${group}?${VERSION}`)).status, 403)
    const made = await ask<Assignment>('PUT', path, body)
    assert.equal(made.status, 201, made.text)
    assert.equal(made.body.properties.scope, group)
    assert.equal(
      (await other.ask('PUT', `${group}?${VERSION}`, { location: 'eastus', tags: { by: 'other' } })).status,
      200,
    )
    assert.equal((await ask('PUT', path, body)).status, 200, 'the same again changes nothing')
    assert.equal((await ask('DELETE', path)).status, 200)
    assert.equal((await other.ask('GET', `${group}?${VERSION}`)).status, 403)
    assert.equal((await ask('DELETE', path)).status, 204)
  })

  await t.test('a Contributor gives no roles, not even to itself', async () => {
    await ask('PUT', path, body)
    const own = {
      properties: {
        ...body.properties,
        roleDefinitionId: roleDefinitionId.replace(roleNamed('Contributor'), OWNER_ROLE),
      },
    }
    const refused = await other.ask<Failure>('PUT', path.replace('11111111', '99999999'), own)
    assert.deepEqual([refused.status, refused.body.error.code], [403, 'AuthorizationFailed'])
  })

  await t.test('are listed at a scope: above it always, below it unless asked not to', async () => {
    const names = async (scope: string, filter = ''): Promise<string[]> => {
      const query = filter === '' ? '' : `&$filter=${encodeURIComponent(filter)}`
      const list = await ask<List<Assignment>>(
        'GET',
        `${scope}/providers/Microsoft.Authorization/roleAssignments?${VERSION}${query}`,
      )
      return list.body.value.map(({ properties }) => properties.principalId)
    }
    assert.equal((await names(world.subscription)).length, 2)
    assert.ok(!(await names(world.subscription, 'atScope()')).includes(other.id))
    assert.deepEqual(await names(group, `principalId eq '${other.id}'`), [other.id])
    assert.deepEqual(await names(group, `assignedTo('${other.id}')`), [other.id])
  })

  await t.test('what cannot be is refused by name', async () => {
    const ofNobody = { properties: { ...body.properties, principalId: NAME } }
    const ofNothing = { properties: { ...body.properties, roleDefinitionId: NAME } }
    const limited = {
      properties: { ...body.properties, condition: "@Resource[name] StringEquals 'x'", conditionVersion: '2.0' },
    }
    for (const [given, code] of [
      [ofNobody, 'InvalidPrincipalId'],
      [ofNothing, 'RoleDefinitionDoesNotExist'],
      [limited, 'UnsupportedField'],
    ] as const) {
      const refused = await ask<Failure>('PUT', path.replace('11111111', '22222222'), given)
      assert.equal(refused.body.error.code, code)
    }
    const again = await ask<Failure>('PUT', path.replace('11111111', '33333333'), body)
    assert.deepEqual([again.status, again.body.error.code], [409, 'RoleAssignmentExists'])
    const [first] = (
      await ask<List<Assignment>>(
        'GET',
        `/providers/Microsoft.Authorization/roleAssignments?${VERSION}&$filter=atScope()`,
      )
    ).body.value
    const last = await ask<Failure>('DELETE', `${first?.id ?? ''}?${VERSION}`)
    assert.equal(last.body.error.code, 'OperationNotAllowed', 'the last Owner stays')
  })

  await t.test('definitions carry Azure’s ids, and are found by name', async () => {
    const filter = encodeURIComponent("roleName eq 'disk snapshot contributor'")
    const list = await ask<List<{ name: string }>>(
      'GET',
      `${group}/providers/Microsoft.Authorization/roleDefinitions?${VERSION}&$filter=${filter}`,
    )
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['7efff54f-a5b4-42b5-a1c5-5411624893ce'],
    )
  })

  await t.test('and everything is in the activity log of the group', async () => {
    const filter = encodeURIComponent("eventTimestamp ge '2020-01-01T00:00:00Z' and resourceGroupName eq 'rg'")
    const log = await ask<List<{ operationName: { value: string }; status: { value: string }; caller: string }>>(
      'GET',
      `${world.subscription}/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=${filter}`,
    )
    const refused = log.body.value.find(({ caller, status }) => caller === other.clientId && status.value === 'Failed')
    assert.equal(refused?.operationName.value, 'Microsoft.Authorization/roleAssignments/write')
  })
})

test('Tags and lists over all types', async (t) => {
  await using world = await ApiWorld.make()
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg`
  await ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
  const source = { nowMs: () => 1, newEtag: () => 'e' }
  for (const [name, type] of [
    ['d1', 'Microsoft.Compute/disks'],
    ['d2', 'Microsoft.Compute/disks'],
    ['s1', 'Microsoft.Compute/snapshots'],
  ] as const) {
    const id = `${group}/providers/${type}/${name}`
    const record = {
      id,
      subscription: world.subscription.slice(15),
      group,
      type,
      name,
      location: 'eastus',
      tags: { n: name },
    }
    await world.catalog.write((trx) =>
      insertResource(trx, { ...record, state: 'Succeeded', body: {}, backing: { file: 'x' } }, source),
    )
  }
  const disk = `${group}/providers/Microsoft.Compute/disks/d1`

  await t.test('tags are merged, replaced and taken away by id', async () => {
    const path = `${disk}/providers/Microsoft.Resources/tags/default?api-version=2021-04-01`
    const patch = (operation: string, tags: object) =>
      ask<{ properties: { tags: object } }>('PATCH', path, { operation, properties: { tags } })
    assert.deepEqual((await patch('Merge', { a: '1', N: 'x' })).body.properties.tags, { a: '1', N: 'x' })
    assert.deepEqual((await patch('Delete', { A: '' })).body.properties.tags, { N: 'x' })
    assert.deepEqual((await patch('Replace', { z: '1' })).body.properties.tags, { z: '1' })
    assert.equal((await ask('DELETE', path)).status, 200)
    assert.deepEqual((await ask<{ properties: { tags: object } }>('GET', path)).body.properties.tags, {})
  })

  await t.test('resources are listed without what stands behind them, and filtered by type and tag', async () => {
    const names = async (filter: string): Promise<string[]> => {
      const list = await ask<List<{ name: string }>>(
        'GET',
        `${world.subscription}/resources?${VERSION}&$filter=${encodeURIComponent(filter)}`,
      )
      assert.ok(!list.text.includes('backing') && !list.text.includes('"file"'))
      return list.body.value.map(({ name }) => name)
    }
    assert.deepEqual(await names(''), ['d1', 'd2', 's1'])
    assert.deepEqual(await names("resourceType eq 'microsoft.compute/DISKS' and name ne 'd1'"), ['d2'])
    assert.deepEqual(await names("tagName eq 'N' and tagValue eq 's1'"), ['s1'])
    assert.deepEqual(await names("substringof('D', name) and resourceGroup eq 'RG'"), ['d1', 'd2'])
  })

  await t.test('who may read one resource is shown that one', async () => {
    const reader = await world.principal('reader', [{ role: roleNamed('Reader'), scope: disk }])
    const list = await reader.ask<List<{ name: string }>>('GET', `${group}/resources?${VERSION}`)
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['d1'],
    )
  })

  await t.test('providers say what there is', async () => {
    const one = await ask<{ registrationState: string; resourceTypes: unknown[] }>(
      'GET',
      `${world.subscription}/providers/microsoft.resources?${VERSION}`,
    )
    assert.equal(one.body.registrationState, 'Registered')
    assert.ok(one.body.resourceTypes.length > 0)
    assert.equal((await ask('GET', `${world.subscription}/providers/Microsoft.Sql?${VERSION}`)).status, 404)
  })
})
