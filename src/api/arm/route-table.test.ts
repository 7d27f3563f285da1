import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ArmError } from '#contract'
import type { ArmRoute, Method } from './call.ts'
import { RouteTable } from './route-table.ts'

const route = (method: Method, path: string): ArmRoute => ({
  method,
  path,
  action: path,
  handle: () => ({ status: 200 }),
})
const GROUP = '/subscriptions/{subscription}/resourceGroups/{group}'
const table = new RouteTable([
  route('GET', '/subscriptions/{subscription}/resourceGroups/{name}'),
  route('GET', `${GROUP}/resources`),
  route('GET', `${GROUP}/providers/Microsoft.Compute/disks/{disk}`),
  route('PUT', `${GROUP}/providers/Microsoft.Compute/disks/{disk}`),
  route('POST', `${GROUP}/providers/Microsoft.Compute/disks/{disk}/beginGetAccess`),
  route('GET', '/{scope}/providers/Microsoft.Authorization/roleAssignments/{name}'),
])

test('a path is found in any case, through double slashes and encoded segments, and its id is in the standard spelling', () => {
  const { route, params, id } = table.match(
    'GET',
    '//SUBSCRIPTIONS/s//resourcegroups/R%3B1/Providers/microsoft.compute/DISKS/D%201/',
  )
  assert.equal(route.path, `${GROUP}/providers/Microsoft.Compute/disks/{disk}`)
  assert.deepEqual(params, { subscription: 's', group: 'R;1', disk: 'D 1' })
  assert.equal(id, '/subscriptions/s/resourceGroups/R;1/providers/Microsoft.Compute/disks/D 1')
})

test('routes that share a prefix keep their own names for its parameters', () => {
  assert.deepEqual(table.match('GET', '/subscriptions/s/resourceGroups/g').params, { subscription: 's', name: 'g' })
  assert.deepEqual(table.match('GET', '/subscriptions/s/resourceGroups/g/resources').params, {
    subscription: 's',
    group: 'g',
  })
})

test('an extension resource is found at any scope, its own kind included', () => {
  const at = (scope: string) => table.match('GET', `${scope}/providers/Microsoft.Authorization/roleAssignments/r`)
  for (const scope of [
    '',
    '/subscriptions/s',
    '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d',
  ]) {
    assert.equal(at(scope).params['scope'], scope)
    assert.equal(at(scope).id, `${scope}/providers/Microsoft.Authorization/roleAssignments/r`)
  }
  assert.equal(at('/SUBSCRIPTIONS/s/resourcegroups/g').params['scope'], '/subscriptions/s/resourceGroups/g')
})

test('what is not there is refused by name', () => {
  const refused = (method: Method, path: string): string => {
    try {
      table.match(method, path)
    } catch (error) {
      if (error instanceof ArmError) return `${error.status} ${error.code} ${error.message}`
    }
    return assert.fail(path)
  }
  const disk = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d'
  assert.match(refused('DELETE', disk), /^405 NotSupported .*GET, PUT/)
  assert.match(refused('GET', `${disk}/x`), /^404 InvalidResourceType .*'disks\/x'/)
  assert.match(refused('GET', '/subscriptions/s/providers/Microsoft.Sql/servers'), /namespace 'Microsoft.Sql'/)
  assert.match(refused('GET', '/nothing'), /^404 NotFound/)
  for (const path of ['/a%2Fb', '/a/../b', '/a/%2e%2e/b', '/%00', '/%zz', `/${'x'.repeat(5000)}`])
    assert.match(refused('GET', path), /^400 InvalidRequestFormat/)
})
