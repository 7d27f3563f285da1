/**
 * The reserve of a folder store: one file, `.reserve`, that takes space so that there is some when the file system is full. It is
 * no object (its name begins with a dot), so nothing lists or copies it.
 *
 * Given back before a deletion needs space, made again when there is plenty. Any number may do either at once: giving back
 * what is gone is no error, and of two who make it one has its file. A crash leaves a `.tmp-*` file, or no reserve; both
 * are harmless, and the next prune mends them.
 */
import { randomBytes } from 'node:crypto'
import { lstat, statfs, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf } from '#base'
import { createFileOnce, syncFolder } from '#runtime'

const NAME = '.reserve'
const PART_BYTES = 1024 * 1024

/** Removes the reserve; false when there was none. What is no plain file is left alone. */
export async function releaseFolderReserve(folder: string): Promise<boolean> {
  const path = join(folder, NAME)
  try {
    if (!(await lstat(path)).isFile()) return false
    await unlink(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
  await syncFolder(dirname(path))
  return true
}

/** Makes the reserve unless there is one, or less than twice its size is free. Gives whether there is one then. */
export async function makeFolderReserve(folder: string, sizeBytes: number): Promise<boolean> {
  const path = join(folder, NAME)
  const present = await lstat(path).catch(() => undefined) // absent: it is made
  if (present !== undefined) return present.isFile()
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < 2 * sizeBytes) return false
  // Random, so that file systems which compress or find equal blocks keep as much space as it says.
  const part = randomBytes(Math.min(PART_BYTES, sizeBytes))
  const parts = Array.from({ length: Math.ceil(sizeBytes / part.length) }, (_, i) =>
    part.subarray(0, Math.min(part.length, sizeBytes - i * part.length)),
  )
  await createFileOnce(path, parts)
  return true
}
