/** The words of backup jobs as Azure has them: what a job does, how it went, and the states that a protected item may be in. */
export const BACKUP_OPERATIONS = [
  'ConfigureBackup',
  'Backup',
  'Restore',
  'DisableBackup',
  'DeleteBackupData',
  'Undelete',
  'ModifyPolicy',
  'CrossRegionRestore',
] as const
export type BackupOperation = (typeof BACKUP_OPERATIONS)[number]

export const BACKUP_JOB_STATUSES = [
  'InProgress',
  'Completed',
  'CompletedWithWarnings',
  'Failed',
  'Cancelled',
  'Cancelling',
] as const
export type BackupJobStatus = (typeof BACKUP_JOB_STATUSES)[number]

export type BackupTaskStatus = 'NotStarted' | 'InProgress' | 'Completed' | 'Failed' | 'Skipped'

/** One line of the list that a job's page shows. */
export type BackupTask = Readonly<{
  taskId: string
  status: BackupTaskStatus
  startedMs?: number | undefined
  endedMs?: number | undefined
  percent?: number | undefined
}>

export type BackupJobError = Readonly<{
  code: string
  title: string
  message: string
  recommendations: readonly string[]
}>

/** `IRPending`: enabled, and no point was made yet. */
export type ProtectionState =
  | 'IRPending'
  | 'Protected'
  | 'ProtectionError'
  | 'ProtectionStopped'
  | 'BackupsSuspended'
  | 'ProtectionPaused'
