/**
 * Backing up a machine by an instant of it: asks for one, reads what changed, commits the point, and only then lets the
 * hypervisor forget what was tracked before.
 *
 *   step                        what a crash right after it leaves                 what makes it good
 *   1 open a guarded instant    filters, scratch, the new bitmap recording         watchdog, recovery: by the journal
 *   2 read, store               as above, and packs that nobody names              likewise; prune
 *   3 commit the point          the point, naming the new generation               recovery asks the log, finds it: commits
 *   4 commit the instant        nothing
 *
 * Each disk has a generation of its own, which stands in its record in the point. Whether the log holds it (`holdsGeneration`) decides after a crash
 * which bitmap is the truth, so a lost step 4 costs nothing and a lost step 3 loses no change.
 */
import { isHoldfastError, KIB, must, toHex } from '#base'
import { mapImage, type SourceDescriptor } from '#engine/block'
import type {
  ConsistencyLevel,
  Generation,
  Instant,
  InstantDisk,
  OpenInstantOptions,
  ScanReason,
} from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import { backUp, type BackupDisk, type BackupInput, type BackupOptions } from './backup.ts'
import { TransferError } from './errors.ts'
import { type GuardedInstant, openGuarded } from './guarded-instant.ts'
import { type LandedVersion, landedVersions, newestPoint } from './landed-versions.ts'

export type MachineBackup = Readonly<{
  machine: string
  consistency: ConsistencyLevel
  strict?: boolean
  excludeLuns?: readonly number[]
  /** Reads everything that is allocated, whatever change tracking says. */
  scan?: boolean
  expiresAtMs?: number
  /**
   * How finely writes are tracked: a power of two from 4 KiB, at most the disk's chunks. Small changes cost what is tracked of
   * them (delta-plan.ts), and tracking costs the guest's host 32 KiB of memory a GiB of disk at 4 KiB, 2 KiB at 64 KiB.
   * Default: GRANULARITY_BYTES_DEFAULT. It may differ from one point to the next.
   */
  granularityBytes?: number
  lockMs?: number
  /** Other machines share the instant. */
  group?: BackupInput['group']
  /** Kept with the point beside what the instant has to say. */
  notes?: readonly string[]
  attachments?: BackupInput['attachments']
  /** By disk id, where who asks knows it better than the instant: the disk's place in the machine, the image that it is an overlay on. */
  places?: ReadonlyMap<string, DiskPlace>
  /** Kept instead of the instant's own. */
  description?: unknown
  /** Told once it is certain which instant the point will be of, unless that breaks and another takes its place. */
  onOpen?: (instant: Instant) => void
  /** Opens an instant of the machine, running or stopped. */
  openInstant: (options: OpenInstantOptions) => Promise<Instant>
}>

export type DiskPlace = Readonly<{ lun: number; base?: string }>

/** QEMU's own. For cycles of seconds 4 to 16 KiB; figures in decision 15. */
export const GRANULARITY_BYTES_DEFAULT = 64 * KIB

export function granularityOf(
  repository: Repository,
  backup: Pick<MachineBackup, 'granularityBytes'>,
  parents: Parents,
): number {
  const chunkSizes = [...parents.values()].map(({ disk }) => disk.chunkSizeBytes)
  const coarsest = Math.min(repository.config.chunkSizeBytes, ...chunkSizes)
  return Math.min(backup.granularityBytes ?? GRANULARITY_BYTES_DEFAULT, coarsest)
}

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
  try {
    const parents = backup.scan === true ? new Map() : landedVersions(repository.points(), backup.machine)
    return await backUpSince(repository, backup, parents, options)
  } catch (error) {
    // What the changes build on is not there any more: look at everything instead.
    if (!isHoldfastError(error, 'source_shrank', 'packs_deleted', 'chunk_missing', 'chunk_corrupt')) throw error
    return backUpSince(repository, backup, new Map(), options)
  }
}

type Parents = ReadonlyMap<string, LandedVersion>

async function backUpSince(
  repository: Repository,
  backup: MachineBackup,
  parents: Parents,
  options: BackupOptions,
): Promise<PointRecord> {
  const reader = await repository.chunkReader()
  const guarded = await openGuarded((distrusted) => openNext(repository, backup, parents, distrusted, options), {
    parentOf: (diskId) => parents.get(diskId)?.disk,
    read: (content) => reader.read(content),
    random: options.random,
    turn: repository.points().length,
  })
  for (const note of guarded.notes) options.onWarning?.(note)
  const { instant } = guarded
  try {
    backup.onOpen?.(instant)
    const input = await inputOf(repository, guarded, backup, parents)
    const point = await backUp(repository, input, { ...options, beforeCommit: () => instant.check() })
    await instant.commit()
    return point
  } catch (error) {
    // Once the point is committed nothing is taken back: recovery and the next run go by the log, which holds the generation.
    const generation = instant.disks[0]?.generation
    const isCommitted = generation !== undefined && (await holdsGeneration(repository, generation))
    if (!isCommitted) await instant.abort('the backup failed')
    throw error
  }
}

