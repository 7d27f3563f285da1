/** Files of an instant. */
import { unlink } from 'node:fs/promises'
import { errnoOf } from '#base'

/** Removes the file if it is there; its folder need not exist either. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}
