/** Decoding chunks in one thread into memory that the server of disk versions shares with it. */
import { assert } from '#base'
import {
  type BlobStore,
  type ChunkReader,
  type ContentHash,
  openStore,
  Scratch,
  type StoreDescriptor,
  type ThreadAccess,
  threadReader,
} from '#engine/repository'
import { isOpened } from './backup-runner.ts'
import type { TaskRunner } from './task-runner.ts'

export type DecodeInit = Readonly<{
  store: StoreDescriptor | BlobStore
  access: ThreadAccess
  /** Where chunks are put: of the caller, shared by all threads. */
  memory: SharedArrayBuffer
  slotBytes: number
}>
/** A chunk, and where in the memory its bytes go. */
export type DecodeItem = Readonly<{ content: ContentHash; at: number }>
/** The places are this task's alone until it is done. */
export type DecodeTask = Readonly<{ items: readonly DecodeItem[] }>
/** In the order of the task. */
export type DecodeResult = Readonly<{ lengths: readonly number[] }>

class DecodeRunner implements TaskRunner<'decode'> {
  readonly #store: BlobStore
  readonly #owned: boolean
  readonly #reader: ChunkReader
  readonly #memory: Buffer
  readonly #slotBytes: number

  constructor(store: BlobStore, owned: boolean, init: DecodeInit) {
    this.#store = store
    this.#owned = owned
    this.#reader = threadReader(store, init.access).reader
    this.#memory = Buffer.from(init.memory)
    this.#slotBytes = init.slotBytes
  }

  async run(task: DecodeTask): Promise<DecodeResult> {
    const lengths: number[] = []
    const requests = task.items.map(({ content, at }, i) => ({ content, tag: { at, i } }))
    await this.#reader.readMany(
      requests,
      (plain, { at, i }) => {
        assert(plain.length <= this.#slotBytes, 'A chunk is no longer than the chunks of its disk')
        this.#memory.set(plain, at)
        lengths[i] = plain.length
      },
      new Scratch(),
    )
    return { lengths }
  }

  async close(): Promise<void> {
    if (this.#owned) await this.#store.close()
  }
}

export async function startDecodeRunner(init: DecodeInit): Promise<TaskRunner<'decode'>> {
  const owned = !isOpened(init.store)
  const store = isOpened(init.store) ? init.store : await openStore(init.store)
  return new DecodeRunner(store, owned, init)
}
