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
export type { TaskContext, TaskHandler, TaskKey, TaskRunner } from './tasks.ts'
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
