import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ArmError } from './arm-error.ts'
import { checkFilterFields, equalTo, parseFilter } from './filter.ts'

test('the filters that the clients send are read', () => {
  assert.deepEqual(parseFilter(undefined), [])
  assert.deepEqual(parseFilter("resourceGroup eq 'rg''1' and resourceType ne 'a b'"), [
    { kind: 'compare', field: 'resourceGroup', operator: 'eq', value: "rg'1" },
    { kind: 'compare', field: 'resourceType', operator: 'ne', value: 'a b' },
  ])
  assert.deepEqual(parseFilter("atScope() and assignedTo('x')"), [
    { kind: 'call', name: 'atscope', arguments: [] },
    { kind: 'call', name: 'assignedto', arguments: ['x'] },
  ])
  assert.equal(equalTo(parseFilter("backupManagementType eq 'AzureIaasVM'"), 'BACKUPMANAGEMENTTYPE'), 'AzureIaasVM')
  assert.equal(parseFilter("eventTimestamp ge '2026-11-22T00:00:00Z'").length, 1)
  assert.equal(parseFilter('isEnabled eq true').length, 1)
})

test('what cannot be read is refused: a filter that is passed over shows too much', () => {
  for (const filter of [
    "a eq 'x' or b eq 'y'",
    'a',
    'a eq',
    "a like 'x'",
    "(a eq 'x')",
    "a eq 'x' b eq 'y'",
    "'x'",
    "a eq 'x",
    '!',
    'a'.repeat(5000),
  ])
    assert.throws(() => parseFilter(filter), ArmError, filter)
  assert.throws(() => checkFilterFields(parseFilter("secret eq 'x'"), ['name']), /supported: name/)
})
