import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ArmError } from './arm-error.ts'
import { groupId, parseIdOfType, parseResourceId, resourceIdIn, sameId } from './resource-id.ts'

const GROUP = '/subscriptions/s1/resourceGroups/Rg'

test('ids are read in any case and spelling, and given back in the standard one', () => {
  const id = parseResourceId('/SUBSCRIPTIONS/s1//resourcegroups/Rg/Providers/Microsoft.Compute/disks/D1/')
  assert.equal(id.text, `${GROUP}/providers/Microsoft.Compute/disks/D1`)
  assert.deepEqual(
    [id.subscription, id.group, id.type, id.name, id.parent],
    ['s1', 'Rg', 'Microsoft.Compute/disks', 'D1', GROUP],
  )
  assert.ok(sameId(id.text, resourceIdIn('S1', 'rg', 'microsoft.compute/disks', 'd1')))
})

test('every level has its parent', () => {
  const level = (text: string) => {
    const { type, name, parent } = parseResourceId(text)
    return [type, name, parent]
  }
  assert.deepEqual(level('/subscriptions/s1'), [undefined, 's1', undefined])
  assert.deepEqual(level(GROUP), [undefined, 'Rg', '/subscriptions/s1'])
  const vnet = `${GROUP}/providers/Microsoft.Network/virtualNetworks/v`
  assert.deepEqual(level(`${vnet}/subnets/a`), ['Microsoft.Network/virtualNetworks/subnets', 'a', vnet])
  assert.deepEqual(level(`${vnet}/providers/Microsoft.Authorization/roleAssignments/r`), [
    'Microsoft.Authorization/roleAssignments',
    'r',
    vnet,
  ])
  assert.deepEqual(level('/providers/Microsoft.Authorization/roleAssignments/r'), [
    'Microsoft.Authorization/roleAssignments',
    'r',
    undefined,
  ])
})

test('what is no id is refused, and the field is named', () => {
  for (const text of [
    '',
    'disk1',
    '/',
    '/subscriptions',
    '/subscriptions/s/x',
    `${GROUP}/providers`,
    `${GROUP}/providers/Microsoft.Compute`,
    `${GROUP}/providers/Microsoft.Compute/disks`,
    `${GROUP}/providers/Microsoft.Compute/disks/a\u0000b`,
    `/${'x'.repeat(3000)}`,
    7,
    null,
    {},
  ])
    assert.throws(
      () => parseResourceId(text, 'properties.creationData.sourceResourceId'),
      (error) =>
        error instanceof ArmError &&
        error.code === 'InvalidResourceReference' &&
        error.target === 'properties.creationData.sourceResourceId',
      JSON.stringify(text),
    )
  assert.throws(() => parseIdOfType(groupId('s', 'g'), 'Microsoft.Compute/disks'), ArmError)
})
