/**
 * Uploads: a disk's bytes come from outside as a fixed VHD of a size that was said before, page by page and in any order.
 *
 *   make-upload    a sparse file of that size beside the disks of the pool
 *   writePages     512-byte pages into it, by whoever holds the signed URL (byte-server.ts)
 *   checkUpload    before a disk is made of it: its footer says what was announced
 *
 * The file is synced before the disk is made; until then a crash leaves what was written, and the upload goes on.
 */
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoOf, isHoldfastError } from '#base'
import { VHD_FOOTER_BYTES } from '#domain'
import { readVhdFooter } from '#engine/block'
import { makeFolderDurable, syncFolder } from '#runtime'
import { JobsError } from '../errors.ts'
import { absolutePathOf, recordOf } from '../repository-access.ts'
import type { TaskHandler } from '../tasks.ts'
import { sizeOf } from './make-disk-input.ts'

export const MAKE_UPLOAD_TASK = 'make-upload'

/** Makes the file; one that is there already is kept. */
export function makeUploadTask(): TaskHandler {
  return async (given) => {
    const input = recordOf(given, 'fields')
    const path = absolutePathOf(input['path'], 'path')
    const uploadBytes = sizeOf(input['uploadBytes'], 'uploadBytes')
    await makeFolderDurable(dirname(path))
    const file = await open(path, 'a', 0o600)
    try {
      if ((await file.stat()).size !== uploadBytes) await file.truncate(uploadBytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await syncFolder(dirname(path))
    return null
  }
}

function invalid(message: string, facts = {}): JobsError {
  return new JobsError('upload_invalid', message, { facts, hint: 'Grant access again and upload the whole file.' })
}

/** @throws JobsError `upload_invalid` unless the file is a fixed VHD of just this size */
export async function checkUpload(path: string, uploadBytes: number): Promise<void> {
  const footer = Buffer.alloc(VHD_FOOTER_BYTES)
  try {
    const file = await open(path, 'r')
    try {
      if ((await file.stat()).size !== uploadBytes)
        throw invalid('The uploaded file has another size than was announced.')
      await file.read(footer, 0, footer.length, uploadBytes - VHD_FOOTER_BYTES)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    throw new JobsError('disk_not_there', 'The file of the upload is gone.', { facts: { path }, cause: error })
  }
  checkFooter(path, footer, uploadBytes)
}

function checkFooter(path: string, footer: Uint8Array, uploadBytes: number): void {
  try {
    const { kind, virtualSizeBytes } = readVhdFooter(path, footer)
    if (kind !== 'fixed') throw invalid('The uploaded file is a dynamic VHD; only fixed ones are taken.')
    if (virtualSizeBytes !== uploadBytes - VHD_FOOTER_BYTES)
      throw invalid('The footer of the uploaded VHD says another size.', { virtualSizeBytes, uploadBytes })
  } catch (error) {
    if (!isHoldfastError(error, 'image_invalid', 'image_backing_refused', 'image_too_large')) throw error
    throw invalid(`The uploaded file is no fixed VHD: ${error.message}`)
  }
}
