/** engine/repository: content-addressed, sealed, append-only storage of disk versions and recovery points. */
export type { BlobInfo, BlobKey, BlobStore, StoreCapabilities } from './blob-store.ts'
export {
  REPOSITORY_ERROR_CODES,
  RepositoryError,
  type RepositoryErrorCode,
  STORE_ERROR_CODES,
  StoreError,
  type StoreErrorCode,
} from './errors.ts'
