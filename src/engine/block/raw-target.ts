/**
 * RawTarget writes a disk into a raw file or onto a block device.
 *
 * A fresh file stays sparse: zeros are not written where nothing was written before. On an existing file or device what is
 * there counts as written: large ranges become holes where the file system can (FALLOC_FL_PUNCH_HOLE), zeros are written
 * elsewhere. A crash leaves a file of full size with whatever had been written;
 * only flush() makes writes durable, and the caller gives the file its final name (or reports success) after that.
 */
import { constants } from 'node:fs'
import { open, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { BaseError, MIB } from '#base'
import { CommandError, runCommand, syncFolder } from '#runtime'
import { assertInside, type BlockTarget } from './device.ts'
import { fileShape } from './device-size.ts'
import { BlockError } from './errors.ts'
import { fileError } from './file-errors.ts'
import { WrittenRanges } from './written-ranges.ts'

const ZEROS = new Uint8Array(MIB)
/** Node has no fallocate(2); below this size writing zeros is faster than starting the program that has it. */
const PUNCH_BYTES_MIN = 16 * MIB

/** Bytes that a target keeps behind the disk, such as the footer of a VHD. Written at open, durable with flush(). */
export type RawTargetTail = Readonly<{ tail?: Uint8Array }>

/**
 * Creates `path` as a sparse file of `sizeBytes`. @throws BlockError target_exists (never replaces), target_full.
 * The file that a failed creation left is removed.
 */
export async function createRawTarget(
  path: string,
  sizeBytes: number,
  options: RawTargetTail = {},
): Promise<BlockTarget> {
  let file: FileHandle
  try {
    file = await open(path, 'wx+', 0o600)
  } catch (error) {
    throw fileError('create', path, error)
  }
  try {
    await file.truncate(sizeBytes)
    if (options.tail !== undefined) await writeFully(file, path, sizeBytes, options.tail)
    await syncFolder(dirname(path))
  } catch (error) {
    await file.close()
    await unlink(path)
    throw fileError('create', path, error)
  }
  return new RawTarget(file, path, sizeBytes, new WrittenRanges(sizeBytes))
}

/**
 * Opens an existing raw file or block device to overwrite its first `sizeBytes`.
 * @throws BlockError target_too_small, image_in_use (a mounted or claimed device), image_not_found.
 */
export async function openRawTarget(path: string, sizeBytes: number): Promise<BlockTarget> {
  const shape = await fileShape(path)
  if (shape.sizeBytes < sizeBytes) {
    throw new BlockError('target_too_small', `${path} is smaller than the disk that is to be written to it.`, {
      facts: { path, targetBytes: shape.sizeBytes, diskBytes: sizeBytes },
    })
  }
  // O_EXCL without O_CREAT: a block device that is mounted or claimed answers EBUSY (open(2)).
  const flags = constants.O_RDWR | (shape.kind === 'block-device' ? constants.O_EXCL : 0)
  try {
    return new RawTarget(await open(path, flags), path, sizeBytes, undefined)
  } catch (error) {
    throw fileError('open', path, error)
  }
}

async function writeFully(file: FileHandle, path: string, offset: number, data: Uint8Array): Promise<void> {
  for (let done = 0; done < data.length;) {
    try {
      done += (await file.write(data, done, data.length - done, offset + done)).bytesWritten
    } catch (error) {
      throw fileError('write', path, error)
    }
  }
}

function isZero(data: Uint8Array): boolean {
  for (let offset = 0; offset < data.length; offset += ZEROS.length) {
    const part = data.subarray(offset, offset + ZEROS.length)
    if (Buffer.compare(part, part.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, part.length)) !== 0) return false
  }
  return true
}

class RawTarget implements BlockTarget {
  readonly sizeBytes: number
  readonly #file: FileHandle
  readonly #path: string
  /** undefined: the whole device may hold something. */
  readonly #written: WrittenRanges | undefined
  #closed = false
  #canPunch = true

  constructor(file: FileHandle, path: string, sizeBytes: number, written: WrittenRanges | undefined) {
    this.#file = file
    this.#path = path
    this.sizeBytes = sizeBytes
    this.#written = written
  }

  async write(offset: number, data: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertInside(this, offset, data.length)
    if (this.#written !== undefined && isZero(data)) return await this.writeZeroes(offset, data.length, signal)
    throwIfAborted(signal)
    this.#written?.add(offset, data.length)
    await writeFully(this.#file, this.#path, offset, data)
  }

  async writeZeroes(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    assertInside(this, offset, length)
    const ranges = this.#written === undefined ? [{ offset, length }] : [...this.#written.touched(offset, length)]
    for (const range of ranges) {
      if (await this.#punch(range.offset, range.length, signal)) continue
      for (let done = 0; done < range.length; done += ZEROS.length) {
        throwIfAborted(signal)
        const part = ZEROS.subarray(0, Math.min(ZEROS.length, range.length - done))
        await writeFully(this.#file, this.#path, range.offset + done, part)
      }
    }
  }

  /** Makes a hole of a large range; false when zeros have to be written instead. */
  async #punch(offset: number, length: number, signal: AbortSignal | undefined): Promise<boolean> {
    throwIfAborted(signal)
    if (!this.#canPunch || length < PUNCH_BYTES_MIN) return false
    // By our own descriptor: the file may have another name by now.
    const file = `/proc/${process.pid}/fd/${this.#file.fd}`
    try {
      const args = ['--punch-hole', '--offset', String(offset), '--length', String(length), file]
      this.#canPunch = (await runCommand('fallocate', args)).exitCode === 0
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      // Not installed, or too slow here: zeros are written instead, which is always right.
      this.#canPunch = false
    }
    return this.#canPunch
  }

  async flush(): Promise<void> {
    try {
      await this.#file.datasync()
    } catch (error) {
      throw fileError('flush', this.#path, error)
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#file.close()
  }
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new BaseError('cancelled', 'The write was cancelled.')
}
