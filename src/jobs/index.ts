/** jobs: durable operations behind one port, and the embedded engine that keeps them in the catalog. */
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
export type { RepositoryAccess, RepositoryHost } from './repository-access.ts'
export { STEP_RETRY_DEFAULT } from './engine/run-step.ts'
export { JOBS_ERROR_CODES, JobsError, type JobsErrorCode } from './errors.ts'
export * from './limits.ts'
export type { Milestone, TaskContext, TaskHandler, TaskKey, TaskRunner } from './tasks.ts'
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
export {
  COPY_SNAPSHOT_JOB,
  type CopySnapshotInput,
  copySnapshotJob,
  CREATE_SNAPSHOTS_JOB,
  type CreateSnapshotsInput,
  createSnapshotsJob,
  type SnapshotJobParts,
} from './compute/create-snapshots.ts'
export {
  DELETE_SNAPSHOT_JOB,
  deleteSnapshotJob,
  PRUNE_REGIONS_JOB,
  pruneRegionsJob,
} from './compute/delete-snapshot.ts'
export { milestoneFacts } from './compute/milestone-facts.ts'
export { DISK_TYPE, propertiesOf, SNAPSHOT_TYPE, unfinishedSnapshotsOf, withProperties } from './compute/snapshot-rows.ts'
export { INSTANT_OPEN, type InstantFacts, TAKE_SNAPSHOTS_TASK, takeSnapshotsTask } from './compute/take-snapshots.ts'
export {
  COPY_VERSION_TASK,
  copyVersionTask,
  FORGET_VERSIONS_TASK,
  forgetVersionsTask,
  PRUNE_TASK,
  pruneTask,
} from './compute/version-tasks.ts'
export {
  MEASURE_SHARE_JOB,
  MEASURE_USAGE_JOB,
  MEASURE_USAGE_TASK,
  type MeasuredShare,
  type MeasuredUsage,
  measureShareJob,
  measureUsageJob,
  measureUsageTask,
  type ResourceUsage,
} from './compute/usage.ts'
export {
  ADOPT_MACHINE_JOB,
  type AdoptMachineInput,
  adoptMachineJob,
  askPower,
  DESCRIBE_MACHINE_TASK,
  describeMachineTask,
  MACHINE_TYPE,
  type MachineBacking,
  type MachinePower,
} from './compute/adopt-machine.ts'
