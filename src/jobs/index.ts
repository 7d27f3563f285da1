/** jobs: durable operations behind one port, and the embedded engine that keeps them in the catalog. */
export {
  type ApiCaller,
  ApiDesk,
  type ApiHost,
  type ApiOutcome,
  type ApiResource,
  type BlobToWrite,
} from './api-desk.ts'
export {
  type FileListing,
  type FileService,
  type FilesOf,
  type ListedFile,
  PACK_FORMATS,
  type PackFormat,
} from './vault/files/file-service.ts'
export { Hydrations } from './vault/instant/hydrations.ts'
export { instantTasks, MACHINE_RUNS } from './vault/instant/instant-tasks.ts'
export { placesOfPoint, type PointPlace, type PointSide } from './vault/point-source.ts'
export { defineRestoreJobs, RESTORE_QUEUE, restoreTasks } from './vault/restore/define-restores.ts'
export type { RestoreKind, RestoreOrder } from './vault/restore/order.ts'
export { holdPoint, isHeld, releasePoint } from './vault/restore/point-holds.ts'
export { MACHINE_TASK, REPLACE_TASK, RESTORE_POINT_JOB, TRANSFER_TASK } from './vault/restore/restore-point.ts'
export { EmbeddedEngine } from './engine/embedded-engine.ts'
export { ENGINE_TIMING_DEFAULT, type EngineSettings, type EngineTiming } from './engine/settings.ts'
export {
  BACKUP_JOB,
  BACKUP_TASK,
  backupJob,
  type BackupJobInput,
  type BackupJobOutput,
  backupTask,
  type BackupTaskHost,
} from './backup.ts'
export { LIST_REPOSITORY_JOB, listRepositoryJob, type ListRepositoryOutput } from './list-repository.ts'
export { readCredential, type RepositoryAccess, type RepositoryHost } from './repository-access.ts'
export { STEP_RETRY_DEFAULT } from './engine/run-step.ts'
export { JOBS_ERROR_CODES, JobsError, type JobsErrorCode } from './errors.ts'
export * from './limits.ts'
export {
  HOST_WAIT,
  type Milestone,
  type TaskContext,
  type TaskHandler,
  type TaskKey,
  type TaskRunner,
} from './tasks.ts'
export type {
  ChildOptions,
  CleanupOptions,
  JobContext,
  JobDefinition,
  JobEngine,
  JobEvent,
  JobFilter,
  JobView,
  QueueLimits,
  ScheduleSpec,
  ScheduleView,
  StartOptions,
  StepContext,
  StepOptions,
  StepRetry,
  StepView,
} from './port.ts'
export {
  DEPLOYMENT_JOB,
  DEPLOYMENT_QUEUE,
  DeploymentDesk,
  type DeploymentFailure,
  type DeploymentHost,
  type DeploymentInput,
  deploymentJob,
} from './resources/deployment.ts'
export {
  type DeleteGroupParts,
  deleteGroupJob,
  type DeleteJobs,
  GROUP_DELETE_JOB,
  RESOURCE_QUEUE,
} from './resources/delete-group.ts'
export {
  regionKeyPath,
  regionRepository,
  type RegionRepository,
  type RegionRepositoryParts,
} from './compute/region-repository.ts'
export { sourcesOf } from './compute/machine-sources.ts'
export type { ByteService, ByteSource, DataRange, WorkerBytes } from './compute/bytes.ts'
export { ByteClient } from './compute/byte-client.ts'
export { ByteServer, type ByteServerOptions } from './compute/byte-server.ts'
export {
  ADOPT_DISK_JOB,
  type AdoptDiskInput,
  DELETE_DISK_JOB,
  GROW_DISK_JOB,
  type GrowDiskInput,
  SWEEP_POOLS_JOB,
} from './compute/change-disk.ts'
export {
  checkImportUrl,
  type ComputeParts,
  CREATE_DISK_JOB,
  type CreateDiskInput,
  type DiskOrigin,
} from './compute/create-disk.ts'
export { BEGIN_ACCESS_JOB, END_ACCESS_JOB, FINISH_UPLOAD_JOB } from './compute/disk-access.ts'
export { backingOf, DISK_TYPE, diskStateOf, propertiesOf, sizeBytesOf } from './compute/disk-records.ts'
export { computeTasks, defineComputeJobs, diskDeleteJobs, scheduleSweep } from './compute/define.ts'
export {
  COPY_SNAPSHOT_JOB,
  type CopySnapshotInput,
  CREATE_SNAPSHOTS_JOB,
  type CreateSnapshotsInput,
  SNAPSHOT_QUEUE,
} from './compute/create-snapshots.ts'
export { COPY_LINKED_SNAPSHOT_JOB, type CopyLinkedSnapshotInput } from './compute/copy-linked-snapshot.ts'
export { defineSnapshotJobs, schedulePrune, snapshotDeleteJobs, snapshotTasks } from './compute/define-snapshots.ts'
export { DELETE_SNAPSHOT_JOB, PRUNE_REGIONS_JOB } from './compute/delete-snapshot.ts'
export { milestoneFacts } from './compute/milestone-facts.ts'
export { SNAPSHOT_TYPE, unfinishedCopiesOf } from './compute/snapshot-rows.ts'
export { INSTANT_OPEN, type InstantFacts } from './compute/take-snapshots.ts'
export { SealedOrders } from './sealed-orders.ts'
export { CHANGE_MACHINE_JOB, type ChangeMachineInput } from './compute/machine/change-machine.ts'
export { CREATE_MACHINE_JOB, type CreateMachineInput } from './compute/machine/create-machine.ts'
export { defineMachineJobs, machineDeleteJobs, machineTasks } from './compute/machine/define-machines.ts'
export { DELETE_MACHINE_JOB } from './compute/machine/delete-machine.ts'
export { hostRoom, ROOM_SETTINGS, takenRoom } from './compute/machine/host-room.ts'
export { type MachineHost, machineRoots, openMachineHost } from './compute/machine/machine-host.ts'
export { MACHINE_ORDERS, type MachineJobParts } from './compute/machine/machine-job.ts'
export {
  changeMachine,
  disksOfMachine,
  findOwnMachine,
  listOwnMachines,
  machineName,
  nicsOfMachine,
  ownMachineOf,
  releaseDisk,
  setDisks,
  sizeOfMachine,
  vmIdOf,
} from './compute/machine/machine-records.ts'
export {
  HostMachines,
  type MachineReport,
  type MachineService,
  type MachineSighting,
} from './compute/machine/machine-service.ts'
export {
  RESTART_MACHINE_JOB,
  REVIVE_MACHINE_JOB,
  START_MACHINE_JOB,
  STOP_MACHINE_JOB,
  type StopMachineJobInput,
} from './compute/machine/power-machine.ts'
export { type GuestScript, RUN_COMMAND_JOB } from './compute/machine/run-command.ts'
export { type FirstBoot, sealSeed } from './compute/machine/seal-seed.ts'
export { MEASURE_USAGE_JOB, type MeasuredShare, type MeasuredUsage, type ResourceUsage } from './compute/usage.ts'
export {
  ADOPT_MACHINE_JOB,
  type AdoptMachineInput,
  askPower,
  MACHINE_TYPE,
  type MachineBacking,
  type MachinePower,
} from './compute/adopt-machine.ts'
export {
  APPLY_NETWORKS_JOB,
  type ApplyNetworksInput,
  applyNetwork,
  hostNameOf,
  type NetworkParts,
  type NetworkPlace,
  plugCards,
  unplugCards,
} from './network/apply-network.ts'
export { defineNetworkJobs, keepNetworks, networkDeleteJobs, networkTasks } from './network/define-networks.ts'
export {
  addressSpaceOf,
  type Card,
  CARD_TYPE,
  type CardBacking,
  findCard,
  forwardsOf,
  listCards,
  listSubnets,
  NETWORK_SETTINGS_KEY,
  NETWORK_TYPE,
  type NetworkBacking,
  networkBacking,
  networkOfSubnet,
  type NetworkSettings,
  PUBLIC_ADDRESS_TYPE,
  readCard,
  readRule,
  readSubnet,
  rulesOf,
  SECURITY_GROUP_TYPE,
  type Subnet,
  SUBNET_TYPE,
  type SubnetBacking,
} from './network/network-records.ts'
export { freeForwards, type NetworkUse, removeNetworkResource, whyInUse } from './network/network-uses.ts'
export { addressOn, networkOf, networkSettings, planNetwork } from './network/plan-network.ts'
export { baseOf } from './compute/image/base-place.ts'
export { CREATE_IMAGE_JOB, type CreateImageInput, type ImageOrigin } from './compute/image/create-image.ts'
export { defineImageJobs, imageDeleteJobs, imageTasks, scheduleBaseSweep } from './compute/image/define-images.ts'
export { DELETE_IMAGE_JOB } from './compute/image/delete-image.ts'
export { disksBeingMadeOf, IMAGE_TYPE, PLATFORM_IMAGE_TYPE } from './compute/image/image-rows.ts'
export { type DiskFromImageInput, MAKE_DISK_FROM_IMAGE_TASK } from './compute/image/make-disk-from-image.ts'
export { SWEEP_BASES_JOB } from './compute/image/sweep-bases.ts'
export { COPY_RESTORE_POINT_JOB, type CopyRestorePointInput } from './compute/restore-point/copy-restore-point.ts'
export { DELETE_COLLECTION_JOB, DELETE_RESTORE_POINT_JOB } from './compute/restore-point/delete-restore-point.ts'
export {
  COLLECTION_TYPE,
  DISK_RESTORE_POINT_TYPE,
  RESTORE_POINT_TYPE,
  unfinishedOf,
} from './compute/restore-point/restore-point-rows.ts'
export {
  makeVaultRepository,
  vaultKeyPath,
  vaultLocation,
  vaultPlace,
  type VaultRepository,
  vaultRepository,
} from './vault/vault-repository.ts'
export {
  DELETED_VAULT_TYPE,
  POLICY_TYPE,
  VAULT_TYPE,
  findPolicy,
  gfsPointOf,
  isRetained,
  listDeletedVaults,
  type PolicyBacking,
  policyOf,
  type VaultBacking,
  vaultBackingOf,
  vaultRow,
  vaultSettingsOf,
} from './vault/vault-rows.ts'
export {
  asBackupJob,
  type BackupJobEnd,
  type BackupJobParts,
  failBackupJob,
  forbidCancel,
  passTask,
} from './vault/backup-job-rows.ts'
export { beginVaultJob, type EngineJob, type NewVaultJob, type VaultJobParts } from './vault/begin-vault-job.ts'
export { CREATE_VAULT_JOB, insertPolicy } from './vault/create-vault.ts'
export { DELETE_VAULT_JOB, deletedVaultId, endOfVault, undeleteVault } from './vault/delete-vault.ts'
export { defineVaultJobs, scheduleVaultPurge, vaultDeleteJobs, vaultTasks } from './vault/define-vaults.ts'
export { type AlertKind, ALERTS, type AlertSource, closeAlert, type NewAlert, openAlert } from './vault/alerts.ts'
export { type CheckedSide, type MirrorStatus, readMirrorStatus } from './vault/mirror/mirror-status.ts'
export {
  CATALOG_DISK,
  CATALOG_HISTORY,
  COPY_CATALOG_JOB,
  RECOVER_ATTACHMENT,
  type RecoverFacts,
} from './vault/catalog-copy.ts'
export { appliedImmutability, isSamePolicy, policyFor, SET_IMMUTABILITY_JOB } from './vault/immutability.ts'
export { ALERT_QUEUE, defineVaultCareJobs, vaultCareTasks } from './vault/mirror/define-mirrors.ts'
export {
  MIRROR_QUEUE,
  MIRROR_VAULT_JOB,
  type MirrorVaultInput,
  type MirrorVaultOutput,
} from './vault/mirror/mirror-vault.ts'
export {
  alertPayload,
  SEVERITIES,
  signatureOf,
  TELL_ALERT_JOB,
  type TellAlertInput,
  type Webhook,
} from './vault/tell-alert.ts'
export { defineProtectionJobs, protectionTasks } from './vault/define-protection.ts'
export { type ForgottenPoints } from './vault/forget-points.ts'
export { keepByPolicy } from './vault/keep-by-policy.ts'
export {
  KEEP_POINTS_JOB,
  type KeepPointsInput,
  PRUNE_VAULTS_JOB,
  PURGE_POINTS_JOB,
  scheduleKeeping,
} from './vault/keep-points.ts'
export { type MachineToBackUp, planBackup } from './vault/plan-backup.ts'
export { dueAfter, startDue } from './vault/start-due.ts'
export {
  BACKUP_TASKS,
  historyOf,
  VAULT_BACKUP_JOB,
  VAULT_BACKUP_QUEUE,
  type VaultBackupInput,
} from './vault/take-machine.ts'
export { membersOfGroup, withItsGroup } from './vault/group-members.ts'
