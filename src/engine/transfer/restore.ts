/**
 * Bringing one disk of a point back: every leaf of its manifest is read, checked and written by whichever thread is free.
 * Each chunk is compared with the hash in its manifest before it is written, so a restored disk is its manifest or an error.
 * What delta nodes lay over the tree is written after the tree.
 *
 * A crash leaves a target that is incomplete; whoever calls gives it its final name, or starts a machine on it, only after
 * this has resolved. Running it again from the start is always right.
 */
import { type Clock, MIB, type ProgressSink, silentProgress, toHex } from '#base'
import type { BlobStore, DiskRecord, Repository, StoreDescriptor } from '#engine/repository'
import {
  type DeltaExtent,
  type ExtentList,
  FAN_OUT,
  type ResolvedVersion,
  resolveVersion,
  walkLeaves,
} from '#engine/repository'
import type { BlockTarget } from '#engine/block'
import { NodeCache } from './node-cache.ts'
import type { RestoreTask, TargetDescriptor } from './threads/restore-runner.ts'
import { defaultThreads, ThreadPool } from './threads/thread-pool.ts'

export type RestoreOptions = Readonly<{
  store: StoreDescriptor | BlobStore
  clock: Clock
  threads?: number
  progress?: ProgressSink
  signal?: AbortSignal
  /** The target held something before: what is absent in the manifest is written as zeros. */
  overwrite?: boolean
}>

export type Restored = Readonly<{ writtenBytes: number }>

/** Below this one thread is as fast as several. */
const INLINE_BYTES_MAX = 16 * 1024 * 1024
const EXTENTS_PAYLOAD_BYTES = 4 * MIB

/** @throws chunk_missing, chunk_corrupt, and what store and target raise */
export async function restoreDisk(
  repository: Repository,
  disk: DiskRecord,
  target: TargetDescriptor | Readonly<{ opened: BlockTarget }>,
  options: RestoreOptions,
): Promise<Restored> {
  const { progress = silentProgress, overwrite = false } = options
  const inline = 'put' in options.store || 'opened' in target || disk.usedBytes <= INLINE_BYTES_MAX
  const init = {
    store: options.store,
    access: await repository.threadAccess(),
    target,
    sizeBytes: disk.virtualSizeBytes,
    chunkSizeBytes: disk.chunkSizeBytes,
    writeHoles: overwrite,
  }
  const pool = await ThreadPool.start('restore', init, {
    threads: inline ? 0 : (options.threads ?? defaultThreads()),
    signal: options.signal,
  })
  try {
    const nodes = new NodeCache(await repository.chunkReader())
    let writtenBytes = 0
    const { tree, extents } = await resolveVersion(nodes.read, disk.root)
    for (const tasks of [leafTasks(nodes, disk, tree, overwrite), extentTasks(extents)]) {
      await pool.runAll(tasks, (result) => {
        writtenBytes += result.writtenBytes
        const totalBytes = Math.max(disk.usedBytes, writtenBytes)
        progress({ task: `Writing disk ${disk.lun}`, doneBytes: writtenBytes, totalBytes })
      })
    }
    await pool.runOnEach({ kind: 'flush' })
    return { writtenBytes }
  } finally {
    await pool.close()
  }
}

async function* leafTasks(
  nodes: NodeCache,
  disk: DiskRecord,
  tree: ResolvedVersion['tree'],
  holesToo: boolean,
): AsyncGenerator<RestoreTask> {
  const leafSpan = FAN_OUT * disk.chunkSizeBytes
  let next = 0
  for await (const { index, content } of walkLeaves(nodes.read, tree)) {
    if (holesToo) yield* holes(next, index)
    yield { kind: 'leaf', index, content }
    next = index + 1
  }
  if (holesToo) yield* holes(next, Math.ceil(disk.virtualSizeBytes / leafSpan))
}

/** Extents in the order of their payload, some MiB of it in a task, so that each payload chunk is read once. */
async function* extentTasks(extents: ExtentList): AsyncGenerator<RestoreTask> {
  const byPayload = Map.groupBy(extents, ({ payload }) => (payload === undefined ? '' : toHex(payload.content)))
  let group: DeltaExtent[] = []
  let payloadBytes = 0
  for (const list of byPayload.values()) {
    group.push(...list)
    payloadBytes += list[0]?.payload?.sizeBytes ?? 0
    if (payloadBytes < EXTENTS_PAYLOAD_BYTES) continue
    yield { kind: 'extents', extents: group }
    group = []
    payloadBytes = 0
  }
  if (group.length > 0) yield { kind: 'extents', extents: group }
}

function* holes(from: number, to: number): Generator<RestoreTask> {
  for (let index = from; index < to; index += 1) yield { kind: 'hole', index }
}
