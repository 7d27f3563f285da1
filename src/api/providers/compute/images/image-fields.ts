/**
 * Fields of an image: what the check and docs/api/images.md are made from. Source: the REST specification of ComputeRP,
 * 2024-07-01 and 2026-04-01. Data disks are a list: each entry has the fields of DATA_DISK_FIELDS.
 */
import type { FieldTable } from '../../../arm/field-table.ts'

const P = 'properties.'
const O = 'properties.storageProfile.osDisk.'
const NO_KEYS = 'A repository is sealed with the key of its region; a key of yours would not be used.'

export const CACHING = ['None', 'ReadOnly', 'ReadWrite'] as const

export const IMAGE_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'etag', use: 'read-only' },
  { path: 'systemData', use: 'read-only' },
  { path: 'location', use: 'honoured', note: 'a region of this server, that of its sources; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  { path: 'extendedLocation', use: 'refused', note: 'There are no edge zones.' },
  {
    path: `${P}sourceVirtualMachine.id`,
    use: 'honoured',
    note: 'generalized and deallocated; all its disks. Without it `storageProfile` says what the disks are made of',
  },
  {
    path: `${P}hyperVGeneration`,
    use: 'honoured',
    only: ['V1', 'V2'],
    note: 'V2 boots by UEFI; that of the source when it is not given, and must be that of a source that has one',
  },
  { path: `${O}osType`, use: 'honoured', only: ['Linux', 'Windows'] },
  { path: `${O}osState`, use: 'honoured', only: ['Generalized', 'Specialized'] },
  { path: `${O}managedDisk.id`, use: 'honoured', note: 'a disk of the region: as it is when the image is made' },
  { path: `${O}snapshot.id`, use: 'honoured', note: 'a snapshot of the region' },
  {
    path: `${O}blobUri`,
    use: 'honoured',
    note: 'a blob of a storage account here: fixed or dynamic VHD, VHDX, qcow2, VMDK, or raw by its name. An image that refers to another file is refused',
  },
  { path: `${O}caching`, use: 'stored', only: CACHING },
  { path: `${O}diskSizeGB`, use: 'read-only', note: 'of the source; a disk made from the image may be larger' },
  { path: `${O}storageAccountType`, use: 'stored' },
  { path: `${O}diskEncryptionSet`, use: 'refused', note: NO_KEYS },
  {
    path: `${P}storageProfile.dataDisks`,
    use: 'honoured',
    note: 'each with `lun` and one source, as below',
  },
  { path: `${P}storageProfile.zoneResilient`, use: 'stored', only: [true, false] },
  { path: `${P}provisioningState`, use: 'read-only' },
]

export const DATA_DISK_FIELDS: FieldTable = [
  { path: 'lun', use: 'honoured', note: 'from 0 to 63, each once; machines from the image have the disk there' },
  { path: 'managedDisk.id', use: 'honoured' },
  { path: 'snapshot.id', use: 'honoured' },
  { path: 'blobUri', use: 'honoured' },
  { path: 'caching', use: 'stored', only: CACHING },
  { path: 'diskSizeGB', use: 'read-only' },
  { path: 'storageAccountType', use: 'stored' },
  { path: 'diskEncryptionSet', use: 'refused', note: NO_KEYS },
]
