/**
 * Restoring disks where they are: what a target holds is compared with the point, chunk by chunk, and only what differs is
 * written. For disks of a machine that does not run.
 *
 *   step                       what a crash right after it leaves             what a run after that does
 *   1 hold all targets         nothing: locks end with their holder           starts anew
 *   2 safety point, if wanted  a point of what the disks held                 makes another
 *   3 mark all targets         marks on disks that are as they were           takes the marks over
 *   4 grow, compare, write     marked disks, part old and part new            writes what still differs
 *   5 all durable              marked disks that are whole                    finds no difference
 *   6 remove the marks         some unmarked, all whole                       likewise
 *
 * Whoever fails before step 4 takes its marks back. After that a mark stays until a run comes to its end: a disk is as the
 * point says, or it is marked. Several disks carry their marks until the last is whole, since they are one machine's.
 */
import { type Clock, type ProgressSink, type Random, silentProgress } from '#base'
import {
  type BlobStore,
  type DiskRecord,
  type ExtentList,
  FAN_OUT,
  piecesIn,
  type PointRecord,
  type Repository,
  resolveVersion,
  type StoreDescriptor,
  walkLeaves,
} from '#engine/repository'
import { backUp } from '../backup.ts'
import { NodeCache } from '../node-cache.ts'
import type { ReplaceTask } from '../threads/replace-runner.ts'
import { defaultThreads, ThreadPool } from '../threads/thread-pool.ts'
import { growTarget, type HeldTarget, holdTarget, type InPlaceTarget, sizeDiffers } from './held-target.ts'
import { clearMark, markPathOf, readMark, type RestoreMark, setMark, unfinished } from './restore-mark.ts'

export type InPlaceDisk = Readonly<{ disk: DiskRecord; target: InPlaceTarget }>
export type InPlaceOptions = Readonly<{
  store: StoreDescriptor | BlobStore
  clock: Clock
  random: Random
  writer: string
  /** Where marks of block devices and NBD exports are kept; must outlive this process. */
  stateFolder: string
  /** Makes a point of what the targets hold, before anything is written. */
  keepCurrent?: boolean
  /** Makes a smaller image file as large as its disk. */
  grow?: boolean
  threads?: number
  progress?: ProgressSink
  signal?: AbortSignal
}>

/** Bytes: of the target that were read and compared, that were written, that became zeros. */
export type ReplacedDisk = Readonly<{
  lun: number
  target: string
  sizeBytes: number
  comparedBytes: number
  writtenBytes: number
  zeroedBytes: number
}>
/** `safetyPoint`: of what the disks held before, made by this run or by the one that it completes. */
export type InPlaceReport = Readonly<{ disks: readonly ReplacedDisk[]; safetyPoint?: string }>

type Work = { readonly disk: DiskRecord; readonly target: InPlaceTarget; readonly markPath: string; held: HeldTarget }
type Marks = readonly (Partial<RestoreMark> | undefined)[]

/** Below this threads cost more than they do. */
const INLINE_BYTES_MAX = 64 * 1024 * 1024

/**
 * @throws image_in_use, image_backing_refused, target_size_differs, target_read_only, target_full, restore_unfinished (what
 * is half restored is not worth keeping), chunk_missing, chunk_corrupt
 */
export async function restoreInPlace(
  repository: Repository,
  point: PointRecord,
  disks: readonly InPlaceDisk[],
  options: InPlaceOptions,
): Promise<InPlaceReport> {
  const works: Work[] = []
  try {
    for (const { disk, target } of disks) works.push(await hold(disk, target, options))
    const marks = await Promise.all(works.map(({ markPath }) => readMark(markPath)))
    const safetyPoint = await keepCurrent(repository, point, works, marks, options)
    await markAll(point, works, marks, safetyPoint, options)
    const replaced: ReplacedDisk[] = []
    for (const work of works) replaced.push(await replaceDisk(repository, work, options))
    for (const { held } of works) await held.close()
    for (const { markPath } of works) await clearMark(markPath)
    return { disks: replaced, ...(safetyPoint === undefined ? {} : { safetyPoint }) }
  } catch (error) {
    for (const { held } of works) {
      await held.close().catch(() => {
        // What went wrong first is what matters, and what is written stays marked.
      })
    }
    throw error
  }
}

async function hold(disk: DiskRecord, target: InPlaceTarget, options: InPlaceOptions): Promise<Work> {
  const held = await holdTarget(target, options.signal)
  const { sizeBytes } = held
  const mayGrow = options.grow === true && sizeBytes < disk.virtualSizeBytes && target.kind === 'image'
  if (sizeBytes !== disk.virtualSizeBytes && !mayGrow) {
    await held.close()
    const hint =
      sizeBytes < disk.virtualSizeBytes ? 'A smaller image file is made larger by --grow.' : 'A disk is not cut.'
    throw sizeDiffers(held, disk.virtualSizeBytes, hint)
  }
  return { disk, target, held, markPath: await markPathOf(target, options.stateFolder) }
}

