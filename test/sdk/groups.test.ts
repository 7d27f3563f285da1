/** Login, resource groups, tags, lists and roles by the newest JavaScript SDKs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomUuid } from '#base'
import { BUILT_IN_ROLES } from '#domain'
import { systemRandom } from '#runtime'
import { all, Clients, refusal, SdkWorld } from './sdk-world.ts'

const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)

test('SDK: groups, tags, roles', async (t) => {
  await using world = await SdkWorld.make()
  const { record, subscription } = world
  const { resources, authorization, credential } = world.clients

  await t.test('ClientSecretCredential gets a token; with another secret it is told why not', async () => {
    const token = await credential.getToken(`${record.endpoint}/.default`)
    assert.equal(token?.token.split('.').length, 3)
    const other = new Clients(record, record.clientId, 'not-the-secret')
    await assert.rejects(async () => other.credential.getToken(`${record.endpoint}/.default`), /7000215/)
  })

  await t.test('a group is made, found, listed, tagged', async () => {
    const { resourceGroups, tagsOperations } = resources
    const made = await resourceGroups.createOrUpdate('rg1', { location: 'eastus', tags: { env: 'sdk' } })
    assert.deepEqual(
      [made.id, made.location, made.tags, made.properties?.provisioningState],
      [`${subscription}/resourceGroups/rg1`, 'eastus', { env: 'sdk' }, 'Succeeded'],
    )
    assert.equal((await resourceGroups.get('RG1')).name, 'rg1')
    assert.deepEqual((await resourceGroups.update('rg1', { tags: { env: 'sdk', by: 'me' } })).tags, {
      env: 'sdk',
      by: 'me',
    })
    const names = (await all(resourceGroups.list({ filter: "tagName eq 'env' and tagValue eq 'sdk'" }))).map(
      ({ name }) => name,
    )
    assert.deepEqual(names, ['rg1'])
    assert.deepEqual(await all(resources.resources.listByResourceGroup('rg1')), [])
    const tags = await tagsOperations.getAtScope(subscription.slice(1) + '/resourceGroups/rg1')
    assert.deepEqual(tags.properties.tags, { env: 'sdk', by: 'me' })
    assert.deepEqual(await refusal(resourceGroups.get('nothing')), [404, 'ResourceGroupNotFound'])
    assert.deepEqual(await refusal(resourceGroups.createOrUpdate('rg9', { location: 'mars' })), [
      400,
      'LocationNotAvailableForResourceGroup',
    ])
  })

  await t.test('a role is given and taken; without it the other one is refused', async (t) => {
    const other = await world.principal('operator')
    if (other === undefined) return t.skip('the server makes no principals yet')
    const scope = `${subscription}/resourceGroups/rg1`
    const theirs = other.clients.resources
    assert.deepEqual(await refusal(theirs.resourceGroups.get('rg1')), [403, 'AuthorizationFailed'])
    const name = randomUuid(systemRandom)
    const made = await authorization.roleAssignments.create(scope, name, {
      roleDefinitionId: `${subscription}/providers/Microsoft.Authorization/roleDefinitions/${roleNamed('Reader')}`,
      principalId: other.id,
      principalType: 'ServicePrincipal',
    })
    assert.deepEqual([made.name, made.principalId, made.scope], [name, other.id, scope])
    assert.equal((await theirs.resourceGroups.get('rg1')).name, 'rg1')
    assert.deepEqual(await refusal(theirs.resourceGroups.update('rg1', { tags: {} })), [403, 'AuthorizationFailed'])
    const listed = await all(
      authorization.roleAssignments.listForScope(scope, { filter: `principalId eq '${other.id}'` }),
    )
    assert.deepEqual(
      listed.map(({ name }) => name),
      [name],
    )
    const definitions = await all(authorization.roleDefinitions.list(scope, { filter: "roleName eq 'Reader'" }))
    assert.deepEqual(
      definitions.map(({ name }) => name),
      [roleNamed('Reader')],
    )
    await authorization.roleAssignments.delete(scope, name)
    assert.deepEqual(await refusal(theirs.resourceGroups.get('rg1')), [403, 'AuthorizationFailed'])
    return undefined
  })

  await t.test('a group is deleted, followed by its poller', async () => {
    await resources.resourceGroups.delete('rg1')
    assert.equal((await resources.resourceGroups.checkExistence('rg1')).body, false)
  })
})
