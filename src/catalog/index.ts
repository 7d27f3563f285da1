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
export { SCHEMA_NUMBER } from './migrations/list.ts'
