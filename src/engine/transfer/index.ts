/** engine/transfer: moves disks between hosts and repositories; the only place where the three other parts meet. */
export { backUp, type BackupDisk, type BackupInput, type BackupOptions } from './backup.ts'
export { backUpMachine, holdsGeneration, type MachineBackup, trackerOf } from './backup-machine.ts'
export { TRANSFER_ERROR_CODES, TransferError, type TransferErrorCode } from './errors.ts'
export { restoreDisk, type Restored, type RestoreOptions } from './restore.ts'
export type { TargetDescriptor } from './threads/restore-runner.ts'
export { type VerifyOptions, type VerifyReport, verifyWithKey, verifyWithoutKey } from './verify.ts'
export { openVersion, type VersionSourceOptions } from './version-source.ts'
