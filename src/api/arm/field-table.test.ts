import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkFields, fieldAt, fieldDocument, type FieldTable, storedFields } from './field-table.ts'

const TABLE: FieldTable = [
  { path: 'location', use: 'honoured' },
  { path: 'id', use: 'read-only' },
  { path: 'sku.name', use: 'stored', only: ['A_LRS'] },
  { path: 'properties.size', use: 'honoured' },
  { path: 'properties.note', use: 'stored', note: 'kept' },
  { path: 'properties.lock', use: 'refused', only: [false] },
  { path: 'properties.rules', use: 'refused' },
]

function refusedAt(body: unknown): string | undefined {
  try {
    checkFields(TABLE, body)
    return undefined
  } catch (error) {
    return (error as { target?: string }).target
  }
}

test('checkFields() lets pass what is known, null, empty and echoed', () => {
  for (const body of [
    { location: 'x', id: '/a', properties: { size: 1, note: { deep: [1] } } },
    { location: null, properties: { unknown: null, lock: null } },
    { sku: { name: 'a_lrs' }, properties: { lock: false, rules: [] } },
    { properties: {}, extra: {} },
    undefined,
  ])
    assert.equal(refusedAt(body), undefined, JSON.stringify(body))
})

test('checkFields() names the field that it refuses', () => {
  assert.equal(refusedAt({ properties: { lock: true } }), 'properties.lock')
  assert.equal(refusedAt({ properties: { lock: 'false' } }), 'properties.lock')
  assert.equal(refusedAt({ properties: { rules: [1] } }), 'properties.rules')
  assert.equal(refusedAt({ properties: { surprise: 0 } }), 'properties.surprise')
  assert.equal(refusedAt({ sku: { name: 'B' } }), 'sku.name')
  assert.equal(refusedAt({ sku: 'A_LRS' }), 'sku')
})

test('fieldAt() takes null for absent, storedFields() what is kept, fieldDocument() tells all', () => {
  assert.equal(fieldAt({ a: { b: null } }, 'a.b'), undefined)
  assert.equal(fieldAt({ a: [1] }, 'a.0'), undefined)
  assert.deepEqual(storedFields(TABLE, { properties: { note: 'x', size: 1 } }, 'properties.'), { note: 'x' })
  assert.match(fieldDocument(TABLE), /\| `properties.note` \| stored \| kept \|/)
  assert.match(fieldDocument(TABLE), /\| `properties.lock` \| refused \| only `false` \|/)
})
