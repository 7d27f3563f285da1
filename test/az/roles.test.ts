/** Roles given and taken by unmodified `az`, and what another principal may then do. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { type Az, azMissing } from './az.ts'
import { AzWorld, type NewPrincipal } from './az-world.ts'

type Assignment = Readonly<{ id: string; principalId: string; roleDefinitionName: string; scope: string }>
type Role = Readonly<{ name: string; roleName: string }>

test('az: roles', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az } = world
  const flow = world.flows(t)
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  await az.run('group', 'create', '-n', 'rg2', '-l', 'eastus')

  await flow('role definition list: Azure’s own, by name and id', async () => {
    const found = await az.run<Role[]>('role', 'definition', 'list', '--name', 'Disk Snapshot Contributor')
    assert.deepEqual(
      found.map(({ name }) => name),
      ['7efff54f-a5b4-42b5-a1c5-5411624893ce'],
    )
    assert.ok((await az.run<Role[]>('role', 'definition', 'list')).length >= 11)
  })

  const other = await world.principal('operator')
  if (other === undefined)
    return t.test('roles of another principal', { skip: 'the server makes no principals yet' }, () => {})
  await rolesOf(world, other, t)
})

async function rolesOf(world: AzWorld, other: NewPrincipal, t: TestContext): Promise<void> {
  const { az, record, subscription } = world
  const flow = world.flows(t)
  const theirs: Az = await world.another()
  const scope = `${subscription}/resourceGroups/rg1`
  const assign = (role: string): Promise<Assignment> =>
    az.run<Assignment>(
      'role',
      'assignment',
      'create',
      '--role',
      role,
      '--scope',
      scope,
      '--assignee-object-id',
      other.id,
      '--assignee-principal-type',
      'ServicePrincipal',
    )
  const tag = ['tag', 'create', '--resource-id', scope, '--tags', 'by=operator']

  await flow('a principal without a role logs in and sees nothing', async () => {
    await theirs.login(record, other.clientId, other.secret, '--allow-no-subscriptions')
    const subscriptions = await theirs.run<{ value: unknown[] }>(
      'rest',
      '--method',
      'get',
      '--url',
      `${record.endpoint}/subscriptions?api-version=2022-12-01`,
    )
    assert.deepEqual(subscriptions.value, [])
  })

  await flow('role assignment create: a Reader of one group sees that group', async () => {
    const made = await assign('Reader')
    assert.deepEqual([made.principalId, made.scope], [other.id, scope])
    await theirs.logIn(record, other.clientId, other.secret)
    const groups = await theirs.run<{ name: string }[]>('group', 'list')
    assert.deepEqual(
      groups.map(({ name }) => name),
      ['rg1'],
    )
    await theirs.refused('AuthorizationFailed', 'group', 'show', '-n', 'rg2')
  })

  await flow('denied: a Reader changes nothing, gives no role', async () => {
    await theirs.refused('AuthorizationFailed', ...tag)
    await theirs.refused('AuthorizationFailed', 'group', 'delete', '-n', 'rg1', '--yes')
    await theirs.refused('AuthorizationFailed', 'group', 'create', '-n', 'rg3', '-l', 'eastus')
    await theirs.refused(
      'AuthorizationFailed',
      'role',
      'assignment',
      'create',
      '--role',
      'Owner',
      '--scope',
      scope,
      '--assignee-object-id',
      other.id,
      '--assignee-principal-type',
      'ServicePrincipal',
    )
  })

  await flow('allowed: a Contributor does, with the token from before', async () => {
    await assign('Contributor')
    await theirs.run(...tag)
    assert.equal((await az.run<{ tags: { by: string } }>('group', 'show', '-n', 'rg1')).tags.by, 'operator')
  })

  await flow('role assignment list', async () => {
    const list = ['role', 'assignment', 'list', '--scope', scope, '--fill-principal-name', 'false']
    const found = await az.run<Assignment[]>(...list)
    assert.ok(found.every(({ principalId }) => principalId === other.id))
    assert.deepEqual(
      new Set(found.map(({ roleDefinitionName }) => roleDefinitionName)),
      new Set(['Contributor', 'Reader']),
    )
  })

  await flow('role assignment delete: taken away at once', async () => {
    const found = await az.run<Assignment[]>(
      'role',
      'assignment',
      'list',
      '--scope',
      scope,
      '--fill-principal-name',
      'false',
    )
    await az.run('role', 'assignment', 'delete', '--ids', ...found.map(({ id }) => id))
    await theirs.refused('AuthorizationFailed', ...tag)
    await theirs.refused('AuthorizationFailed', 'group', 'show', '-n', 'rg1')
  })
}
