/** catalog: durable records of the control plane. */
export { Catalog, type CatalogTransaction } from './catalog.ts'
export { CATALOG_ERROR_CODES, CatalogError, type CatalogErrorCode } from './errors.ts'
export { findMachine, type KnownMachine, listMachines, recordMachineSeen, setMachineProtected } from './machines.ts'
export {
  forgetRepository,
  type KnownRepository,
  listPoints,
  listRepositories,
  type PointFilter,
  recordPoint,
  recordRepository,
  refillPoints,
} from './repositories.ts'
export type {
  CatalogSchema,
  JobEventTable,
  JobOwnerTable,
  JobScheduleTable,
  JobStepTable,
  JobTable,
  StepKind,
  StepStatus,
} from './schema.ts'
export { findHostLink, type HostLink, listHostLinks, putHostLink } from './host-links.ts'
export { inspectCatalog, type CatalogInspection } from './inspect.ts'
export {
  type CatalogCounts,
  countCatalog,
  deleteHost,
  type Host,
  listHosts,
  newestPoints,
  putHost,
  type Usage,
  usesOf,
} from './places.ts'
export {
  deleteLink,
  findInvitation,
  findLink,
  insertInvitation,
  type Link,
  type LinkedRegion,
  type LinkInvitation,
  listLinks,
  markLinkSeen,
  putLink,
  useInvitation,
} from './links.ts'
export { SCHEMA_NUMBER } from './migrations/list.ts'
export { type ActivityEvent, type ActivityFilter, forgetActivity, listActivity, recordActivity } from './activity.ts'
export {
  findOperation,
  forgetOperations,
  insertOperation,
  listOperationsWithoutJob,
  newestOperationOf,
  type OperationRecord,
  type OperationReply,
} from './operations.ts'
export {
  type AssignmentFilter,
  type Credential,
  deleteCredential,
  deletePrincipal,
  deleteRoleAssignment,
  endSecretsAt,
  findPrincipal,
  findRoleAssignment,
  forgetCredentials,
  insertCredential,
  insertPrincipal,
  insertRoleAssignment,
  listCredentials,
  listPrincipals,
  listRoleAssignments,
  type Principal,
  type RoleAssignment,
} from './principals.ts'
export {
  deletePool,
  deleteRegion,
  deleteStore,
  findRegion,
  findSetting,
  listAllPools,
  listPools,
  listRegions,
  listStores,
  type Pool,
  putPool,
  putRegion,
  putSetting,
  putStore,
  type Region,
  type RegionStore,
} from './regions.ts'
export {
  type ChangeSource,
  deleteResource,
  findResource,
  insertResource,
  listResources,
  type NewResource,
  type ResourceChange,
  type ResourceFilter,
  type ResourceRecord,
  updateResource,
} from './resources.ts'
export {
  changeProtectedItem,
  countProtectedItems,
  deleteProtectedItem,
  type DiskExclusion,
  findProtectedItem,
  insertProtectedItem,
  listProtectedItems,
  type ProtectedItem,
  type ProtectedItemChange,
  type ProtectedItemFilter,
} from './protected-items.ts'
export {
  changeVaultPoint,
  deleteVaultPoint,
  findVaultPoint,
  insertVaultPoint,
  listVaultPoints,
  type VaultPoint,
  type VaultPointChange,
  type VaultPointDisk,
  type VaultPointFilter,
} from './vault-points.ts'
export {
  countUnmirroredPoints,
  listUnmirroredPoints,
  type UnmirroredPoint,
  type UnmirroredSum,
} from './unmirrored-points.ts'
export {
  type BackupJobChange,
  type BackupJobFilter,
  type BackupJobRecord,
  changeBackupJob,
  findBackupJob,
  forgetBackupJobs,
  forgetBackupWork,
  insertBackupJob,
  listBackupJobs,
} from './backup-jobs.ts'
export {
  type AlertFilter,
  type AlertSeverity,
  findAlert,
  findOpenAlert,
  listAlerts,
  raiseAlert,
  resolveAlert,
  type VaultAlert,
} from './vault-alerts.ts'
export { deleteVaultRecords, type MovedVault, moveVault } from './vault-records.ts'
