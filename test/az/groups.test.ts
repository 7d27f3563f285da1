/** Resource groups, tags, lists over all types and the activity log, by unmodified `az`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

type Group = Readonly<{
  id: string
  name: string
  location: string
  tags: Readonly<Record<string, string>> | null
  properties: Readonly<{ provisioningState: string }>
}>
type Tags = Readonly<{ properties: Readonly<{ tags: Readonly<Record<string, string>> }> }>
type Events = Readonly<{
  value: readonly Readonly<{ operationName: { value: string }; status: { value: string }; caller: string }>[]
}>

test('az: resource groups and what is said about resources', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, record, subscription } = world
  const flow = world.flows(t)

  await flow('group create, again, in a region that is not ours', async () => {
    const made = await az.run<Group>('group', 'create', '-n', 'rg1', '-l', 'eastus', '--tags', 'env=lab', 'cost=7 x')
    assert.deepEqual(
      [made.id, made.location, made.tags, made.properties.provisioningState],
      [`${subscription}/resourceGroups/rg1`, 'eastus', { env: 'lab', cost: '7 x' }, 'Succeeded'],
    )
    const again = await az.run<Group>('group', 'create', '-n', 'RG1', '-l', 'East US', '--tags', 'env=lab')
    assert.deepEqual([again.name, again.tags], ['rg1', { env: 'lab' }])
    await az.refused('LocationNotAvailableForResourceGroup', 'group', 'create', '-n', 'rg9', '-l', 'mars')
    await az.refused('Conflict', 'group', 'create', '-n', 'rg1', '-l', 'westus')
  })

  await flow('group show, list, exists', async () => {
    await az.run('group', 'create', '-n', 'rg2', '-l', 'westus', '--tags', 'env=live')
    assert.equal((await az.run<Group>('group', 'show', '-n', 'rg1')).location, 'eastus')
    const names = async (...more: string[]): Promise<string[]> =>
      (await az.run<Group[]>('group', 'list', ...more)).map(({ name }) => name).sort()
    assert.deepEqual(await names(), ['rg1', 'rg2'])
    assert.deepEqual(await names('--tag', 'env=live'), ['rg2'])
    assert.equal(await az.run('group', 'exists', '-n', 'rg1'), true)
    assert.equal(await az.run('group', 'exists', '-n', 'nothing'), false)
    const { exitCode, stderr } = await az.fail('group', 'show', '-n', 'nothing')
    assert.equal(exitCode, 3, 'what is not there is 3')
    assert.match(stderr, /ResourceGroupNotFound/)
  })

  await flow('group update of tags', async () => {
    assert.deepEqual((await az.run<Group>('group', 'update', '-n', 'rg1', '--set', 'tags.by=az')).tags, {
      env: 'lab',
      by: 'az',
    })
    assert.deepEqual((await az.run<Group>('group', 'update', '-n', 'rg1', '--tags', 'env=lab')).tags, { env: 'lab' })
  })

  await flow('tag create, update, list, delete at an id', async () => {
    const at = ['--resource-id', `${subscription}/resourceGroups/rg1`]
    const tags = async (...args: string[]): Promise<unknown> =>
      (await az.run<Tags>('tag', ...args, ...at)).properties.tags
    assert.deepEqual(await tags('create', '--tags', 'a=1'), { a: '1' })
    assert.deepEqual(await tags('update', '--operation', 'Merge', '--tags', 'b=2'), { a: '1', b: '2' })
    assert.deepEqual(await tags('update', '--operation', 'Delete', '--tags', 'a=1'), { b: '2' })
    assert.deepEqual(await tags('list'), { b: '2' })
    await az.run('tag', 'delete', '--yes', ...at)
    assert.deepEqual(await tags('list'), {})
  })

  await flow('resource list, by group, type and tag', async () => {
    assert.deepEqual(await az.run('resource', 'list'), [])
    assert.deepEqual(await az.run('resource', 'list', '-g', 'rg1'), [])
    assert.deepEqual(await az.run('resource', 'list', '--resource-type', 'Microsoft.Compute/disks'), [])
    assert.deepEqual(await az.run('resource', 'list', '--tag', 'env=lab'), [])
  })

  await flow('provider list, show, register', async () => {
    const shown = await az.run<{ registrationState: string }>('provider', 'show', '-n', 'Microsoft.Resources')
    assert.equal(shown.registrationState, 'Registered')
    await az.run('provider', 'register', '-n', 'Microsoft.Resources')
    await az.fail('provider', 'show', '-n', 'Microsoft.Sql')
  })

  await flow('the activity log of a group', async () => {
    const filter = "eventTimestamp ge '2020-01-01T00:00:00Z' and resourceGroupName eq 'rg1'"
    const path = `${subscription}/providers/Microsoft.Insights/eventtypes/management/values`
    const url = `${path}?api-version=2015-04-01&$filter=${encodeURIComponent(filter)}`
    const { value } = await az.run<Events>('rest', '--method', 'get', '--url', url)
    const said = value.map(({ operationName, status }) => `${operationName.value} ${status.value}`)
    const write = 'Microsoft.Resources/subscriptions/resourceGroups/write'
    assert.ok(said.includes(`${write} Succeeded`) && said.includes(`${write} Failed`), said.join('\n'))
    assert.ok(value.every(({ caller }) => caller === record.clientId))
  })

  await flow('group delete, and again', async () => {
    await az.run('group', 'delete', '-n', 'rg1', '--yes')
    assert.equal(await az.run('group', 'exists', '-n', 'rg1'), false)
    await az.refused('ResourceGroupNotFound', 'group', 'delete', '-n', 'rg1', '--yes')
  })
})
