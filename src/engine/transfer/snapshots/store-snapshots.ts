/**
 * Snapshots of single disks out of one open instant: one point a disk, each in a history of its own, so that they live and
 * are given up independently, while the instant is one for all of them.
 *
 *   step                          what a crash right after it leaves               what makes it good
 *   1 the instant is open         filters or locks, the new bitmaps recording      watchdog, recovery: by the journal
 *   2 some points are committed   those points; recovery finds the generation in   the disks that lack a point are scanned
 *                                 the log and lets all bitmaps go on from it       the next time: their parent is older
 *   3 all points are committed    likewise, nothing to scan
 *   4 the instant is committed    nothing
 *
 * A point says by a note who made it (`madeBy`); who asks again with the same note is given the points that are there.
 */
import { must, type ProgressSink, silentProgress } from '#base'
import type { Generation, Instant, InstantDisk, TrackingRequest } from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import { backUp, type BackupOptions } from '../backup.ts'
import { backupDisk, holdsGeneration } from '../backup-machine.ts'

export type DiskToKeep = Readonly<{
  /** Stable identity of the disk. */
  diskId: string
  /** The disk's history in the repository: incremental ones build on its newest point that is no copy. */
  history: string
  /** Read what changed since the history's newest point, by the image's bitmap. */
  incremental: boolean
}>

/** First hex digits of the tracker's name; the rest is the repository's, so that backups of machines keep theirs. */
const TRACKER_HEAD = '5a'

/** The part of a bitmap's name that says it belongs to snapshots into this repository. */
export function snapshotTracker(repository: Repository): string {
  return TRACKER_HEAD + repository.config.id.slice(0, 6)
}

/** The newest that was taken of the disk itself: a copy has no generation, and nothing that was tracked since it. */
function newestOf(repository: Repository, history: string): PointRecord | undefined {
  return repository
    .points()
    .findLast(({ machine, disks }) => machine === history && disks[0]?.generation !== undefined)
}

/** What the instant is to track; undefined when none of the disks asks for it. */
export function trackingFor(
  repository: Repository,
  disks: readonly DiskToKeep[],
  next: Generation,
): TrackingRequest | undefined {
  const tracked = disks.filter(({ incremental }) => incremental)
  if (tracked.length === 0) return undefined
  const committed = tracked.map(({ diskId, history }) => {
    const disk = newestOf(repository, history)?.disks[0]
    return [diskId, disk?.generation] as const
  })
  return {
    tracker: snapshotTracker(repository),
    next,
    committed: Object.fromEntries(committed),
    granularityBytes: repository.config.chunkSizeBytes,
  }
}

/** The point of that history which was made by the same work, if it was. */
export function madeBefore(repository: Repository, history: string, madeBy: string): PointRecord | undefined {
  return repository.points().findLast(({ machine, notes }) => machine === history && notes.includes(madeBy))
}

export type KeepOptions = BackupOptions & Readonly<{ generation: Generation; madeBy: string }>

async function storeOne(
  repository: Repository,
  instant: Instant,
  disk: InstantDisk,
  kept: DiskToKeep,
  options: KeepOptions,
): Promise<PointRecord> {
  const made = madeBefore(repository, kept.history, options.madeBy)
  if (made !== undefined) return made
  const parent = newestOf(repository, kept.history)
  const read = await backupDisk(disk, parent, options.generation, parent !== undefined)
  const { generation, ...untracked } = read
  const isSince = read.changes.kind === 'since'
  const { weakerPromise, consistency, takenAtMs } = instant
  const input = {
    machine: kept.history,
    takenAtMs,
    consistency,
    notes: [options.madeBy, ...instant.notes, ...(weakerPromise === undefined ? [] : [weakerPromise])],
    disks: [
      kept.incremental && generation !== undefined
        ? { ...untracked, lun: 0, generation }
        : { ...untracked, lun: 0, changes: { kind: 'all', reason: 'first_backup' } as const },
    ],
    ...(isSince && { parentPoint: must(parent, 'Changes are told since a point').id }),
  }
  return backUp(repository, input, { ...options, beforeCommit: () => instant.check() })
}

function shareOf(sink: ProgressSink, sizes: readonly number[], at: number): ProgressSink {
  const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)
  const [before, after] = [sum(sizes.slice(0, at)), sum(sizes.slice(at + 1))]
  return ({ task, doneBytes, totalBytes }) =>
    sink({ task, doneBytes: before + doneBytes, totalBytes: before + totalBytes + after })
}

/**
 * Commits a point of each disk of the instants and ends these: committed when all points are durable, aborted otherwise.
 * The points are given in the order of `kept`.
 * @throws what reading and storing raise; points that were committed before stay, under their note
 */
export async function storeSnapshots(
  repository: Repository,
  instants: readonly Instant[],
  kept: readonly DiskToKeep[],
  options: KeepOptions,
): Promise<PointRecord[]> {
  const { progress = silentProgress, generation } = options
  const made = new Map<string, PointRecord>()
  const all = instants.flatMap((instant) => instant.disks.map((disk) => ({ instant, disk })))
  const sizes = all.map(({ disk }) => disk.sizeBytes)
  try {
    for (const [at, { instant, disk }] of all.entries()) {
      const one = kept.find(({ diskId }) => diskId === disk.diskId)
      if (one === undefined) continue
      const own = { ...options, progress: shareOf(progress, sizes, at) }
      made.set(disk.diskId, await storeOne(repository, instant, disk, one, own))
    }
    for (const instant of instants) await instant.commit()
  } catch (error) {
    // Once a point is committed recovery goes by the log, which holds the generation; so do we.
    const isHeld = await holdsGeneration(repository, generation)
    for (const instant of instants) await (isHeld ? instant.commit() : instant.abort('the snapshot failed')).catch(later)
    throw error
  }
  return kept.map(({ diskId }) => must(made.get(diskId), 'Every disk of the request was in an instant'))
}

function later(): void {
  // The journal keeps what is to be done, and recovery does it; the first error is what the caller must hear.
}
