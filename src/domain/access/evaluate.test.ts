import assert from 'node:assert/strict'
import { test } from 'node:test'
import { actionMatches, isAllowed, isWithin, mayEnter } from './evaluate.ts'
import { BUILT_IN_ROLES, findRole, OWNER_ROLE } from './role-definitions.ts'

const GROUP = '/subscriptions/s/resourceGroups/rg'
const DISK = `${GROUP}/providers/Microsoft.Compute/disks/d1`
const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)

test('a star stands for any text, and a pattern without one for itself alone', () => {
  for (const [pattern, action, matches] of [
    ['*', 'Microsoft.Compute/disks/read', true],
    ['*/read', 'Microsoft.Compute/disks/read', true],
    ['*/read', 'Microsoft.Compute/disks/readAll', false],
    ['Microsoft.Compute/disks/*', 'microsoft.compute/DISKS/beginGetAccess/action', true],
    ['Microsoft.Compute/disks/*', 'Microsoft.Compute/disks', false],
    ['Microsoft.Compute/*/read', 'Microsoft.Compute/a/b/read', true],
    ['Microsoft.Compute/*/read', 'Microsoft.Compute/read', false],
    ['a*a', 'a', false],
    ['Microsoft.Compute/disks/read', 'Microsoft.Compute/disks/read', true],
    ['Microsoft.Compute/disks/read', 'Microsoft.Compute/disks/read/x', false],
  ] as const)
    assert.equal(actionMatches(pattern, action), matches, `${pattern} ${action}`)
})

test('a scope holds whole segments below it, without case', () => {
  assert.ok(isWithin('/', DISK))
  assert.ok(isWithin('/SUBSCRIPTIONS/S', DISK))
  assert.ok(isWithin(DISK, DISK))
  assert.ok(!isWithin('/subscriptions/s/resourceGroups/r', DISK))
  assert.ok(!isWithin(`${DISK}/x`, DISK))
})

test('roles of several assignments add up, and each is held at its own scope', () => {
  const grants = [
    { scope: GROUP, roleId: roleNamed('Reader') },
    { scope: `${GROUP}/providers/Microsoft.Compute/snapshots/s1`, roleId: roleNamed('Disk Snapshot Contributor') },
  ]
  assert.ok(isAllowed(grants, 'Microsoft.Compute/disks/read', DISK))
  assert.ok(!isAllowed(grants, 'Microsoft.Compute/disks/write', DISK))
  assert.ok(
    isAllowed(grants, 'Microsoft.Compute/snapshots/delete', `${GROUP}/providers/Microsoft.Compute/snapshots/s1`),
  )
  assert.ok(
    !isAllowed(grants, 'Microsoft.Compute/snapshots/delete', `${GROUP}/providers/Microsoft.Compute/snapshots/s2`),
  )
  assert.ok(!isAllowed([], 'Microsoft.Compute/disks/read', DISK))
})

test('a Contributor may do everything but decide who may', () => {
  const grants = [{ scope: '/subscriptions/s', roleId: roleNamed('Contributor') }]
  assert.ok(isAllowed(grants, 'Microsoft.Compute/disks/delete', DISK))
  assert.ok(isAllowed(grants, 'Microsoft.Authorization/roleAssignments/read', DISK))
  assert.ok(!isAllowed(grants, 'Microsoft.Authorization/roleAssignments/write', DISK))
  assert.ok(isAllowed([{ scope: '/', roleId: OWNER_ROLE }], 'Microsoft.Authorization/roleAssignments/write', DISK))
})

test('reading everything does not give what secret-giving actions give', () => {
  assert.ok(
    !isAllowed([{ scope: '/', roleId: roleNamed('Reader') }], 'Microsoft.Compute/disks/beginGetAccess/action', DISK),
  )
  assert.ok(
    !isAllowed([{ scope: '/', roleId: roleNamed('Backup Reader') }], 'Microsoft.RecoveryServices/Vaults/write', DISK),
  )
})

test('who was given one disk may enter the group that holds it, and no other', () => {
  const grants = [{ scope: DISK, roleId: roleNamed('Reader') }]
  assert.ok(mayEnter(grants, GROUP))
  assert.ok(!mayEnter(grants, '/subscriptions/s/resourceGroups/other'))
  assert.ok(!isAllowed(grants, 'Microsoft.Resources/subscriptions/resourceGroups/read', GROUP))
})

test('a role is found by its id at any scope, and no id is there twice', () => {
  assert.equal(
    findRole(`/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/${OWNER_ROLE.toUpperCase()}`)?.name,
    'Owner',
  )
  assert.equal(findRole('00000000-0000-0000-0000-000000000000'), undefined)
  assert.equal(new Set(BUILT_IN_ROLES.map(({ id }) => id)).size, BUILT_IN_ROLES.length)
})
