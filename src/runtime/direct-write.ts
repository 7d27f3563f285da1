/**
 * Writing past the page cache (O_DIRECT): what is written once and not read soon would drive out what the host needs, and on a
 * virtual host the memory for it costs more than the writing (figures in decision 13). Where a file system refuses (tmpfs,
 * some network file systems), or from where it does, the caller writes through the cache.
 *
 * Nothing is durable before the caller's fsync; one file, so that one is for what was written here too.
 */
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { errnoOf, MIB } from '#base'

/** Direct writes begin and end at multiples of this: every logical block size in use divides it. */
export const DIRECT_ALIGNMENT_BYTES = 4096
/** Below this, one cached write is cheaper than opening the file twice. */
export const DIRECT_BYTES_MIN = 1 * MIB
const PIECE_BYTES = 2 * MIB

/** Memory at a page's border, which O_DIRECT asks for: V8 maps pages for a buffer that can be resized. */
export function pageAligned(lengthBytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(lengthBytes, { maxByteLength: lengthBytes }))
}

/** Whether the file system said that it does not write so. */
export function refusesDirect(error: unknown): boolean {
  return ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP'].includes(errnoOf(error) ?? '')
}

/** The file for direct writes; undefined where the file system refuses. @throws what open(2) raises otherwise */
export async function openDirect(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_WRONLY | constants.O_DIRECT)
  } catch (error) {
    if (refusesDirect(error)) return undefined
    throw error
  }
}

/** One piece of memory for each file that is being written; they are few, and each is used again. */
const free: Uint8Array[] = []

/**
 * Writes `parts`, joined, from the beginning of an existing file, in whole blocks.
 * @param openFile Only to be replaced in tests.
 * @returns How many bytes are in the file; the rest, at least what fills no block, is the caller's. @throws what write(2) raises
 */
export async function writeDirect(
  path: string,
  parts: readonly Uint8Array[],
  openFile: (path: string) => Promise<Pick<FileHandle, 'write' | 'close'> | undefined> = openDirect,
): Promise<number> {
  const file = await openFile(path)
  if (file === undefined) return 0
  const memory = free.pop() ?? pageAligned(PIECE_BYTES)
  let done = 0
  try {
    let filled = 0
    const writePiece = async (): Promise<boolean> => {
      const blocks = filled - (filled % DIRECT_ALIGNMENT_BYTES)
      const written = await writeBlocks(file, memory.subarray(0, blocks), done)
      done += written
      filled = 0
      return written === blocks
    }
    for (const part of parts) {
      for (let at = 0; at < part.length;) {
        const piece = part.subarray(at, at + memory.length - filled)
        memory.set(piece, filled)
        filled += piece.length
        at += piece.length
        if (filled === memory.length && !(await writePiece())) return done
      }
    }
    await writePiece()
    return done
  } finally {
    free.push(memory)
    await file.close()
  }
}

/** How much of it was written: less where the file system refuses in the middle, or stops at no block's border. */
async function writeBlocks(file: Pick<FileHandle, 'write'>, memory: Uint8Array, position: number): Promise<number> {
  let done = 0
  while (done < memory.length && done % DIRECT_ALIGNMENT_BYTES === 0) {
    try {
      done += (await file.write(memory, done, memory.length - done, position + done)).bytesWritten
    } catch (error) {
      if (!refusesDirect(error)) throw error
      return done
    }
  }
  return done
}
