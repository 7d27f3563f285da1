/** The fields of a restore: what the checks and docs/api/restores.md are made from. */
import type { FieldTable } from '../../../arm/field-table.ts'

const P = 'properties.'
const NO_VAULT = 'There is no key vault; encrypt the pool’s file system instead.'
const CLASSIC = 'There are no classic machines.'

export const RECOVERY_TYPES = ['RestoreDisks', 'AlternateLocation', 'OriginalLocation'] as const
export const RESTORE_OBJECT = 'IaasVMRestoreRequest'

export const RESTORE_FIELDS: FieldTable = [
  { path: `${P}objectType`, use: 'honoured', only: [RESTORE_OBJECT], note: 'there is no archive tier' },
  { path: `${P}recoveryType`, use: 'honoured', only: RECOVERY_TYPES },
  { path: `${P}recoveryPointId`, use: 'honoured', note: 'that of the path' },
  { path: `${P}sourceResourceId`, use: 'honoured', note: 'the machine of the item' },
  { path: `${P}targetVirtualMachineId`, use: 'honoured', note: 'with AlternateLocation: a machine that is not there' },
  {
    path: `${P}targetResourceGroupId`,
    use: 'honoured',
    note: 'of the disks; needed with RestoreDisks, else the group of the machine',
  },
  {
    path: `${P}storageAccountId`,
    use: 'honoured',
    note: 'gets the template and the configuration; in the region of the restore. Without it none are written',
  },
  { path: `${P}virtualNetworkId`, use: 'honoured', note: 'with AlternateLocation' },
  { path: `${P}subnetId`, use: 'honoured', note: 'with AlternateLocation; its id' },
  { path: `${P}region`, use: 'honoured', note: 'that of the vault; across regions see below' },
  {
    path: `${P}restoreDiskLunList`,
    use: 'honoured',
    note: 'with RestoreDisks: these and the operating system’s; with -1 in it just these; empty: the operating system’s',
  },
  { path: `${P}zones`, use: 'honoured', note: 'of the new machine' },
  { path: `${P}restoreWithManagedDisks`, use: 'refused', only: [true], note: 'Disks are managed disks.' },
  { path: `${P}createNewCloudService`, use: 'stored', note: 'of classic machines' },
  { path: `${P}originalStorageAccountOption`, use: 'refused', only: [false], note: CLASSIC },
  { path: `${P}affinityGroup`, use: 'refused', only: [''], note: CLASSIC },
  { path: `${P}targetDomainNameId`, use: 'refused', only: [''], note: CLASSIC },
  { path: `${P}encryptionDetails.encryptionEnabled`, use: 'refused', only: [false], note: NO_VAULT },
  { path: `${P}encryptionDetails`, use: 'refused', note: NO_VAULT },
  { path: `${P}diskEncryptionSetId`, use: 'refused', note: NO_VAULT },
  { path: `${P}identityInfo.isSystemAssignedIdentity`, use: 'stored' },
  { path: `${P}identityInfo.managedIdentityResourceId`, use: 'refused', note: 'Vaults have no identity of their own.' },
  { path: `${P}identityBasedRestoreDetails`, use: 'refused', note: 'Vaults have no identity of their own.' },
  { path: `${P}extendedLocation`, use: 'refused', note: 'There are no edge zones.' },
  { path: `${P}securedVMDetails`, use: 'refused', note: 'There are no confidential machines.' },
  { path: `${P}targetDiskNetworkAccessSettings`, use: 'refused', note: 'Set the disks’ access policy afterwards.' },
  { path: `${P}resourceGuardOperationRequests`, use: 'stored', note: 'there are no resource guards' },
  {
    path: `${P}holdfastInstant`,
    use: 'honoured',
    only: [true, false],
    note: 'ours, with AlternateLocation: the machine runs at once on the vault’s data, which moves in behind it',
  },
]