/** The safety point's id: made now, or by the run that was cut short. */
async function keepCurrent(
  repository: Repository,
  point: PointRecord,
  works: readonly Work[],
  marks: Marks,
  options: InPlaceOptions,
): Promise<string | undefined> {
  const before = marks.find((mark) => mark?.safetyPoint !== undefined)?.safetyPoint
  if (before !== undefined || options.keepCurrent !== true) return before
  for (const [i, { held, markPath }] of works.entries()) {
    const mark = marks[i]
    if (mark !== undefined) throw unfinished(held.name, markPath, mark)
  }
  const { store, clock, random, writer, threads, progress, signal } = options
  const luns = works.map(({ disk }) => disk.lun).join(', ')
  const input = {
    machine: point.machine,
    ...(point.machineUuid === undefined ? {} : { machineUuid: point.machineUuid }),
    takenAtMs: clock.nowMs(),
    consistency: 'crash',
    notes: [`Made before disk ${luns} was restored in place from point ${point.id}.`],
    disks: works.map(({ disk, held }) => ({
      id: disk.id,
      lun: disk.lun,
      format: held.format,
      sizeBytes: held.sizeBytes,
      source: held.address,
      changes: { kind: 'all', reason: 'source_without_bitmap' } as const,
    })),
    ...(point.description === undefined ? {} : { description: point.description }),
  } as const
  const shared = { store, clock, random, writer, ...(progress && { progress }), ...(signal && { signal }) }
  return (await backUp(repository, input, threads === undefined ? shared : { ...shared, threads })).id
}

async function markAll(
  point: PointRecord,
  works: readonly Work[],
  marks: Marks,
  safetyPoint: string | undefined,
  { clock }: InPlaceOptions,
): Promise<void> {
  try {
    for (const { disk, markPath } of works) {
      const { lun } = disk
      const kept = safetyPoint === undefined ? {} : { safetyPoint }
      await setMark(markPath, { schema: 1, point: point.id, lun, startedAtMs: clock.nowMs(), ...kept })
    }
  } catch (error) {
    for (const [i, { markPath }] of works.entries()) {
      if (marks[i] === undefined)
        await clearMark(markPath).catch(() => {
          // A mark on a whole disk is a nuisance; the first error is what matters.
        })
    }
    throw error
  }
}

async function replaceDisk(repository: Repository, work: Work, options: InPlaceOptions): Promise<ReplacedDisk> {
  const { disk, target } = work
  if (work.held.sizeBytes < disk.virtualSizeBytes)
    work.held = await growTarget(target, work.held, disk.virtualSizeBytes)
  const { progress = silentProgress, signal } = options
  const { virtualSizeBytes: sizeBytes, chunkSizeBytes, lun } = disk
  const init = {
    store: options.store,
    access: await repository.threadAccess(),
    target: work.held.address,
    sizeBytes,
    chunkSizeBytes,
  }
  const inline = 'put' in options.store || sizeBytes <= INLINE_BYTES_MAX
  const pool = await ThreadPool.start('replace', init, {
    threads: inline ? 0 : (options.threads ?? defaultThreads()),
    signal,
  })
  try {
    const nodes = new NodeCache(await repository.chunkReader())
    const leafBytes = FAN_OUT * chunkSizeBytes
    const sum = { comparedBytes: 0, writtenBytes: 0, zeroedBytes: 0 }
    let doneBytes = 0
    await pool.runAll(leafTasks(nodes, disk, Math.ceil(sizeBytes / leafBytes)), (result) => {
      sum.comparedBytes += result.comparedBytes
      sum.writtenBytes += result.writtenBytes
      sum.zeroedBytes += result.zeroedBytes
      doneBytes = Math.min(sizeBytes, doneBytes + leafBytes)
      progress({ task: `Comparing disk ${lun}`, doneBytes, totalBytes: sizeBytes })
    })
    await pool.runOnEach({ kind: 'flush' })
    return { lun, target: work.held.name, sizeBytes, ...sum }
  } finally {
    await pool.close()
  }
}

/** Every leaf of the disk, those too of which the manifest has nothing. */
async function* leafTasks(nodes: NodeCache, disk: DiskRecord, leaves: number): AsyncGenerator<ReplaceTask> {
  const { tree, extents } = await resolveVersion(nodes.read, disk.root)
  const leafBytes = FAN_OUT * disk.chunkSizeBytes
  const overOf = (index: number): ExtentList => piecesIn(extents, index * leafBytes, (index + 1) * leafBytes)
  let next = 0
  for await (const { index, content } of walkLeaves(nodes.read, tree)) {
    for (; next < index; next += 1) yield { kind: 'leaf', index: next, over: overOf(next) }
    yield { kind: 'leaf', index, content, over: overOf(index) }
    next = index + 1
  }
  for (; next < leaves; next += 1) yield { kind: 'leaf', index: next, over: overOf(next) }
}
