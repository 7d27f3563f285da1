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
export { FaultyStore, type FaultRates, type StoreFault, type StoreMethod } from './stores/faulty-store.ts'
export { FolderStore, type FolderStoreOptions, SWEEP_AGE_MS_MIN } from './stores/folder-store.ts'
export { MemoryStore, type MemoryStoreOptions } from './stores/memory-store.ts'
export { openStore, type OpenStoreOptions } from './stores/open-store.ts'
export { RetryingStore, STORE_RETRY_POLICY } from './stores/retrying-store.ts'
export { formatStoreLocation, parseStoreLocation, type StoreDescriptor } from './stores/store-location.ts'
