import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type FieldTable, fieldDocument } from '../arm/field-table.ts'
import { DOWNLOAD_FIELDS, LIST_FIELDS, PROVISION_FIELDS } from './recovery/files/file-routes.ts'
import { RESTORE_FIELDS } from './recovery/restore/restore-fields.ts'
import { ADOPT_FIELDS } from './compute/adopt-disk.ts'
import { DISK_FIELDS } from './compute/disk-fields.ts'
import { ACCESS_FIELDS } from './compute/grant-access.ts'
import { ADOPT_MACHINE_FIELDS } from './compute/machines/adopted-machines.ts'
import {
  ATTACH_FIELDS,
  DATA_DISK_FIELDS,
  DETACH_FIELDS,
  MACHINE_FIELDS,
  NIC_FIELDS,
  RUN_COMMAND_FIELDS,
  SSH_KEY_FIELDS,
} from './compute/machines/machine-fields.ts'
import { DATA_DISK_FIELDS as IMAGE_DATA_DISK_FIELDS, IMAGE_FIELDS } from './compute/images/image-fields.ts'
import { PLATFORM_IMAGE_FIELDS } from './compute/images/platform-images.ts'
import { COLLECTION_FIELDS, RESTORE_POINT_FIELDS } from './compute/restore-points/restore-point-fields.ts'
import { SNAPSHOT_FIELDS } from './compute/snapshot-fields.ts'
import { CONFIGURATION_FIELDS, INTERFACE_FIELDS } from './network/network-interface-fields.ts'
import { PUBLIC_ADDRESS_FIELDS } from './network/public-addresses.ts'
import { SECURITY_GROUP_FIELDS } from './network/security-groups.ts'
import { RULE_FIELDS } from './network/security-rule-request.ts'
import { NETWORK_FIELDS, SUBNET_FIELDS } from './network/virtual-network-fields.ts'
import { GROUP_FIELDS } from './protection/consistency-groups.ts'
import { BACKUP_NOW_FIELDS, ITEM_FIELDS } from './recovery/item-fields.ts'
import { PROTECTION_GROUP_FIELDS } from './recovery/protection-groups.ts'
import { POLICY_FIELDS } from './recovery/policy-fields.ts'
import { STORAGE_CONFIG_FIELDS, VAULT_CONFIG_FIELDS, VAULT_FIELDS } from './recovery/vault-fields.ts'
import { RESOURCE_GROUP_FIELDS } from './resources/groups.ts'
import { STORAGE_FIELDS } from './storage/storage-accounts.ts'

const DOCUMENTS: readonly (readonly [file: string, tables: readonly FieldTable[]])[] = [
  ['docs/api/restores.md', [RESTORE_FIELDS, PROVISION_FIELDS, LIST_FIELDS, DOWNLOAD_FIELDS]],
  ['docs/api/disks.md', [DISK_FIELDS, ACCESS_FIELDS, ADOPT_FIELDS]],
  [
    'docs/api/machines.md',
    [MACHINE_FIELDS, DATA_DISK_FIELDS, NIC_FIELDS, SSH_KEY_FIELDS, ATTACH_FIELDS, DETACH_FIELDS, RUN_COMMAND_FIELDS],
  ],
  ['docs/api/images.md', [IMAGE_FIELDS, IMAGE_DATA_DISK_FIELDS, PLATFORM_IMAGE_FIELDS]],
  ['docs/api/restore-points.md', [COLLECTION_FIELDS, RESTORE_POINT_FIELDS]],
  ['docs/api/resource-groups.md', [RESOURCE_GROUP_FIELDS]],
  ['docs/api/storage-accounts.md', [STORAGE_FIELDS]],
  [
    'docs/api/networks.md',
    [
      NETWORK_FIELDS,
      SUBNET_FIELDS,
      INTERFACE_FIELDS,
      CONFIGURATION_FIELDS,
      PUBLIC_ADDRESS_FIELDS,
      SECURITY_GROUP_FIELDS,
      RULE_FIELDS,
    ],
  ],
  ['docs/api/protection.md', [ITEM_FIELDS, BACKUP_NOW_FIELDS, PROTECTION_GROUP_FIELDS]],
  ['docs/api/vaults.md', [VAULT_FIELDS, VAULT_CONFIG_FIELDS, STORAGE_CONFIG_FIELDS, POLICY_FIELDS]],
  ['docs/api/snapshots.md', [SNAPSHOT_FIELDS, GROUP_FIELDS, ADOPT_MACHINE_FIELDS]],
]

test('every field of the tables stands in its document, as the table has it', () => {
  for (const [file, tables] of DOCUMENTS) {
    const text = readFileSync(file, 'utf8')
    for (const table of tables)
      assert.ok(text.includes(fieldDocument(table)), `${file} does not hold the table:\n${fieldDocument(table)}`)
  }
})
