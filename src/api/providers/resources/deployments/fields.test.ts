import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fieldDocument } from '../../../arm/field-table.ts'
import { LOCK_FIELDS } from '../../authorization/locks.ts'
import { DEPLOYMENT_FIELDS } from './fields.ts'

for (const [page, table] of [
  ['docs/api/deployments.md', DEPLOYMENT_FIELDS],
  ['docs/api/locks.md', LOCK_FIELDS],
] as const)
  test(`${page} has the fields that the check goes by`, () => {
    assert.ok(readFileSync(page, 'utf8').includes(fieldDocument(table)), fieldDocument(table))
  })
