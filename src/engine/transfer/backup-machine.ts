/**
 * Backing up a machine by an instant of it: asks for one, reads what changed, commits the point, and only then lets the
 * hypervisor forget what was tracked before.
 *
 *   step                        what a crash right after it leaves                 what makes it good
 *   1 open the instant          filters, scratch, the new bitmap recording         watchdog, recovery: by the journal
 *   2 read, store               as above, and packs that nobody names              likewise; prune
 *   3 commit the point          the point, naming the new generation               recovery asks the log, finds it: commits
 *   4 commit the instant        nothing
 *
 * The generation stands in the point's disk record. Whether the log holds it (`holdsGeneration`) decides after a crash
 * which bitmap is the truth, so a lost step 4 costs nothing and a lost step 3 loses no change.
 */
import { isHoldfastError, KIB, MIB, must, toHex } from '#base'
import { complementOf, mapImage, type NbdClient, openNbd, type SourceDescriptor, type ByteRange } from '#engine/block'
import type { ConsistencyLevel, Generation, Instant, InstantDisk, OpenInstantOptions } from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import { backUp, type BackupDisk, type BackupInput, type BackupOptions } from './backup.ts'
import { TransferError } from './errors.ts'

export type MachineBackup = Readonly<{
  machine: string
  consistency: ConsistencyLevel
  strict?: boolean
  excludeLuns?: readonly number[]
  expiresAtMs?: number
  /**
   * How finely writes are tracked: a power of two from 4 KiB, at most the disk's chunks. Small changes cost what is tracked of
   * them (delta-plan.ts), and tracking costs the guest's host 32 KiB of memory a GiB of disk at 4 KiB, 2 KiB at 64 KiB.
   * Default: GRANULARITY_BYTES_DEFAULT. It may differ from one point to the next.
   */
  granularityBytes?: number
  lockMs?: number
  /** Kept with the point beside what the instant has to say. */
  notes?: readonly string[]
  attachments?: BackupInput['attachments']
  /** Opens an instant of the machine, running or stopped. */
  openInstant: (options: OpenInstantOptions) => Promise<Instant>
}>

/** QEMU's own. For cycles of seconds 4 to 16 KiB; figures in decision 15. */
export const GRANULARITY_BYTES_DEFAULT = 64 * KIB

function granularityOf(repository: Repository, backup: MachineBackup, parentPoint: PointRecord | undefined): number {
  const chunkSizes = parentPoint?.disks.map(({ chunkSizeBytes }) => chunkSizeBytes) ?? []
  const coarsest = Math.min(repository.config.chunkSizeBytes, ...chunkSizes)
  return Math.min(backup.granularityBytes ?? GRANULARITY_BYTES_DEFAULT, coarsest)
}

/** Below this a gap between changes is not worth a request, and so many are no longer quick. */
const RELEASED_BYTES_MIN = 4 * MIB
const RELEASED_RANGES_MAX = 4_096

/** The part of the bitmap's name that says whose it is. */
export function trackerOf(repository: Repository): string {
  return repository.config.id.slice(0, 8)
}

/** Whether the repository's log holds a point that began this generation; asked by recovery after a crash. */
export async function holdsGeneration(repository: Repository, generation: Generation): Promise<boolean> {
  await repository.log.refresh()
  return repository.points().some((point) => point.disks.some((disk) => disk.generation === generation))
}

/** @throws what opening the instant, reading it and committing raise; the instant is aborted then and nothing is lost */
export async function backUpMachine(
  repository: Repository,
  backup: MachineBackup,
  options: BackupOptions,
): Promise<PointRecord> {
  await repository.log.refresh()
  const parentPoint = repository.points().findLast((point) => point.machine === backup.machine)
  try {
    return await backUpSince(repository, backup, parentPoint, options)
  } catch (error) {
    // What the changes build on is not there any more: look at everything instead.
    if (!isHoldfastError(error, 'source_shrank', 'packs_deleted', 'chunk_missing', 'chunk_corrupt')) throw error
    return backUpSince(repository, backup, undefined, options)
  }
}

