/** What a store and a repository can fail with. One code, one meaning, one entry in docs/errors.md (a test compares). */
import { HoldfastError } from '#base'

export const STORE_ERROR_CODES = [
  'blob_not_found',
  'blob_range_invalid',
  'blob_key_invalid',
  'blob_locked',
  'blob_too_large',
  'lock_unsupported',
  'store_unavailable',
  'store_read_only',
  'store_full',
  'store_location_invalid',
] as const
export type StoreErrorCode = (typeof STORE_ERROR_CODES)[number]
export class StoreError extends HoldfastError<StoreErrorCode> {}

export const REPOSITORY_ERROR_CODES = [
  'repository_not_found',
  'repository_exists',
  'repository_damaged',
  'repository_too_new',
  'key_wrong',
  'key_slot_not_found',
  'key_slot_last',
  'key_slot_limit',
  'key_slot_in_use',
  'pack_missing',
  'pack_corrupt',
  'chunk_missing',
  'chunk_corrupt',
  'log_damaged',
  'log_rolled_back',
  'log_contended',
  'packs_deleted',
  'prune_overtaken',
  'index_damaged',
  'point_not_found',
  'point_ambiguous',
  'point_forgotten',
  'disk_not_found',
  'point_locked',
  'lock_failed',
  'immutability_locked',
  'clock_doubted',
  'repository_is_mirror',
  'mirror_foreign',
  'mirror_promoted',
  'mirror_diverged',
] as const
export type RepositoryErrorCode = (typeof REPOSITORY_ERROR_CODES)[number]
export class RepositoryError extends HoldfastError<RepositoryErrorCode> {}
