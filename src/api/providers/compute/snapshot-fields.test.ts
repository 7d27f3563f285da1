import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { checkFields, fieldDocument } from '../../arm/field-table.ts'
import { SNAPSHOT_FIELDS } from './snapshot-fields.ts'

test('what would weaken protection is refused by name; null and what is echoed pass', () => {
  const encrypted = (value: unknown) => ({ properties: { encryption: { diskEncryptionSetId: value } } })
  assert.throws(() => checkFields(SNAPSHOT_FIELDS, encrypted('/x')), {
    code: 'UnsupportedField',
    target: 'properties.encryption.diskEncryptionSetId',
  })
  checkFields(SNAPSHOT_FIELDS, encrypted(null))
  const echoed = { encryption: { type: 'EncryptionAtRestWithPlatformKey' }, diskState: 'Unattached' }
  checkFields(SNAPSHOT_FIELDS, { properties: { ...echoed, completionPercent: 100 } })
})

test('docs/api/snapshots.md shows the table that requests are checked by', async () => {
  const path = new URL('../../../../docs/api/snapshots.md', import.meta.url)
  const rows = (text: string): string[] =>
    text
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map((line) => line.replaceAll(/ +/g, ' '))
  const shown = rows(await readFile(path, 'utf8'))
  for (const row of rows(fieldDocument(SNAPSHOT_FIELDS))) assert.ok(shown.includes(row), row)
})
