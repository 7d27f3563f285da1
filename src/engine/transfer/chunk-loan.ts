/** Bytes of a disk version lent out where the cache keeps them: the chunks are held until they are given back. */
import { assert, must } from '#base'
import type { Loan } from '#engine/block'
import type { CachedChunk, ChunkCache } from './chunk-cache.ts'

/** The part of a chunk that a range covers: [from, to) inside the chunk, `into` bytes after the range's beginning. */
export type Piece = Readonly<{ index: number; chunk: number; from: number; to: number; into: number }>

export function partOf(chunk: CachedChunk, piece: Piece): Uint8Array {
  const bytes = must(chunk.bytes, 'A chunk that is ready has bytes')
  assert(piece.to <= bytes.length, 'A chunk covers its part of the disk')
  return bytes.subarray(piece.from, piece.to)
}

export class ChunkLoan implements Loan {
  readonly parts: Uint8Array[]
  readonly #cache: ChunkCache
  readonly #zeros: Uint8Array
  readonly #onReleased: () => void
  readonly #held: CachedChunk[] = []
  #released = false

  /** @param zeros what holes lend: as long as a chunk at least */
  constructor(cache: ChunkCache, pieces: readonly Piece[], zeros: Uint8Array, onReleased: () => void) {
    this.#cache = cache
    this.#zeros = zeros
    this.#onReleased = onReleased
    this.parts = pieces.map(() => zeros)
  }

  /** Adds a piece of a chunk, or of a hole. */
  lend(piece: Piece, chunk: CachedChunk | undefined): void {
    if (chunk === undefined) this.parts[piece.index] = this.#zeros.subarray(0, piece.to - piece.from)
    else {
      this.parts[piece.index] = partOf(chunk, piece)
      this.#cache.hold(chunk)
      this.#held.push(chunk)
    }
  }

  readonly release = (): void => {
    assert(!this.#released, 'A loan is given back once')
    this.#released = true
    for (const chunk of this.#held) this.#cache.release(chunk)
    this.#onReleased()
  }
}
