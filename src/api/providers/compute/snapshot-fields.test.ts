import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkFields } from '../../arm/field-table.ts'
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
