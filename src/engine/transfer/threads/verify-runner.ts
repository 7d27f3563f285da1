/**
 * Verifying packs in one thread: by their names alone, or chunk by chunk with the key. The next pack is read while one is
 * looked at, so that neither the store nor the processor waits for the other; two packs are in memory.
 */
import { assert, isHoldfastError, toHex } from '#base'
import {
  type BlobStore,
  checkPack,
  checkPackWithKey,
  KeyRing,
  openStore,
  type PackRef,
  readPack,
  Scratch,
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

type Reading = Readonly<{ bytes: Promise<Uint8Array>; memory: Scratch }>

class VerifyRunner implements TaskRunner<'verify'> {
  readonly #store: BlobStore
  readonly #owned: boolean
  readonly #keys: KeyRing | undefined
  readonly #chunkMemory = new Scratch()
  readonly #free = [new Scratch(), new Scratch()]
  readonly #readings = new Map<string, Reading>()

  constructor(store: BlobStore, owned: boolean, keys: KeyRing | undefined) {
    this.#store = store
    this.#owned = owned
    this.#keys = keys
  }

  foresee(ref: VerifyTask): void {
    if (this.#free.length > 0 && !this.#readings.has(ref.name)) this.#read(ref)
  }

  async run(ref: VerifyTask): Promise<VerifyResult> {
    const reading = this.#readings.get(ref.name) ?? this.#read(ref)
    try {
      return this.#check(ref, await reading.bytes)
    } catch (error) {
      if (!isHoldfastError(error, 'pack_missing')) throw error
      return { pack: ref.name, state: 'missing', checkedBytes: 0, badChunks: 'all' }
    } finally {
      this.#readings.delete(ref.name)
      this.#free.push(reading.memory)
    }
  }

  #read(ref: VerifyTask): Reading {
    const memory = this.#free.pop()
    assert(memory !== undefined, 'One pack is looked at, at most one more is read')
    const bytes = readPack(this.#store, ref, memory)
    bytes.catch(() => {
      // Told when its turn comes, in `run`; a runner that is closed before has nobody left to tell.
    })
    const reading = { bytes, memory }
    this.#readings.set(ref.name, reading)
    return reading
  }

  #check(ref: VerifyTask, bytes: Uint8Array): VerifyResult {
    const { intact, session, badChunks } =
      this.#keys === undefined ? checkPack(ref, bytes) : checkPackWithKey(this.#keys, ref, bytes, this.#chunkMemory)
    return {
      pack: ref.name,
      state: intact ? 'intact' : 'corrupt',
      checkedBytes: ref.lengthBytes,
      badChunks: badChunks === 'all' ? 'all' : badChunks.map(toHex),
      ...(session === undefined ? {} : { session }),
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
