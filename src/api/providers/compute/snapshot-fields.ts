/** Fields of Microsoft.Compute/snapshots. Source: the REST specification of DiskRP, 2023-10-02 and 2026-03-02. */
import type { FieldRule } from '../../arm/field-table.ts'

const KEY_OF_OURS = 'a repository is sealed with the region’s key; a key of yours would not be used.'

export const SNAPSHOT_FIELDS: readonly FieldRule[] = [
  { path: 'location', use: 'honoured', note: 'A region of this server; never changes.' },
  { path: 'tags', use: 'honoured', note: 'As on every resource.' },
  {
    path: 'sku.name',
    use: 'honoured',
    note: '`Standard_LRS` (default), `Standard_ZRS`, `Premium_LRS` (full ones only); where it lies is the region’s store in every case.',
  },
  { path: 'sku.tier', use: 'read-only', note: 'Follows from the name.' },
  { path: 'properties.creationData.createOption', use: 'honoured', note: '`Copy`, `CopyStart`; never changes.' },
  {
    path: 'properties.creationData.sourceResourceId',
    use: 'honoured',
    note: 'A disk, or a snapshot of any region; never changes. Asks for `beginGetAccess/action` on it.',
  },
  { path: 'properties.creationData.sourceUniqueId', use: 'read-only', note: 'Of the disk that the bytes are of.' },
  {
    path: 'properties.creationData.sourceUri',
    use: 'refused',
    note: 'import the blob as a disk and take a snapshot of that.',
  },
  {
    path: 'properties.creationData.storageAccountId',
    use: 'refused',
    note: 'import the blob as a disk and take a snapshot of that.',
  },
  { path: 'properties.creationData.imageReference', use: 'refused', note: 'a snapshot is made of a disk or a snapshot.' },
  {
    path: 'properties.creationData.galleryImageReference',
    use: 'refused',
    note: 'a snapshot is made of a disk or a snapshot.',
  },
  { path: 'properties.creationData.uploadSizeBytes', use: 'refused', note: 'upload a disk and take a snapshot of that.' },
  { path: 'properties.incremental', use: 'honoured', note: 'Never changes. Default false.' },
  { path: 'properties.diskSizeGB', use: 'read-only', note: 'The source’s.' },
  { path: 'properties.diskSizeBytes', use: 'read-only', note: 'The source’s.' },
  { path: 'properties.osType', use: 'stored', note: 'Default: the source’s.' },
  { path: 'properties.hyperVGeneration', use: 'stored', note: 'Default: the source’s.' },
  { path: 'properties.purchasePlan', use: 'stored', note: '' },
  { path: 'properties.supportedCapabilities', use: 'stored', note: '' },
  { path: 'properties.supportsHibernation', use: 'stored', note: '' },
  { path: 'properties.networkAccessPolicy', use: 'stored', note: '`DenyAll` lets nobody read it by URL.' },
  { path: 'properties.publicNetworkAccess', use: 'stored', note: '' },
  {
    path: 'properties.diskAccessId',
    use: 'refused',
    note: 'there are no private endpoints; use networkAccessPolicy `DenyAll`.',
  },
  { path: 'properties.encryption.diskEncryptionSetId', use: 'refused', note: KEY_OF_OURS },
  {
    path: 'properties.encryption.type',
    use: 'refused',
    note: `other than \`EncryptionAtRestWithPlatformKey\`: ${KEY_OF_OURS}`,
    harmless: ['EncryptionAtRestWithPlatformKey'],
  },
  { path: 'properties.encryptionSettingsCollection', use: 'refused', note: KEY_OF_OURS },
  {
    path: 'properties.dataAccessAuthMode',
    use: 'refused',
    note: 'a signed URL is all that reading asks for.',
    harmless: ['None'],
  },
  {
    path: 'properties.securityProfile',
    use: 'refused',
    note: 'the state of a confidential machine is not kept.',
  },
  { path: 'extendedLocation', use: 'refused', note: 'there are no edge zones.' },
  { path: 'properties.timeCreated', use: 'read-only', note: 'The instant that it shows; a copy shows its source’s.' },
  { path: 'properties.uniqueId', use: 'read-only', note: '' },
  { path: 'properties.diskState', use: 'read-only', note: '' },
  { path: 'properties.completionPercent', use: 'read-only', note: 'Of its bytes, while it is made; 100 is durable.' },
  { path: 'properties.copyCompletionError', use: 'read-only', note: 'Why it failed, if it did.' },
  {
    path: 'properties.incrementalSnapshotFamilyId',
    use: 'read-only',
    note: 'One for the incremental snapshots of a disk in a region.',
  },
  {
    path: 'properties.consistencyGroup',
    use: 'read-only',
    note: 'Of one that was taken with others at one instant: name, operation, `skewMs`, `pauseMs`, consistency.',
  },
  { path: 'managedBy', use: 'read-only', note: '' },
]
