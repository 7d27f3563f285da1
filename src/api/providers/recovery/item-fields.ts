/** Protected items and backups on demand: what becomes of each field of their bodies. */
import type { FieldTable } from '../../arm/field-table.ts'

const ECHO = [
  'friendlyName',
  'virtualMachineId',
  'protectionStatus',
  'healthStatus',
  'healthDetails',
  'kpisHealths',
  'lastBackupStatus',
  'lastBackupTime',
  'lastRecoveryPoint',
  'nextBackupTime',
  'protectedItemDataId',
  'extendedInfo',
  'backupManagementType',
  'workloadType',
  'containerName',
  'policyName',
  'isScheduledForDeferredDelete',
  'isDeferredDeleteScheduleUpcoming',
  'deferredDeleteTimeInUTC',
  'deferredDeleteTimeRemaining',
  'softDeleteRetentionPeriodInDays',
  'softDeleteRetentionPeriod',
  'vaultId',
  'backupSetName',
  'createMode',
  'isArchiveEnabled',
  'policyType',
] as const

export const ITEM_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'eTag', use: 'read-only' },
  { path: 'location', use: 'stored', note: 'of no effect: an item is where its vault is' },
  { path: 'tags', use: 'refused', note: 'An item has no tags.' },
  {
    path: 'properties.protectedItemType',
    use: 'honoured',
    only: ['Microsoft.Compute/virtualMachines'],
    note: 'other workloads are not protected here',
  },
  { path: 'properties.sourceResourceId', use: 'honoured', note: 'the machine; it must be the one that the path names' },
  { path: 'properties.policyId', use: 'honoured', note: 'a policy of this vault; empty to stop protection' },
  {
    path: 'properties.protectionState',
    use: 'honoured',
    only: ['IRPending', 'Protected', 'ProtectionError', 'ProtectionStopped', 'BackupsSuspended', 'Invalid'],
    note: '`ProtectionStopped`: stop, keep all points for ever; `BackupsSuspended`: stop, keep points as the policy says; others are echoes',
  },
  { path: 'properties.isRehydrate', use: 'honoured', note: 'true: undelete' },
  {
    path: 'properties.extendedProperties.diskExclusionProperties.diskLunList',
    use: 'honoured',
    note: 'LUNs of data disks; the disk of the operating system is always backed up',
  },
  { path: 'properties.extendedProperties.diskExclusionProperties.isInclusionList', use: 'honoured' },
  {
    path: 'properties.extendedProperties.linuxVmApplicationName',
    use: 'stored',
    note: 'of no effect: the scripts in the guest say what runs there',
  },
  { path: 'properties.resourceGuardOperationRequests', use: 'refused', note: 'There are no resource guards here.' },
  ...ECHO.map((name) => ({ path: `properties.${name}`, use: 'read-only' }) as const),
]

export const BACKUP_NOW_FIELDS: FieldTable = [
  { path: 'properties.objectType', use: 'honoured', only: ['IaasVMBackupRequest'] },
  {
    path: 'properties.recoveryPointExpiryTimeInUTC',
    use: 'honoured',
    note: 'how long the point is kept, at most 99 years; 30 days when it is not given',
  },
]
