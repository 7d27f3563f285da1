/** server: the processes and how they are put together. */
export { type ControlClient, openControl, stopServe } from './control-client.ts'
export { configPath, readConfigFile, writeConfigOnce } from './config/config-file.ts'
export { CONFIG_DEFAULTS, parseConfig } from './config/read-config.ts'
export type { Config } from './config/schema.ts'
export { configJsonSchema, configText } from './config/write-config.ts'
export type { JobSummary } from './control-methods.ts'
export { type Diagnosis, diagnose } from './doctor/doctor.ts'
export type { Finding } from './doctor/finding.ts'
export { SERVER_ERROR_CODES, ServerError, type ServerErrorCode } from './errors.ts'
export { type Face, type FaceOptions, type FaceRecord, openFace } from './face/open-face.ts'
export { faceOptionsOf } from './face/face-options.ts'
export { type Home, homeFolder, openHome } from './home.ts'
export { initHome, type Initialised } from './init-home.ts'
export { bytesSocketPath, defineJobs, openNetworks, scheduleJobs, workerTasks } from './jobs-of-serve.ts'
export { MachineWatch, type MachineWatchParts } from './machine-watch.ts'
export { runServe, runWorker, type ServeCommand, type WorkerCommand, workerLogger } from './run-process.ts'
export { type Health, serve, type Served, type ServeOptions, type ServeParts } from './serve.ts'
export type { ProcessEntry, Restart } from './start-process.ts'
export { Supervised, type SupervisedSpec, type SupervisedState, type SupervisionTiming } from './supervisor.ts'
export type { TaskView } from './worker/task-table.ts'
export { startWorker, type Worker, type WorkerOptions } from './worker/worker.ts'
export { stopAll, type Stopped } from './stop-all.ts'
export { writeSupportBundle } from './support/bundle.ts'
export { WorkerClient } from './worker/worker-client.ts'
export type {
  AssignmentView,
  CredentialView,
  NewPrincipal,
  PrincipalDetail,
  PrincipalView,
} from './access/principal-methods.ts'
export type { RoleView } from './access/role-methods.ts'
export type { HostView, RegionDetail, RegionView } from './places/region-methods.ts'
export type { Added, PoolView, StoreView } from './places/space-methods.ts'
export type { KnownRepository } from '#catalog'
export type { ListedPoint } from '#domain'
export type { BackupJobInput, JobEvent, JobView, RepositoryAccess, StepView } from '#jobs'
