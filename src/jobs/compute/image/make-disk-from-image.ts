/**
 * The worker's task `make-disk-from-image`: a disk that shares an image's data. The version that the image names is made once a
 * pool as a read-only base (bases.ts); the disk is an empty overlay on it, written in a few milliseconds, and may be larger.
 *
 *   1 the base is there, made if it was not
 *   2 a draft of the overlay, synced
 *   3 its name, the folder synced
 *
 * A crash before 3 leaves a draft, which the next attempt or the sweep removes, and perhaps a base that nothing rests on yet:
 * the next disk of the image uses it, or the sweep removes it. After 3 the next attempt finds the disk and is done.
 */
import { createQcow2Overlay, readQcow2 } from '#engine/block'
import type { DiskBase } from '#domain'
import { JobsError } from '../../errors.ts'
import {
  absolutePathOf,
  inputInvalid,
  readRepositoryAccess,
  recordOf,
  type RepositoryAccess,
} from '../../repository-access.ts'
import type { TaskHandler } from '../../tasks.ts'
import { isThere, throughDraft } from '../disk-files.ts'
import type { MadeDisk } from '../make-disk.ts'
import { readPool, sizeOf } from '../make-disk-input.ts'
import { checkRoom, type PoolPlace } from '../pool-room.ts'
import type { Bases } from './bases.ts'

export const MAKE_DISK_FROM_IMAGE_TASK = 'make-disk-from-image'

/** JSON without secrets. */
export type DiskFromImageInput = Readonly<{
  /** Of the disk, in `disks` of the pool. */
  file: string
  pool: PoolPlace
  /** Undefined: as large as the image's disk. */
  sizeBytes?: number | undefined
  /** From `baseOf(pool.path, version)`. */
  base: DiskBase
  /** How the repository of the version's region is opened. */
  access: RepositoryAccess
}>

/** Its first cluster's worth of tables, and room to begin to write. */
const OVERLAY_BYTES = 1024 * 1024

function readInput(given: unknown): DiskFromImageInput {
  const input = recordOf(given, 'fields')
  const base = recordOf(input['base'], 'base')
  const { point, disk, region } = recordOf(base['version'], 'version')
  if (typeof point !== 'string' || typeof disk !== 'string' || typeof region !== 'string') throw inputInvalid('version')
  const { sizeBytes } = input
  return {
    file: absolutePathOf(input['file'], 'file'),
    pool: readPool(input['pool']),
    sizeBytes: sizeBytes === undefined || sizeBytes === null ? undefined : sizeOf(sizeBytes, 'sizeBytes'),
    base: { file: absolutePathOf(base['file'], 'base file'), version: { region, point, disk } },
    access: readRepositoryAccess(recordOf(input['access'], 'access')),
  }
}

async function overlayOn(input: DiskFromImageInput, epoch: number): Promise<number> {
  const { file, pool, base } = input
  const { virtualSizeBytes } = await readQcow2(base.file)
  const sizeBytes = input.sizeBytes ?? virtualSizeBytes
  if (sizeBytes < virtualSizeBytes)
    throw new JobsError('disk_not_shrunk', 'The disk would be smaller than that of its image.', {
      facts: { wantedBytes: sizeBytes, sourceBytes: virtualSizeBytes },
    })
  await checkRoom(pool, OVERLAY_BYTES)
  await throughDraft(file, epoch, (draft) => createQcow2Overlay(draft, sizeBytes, { path: base.file, format: 'qcow2' }))
  return sizeBytes
}

/** Runs on the worker. @throws JobsError, BlockError, and what the repository raises; there is no file of that name then */
export function makeDiskFromImageTask(bases: Bases): TaskHandler {
  return async (given, context): Promise<MadeDisk> => {
    const input = readInput(given)
    const { file, base, pool, access } = input
    if (await isThere(file)) return { sizeBytes: (await readQcow2(file)).virtualSizeBytes }
    const wanted = { file: base.file, pool, access, version: base.version }
    const sizeBytes = await bases.using(wanted, context, () => overlayOn(input, context.key.epoch))
    return { sizeBytes }
  }
}
