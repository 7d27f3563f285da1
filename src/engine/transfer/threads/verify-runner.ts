/** Verifying packs in one thread: by their names alone, or chunk by chunk with the key. */
import { isHoldfastError, toHex } from '#base'
import {
  type BlobStore,
  checkPack,
  checkPackWithKey,
  KeyRing,
  openStore,
  PackMemory,
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
/** `badChunks` are ids in hex; `session` is the log number in the pack's header, if it has one. */
export type VerifyResult = Readonly<{
  pack: string
  state: 'intact' | 'corrupt' | 'missing'
  checkedBytes: number
  session?: number
  badChunks: readonly string[] | 'all'
}>

class VerifyRunner implements TaskRunner<'verify'> {
  readonly #store: BlobStore
  readonly #owned: boolean
  readonly #keys: KeyRing | undefined
  readonly #memory = new PackMemory()

  constructor(store: BlobStore, owned: boolean, keys: KeyRing | undefined) {
    this.#store = store
    this.#owned = owned
    this.#keys = keys
  }

  async run(ref: VerifyTask): Promise<VerifyResult> {
    try {
      const check =
        this.#keys === undefined
          ? await checkPack(this.#store, ref, this.#memory)
          : await checkPackWithKey(this.#store, this.#keys, ref, this.#memory)
      const { intact, session } = check
      return {
        pack: ref.name,
        state: intact ? 'intact' : 'corrupt',
        checkedBytes: ref.lengthBytes,
        badChunks: check.badChunks === 'all' ? 'all' : check.badChunks.map(toHex),
        ...(session === undefined ? {} : { session }),
      }
    } catch (error) {
      if (!isHoldfastError(error, 'pack_missing')) throw error
      return { pack: ref.name, state: 'missing', checkedBytes: 0, badChunks: 'all' }
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
