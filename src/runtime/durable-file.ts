/**
 * Files that are whole or absent, whatever dies: written under a temporary name in the same folder, synced, then linked or
 * renamed into place, and the folder synced. (A rename without fsync of file and folder may be lost or, on some file
 * systems, leave an empty file: POSIX rename(2) promises atomicity, not durability.)
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, link, mkdir, open, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf } from '#base'
import { DIRECT_BYTES_MIN, writeDirect } from './direct-write.ts'

/** Makes the folder's entries durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Creates `folder` and its missing parents, each made durable in its parent. */
export async function makeFolderDurable(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true })
  if (first === undefined) return
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made))
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten
}

async function writeTemporary(path: string, parts: readonly Uint8Array[], mode: number): Promise<string> {
  const temporary = join(dirname(path), `.tmp-${randomBytes(8).toString('hex')}`)
  const handle = await open(temporary, 'wx', mode)
  try {
    const expected = parts.reduce((sum, part) => sum + part.length, 0)
    const done = expected < DIRECT_BYTES_MIN ? 0 : await writeDirect(temporary, parts)
    let at = 0
    for (const part of parts) {
      const rest = part.subarray(Math.min(part.length, Math.max(0, done - at)))
      if (rest.length > 0) await writeAll(handle, rest, at + part.length - rest.length)
      at += part.length
    }
    const { size } = await handle.stat()
    if (size !== expected) throw Object.assign(new Error(`Short write to ${path}`), { code: 'EIO' })
    await handle.sync()
  } catch (error) {
    await handle.close()
    await unlink(temporary)
    throw error
  }
  await handle.close()
  return temporary
}

/**
 * Creates `path` with the bytes of `parts`, or reports that it exists already; never replaces. Durable when it resolves.
 * A crash leaves at most a `.tmp-*` file, which readers ignore.
 */
export async function createFileOnce(
  path: string,
  parts: readonly Uint8Array[],
  mode = 0o600,
): Promise<'created' | 'exists'> {
  const temporary = await writeTemporary(path, parts, mode)
  try {
    await link(temporary, path)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return 'exists'
    throw error
  } finally {
    await unlink(temporary)
  }
  await syncFolder(dirname(path))
  return 'created'
}

/** Replaces `path` with the bytes of `parts`: readers see the old file or the new one, whole. Durable when it resolves. */
export async function replaceFile(path: string, parts: readonly Uint8Array[], mode = 0o600): Promise<void> {
  const temporary = await writeTemporary(path, parts, mode)
  try {
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary)
    throw error
  }
  await syncFolder(dirname(path))
}