async function backUpSince(
  repository: Repository,
  backup: MachineBackup,
  parentPoint: PointRecord | undefined,
  options: BackupOptions,
): Promise<PointRecord> {
  const generation = toHex(options.random.bytes(6))
  const instant = await backup.openInstant({
    consistency: backup.consistency,
    ...(backup.strict === undefined ? {} : { strict: backup.strict }),
    ...(backup.excludeLuns === undefined ? {} : { excludeLuns: backup.excludeLuns }),
    tracking: {
      tracker: trackerOf(repository),
      next: generation,
      committed: Object.fromEntries((parentPoint?.disks ?? []).map((disk) => [disk.id, disk.generation])),
      granularityBytes: granularityOf(repository, backup, parentPoint),
    },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  try {
    const input = await inputOf(repository, instant, backup, parentPoint, generation)
    const point = await backUp(repository, input, { ...options, beforeCommit: () => instant.check() })
    await instant.commit()
    return point
  } catch (error) {
    // Once the point is committed nothing is taken back: recovery and the next run go by the log, which holds the generation.
    if (!(await holdsGeneration(repository, generation))) await instant.abort('the backup failed')
    throw error
  }
}

async function inputOf(
  repository: Repository,
  instant: Instant,
  backup: MachineBackup,
  parentPoint: PointRecord | undefined,
  generation: Generation,
): Promise<BackupInput> {
  const knownDisks = new Set(repository.points().flatMap((point) => point.disks.map((disk) => disk.id)))
  const disks: BackupDisk[] = []
  for (const disk of instant.disks)
    disks.push(await backupDisk(disk, parentPoint, generation, knownDisks.has(disk.diskId)))
  const incremental = disks.some((disk) => disk.changes.kind === 'since')
  const notes = [
    ...(backup.notes ?? []),
    ...instant.notes,
    ...(instant.weakerPromise === undefined ? [] : [instant.weakerPromise]),
  ]
  return {
    machine: backup.machine,
    machineUuid: instant.machine.uuid,
    takenAtMs: instant.takenAtMs,
    consistency: instant.consistency,
    notes: [
      ...notes,
      `The guest stood still for ${instant.pauseMs.toFixed(1)} ms and was frozen for ${instant.freezeMs.toFixed(1)} ms.`,
    ],
    disks,
    ...(incremental && parentPoint !== undefined ? { parentPoint: parentPoint.id } : {}),
    description: instant.machine,
    ...(backup.attachments === undefined ? {} : { attachments: backup.attachments }),
    ...(backup.expiresAtMs === undefined ? {} : { expiresAtMs: backup.expiresAtMs }),
    ...(backup.lockMs === undefined ? {} : { lockMs: backup.lockMs }),
  }
}

async function backupDisk(
  disk: InstantDisk,
  parentPoint: PointRecord | undefined,
  generation: Generation,
  isKnown: boolean,
): Promise<BackupDisk> {
  const base = { id: disk.diskId, lun: disk.lun, format: disk.format, sizeBytes: disk.sizeBytes, generation }
  const source = await describeSource(disk)
  const parent = parentPoint?.disks.find((other) => other.id === disk.diskId)
  if (disk.changes.kind === 'since') {
    const known = must(parent, 'Only a generation of the parent point is offered as committed')
    if (disk.sizeBytes < known.virtualSizeBytes) {
      throw new TransferError('source_shrank', `Disk ${disk.lun} became smaller while it was tracked.`, {
        facts: { lun: disk.lun, sizeBytes: disk.sizeBytes, before: known.virtualSizeBytes },
      })
    }
    return { ...base, source, changes: { kind: 'since', dirty: await dirtyRanges(disk), parent: known } }
  }
  const reason = disk.changes.reason === 'first_backup' && isKnown ? 'parent_missing' : disk.changes.reason
  return { ...base, source, changes: { kind: 'all', reason } }
}

/** How a thread reaches the disk: the instant's own export, or the image file whose locks the instant holds. */
async function describeSource(disk: InstantDisk): Promise<SourceDescriptor> {
  const { source } = disk
  if (source.kind === 'nbd') return { kind: 'nbd', socketPath: source.socketPath, exportName: source.exportName }
  const mapped = await mapImage(source.path, source.format as 'raw' | 'qcow2')
  if (mapped.kind === 'direct') return { kind: 'file', path: source.path, sizeBytes: mapped.sizeBytes, map: mapped.map }
  throw new TransferError(
    'source_not_readable',
    `The image of disk ${disk.lun} holds clusters that cannot be read directly.`,
    { facts: { path: source.path } },
  )
}

/** The guest's writes to what will not be read need not wait for a copy. Gaps too small to matter are left as they are. */
async function release(client: NbdClient, unread: readonly ByteRange[]): Promise<void> {
  const worth = unread.filter(({ length }) => length >= RELEASED_BYTES_MIN)
  const largest = worth.toSorted((a, b) => b.length - a.length).slice(0, RELEASED_RANGES_MAX)
  await Promise.all(largest.map(({ offset, length }) => client.discard(offset, length)))
}

async function dirtyRanges(disk: InstantDisk): Promise<ByteRange[]> {
  const { source } = disk
  if (source.kind !== 'nbd' || source.bitmapContext === undefined) {
    throw new TransferError(
      'source_not_readable',
      `The instant of disk ${disk.lun} names no bitmap to read its changes by.`,
      { facts: { lun: disk.lun } },
    )
  }
  const client = await openNbd({
    socketPath: source.socketPath,
    exportName: source.exportName,
    metaContexts: [source.bitmapContext],
    allocation: false,
  })
  try {
    const dirty = await client.dirtyExtents(source.bitmapContext, 0, disk.sizeBytes)
    if (disk.releases) await release(client, complementOf(dirty, disk.sizeBytes))
    return dirty
  } finally {
    await client.close()
  }
}
