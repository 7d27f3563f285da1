/**
 * FileSource reads a disk at the offsets that a FileMap gives: a raw file, a block device, or the uncompressed clusters of
 * a qcow2 file that nobody writes to meanwhile (the caller holds its lock, see image/).
 *
 * Two ways of reading: `sync` calls pread in this thread, which is the fastest in a worker that does nothing else;
 * `async` uses Node's thread pool, for a thread that must stay responsive. A file that became shorter than its map is
 * `block_io_error`, never zeros.
 */
import { readSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { BaseError } from '#base'
import { processPace } from '#runtime'
import { assertInside, type BlockSource, type FileMap } from './device.ts'
import { BlockError } from './errors.ts'
import type { Extent } from './extent.ts'
import { fileError } from './file-errors.ts'
import { checkFileMap, mappedExtents, mappedPieces } from './file-map.ts'

export type FileReads = 'sync' | 'async'

/** libuv runs four file operations at once unless told otherwise. */
const ASYNC_PARALLELISM = 4

export type FileSourceOptions = Readonly<{ path: string; sizeBytes: number; map: FileMap; reads?: FileReads }>

/** @throws BlockError image_not_found, image_invalid (the map), block_io_error. */
export async function openFileSource(options: FileSourceOptions): Promise<BlockSource> {
  checkFileMap(options.map, options.sizeBytes, options.path)
  try {
    return new FileSource(await open(options.path, 'r'), options)
  } catch (error) {
    throw fileError('open', options.path, error)
  }
}

class FileSource implements BlockSource {
  readonly sizeBytes: number
  readonly parallelism: number
  readonly #file: FileHandle
  readonly #path: string
  readonly #map: FileMap
  readonly #reads: FileReads
  #closed = false

  constructor(file: FileHandle, options: FileSourceOptions) {
    this.#file = file
    this.#path = options.path
    this.#map = options.map
    this.#reads = options.reads ?? 'async'
    this.sizeBytes = options.sizeBytes
    this.parallelism = this.#reads === 'sync' ? 1 : ASYNC_PARALLELISM
  }

  async read(offset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertInside(this, offset, into.length)
    const turn = processPace.take(into.length, signal)
    if (turn !== undefined) await turn
    for (const piece of mappedPieces(this.#map, offset, into.length)) {
      if (signal?.aborted === true) throw new BaseError('cancelled', 'The read was cancelled.')
      const part = into.subarray(piece.at, piece.at + piece.length)
      if (piece.fileOffset === undefined) part.fill(0)
      else if (this.#reads === 'sync') this.#fillSync(piece.fileOffset, part)
      else await this.#fill(piece.fileOffset, part)
    }
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    assertInside(this, offset, length)
    return mappedExtents(this.#map, offset, length)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#file.close()
  }

  #fillSync(fileOffset: number, part: Uint8Array): void {
    for (let done = 0; done < part.length;) {
      let count: number
      try {
        count = readSync(this.#file.fd, part, done, part.length - done, fileOffset + done)
      } catch (error) {
        throw fileError('read', this.#path, error)
      }
      if (count === 0) throw this.#tooShort(fileOffset + done)
      done += count
    }
  }

  async #fill(fileOffset: number, part: Uint8Array): Promise<void> {
    for (let done = 0; done < part.length;) {
      let count: number
      try {
        count = (await this.#file.read(part, done, part.length - done, fileOffset + done)).bytesRead
      } catch (error) {
        throw fileError('read', this.#path, error)
      }
      if (count === 0) throw this.#tooShort(fileOffset + done)
      done += count
    }
  }

  #tooShort(fileOffset: number): BlockError {
    const message = `${this.#path} ends at ${fileOffset}, before the end of what its map says it holds.`
    return new BlockError('block_io_error', message, { facts: { path: this.#path, fileOffset } })
  }
}
