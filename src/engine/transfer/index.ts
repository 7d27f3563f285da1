/** engine/transfer: moves disks between hosts and repositories; the only place where the three other parts meet. */
export { backUp, type BackupDisk, type BackupInput, type BackupOptions } from './backup.ts'
export {
  backUpMachine,
  type DiskPlace,
  GRANULARITY_BYTES_DEFAULT,
  holdsGeneration,
  type MachineBackup,
  trackerOf,
} from './backup-machine.ts'
export { backUpRunning, type RunningBackup, type RunningBackupOptions } from './backup-running.ts'
export { DELTA_LIMITS, type DeltaLimits, NO_DELTAS } from './delta-plan.ts'
export { derivedDiskId } from './derived-disk-id.ts'
export { TRANSFER_ERROR_CODES, TransferError, type TransferErrorCode } from './errors.ts'
export { copyVersion, type CopiedVersion } from './snapshots/copy-version.ts'
export type { ImageToTake, MachineToTake } from './snapshots/open-sources.ts'
export { type DiskToKeep, madeBefore } from './snapshots/store-snapshots.ts'
export { backUpSources, type SourcesBackup } from './snapshots/back-up-sources.ts'
export { backUpTogether, type MemberBackup, type TogetherBackup } from './snapshots/back-up-together.ts'
export { type OpenInstantFacts, takeSnapshots } from './snapshots/take-snapshots.ts'
export { restoreDisk, restoreToQcow2, type Restored, type RestoreOptions } from './restore.ts'
export type { InPlaceTarget } from './in-place/held-target.ts'
export {
  type InPlaceDisk,
  type InPlaceOptions,
  type InPlaceReport,
  type ReplacedDisk,
  restoreInPlace,
} from './in-place/restore-in-place.ts'
export { refuseMarked } from './in-place/restore-mark.ts'
export type { TargetDescriptor } from './threads/restore-runner.ts'
export { type VerifyOptions, type VerifyReport, verifyWithKey, verifyWithoutKey } from './verify.ts'
export { openVersion, type VersionSourceOptions } from './version-source.ts'
export { type CopyOptions, copyPoints, type CopyReport } from './copy.ts'
export { repairPacks, type RepairOptions, type RepairReport } from './repair.ts'
export { type Extracted, extractFiles, type ExtractOptions, type Skipped } from './files/extract.ts'
export { type FileAttributes, type FileEntry, type FileKind, type FilePiece, FileTree } from './files/file-tree.ts'
export {
  type DiskContents,
  type FileSystemKind,
  type NamedDisk,
  type OpenedFileSystem,
  openFileSystems,
  type Place,
  type RefusedFileSystem,
} from './files/open-file-systems.ts'
export { tarArchive } from './files/tar-archive.ts'
export { zipArchive } from './files/zip-archive.ts'
export type { Partition } from './files/partitions.ts'
export { readAttachment } from './attachment.ts'
export { type BootEnvironment, type BootPlan, bootPoint, RunningBoot } from './boot/boot.ts'
export { hydrateDisks, type HydrateDisks, isHydrated } from './boot/hydrate-disks.ts'
export {
  overlayOn,
  RECONNECT_SECONDS,
  type ServedVersions,
  serveVersions,
  type VersionToServe,
} from './boot/served-versions.ts'
export { restrictedNetworks } from './boot/restricted-networks.ts'
export { type BootRecord, readBoot } from './boot/boot-record.ts'
export { checkMirror, type CheckMirrorParts, type MirrorCheck, type SideReport } from './check-mirror.ts'
