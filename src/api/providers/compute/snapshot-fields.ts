/**
 * Fields of a snapshot: what the check and docs/api/snapshots.md are made from. Source: the REST specification of DiskRP,
 * 2023-10-02 and 2026-03-02.
 */
import type { FieldTable } from '../../arm/field-table.ts'

const P = 'properties.'
const C = 'properties.creationData.'
const OWN_KEY = 'A repository is sealed with the key of its region; a key of yours would not be used.'
const FROM_DISK = 'Make a disk of it, and take a snapshot of that.'

export const SNAPSHOT_SKUS = ['Standard_LRS', 'Standard_ZRS', 'Premium_LRS'] as const

export const SNAPSHOT_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'etag', use: 'read-only' },
  { path: 'systemData', use: 'read-only' },
  { path: 'managedBy', use: 'read-only' },
  { path: 'location', use: 'honoured', note: 'a region of this server; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  {
    path: 'sku.name',
    use: 'stored',
    only: SNAPSHOT_SKUS,
    note: '`Standard_LRS` when none is given; an incremental one is never premium; all lie in the store of the region',
  },
  { path: 'sku.tier', use: 'read-only' },
  { path: 'extendedLocation', use: 'refused', note: 'There are no edge zones.' },
  { path: `${C}createOption`, use: 'honoured', only: ['Copy', 'CopyStart'], note: 'fixed when it is made' },
  {
    path: `${C}sourceResourceId`,
    use: 'honoured',
    note: 'a disk of the region, or a snapshot of any region, those of linked servers too; who asks must be allowed `beginGetAccess` on it',
  },
  { path: `${C}sourceUniqueId`, use: 'read-only', note: 'of the disk whose bytes it shows' },
  { path: `${C}logicalSectorSize`, use: 'honoured', only: [512] },
  { path: `${C}performancePlus`, use: 'stored' },
  { path: `${C}provisionedBandwidthCopySpeed`, use: 'stored' },
  { path: `${C}instantAccessDurationMinutes`, use: 'stored', note: 'every snapshot is readable at once and stays so' },
  { path: `${C}sourceUri`, use: 'refused', note: FROM_DISK },
  { path: `${C}storageAccountId`, use: 'refused', note: FROM_DISK },
  { path: `${C}securityDataUri`, use: 'refused', note: FROM_DISK },
  { path: `${C}imageReference`, use: 'refused', note: FROM_DISK },
  { path: `${C}galleryImageReference`, use: 'refused', note: FROM_DISK },
  { path: `${C}uploadSizeBytes`, use: 'refused', note: FROM_DISK },
  { path: `${C}elasticSanResourceId`, use: 'refused', note: FROM_DISK },
  { path: `${P}incremental`, use: 'honoured', note: 'false when it is not given; fixed when it is made' },
  { path: `${P}diskSizeGB`, use: 'read-only', note: 'of the source' },
  { path: `${P}diskSizeBytes`, use: 'read-only' },
  { path: `${P}osType`, use: 'stored', only: ['Linux', 'Windows'], note: 'that of the source when it is not given' },
  { path: `${P}hyperVGeneration`, use: 'stored', only: ['V1', 'V2'], note: 'that of the source when it is not given' },
  { path: `${P}purchasePlan`, use: 'stored' },
  { path: `${P}supportedCapabilities`, use: 'stored' },
  { path: `${P}supportsHibernation`, use: 'stored' },
  {
    path: `${P}networkAccessPolicy`,
    use: 'honoured',
    only: ['AllowAll', 'DenyAll'],
    note: 'DenyAll: nobody reads it by URL',
  },
  {
    path: `${P}publicNetworkAccess`,
    use: 'honoured',
    only: ['Enabled', 'Disabled'],
    note: 'Disabled: nobody reads it by URL',
  },
  { path: `${P}diskAccessId`, use: 'refused', note: 'There are no private endpoints.' },
  { path: `${P}encryption.type`, use: 'refused', only: ['EncryptionAtRestWithPlatformKey'], note: OWN_KEY },
  { path: `${P}encryption.diskEncryptionSetId`, use: 'refused', note: OWN_KEY },
  { path: `${P}encryptionSettingsCollection`, use: 'refused', note: OWN_KEY },
  {
    path: `${P}dataAccessAuthMode`,
    use: 'refused',
    only: ['None'],
    note: 'A signed URL is all that reading asks for.',
  },
  { path: `${P}securityProfile`, use: 'refused', note: 'The state of a confidential machine is not kept.' },
  { path: `${P}provisioningState`, use: 'read-only' },
  { path: `${P}timeCreated`, use: 'read-only', note: 'the instant that it shows; of a copy, that of its source' },
  { path: `${P}uniqueId`, use: 'read-only' },
  { path: `${P}diskState`, use: 'read-only' },
  { path: `${P}snapshotAccessState`, use: 'read-only' },
  {
    path: `${P}completionPercent`,
    use: 'read-only',
    note: 'of its bytes while it is made; 100: durable without its source',
  },
  { path: `${P}copyCompletionError`, use: 'read-only', note: 'why it failed' },
  {
    path: `${P}incrementalSnapshotFamilyId`,
    use: 'read-only',
    note: 'one for a disk’s incremental snapshots in a region',
  },
  {
    path: `${P}consistencyGroup`,
    use: 'read-only',
    note: 'of one that was taken with others at one instant: its name, operation, `skewMs`, `pauseMs`, consistency',
  },
]
