/**
 * Bringing one disk of a point back: every leaf of its manifest is read, checked and written by whichever thread is free.
 * Each chunk is compared with the hash in its manifest before it is written, so a restored disk is its manifest or an error.
 * What delta nodes lay over a chunk is laid before it is written.
 *
 * A crash leaves a target that is incomplete; whoever calls gives it its final name, or starts a machine on it, only after
 * this has resolved. Running it again from the start is always right.
 */
import { type Clock, type ProgressSink, silentProgress } from '#base'
import type { BlobStore, DiskRecord, Repository, StoreDescriptor } from '#engine/repository'
import {
  type ExtentList,
  FAN_OUT,
  piecesIn,
  type ResolvedVersion,
  resolveVersion,
  touchedUnits,
  walkLeaves,
} from '#engine/repository'
import { type BlockTarget, createQcow2File, finishQcow2File, QCOW2_DATA_OFFSET, type Qcow2Range } from '#engine/block'
import { NodeCache } from './node-cache.ts'
import { newQcow2Counter, qcow2DataEnd } from './qcow2-place.ts'
import type { Qcow2Filling, RestoreTask, TargetDescriptor } from './threads/restore-runner.ts'
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

/**
 * Makes a qcow2 image of one disk of a point, whole and durable when this resolves. What fails leaves a file that is no
 * image. @throws target_exists, chunk_missing, chunk_corrupt, and what the store raises
 */
export async function restoreToQcow2(
  repository: Repository,
  disk: DiskRecord,
  path: string,
  options: Omit<RestoreOptions, 'overwrite'>,
): Promise<Restored> {
  const { virtualSizeBytes, usedBytes, chunkSizeBytes } = disk
  // The last chunk is cut by the disk's end, and takes whole clusters all the same.
  const nodes = new NodeCache(await repository.chunkReader())
  const version = await resolveVersion(nodes.read, disk.root)
  const chunks = Math.ceil(usedBytes / chunkSizeBytes) + touchedUnits(version.extents, chunkSizeBytes)
  const dataBytes = chunks * chunkSizeBytes
  await createQcow2File(path, dataBytes)
  const counter = newQcow2Counter()
  const filling: Qcow2Filling = { kind: 'qcow2', path, fileBytes: QCOW2_DATA_OFFSET + dataBytes, counter }
  const ranges: Qcow2Range[] = []
  const restored = await fill(repository, { disk, nodes, version }, filling, options, (more) => ranges.push(...more))
  await finishQcow2File(path, virtualSizeBytes, ranges, qcow2DataEnd(counter))
  return restored
}

/** Fills a target that exists. @throws chunk_missing, chunk_corrupt, and what store and target raise */
export async function restoreDisk(
  repository: Repository,
  disk: DiskRecord,
  target: TargetDescriptor | Readonly<{ opened: BlockTarget }>,
  options: RestoreOptions,
): Promise<Restored> {
  const nodes = new NodeCache(await repository.chunkReader())
  const version = await resolveVersion(nodes.read, disk.root)
  return fill(repository, { disk, nodes, version }, target, options, () => undefined)
}

type Contents = Readonly<{ disk: DiskRecord; nodes: NodeCache; version: ResolvedVersion }>

async function fill(
  repository: Repository,
  { disk, nodes, version }: Contents,
  target: TargetDescriptor | Qcow2Filling | Readonly<{ opened: BlockTarget }>,
  options: RestoreOptions,
  onRanges: (ranges: readonly Qcow2Range[]) => void,
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
    let writtenBytes = 0
    await pool.runAll(leafTasks(nodes, disk, version, overwrite), (result) => {
      writtenBytes += result.writtenBytes
      onRanges(result.ranges ?? [])
      progress({
        task: `Writing disk ${disk.lun}`,
        doneBytes: writtenBytes,
        totalBytes: Math.max(disk.usedBytes, writtenBytes),
      })
    })
    await pool.runOnEach({ kind: 'flush' })
    return { writtenBytes }
  } finally {
    await pool.close()
  }
}

/** Every leaf that the tree has or delta nodes lay something over; with `holesToo` the others as well, as holes. */
async function* leafTasks(
  nodes: NodeCache,
  disk: DiskRecord,
  { tree, extents }: ResolvedVersion,
  holesToo: boolean,
): AsyncGenerator<RestoreTask> {
  const leafSpan = FAN_OUT * disk.chunkSizeBytes
  const overOf = (index: number): ExtentList => piecesIn(extents, index * leafSpan, (index + 1) * leafSpan)
  let next = 0
  const without = function* (to: number): Generator<RestoreTask> {
    for (; next < to; next += 1) {
      const over = extents.length === 0 ? [] : overOf(next)
      if (over.length > 0) yield { kind: 'leaf', index: next, over }
      else if (holesToo) yield { kind: 'hole', index: next }
    }
  }
  for await (const { index, content } of walkLeaves(nodes.read, tree)) {
    yield* without(index)
    yield { kind: 'leaf', index, content, over: overOf(index) }
    next = index + 1
  }
  yield* without(Math.ceil(disk.virtualSizeBytes / leafSpan))
}
