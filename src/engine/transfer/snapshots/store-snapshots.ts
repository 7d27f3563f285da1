/**
 * Snapshots of single disks out of one open instant: one point a disk, each in a history of its own, so that they live and
 * are given up independently, while the instant is one for all of them.
 *
 *   step                          what a crash right after it leaves               what makes it good
 *   1 the instant is open         filters or locks, the new bitmaps recording      watchdog, recovery: by the journal
 *   2 some points are committed   those points; recovery finds a generation in     the disks that lack a point are scanned
 *                                 the log and lets all bitmaps go on from it       the next time: their parent is older
 *   3 all points are committed    likewise, nothing to scan
 *   4 the instant is committed    nothing
 *
 * A point says by a note who made it (`madeBy`); who asks again with the same note is given the points that are there.
 * Incremental ones are tracked by bitmaps under a tracker of their own, beside those of the machine's backups.
 */
import { KIB, must, type ProgressSink, silentProgress, toHex } from '#base'
import type { InstantDisk, TrackingRequest } from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import { backUp, type BackupOptions } from '../backup.ts'
import { backupDisk, holdsGeneration } from '../backup-machine.ts'
import type { GuardedInstant } from '../guarded-instant.ts'
import { type LandedVersion, landedVersions } from '../landed-versions.ts'

export type DiskToKeep = Readonly<{
  /** Stable identity of the disk. */
  diskId: string
  /** The disk's history in the repository: incremental ones build on its newest point that is no copy. */
  history: string
  /** Read what changed since then, by the image's bitmap. */
  incremental: boolean
  /** The read-only qcow2 image that the disk is an overlay on. */
  base?: string
}>

/** First hex digits of the tracker's name; the rest is the repository's. */
const TRACKER_HEAD = '5a'
const GRANULARITY_BYTES = 64 * KIB

/** The part of a bitmap's name that says it belongs to snapshots into this repository. */
function snapshotTracker(repository: Repository): string {
  return TRACKER_HEAD + repository.config.id.slice(0, 6)
}

/** By disk id: what the incremental ones build on. */
export function parentsOf(repository: Repository, disks: readonly DiskToKeep[]): ReadonlyMap<string, LandedVersion> {
  const parents = new Map<string, LandedVersion>()
  for (const { diskId, history, incremental } of disks) {
    const landed = incremental ? landedVersions(repository.points(), history).get(diskId) : undefined
    if (landed !== undefined) parents.set(diskId, landed)
  }
  return parents
}

/** What the instant is to track; undefined when none of the disks asks for it. */
export function trackingFor(
  repository: Repository,
  disks: readonly DiskToKeep[],
  distrusted: ReadonlySet<string>,
  random: BackupOptions['random'],
): TrackingRequest | undefined {
  if (!disks.some(({ incremental }) => incremental)) return undefined
  const trusted = [...parentsOf(repository, disks)].filter(([id]) => !distrusted.has(id))
  return {
    tracker: snapshotTracker(repository),
    next: () => toHex(random.bytes(6)),
    committed: Object.fromEntries(trusted.map(([id, { disk }]) => [id, disk.generation])),
    granularityBytes: GRANULARITY_BYTES,
  }
}

/** The point of that history which was made by the same work, if it was. */
export function madeBefore(repository: Repository, history: string, madeBy: string): PointRecord | undefined {
  return repository.points().findLast(({ machine, notes }) => machine === history && notes.includes(madeBy))
}

export type KeepOptions = BackupOptions & Readonly<{ madeBy: string }>
type Parents = ReadonlyMap<string, LandedVersion>

async function storeOne(
  repository: Repository,
  guarded: GuardedInstant,
  disk: InstantDisk,
  kept: DiskToKeep,
  parents: Parents,
  options: KeepOptions,
): Promise<PointRecord> {
  const made = madeBefore(repository, kept.history, options.madeBy)
  if (made !== undefined) return made
  const { instant, notes, lied } = guarded
  const read = await backupDisk(disk, guarded, parents, (one, reason) =>
    lied.has(one.diskId) ? 'guard_mismatch' : reason,
  )
  const whole = { kind: 'all', reason: 'first_backup' } as const
  const parentPoint = read.changes.kind === 'since' ? parents.get(disk.diskId)?.point.id : undefined
  const { weakerPromise, consistency, reasons, takenAtMs } = instant
  const input = {
    machine: kept.history,
    takenAtMs,
    consistency,
    consistencyReasons: reasons,
    notes: [options.madeBy, ...instant.notes, ...notes, ...(weakerPromise === undefined ? [] : [weakerPromise])],
    disks: [
      {
        ...read,
        lun: 0,
        ...(kept.base !== undefined && { base: kept.base }),
        ...(!kept.incremental && { changes: whole }),
      },
    ],
    ...(parentPoint !== undefined && { parentPoint }),
  }
  return backUp(repository, input, { ...options, beforeCommit: () => instant.check() })
}

function shareOf(sink: ProgressSink, sizes: readonly number[], at: number): ProgressSink {
  const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)
  const [before, after] = [sum(sizes.slice(0, at)), sum(sizes.slice(at + 1))]
  return ({ task, doneBytes, totalBytes }) =>
    sink({ task, doneBytes: before + doneBytes, totalBytes: before + totalBytes + after })
}

/** Whether the log holds any of these points: then recovery goes by the generations that stand in them, and so do we. */
async function isAnyHeld(repository: Repository, disks: readonly InstantDisk[]): Promise<boolean> {
  for (const { generation } of disks)
    if (generation !== undefined && (await holdsGeneration(repository, generation))) return true
  return false
}

/**
 * Commits a point of each disk of the instant and ends it: committed when all points are durable, aborted otherwise. The
 * points are given in the order of `kept`.
 * @throws what reading and storing raise; points that were committed before stay, under their note
 */
export async function storeSnapshots(
  repository: Repository,
  guarded: GuardedInstant,
  kept: readonly DiskToKeep[],
  parents: Parents,
  options: KeepOptions,
): Promise<PointRecord[]> {
  const { progress = silentProgress } = options
  const { instant } = guarded
  const made = new Map<string, PointRecord>()
  const sizes = instant.disks.map(({ sizeBytes }) => sizeBytes)
  try {
    for (const [at, disk] of instant.disks.entries()) {
      const one = kept.find(({ diskId }) => diskId === disk.diskId)
      if (one === undefined) continue
      const own = { ...options, progress: shareOf(progress, sizes, at) }
      made.set(disk.diskId, await storeOne(repository, guarded, disk, one, parents, own))
    }
    await instant.commit()
  } catch (error) {
    const end = (await isAnyHeld(repository, instant.disks)) ? instant.commit() : instant.abort('the snapshot failed')
    await end.catch(() => {
      // The journal keeps what is to be done, and recovery does it; the first error is what the caller must hear.
    })
    throw error
  }
  return kept.map(({ diskId }) => must(made.get(diskId), 'Every disk of the request was in the instant'))
}
