/** domain: what is decided, not done. Pure: states, planners, refusals. */
export {
  cardBody,
  cardCount,
  diskEntry,
  type DiskToAttach,
  MACHINE_API_VERSION,
  machineBody,
  machineConfig,
  type MachineToMake,
  NETWORK_API_VERSION,
  recreationTemplate,
} from './vault/restored-machine.ts'
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
export {
  BACKUP_JOB_STATUSES,
  BACKUP_OPERATIONS,
  type BackupJobError,
  type BackupJobStatus,
  type BackupOperation,
  type BackupTask,
  type BackupTaskStatus,
  type ProtectionState,
} from './vault/backup-job.ts'
export {
  AZURE_MACHINE_ATTACHMENT,
  type AzureMachine,
  isTaken,
  type KeptDisk,
  type KeptResource,
  withoutSecrets,
} from './vault/azure-machine.ts'
export {
  type BackupPolicy,
  checkPolicy,
  DEFAULT_POLICIES,
  type DaysOfMonth,
  type GfsRules,
  instantDaysDefault,
  type Month,
  MONTHS,
  ON_DEMAND_DAYS_DEFAULT,
  POINTS_PER_ITEM_MAX,
  pointsKeptMax,
  type PolicyLimits,
  type Schedule,
  type Weekday,
  WEEKDAYS,
  type WeekOfMonth,
  WEEKS_OF_MONTH,
} from './vault/backup-policy.ts'
export { type GfsDecision, type GfsOptions, type GfsPoint, type GfsRule, planGfs } from './vault/gfs.ts'
export { lastSlot, mayBegin, nextSlot, spreadMs } from './vault/slots.ts'
export {
  type ImmutabilityState,
  IMMUTABILITY_STATES,
  isImmutable,
  REDUNDANCIES,
  type Redundancy,
  type SettingsWorld,
  type SoftDelete,
  SOFT_DELETE_DAYS_MAX,
  SOFT_DELETE_DAYS_MIN,
  softDeleteDaysOf,
  type SoftDeleteState,
  SOFT_DELETE_STATES,
  VAULT_SETTINGS_DEFAULT,
  type VaultImmutability,
  type VaultSettings,
  whyNotSettings,
} from './vault/vault-settings.ts'
export { whyNotVersion, whyWeaker } from './vault/weaker-policy.ts'
export { DAY_MS, zoneOf } from './vault/zone.ts'
export { lostPairs, type NamedRegion, sharedRegion } from './places/links.ts'
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
export { DATA_DISKS_MAX, type DataDiskEntry, type DataDiskPlan, freeLun, planDataDisks } from './compute/data-disks.ts'
export {
  MACHINE_COMMANDS,
  MACHINE_POWER_MOVES,
  MACHINE_POWERS,
  MACHINE_PROVISIONINGS,
  type MachineCommand,
  type MachinePowerState,
  type MachineProvisioning,
  type MachineRunEnd,
  type MachineStatusLine,
  machineStatusLines,
  mayPowerBecome,
  noticeEnd,
  type NoticedEnd,
  type OwnMachineBacking,
  powerMove,
  restartDelayMs,
  ruleCommand,
  settledPower,
} from './compute/machine.ts'
export { findMachineSize, type HostRoom, MACHINE_SIZES, type MachineSize, whyNoRoom } from './compute/sizes.ts'
export {
  formatIpv4,
  formatPrefix,
  holdsAddress,
  type Ipv4,
  overlap,
  parseIpv4,
  parsePrefix,
  type Prefix,
} from './network/ipv4.ts'
export {
  addressSpaceFault,
  gatewayOf,
  isNetworkRefusal,
  type NamedPrefix,
  type NetworkRefusal,
  type NetworkRefusalCode,
  nextAddress,
  readPrefix,
  staticAddressFault,
  subnetFault,
  usableCount,
} from './network/address-space.ts'
export {
  type Access,
  ALL_PORTS,
  DEFAULT_RULES,
  type Direction,
  formatPeer,
  mayDenyInside,
  type Peer,
  type PortRange,
  PRIORITY_MAX,
  PRIORITY_MIN,
  readPeer,
  readPorts,
  RULE_PROTOCOLS,
  type RuleProtocol,
  type SecurityRule,
  SERVICE_TAGS,
} from './network/security-rules.ts'
export { assignHostPorts, forwardedPorts, type GuestPort, type HostForward, USUAL_PORTS } from './network/forwards.ts'
export { makeRuleset, type RulesetCard, type RulesetForward, type RulesetInput } from './network/ruleset.ts'
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
export { type Care, careOf, type CareState, type CareTimes, MIRROR_RETRY_MS } from './vault/care.ts'
export { isLoopbackUrl, isWebhook } from './vault/webhook.ts'
