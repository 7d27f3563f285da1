/**
 * An instant whose change tracking was tried before it is believed (guard-sample.ts).
 *
 *   1 open an instant, compare a sample of what is said to be unchanged     nothing differs: this is the instant
 *   2 something differs: it was written after the instant, or the bitmap lied. Give the instant up, which loses no tracking,
 *     and open another: its bitmap has every write up to now.
 *   3 what differed is dirty now: a write after the first instant. This is the instant
 *     it is not: the bitmap lied. Give this one up too, and open a third without trusting that disk: it is scanned
 *
 * So a lie costs a scan in the same run, and a guest that happens to write to a sampled chunk costs one more pause.
 */
import { isHoldfastError, MIB, must, type Random } from '#base'
import { type ByteRange, complementOf, type NbdClient, openNbd } from '#engine/block'
import type { Instant, InstantDisk } from '#engine/hypervisor'
import type { ContentHash, DiskRecord } from '#engine/repository'
import { TransferError } from './errors.ts'
import { compareSample, dirtyChunks, sampleChunks } from './guard-sample.ts'

export type GuardOptions = Readonly<{
  /** The version that a disk's changes are laid onto. */
  parentOf: (diskId: string) => DiskRecord | undefined
  read: (content: ContentHash) => Promise<Uint8Array>
  random: Random
  /** Counts this machine's backups. */
  turn: number
}>

export type GuardedInstant = Readonly<{
  instant: Instant
  /** By disk id, of disks whose changes can be believed: what changed, and how much was read to believe it. */
  changes: ReadonlyMap<string, Readonly<{ dirty: readonly ByteRange[]; guardBytes: number }>>
  /** Disks whose tracking was found to be wrong. */
  lied: ReadonlySet<string>
  notes: readonly string[]
}>

/** Below this a gap between changes is not worth a request, and so many are no longer quick. */
const RELEASED_BYTES_MIN = 4 * MIB
const RELEASED_RANGES_MAX = 4_096

type Suspects = ReadonlyMap<string, readonly number[]>

/** @param open an instant for which nothing is offered as committed of the disks that it is told not to trust */
export async function openGuarded(
  open: (distrusted: ReadonlySet<string>) => Promise<Instant>,
  options: GuardOptions,
): Promise<GuardedInstant> {
  const lied = new Set<string>()
  const guardBytes = new Map<string, number>()
  const notes: string[] = []
  let suspects: Suspects | undefined
  for (;;) {
    const instant = await open(lied)
    try {
      const dirty = new Map<string, readonly ByteRange[]>()
      for (const disk of tracked(instant)) dirty.set(disk.diskId, await dirtyRanges(disk))
      const accepted = (): GuardedInstant => {
        const believed = [...dirty].map(
          ([id, ranges]) => [id, { dirty: ranges, guardBytes: guardBytes.get(id) ?? 0 }] as const,
        )
        return { instant, changes: new Map(believed), lied, notes }
      }
      if (suspects === undefined) {
        suspects = await sampleAll(instant, dirty, guardBytes, notes, options)
        if (suspects.size === 0) return accepted()
      } else {
        const found = confirm(instant, dirty, suspects, lied, options)
        if (found.length === 0) return accepted()
        notes.push(...found)
      }
    } catch (error) {
      await instant.abort('its change tracking could not be tried')
      throw error
    }
    await instant.abort('its change tracking is in doubt')
  }
}

function tracked(instant: Instant): InstantDisk[] {
  return instant.disks.filter(({ changes }) => changes.kind === 'since')
}

async function sampleAll(
  instant: Instant,
  dirty: ReadonlyMap<string, readonly ByteRange[]>,
  guardBytes: Map<string, number>,
  notes: string[],
  options: GuardOptions,
): Promise<Suspects> {
  const suspects = new Map<string, readonly number[]>()
  for (const { diskId, lun, present, sizeBytes } of tracked(instant)) {
    const parent = must(options.parentOf(diskId), 'Only a generation of a known version is offered as committed')
    if (sizeBytes < parent.virtualSizeBytes) continue // it shrank, and is read as a whole anyway
    const sample = await sampleChunks(options.read, parent, dirty.get(diskId) ?? [], options)
    if (present === undefined || sample.length === 0) continue
    try {
      const { readBytes, differing } = await compareSample(present, parent, sample)
      guardBytes.set(diskId, readBytes)
      if (differing.length > 0) suspects.set(diskId, differing)
    } catch (error) {
      // A sector that cannot be read does not make a worse backup of what changed elsewhere.
      if (!isHoldfastError(error, 'nbd_io_error')) throw error
      notes.push(`Disk ${lun} could not be read where it was to be compared with its last version: ${error.message}`)
    }
  }
  return suspects
}

/** What is still said to be unchanged although it differs; those disks go to `lied`. The sentences are for people. */
function confirm(
  instant: Instant,
  dirty: ReadonlyMap<string, readonly ByteRange[]>,
  suspects: Suspects,
  lied: Set<string>,
  options: GuardOptions,
): string[] {
  return tracked(instant).flatMap(({ diskId, lun }) => {
    const size = options.parentOf(diskId)?.chunkSizeBytes ?? 1
    const isDirty = dirtyChunks(dirty.get(diskId) ?? [], size)
    const unseen = (suspects.get(diskId) ?? []).filter((chunk) => !isDirty(chunk))
    const [first] = unseen
    if (first === undefined) return []
    lied.add(diskId)
    return [
      `The change tracking of disk ${lun} is wrong: what lies at byte ${first * size} had changed without its knowledge. ` +
        'The whole disk was read. Points since its last full or scan may lack changes as well.',
    ]
  })
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
