/** Backing up in one thread: its own connections to the sources, its own packs. */
import type { Random } from '#base'
import { systemClock, systemRandom } from '#runtime'
import { type BlockSource, openSource, type SourceDescriptor } from '#engine/block'
import {
  type BlobStore,
  ChunkWriter,
  type ContentHash,
  openStore,
  SharedIdSet,
  type StoreDescriptor,
  type ThreadAccess,
  threadReader,
  type Written,
} from '#engine/repository'
import { DeltaLayer } from '../delta-layer.ts'
import { makePayload, type PayloadResult, type PayloadTask } from '../payload-work.ts'
import { type SegmentResult, type SegmentTask, SegmentWorker, type Stored } from '../segment-work.ts'
import type { TaskRunner } from './task-runner.ts'

export type BackupSource = Readonly<{ source: SourceDescriptor; sizeBytes: number; chunkSizeBytes: number }>
export type BackupInit = Readonly<{
  store: StoreDescriptor | BlobStore
  access: ThreadAccess
  claims: SharedArrayBuffer
  session: number
  /** Inline only (it cannot be sent to a thread); threads use the system's. */
  random?: Random
  packBytesTarget?: number
  sources: readonly (BackupSource | Readonly<{ opened: BlockSource; sizeBytes: number; chunkSizeBytes: number }>)[]
}>
export type BackupTask =
  | (SegmentTask & Readonly<{ kind: 'segment' }>)
  | (PayloadTask & Readonly<{ kind: 'payload' }>)
  | Readonly<{ kind: 'chunk'; content: ContentHash; bytes: Uint8Array; as: 'node' | 'data' }>
  | Readonly<{ kind: 'flush' }>
export type BackupResult = SegmentResult | PayloadResult | Written | Stored

export function isOpened(store: StoreDescriptor | BlobStore): store is BlobStore {
  return 'put' in store
}

class BackupRunner implements TaskRunner<'backup'> {
  readonly #init: BackupInit
  readonly #store: BlobStore
  readonly #writer: ChunkWriter
  readonly #segments: SegmentWorker
  readonly #layer: DeltaLayer
  readonly #sources: (BlockSource | undefined)[] = []

  constructor(init: BackupInit, store: BlobStore) {
    const { reader, index, keys } = threadReader(store, init.access)
    this.#init = init
    this.#store = store
    this.#writer = new ChunkWriter({
      store,
      keys,
      index,
      claims: new SharedIdSet(init.claims),
      random: init.random ?? systemRandom,
      session: init.session,
      ...(init.packBytesTarget === undefined ? {} : { packBytesTarget: init.packBytesTarget }),
    })
    this.#layer = new DeltaLayer((content) => reader.read(content))
    this.#segments = new SegmentWorker(reader, this.#writer, this.#layer)
  }

  async run(task: BackupTask): Promise<BackupResult> {
    if (task.kind === 'flush') return this.#writer.flush()
    if (task.kind === 'chunk') {
      const stored = this.#writer.storedSince()
      await this.#writer.put(task.content, task.bytes, task.as)
      return stored()
    }
    const disk = this.#init.sources[task.disk]
    if (disk === undefined) throw new RangeError(`There is no disk ${task.disk} in this backup`)
    const source = (this.#sources[task.disk] ??=
      'opened' in disk ? disk.opened : await openSource(disk.source, { reads: 'sync', clock: systemClock }))
    const access = { source, sizeBytes: disk.sizeBytes, chunkSizeBytes: disk.chunkSizeBytes }
    if (task.kind === 'payload') return makePayload(task, access, this.#layer, this.#writer)
    return this.#segments.run(task, access)
  }

  async close(): Promise<void> {
    const own = this.#sources.filter((_, i) => !('opened' in (this.#init.sources[i] ?? {})))
    for (const source of own) await source?.close()
    if (!isOpened(this.#init.store)) await this.#store.close()
  }
}

export async function startBackupRunner(init: BackupInit): Promise<TaskRunner<'backup'>> {
  return new BackupRunner(init, isOpened(init.store) ? init.store : await openStore(init.store))
}
