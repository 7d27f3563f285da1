/** engine/repository: content-addressed, sealed, append-only storage of disk versions and recovery points. */
export type { BlobInfo, BlobKey, BlobStore, StoreCapabilities, StoreReserve } from './blob-store.ts'
export {
  REPOSITORY_ERROR_CODES,
  RepositoryError,
  type RepositoryErrorCode,
  STORE_ERROR_CODES,
  StoreError,
  type StoreErrorCode,
} from './errors.ts'
export { FaultyStore, type FaultRates, type StoreFault, type StoreMethod } from './stores/faulty-store.ts'
export { FolderStore, type FolderStoreOptions, SWEEP_AGE_MS_MIN } from './stores/folder-store.ts'
export { MemoryStore, type MemoryStoreOptions } from './stores/memory-store.ts'
export { openStore, type OpenStoreOptions } from './stores/open-store.ts'
export { RetryingStore, STORE_RETRY_POLICY } from './stores/retrying-store.ts'
export { formatStoreLocation, parseStoreLocation, type StoreDescriptor } from './stores/store-location.ts'
export { isZero } from './chunk.ts'
export { ChunkReader, type ChunkRequest } from './chunk-reader.ts'
export { ChunkWriter, type Written } from './chunk-writer.ts'
export type { RepositoryConfig } from './config.ts'
export { type ContentHash, contentHash, KeyRing } from './crypto.ts'
export { SharedIdSet } from './index/shared-id-set.ts'
export {
  addKeySlot,
  type Credential,
  type KdfCost,
  type KeySlot,
  listKeySlots,
  openMaster,
  removeKeySlot,
} from './key-slots.ts'
export { decodeNode, emptyNode, encodeNode, FAN_OUT, type ManifestNode, rootLevel } from './manifest/node.ts'
export {
  DELTA_DEPTH_MAX,
  type DeltaExtent,
  type DeltaNode,
  encodeDeltaNode,
  type PayloadChunk,
} from './manifest/delta-node.ts'
export {
  type ExtentList,
  joined,
  overlaidChunks,
  overlay,
  piecesIn,
  splitAt,
  touchedUnits,
  touches,
} from './manifest/extent-map.ts'
export { isDelta, type ResolvedVersion, resolveVersion } from './manifest/version.ts'
export { type ChangedLeaf, findLeaf, readNode, updateTree, walkLeaves } from './manifest/tree.ts'
export {
  type AttachmentRecord,
  type DeltaRoot,
  type DiskMode,
  type DiskRecord,
  type PointId,
  type PointGroup,
  type PointRecord,
  type RootRef,
  type TreeRoot,
  worstMode,
} from './point.ts'
export {
  type InitOptions,
  isoOf,
  Repository,
  type RepositoryEnvironment,
  type ThreadAccess,
  threadReader,
} from './repository.ts'
export { type CommitInput, isPrunedUnder, pointForgotten, type Session } from './session.ts'
export { checkPack, checkPackWithKey, type PackCheck, type PackRef, readPack, salvageChunks } from './pack-reader.ts'
export { Scratch } from './scratch.ts'
export { readConfig } from './config.ts'
export { checkpointKey, encodeCheckpoint, openCheckpoint } from './log/checkpoint.ts'
export { type CheckpointOptions, CommitLog } from './log/log.ts'
export { readWholeLog, type WholeLog } from './verify/whole-log.ts'
export { packKeyOf } from './pack-format.ts'
export {
  type Damage,
  type DamageKind,
  findStrays,
  frameDamages,
  logDamages,
  restsOnByClosure,
  rollBackDamage,
} from './verify/damage.ts'
export { NO_PACK, type PackInjury, TreeCheck } from './verify/tree-check.ts'
export { prune, preparePrune, type PruneEnvironment, type PruneReport } from './prune/act.ts'
export { PRUNE_DEFAULTS, type PruneOptions, type PrunePlan } from './prune/plan.ts'
export { type ContentGroup, walkContents } from './manifest/point-walk.ts'
export { IndexReader } from './index/chunk-index.ts'
export { PackDirectory } from './index/pack-directory.ts'
export { BATCH_LIMITS, type BatchLimits } from './mirror/batches.ts'
export { Mirror, type MirrorParts, type PassReport } from './mirror/mirror.ts'
export type { MirrorLag } from './mirror/mirror-lag.ts'
export { MIRROR_KEY, promoteMirror, readMirrorMark } from './mirror/mirror-mark.ts'
export { finishIncoming } from './mirror/incoming.ts'
export { healFrame, type HealedFrame } from './mirror/heal-frame.ts'
export { healMirrorLog, removeOtherCheckpoints } from './mirror/heal-log.ts'
export { lastEntryOf, standingOf } from './mirror/standing.ts'
export { MIRROR_GRACE_MS } from './mirror/sweep-mirror.ts'
export { removeCheckpoints, repairFrame, repairLog, repairPack } from './mirror-repair.ts'
export { RESERVE_BYTES_DEFAULT, withReserve } from './with-reserve.ts'
export { measureUsage, type PointUsage } from './usage.ts'
export { type RepositoryStats, repositoryStats } from './stats.ts'
export { Immutability, type ImmutabilityStatus } from './immutability/immutability.ts'
export {
  IMMUTABILITY_STATES,
  type ImmutabilityPolicy,
  type ImmutabilityState,
  LOCK_DAYS_MAX,
} from './immutability/policy.ts'
export { DAY_MS, type Judgement } from './immutability/observed-time.ts'
export { CACHE_BYTES_MAX, trimCaches } from './trim-caches.ts'
