import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { checkFields, fieldsMarkdown } from '../../arm/field-table.ts'
import { SNAPSHOT_FIELDS } from './snapshot-fields.ts'

test('the document of snapshots shows the table that requests are checked by', async () => {
  const document = await readFile(new URL('../../../../docs/api/snapshots.md', import.meta.url), 'utf8')
  const cells = (text: string): string[] =>
    text
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map((line) => line.replaceAll(/ +/g, ' ').trim())
  const shown = cells(document)
  for (const line of cells(fieldsMarkdown(SNAPSHOT_FIELDS))) assert.ok(shown.includes(line), line)
})

test('what would weaken protection is refused by name; null and what is echoed pass', () => {
  const encrypted = (value: unknown) => ({ properties: { encryption: { diskEncryptionSetId: value } } })
  assert.throws(() => checkFields(encrypted('/x'), SNAPSHOT_FIELDS), {
    code: 'UnsupportedField',
    target: 'properties.encryption.diskEncryptionSetId',
  })
  checkFields(encrypted(null), SNAPSHOT_FIELDS)
  checkFields({ properties: { encryption: { type: 'EncryptionAtRestWithPlatformKey' }, diskState: 'x' } }, SNAPSHOT_FIELDS)
})
