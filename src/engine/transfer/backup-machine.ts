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
import { isHoldfastError, must, toHex } from '#base'
import { mapImage, openNbd, type SourceDescriptor, type ByteRange } from '#engine/block'
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
  lockMs?: number
  /** Kept with the point beside what the instant has to say. */
  notes?: readonly string[]
  attachments?: BackupInput['attachments']
  /** Opens an instant of the machine, running or stopped. */
  openInstant: (options: OpenInstantOptions) => Promise<Instant>
}>

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
      granularityBytes: parentPoint?.disks[0]?.chunkSizeBytes ?? repository.config.chunkSizeBytes,
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

export async function backupDisk(
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
    return await client.dirtyExtents(source.bitmapContext, 0, disk.sizeBytes)
  } finally {
    await client.close()
  }
}
