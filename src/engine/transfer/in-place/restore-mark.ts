/**
 * The mark of a disk that is being restored in place: from before the first byte is written until the last is durable. A
 * disk that carries it is part old and part new, so nobody takes a backup of it (`refuseMarked`); a restore that is run
 * again takes the mark over and completes the disk.
 *
 * For an image file it lies beside it, `<file>.holdfast-restoring`, so that whoever sees the image sees the mark, from any
 * host and as any user. A block device or NBD export has no place beside it; its mark is in this user's state folder.
 */
import { createHash } from 'node:crypto'
import { readFile, realpath, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, HoldfastError, messageOf } from '#base'
import type { SourceDescriptor } from '#engine/block'
import { makeFolderDurable, replaceFile, syncFolder } from '#runtime'
import { TransferError } from '../errors.ts'

export type RestoreMark = Readonly<{
  schema: 1
  point: string
  lun: number
  startedAtMs: number
  /** The point that was made of what the disk held before. */
  safetyPoint?: string
}>

/** What a mark is of: an image file or block device, or an NBD export. */
export type MarkedPlace = Readonly<{ kind: 'image'; path: string }> | Exclude<SourceDescriptor, { kind: 'file' }>

/** As people write it. */
export function nameOfPlace(place: MarkedPlace): string {
  if (place.kind === 'image') return place.path
  if (place.kind === 'nbd') return `nbd+unix:///${place.exportName}?socket=${place.socketPath}`
  return `nbd://${place.host}:${place.port}/${place.exportName}`
}

/** Where the mark of `place` is or would be. */
export async function markPathOf(place: MarkedPlace, stateFolder: string): Promise<string> {
  if (place.kind !== 'image') return inState(nameOfPlace(place), stateFolder)
  const path = await realpath(place.path).catch(() => place.path)
  const isFile = await stat(path).then(
    (stats) => stats.isFile(),
    () => true,
  )
  return isFile ? `${path}.holdfast-restoring` : inState(path, stateFolder)
}

function inState(name: string, stateFolder: string): string {
  return join(stateFolder, 'restoring', createHash('sha256').update(name).digest('hex').slice(0, 32))
}

/** The mark at `path`. One that cannot be read is a mark all the same: what it marks is not whole. */
export async function readMark(path: string): Promise<Partial<RestoreMark> | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    throw error
  }
  try {
    const { point, lun, startedAtMs, safetyPoint } = JSON.parse(text) as Record<string, unknown>
    return {
      ...(typeof point === 'string' ? { point } : {}),
      ...(typeof lun === 'number' ? { lun } : {}),
      ...(typeof startedAtMs === 'number' ? { startedAtMs } : {}),
      ...(typeof safetyPoint === 'string' ? { safetyPoint } : {}),
    }
  } catch {
    return {} // whatever it says, it is there, and that is what counts
  }
}

/** Sets the mark, durable when this resolves. @throws target_read_only when there can be none */
export async function setMark(path: string, mark: RestoreMark): Promise<void> {
  try {
    await makeFolderDurable(dirname(path))
    await replaceFile(path, [Buffer.from(`${JSON.stringify(mark)}\n`)])
  } catch (cause) {
    if (cause instanceof HoldfastError) throw cause
    throw new TransferError('restore_not_marked', `The mark ${path} cannot be written: ${messageOf(cause)}`, {
      facts: { path, errno: errnoOf(cause) },
      hint: 'Nothing was written to the disk. A restore in place needs to write a small file beside it.',
      cause,
    })
  }
}

export async function clearMark(path: string): Promise<void> {
  await rm(path, { force: true })
  await syncFolder(dirname(path))
}

/** @throws restore_unfinished when a restore in place of `place` did not come to its end */
export async function refuseMarked(place: MarkedPlace, stateFolder: string): Promise<void> {
  const path = await markPathOf(place, stateFolder)
  const mark = await readMark(path)
  if (mark === undefined) return
  throw unfinished(nameOfPlace(place), path, mark)
}

export function unfinished(name: string, path: string, mark: Partial<RestoreMark>): TransferError {
  return new TransferError('restore_unfinished', `${name} is half restored: a restore in place was cut short.`, {
    facts: { disk: name, mark: path, point: mark.point, safetyPoint: mark.safetyPoint },
    hint: 'Run the same "holdfast repo restore --in-place" again; it completes the disk. Or remove the mark, if you know better.',
  })
}
