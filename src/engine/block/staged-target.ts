/**
 * StagedTarget writes a disk into a raw file or onto a block device in large pieces past the page cache (O_DIRECT): data
 * that is written once and not read soon would drive out what the host needs, and memory for it costs a virtual host more
 * than the writing does (measured: docs/decisions, record 13).
 *
 * write() collects neighbouring data and has it written while the caller goes on; what failed is raised by a later call.
 * So nothing is in the file for certain before flush() (durable) or close() has succeeded, and one of them always tells of
 * every failure. Where O_DIRECT is refused (tmpfs, some network file systems) everything is written through the cache.
 *
 * Order: of two writes to one place the later one wins, since at most one piece is on its way, and what does not fit into
 * pieces is written when none is.
 */
import type { FileHandle } from 'node:fs/promises'
import { MIB } from '#base'
import { DIRECT_ALIGNMENT_BYTES, openDirect, pageAligned, refusesDirect } from '#runtime'
import { assertInside, type BlockTarget } from './device.ts'
import { fileError } from './file-errors.ts'
import { openRawTarget } from './raw-target.ts'

const PIECE_BYTES = 2 * MIB

/** What is asked of a file that was opened with O_DIRECT. */
export type DirectFile = Pick<FileHandle, 'write' | 'close'>

/** @param openFile for tests: another way of opening `path` past the cache. @throws as openRawTarget */
export async function openStagedTarget(
  path: string,
  sizeBytes: number,
  openFile: (path: string) => Promise<DirectFile | undefined> = openPast,
): Promise<BlockTarget> {
  const cached = await openRawTarget(path, sizeBytes)
  try {
    return new StagedTarget(path, cached, await openFile(path))
  } catch (error) {
    await cached.close()
    throw error
  }
}

/** undefined: the file system refuses, and the cache serves. */
async function openPast(path: string): Promise<DirectFile | undefined> {
  try {
    return await openDirect(path)
  } catch (error) {
    throw fileError('open', path, error)
  }
}

type Piece = { memory: Uint8Array; offset: number; length: number }

class StagedTarget implements BlockTarget {
  readonly sizeBytes: number
  readonly #path: string
  readonly #cached: BlockTarget
  #direct: DirectFile | undefined
  /** The piece that is being filled; the other one may be on its way. */
  #filling: Piece = { memory: pageAligned(PIECE_BYTES), offset: 0, length: 0 }
  #other: Piece = { memory: pageAligned(PIECE_BYTES), offset: 0, length: 0 }
  #underWay: Promise<void> = Promise.resolve()
  #failure: { error: unknown } | undefined
  #closing: Promise<void> | undefined
  /** Settles, never fails, when the calls so far are done: one works at a time. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(path: string, cached: BlockTarget, direct: DirectFile | undefined) {
    this.#path = path
    this.#cached = cached
    this.#direct = direct
    this.sizeBytes = cached.sizeBytes
  }

  /** Resolves when `data` may change; see the header for what that means. */
  async write(offset: number, data: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertInside(this, offset, data.length)
    await this.#inTurn(() => this.#write(offset, data, signal))
  }

  async writeZeroes(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    assertInside(this, offset, length)
    await this.#inTurn(async () => {
      await this.#drain()
      await this.#cached.writeZeroes(offset, length, signal)
    })
  }

  async flush(): Promise<void> {
    await this.#inTurn(async () => {
      await this.#drain()
      await this.#cached.flush() // one file, so its fdatasync is for what was written past the cache too
    })
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#inTurn(() => this.#close()))
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined) // told to the caller by `done`
    return done
  }

  async #write(offset: number, data: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    this.#throwFailure()
    if (this.#direct === undefined) return await this.#cached.write(offset, data, signal)
    for (let at = 0; at < data.length;) {
      const piece = this.#filling
      if (piece.length === 0 && (offset + at) % DIRECT_ALIGNMENT_BYTES === 0) piece.offset = offset + at
      const fits = piece.offset + piece.length === offset + at && piece.length < piece.memory.length
      if (fits) {
        const part = data.subarray(at, at + piece.memory.length - piece.length)
        piece.memory.set(part, piece.length)
        piece.length += part.length
        at += part.length
      } else if (piece.length > 0) await this.#sendOff()
      else return await this.#writeCached(offset + at, data.subarray(at), signal)
    }
  }

  async #close(): Promise<void> {
    try {
      await this.#drain()
    } finally {
      await this.#direct?.close()
      await this.#cached.close()
    }
  }

  /** What does not begin at a block's border, as no disk's chunk does: after everything before it. */
  async #writeCached(offset: number, data: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    await this.#drain()
    await this.#cached.write(offset, data, signal)
  }

  /** Everything that write() took is in the file. @throws what any write since the last call met */
  async #drain(): Promise<void> {
    this.#throwFailure()
    if (this.#filling.length > 0) await this.#sendOff()
    await this.#underWay
    this.#throwFailure()
  }

  /** Waits for the piece before, then has this one written; the caller goes on with the other. */
  async #sendOff(): Promise<void> {
    await this.#underWay
    this.#throwFailure()
    const piece = this.#filling
    this.#filling = this.#other
    this.#other = piece
    this.#underWay = this.#writePiece(piece).then(
      () => {
        piece.length = 0
      },
      (error: unknown) => {
        this.#failure = { error }
      },
    )
  }

  async #writePiece({ memory, offset, length }: Piece): Promise<void> {
    const blocks = length - (length % DIRECT_ALIGNMENT_BYTES)
    const done = await this.#writeDirect(memory, offset, blocks)
    // The end of a disk that ends inside a block, or all of it where the file system refuses.
    if (done < length) await this.#cached.write(offset + done, memory.subarray(done, length))
  }

  /** How much of it was written; the rest is for the cache. */
  async #writeDirect(memory: Uint8Array, offset: number, length: number): Promise<number> {
    let done = 0
    while (done < length && done % DIRECT_ALIGNMENT_BYTES === 0 && this.#direct !== undefined) {
      try {
        done += (await this.#direct.write(memory, done, length - done, offset + done)).bytesWritten
      } catch (error) {
        if (!refusesDirect(error)) throw fileError('write', this.#path, error)
        await this.#direct.close()
        this.#direct = undefined
      }
    }
    return done
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }
}
