/** domain: what is decided, not done. Pure: states, planners, refusals. */
export { DOMAIN_ERROR_CODES, DomainError, type DomainErrorCode } from './errors.ts'
export { type CronSpec, dueSlots, type DueSlots, nextSlotMs } from './jobs/cron.ts'
export {
  CLAIMABLE_STATUSES,
  FINAL_STATUSES,
  type FinalStatus,
  isFinal,
  JOB_STATUSES,
  JOB_TRANSITIONS,
  type JobStatus,
  mayMove,
  moveTo,
} from './jobs/job-status.ts'
export {
  type ListedDisk,
  type ListedPoint,
  planRefill,
  type PointConsistency,
  type RefillPlan,
} from './protection/recovery-point-listing.ts'
export {
  type Advice,
  ADVICE_NOTES,
  type AdviceNote,
  adviseProtection,
  type DiskFigures,
  type Figures,
  type KnownPoint,
  type KnownSnapshot,
  type Means,
  type Need,
  NEEDS,
  type Protection,
  type Threat,
  THREATS,
} from './protection/advise.ts'
export { localCalendar, type LocalCalendar, type PeriodKind, type Periods } from './protection/local-calendar.ts'
export {
  type DropReason,
  explainRetention,
  type KeepReason,
  type PeriodRule,
  planRetention,
  type RetentionDecision,
  type RetentionPlan,
  type RetentionPoint,
  type RetentionRules,
} from './protection/retention.ts'
export { actionMatches, type Grant, isAllowed, isWithin, mayEnter } from './access/evaluate.ts'
export { BUILT_IN_ROLES, findRole, OWNER_ROLE, type RoleDefinition } from './access/role-definitions.ts'
export {
  bytesOfGb,
  DISK_STATES,
  DISK_TRANSITIONS,
  type DiskBacking,
  type DiskBase,
  diskBytesOfUpload,
  type DiskGrant,
  diskMove,
  type DiskState,
  growth,
  isRefusal,
  mayBecome,
  type Refusal,
  sizeFromSource,
  sizeGb,
  type SnapshotBacking,
  stateUnderGrant,
  type VersionRef,
  VHD_FOOTER_BYTES,
  whyNotDelete,
} from './compute/disk.ts'
export {
  CREATE_OPTIONS,
  limitReached,
  NAME_PATTERN_DEFAULT,
  percentBeforeEnd,
  SNAPSHOT_LIMITS,
  SNAPSHOT_NAME,
  type SnapshotCreateOption,
  snapshotHistory,
  type SnapshotLimits,
  snapshotName,
  type SourceSnapshot,
  whyNotCopy,
} from './compute/snapshot.ts'
export {
  baseName,
  type BasesSeen,
  diskOfImage,
  type ImageBacking,
  type ImageDisk,
  type ImageLun,
  type ImageSourceMachine,
  OS_STATES,
  type OsState,
  planBaseRemoval,
  whyNoImage,
} from './compute/image.ts'
