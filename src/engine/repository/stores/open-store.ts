/**
 * Opens a store from its location or descriptor, wrapped so that what fails in passing is tried again. The S3 client is
 * loaded only when an S3 store is opened.
 */
import { processPace, systemClock } from '#runtime'
import type { BlobStore } from '../blob-store.ts'
import { FolderStore } from './folder-store.ts'
import { MemoryStore } from './memory-store.ts'
import { PacedStore } from './paced-store.ts'
import { RetryingStore } from './retrying-store.ts'
import { parseStoreLocation, type StoreDescriptor } from './store-location.ts'

export type OpenStoreOptions = Readonly<{
  /**
   * Prepare the place for a new repository: create the folder (not its parent), or prove that the bucket's server keeps
   * create-once. Buckets are never created.
   */
  create?: boolean
}>

/** Stores of this thread by name: a memory store is only one if all who open it meet in it. */
const memoryStores = new Map<string, MemoryStore>()

/** @throws StoreError `store_location_invalid`, `store_unavailable` */
export async function openStore(where: StoreDescriptor | string, options: OpenStoreOptions = {}): Promise<BlobStore> {
  const descriptor = typeof where === 'string' ? parseStoreLocation(where) : where
  if (descriptor.kind === 'memory') return openMemory(descriptor.name)
  return new RetryingStore(new PacedStore(await openPersistent(descriptor, options), processPace), systemClock)
}

async function openPersistent(
  descriptor: Exclude<StoreDescriptor, { kind: 'memory' }>,
  options: OpenStoreOptions,
): Promise<BlobStore> {
  if (descriptor.kind === 'folder') return FolderStore.open(descriptor.path, options)
  const { S3Store } = await import('./s3-store.ts')
  return S3Store.open(descriptor, options)
}

function openMemory(name: string): MemoryStore {
  const store = memoryStores.get(name) ?? new MemoryStore({ name })
  memoryStores.set(name, store)
  return store
}
