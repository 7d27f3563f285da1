/** Which pieces of a device were written since it was made: what was not still reads as zeros and needs no zeroing. */
const PIECE_BYTES = 1024 * 1024
const PIECES_PER_WORD = 32

/** At most 8 MiB for the largest disk (64 TiB, one bit for each MiB). */
export class WrittenRanges {
  readonly #bits: Uint32Array

  constructor(sizeBytes: number) {
    this.#bits = new Uint32Array(Math.ceil(Math.ceil(sizeBytes / PIECE_BYTES) / PIECES_PER_WORD))
  }

  add(offset: number, length: number): void {
    if (length === 0) return
    for (let piece = Math.floor(offset / PIECE_BYTES); piece * PIECE_BYTES < offset + length; piece += 1) {
      const word = Math.floor(piece / PIECES_PER_WORD)
      this.#bits[word] = (this.#bits[word] ?? 0) | (1 << (piece % PIECES_PER_WORD))
    }
  }

  /** The parts of the range that may hold something else than zeros, widened to nothing beyond the range. */
  *touched(offset: number, length: number): Generator<{ offset: number; length: number }> {
    const end = offset + length
    let start: number | undefined
    for (let position = offset; position < end;) {
      const piece = Math.floor(position / PIECE_BYTES)
      const pieceEnd = Math.min((piece + 1) * PIECE_BYTES, end)
      if (this.#has(piece)) start ??= position
      else if (start !== undefined) {
        yield { offset: start, length: position - start }
        start = undefined
      }
      position = pieceEnd
    }
    if (start !== undefined) yield { offset: start, length: end - start }
  }

  #has(piece: number): boolean {
    const word = this.#bits[Math.floor(piece / PIECES_PER_WORD)] ?? 0
    return (word & (1 << (piece % PIECES_PER_WORD))) !== 0
  }
}
