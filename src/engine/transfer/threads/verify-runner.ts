/** Verifying packs in one thread: by their names alone, or chunk by chunk with the key. */
import { isHoldfastError, toHex } from '#base'
import {
  type BlobStore,
  checkPackWithKey,
  isPackIntact,
  KeyRing,
  openStore,
  type PackRef,
  type StoreDescriptor,
} from '#engine/repository'
import { isOpened } from './backup-runner.ts'
import type { TaskRunner } from './task-runner.ts'

export type VerifyInit = Readonly<{
  store: StoreDescriptor | BlobStore
  /** Absent: only what can be checked without a key. */
  keys?: Readonly<{ master: Uint8Array; repositoryId: Uint8Array }>
}>
export type VerifyTask = PackRef
/** `badChunks` are ids in hex; only with the key, and only when the pack as a whole is readable. */
export type VerifyResult = Readonly<{
  pack: string
  state: 'intact' | 'corrupt' | 'missing'
  checkedBytes: number
  badChunks: readonly string[]
}>

class VerifyRunner implements TaskRunner<'verify'> {
  readonly #store: BlobStore
  readonly #owned: boolean
  readonly #keys: KeyRing | undefined

  constructor(store: BlobStore, owned: boolean, keys: KeyRing | undefined) {
    this.#store = store
    this.#owned = owned
    this.#keys = keys
  }

  async run(ref: VerifyTask): Promise<VerifyResult> {
    const result = { pack: ref.name, checkedBytes: ref.lengthBytes, badChunks: [] }
    try {
      if (this.#keys === undefined)
        return { ...result, state: (await isPackIntact(this.#store, ref)) ? 'intact' : 'corrupt' }
      const badChunks = (await checkPackWithKey(this.#store, this.#keys, ref)).map(toHex)
      return { ...result, state: badChunks.length === 0 ? 'intact' : 'corrupt', badChunks }
    } catch (error) {
      if (isHoldfastError(error, 'pack_missing')) return { ...result, state: 'missing', checkedBytes: 0 }
      if (isHoldfastError(error, 'pack_corrupt', 'blob_range_invalid')) return { ...result, state: 'corrupt' }
      throw error
    }
  }

  async close(): Promise<void> {
    if (this.#owned) await this.#store.close()
  }
}

export async function startVerifyRunner(init: VerifyInit): Promise<TaskRunner<'verify'>> {
  const owned = !isOpened(init.store)
  const store = isOpened(init.store) ? init.store : await openStore(init.store)
  const keys = init.keys === undefined ? undefined : new KeyRing(init.keys.master, init.keys.repositoryId)
  return new VerifyRunner(store, owned, keys)
}
