/** Reading chunks in one thread for somebody who wants the bytes: the server of disk versions. */
import {
  type BlobStore,
  type ChunkReader,
  type ContentHash,
  openStore,
  type StoreDescriptor,
  type ThreadAccess,
  threadReader,
} from '#engine/repository'
import { isOpened } from './backup-runner.ts'
import type { TaskRunner } from './task-runner.ts'

export type DecodeInit = Readonly<{ store: StoreDescriptor | BlobStore; access: ThreadAccess }>
export type DecodeTask = Readonly<{ contents: readonly ContentHash[] }>
/** In the order of the task. Their memory moves to the receiver. */
export type DecodeResult = Readonly<{ chunks: readonly Uint8Array[] }>

class DecodeRunner implements TaskRunner<'decode'> {
  readonly #store: BlobStore
  readonly #owned: boolean
  readonly #reader: ChunkReader

  constructor(store: BlobStore, owned: boolean, reader: ChunkReader) {
    this.#store = store
    this.#owned = owned
    this.#reader = reader
  }

  async run(task: DecodeTask): Promise<DecodeResult> {
    const chunks: Uint8Array[] = []
    const requests = task.contents.map((content, tag) => ({ content, tag }))
    await this.#reader.readMany(requests, (plain, at) => {
      chunks[at] = plain
    })
    return { chunks }
  }

  async close(): Promise<void> {
    if (this.#owned) await this.#store.close()
  }
}

export async function startDecodeRunner(init: DecodeInit): Promise<TaskRunner<'decode'>> {
  const owned = !isOpened(init.store)
  const store = isOpened(init.store) ? init.store : await openStore(init.store)
  return new DecodeRunner(store, owned, threadReader(store, init.access).reader)
}

/** Buffers below this may share memory with others (Node's pool) and are copied instead. */
const OWN_MEMORY_BYTES_MIN = 64 * 1024

/** What of a result can move to another thread instead of being copied. */
export function movableBuffers(result: unknown): ArrayBuffer[] {
  const chunks =
    typeof result === 'object' && result !== null && 'chunks' in result ? (result as DecodeResult).chunks : []
  const buffers = chunks
    .map((chunk) => chunk.buffer)
    .filter((buffer) => buffer instanceof ArrayBuffer && buffer.byteLength >= OWN_MEMORY_BYTES_MIN)
  return [...new Set(buffers)] as ArrayBuffer[]
}