function openNext(
  repository: Repository,
  backup: MachineBackup,
  parents: Parents,
  distrusted: ReadonlySet<string>,
  options: BackupOptions,
): Promise<Instant> {
  const trusted = [...parents].filter(([id]) => !distrusted.has(id))
  return backup.openInstant({
    consistency: backup.consistency,
    ...(backup.strict === undefined ? {} : { strict: backup.strict }),
    ...(backup.excludeLuns === undefined ? {} : { excludeLuns: backup.excludeLuns }),
    tracking: {
      tracker: trackerOf(repository),
      next: () => toHex(options.random.bytes(6)),
      committed: Object.fromEntries(trusted.map(([id, { disk }]) => [id, disk.generation])),
      granularityBytes: granularityOf(repository, backup, parents),
    },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
}

/** What the point is made of, from an accepted instant. */
export async function inputOf(
  repository: Repository,
  guarded: GuardedInstant,
  backup: Omit<MachineBackup, 'openInstant' | 'consistency'>,
  parents: Parents,
): Promise<BackupInput> {
  const { instant } = guarded
  const knownDisks = new Set(repository.points().flatMap((point) => point.disks.map((disk) => disk.id)))
  const disks: BackupDisk[] = []
  const why = (disk: InstantDisk, reason: ScanReason): ScanReason => {
    if (guarded.lied.has(disk.diskId)) return 'guard_mismatch'
    // What the hypervisor sees as a first backup is one only if the repository has no version of the disk.
    if (reason !== 'first_backup' || !knownDisks.has(disk.diskId)) return reason
    return backup.scan === true ? 'asked_for' : 'parent_missing'
  }
  for (const disk of instant.disks) {
    const read = await backupDisk(disk, guarded, parents, why)
    disks.push({ ...read, ...backup.places?.get(disk.diskId) })
  }
  const since = disks.filter((disk) => disk.changes.kind === 'since')
  const parentPoint = newestPoint(since.flatMap(({ id }) => parents.get(id) ?? []))
  const notes = [
    ...(backup.notes ?? []),
    ...instant.notes,
    ...guarded.notes,
    ...(instant.weakerPromise === undefined ? [] : [instant.weakerPromise]),
  ]
  return {
    machine: backup.machine,
    machineUuid: instant.machine.uuid,
    takenAtMs: instant.takenAtMs,
    consistency: instant.consistency,
    consistencyReasons: instant.reasons,
    notes: [
      ...notes,
      `The guest stood still for ${instant.pauseMs.toFixed(1)} ms and was frozen for ${instant.freezeMs.toFixed(1)} ms.`,
    ],
    disks,
    ...(parentPoint === undefined ? {} : { parentPoint: parentPoint.id }),
    description: backup.description ?? instant.machine,
    ...(backup.attachments === undefined ? {} : { attachments: backup.attachments }),
    ...(backup.expiresAtMs === undefined ? {} : { expiresAtMs: backup.expiresAtMs }),
    ...(backup.lockMs === undefined ? {} : { lockMs: backup.lockMs }),
    ...(backup.group === undefined ? {} : { group: backup.group }),
  }
}

export async function backupDisk(
  disk: InstantDisk,
  { changes }: GuardedInstant,
  parents: Parents,
  why: (disk: InstantDisk, reason: ScanReason) => ScanReason,
): Promise<BackupDisk> {
  const { diskId, lun, format, sizeBytes, generation } = disk
  const base = { id: diskId, lun, format, sizeBytes, ...(generation === undefined ? {} : { generation }) }
  const source = await describeSource(disk)
  if (disk.changes.kind === 'since') {
    const { disk: parent, point } = must(parents.get(diskId), 'Only a landed version is offered as committed')
    if (sizeBytes < parent.virtualSizeBytes) {
      throw new TransferError('source_shrank', `Disk ${lun} became smaller while it was tracked.`, {
        facts: { lun, sizeBytes, before: parent.virtualSizeBytes },
      })
    }
    const believed = must(changes.get(diskId), 'Every tracked disk of an accepted instant has its changes')
    return { ...base, source, changes: { kind: 'since', ...believed, parent, parentPoint: point.id } }
  }
  return { ...base, source, changes: { kind: 'all', reason: why(disk, disk.changes.reason) } }
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
