/**
 * A disk with some of its blocks replaced in memory: what a journal says about them. The disk itself is not written to, and
 * the overlay goes with whoever reads through it.
 *
 * A replacement is bytes, or where on the same disk the bytes stand, so that a large journal does not fill the memory.
 */
import { assert } from '#base'
import type { ByteReader } from './disk-view.ts'

/** `head` stands for the first bytes of what stands at `offset`. */
export type Replacement = Uint8Array | Readonly<{ offset: number; head?: Uint8Array }>

export class Overlay implements ByteReader {
  readonly sizeBytes: number
  readonly unitBytes: number
  readonly #base: ByteReader
  readonly #units = new Map<number, Replacement>()

  constructor(base: ByteReader, unitBytes: number) {
    this.sizeBytes = base.sizeBytes
    this.unitBytes = unitBytes
    this.#base = base
  }

  get replacedUnits(): number {
    return this.#units.size
  }

  replace(unit: number, by: Replacement): void {
    assert(!(by instanceof Uint8Array) || by.length === this.unitBytes, 'A unit is replaced whole')
    this.#units.set(unit, by)
  }

  /** Bytes at any place, that begins and ends with a unit. */
  write(offset: number, bytes: Uint8Array): void {
    assert(offset % this.unitBytes === 0 && bytes.length % this.unitBytes === 0, 'Whole units are written')
    for (let at = 0; at < bytes.length; at += this.unitBytes) {
      // A copy: `slice` of a Buffer would keep the whole of it, for one unit that is left of it.
      this.replace((offset + at) / this.unitBytes, new Uint8Array(bytes.subarray(at, at + this.unitBytes)))
    }
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.#base.read(offset, into)
    if (this.#units.size === 0) return
    const last = Math.floor((offset + into.length - 1) / this.unitBytes)
    for (let unit = Math.floor(offset / this.unitBytes); unit <= last; unit += 1) {
      const replacement = this.#units.get(unit)
      if (replacement === undefined) continue
      const bytes = await this.#bytesOf(replacement)
      const at = unit * this.unitBytes - offset
      const skipped = Math.max(0, -at)
      into.set(bytes.subarray(skipped, Math.min(bytes.length, into.length - at)), at + skipped)
    }
  }

  async #bytesOf(replacement: Replacement): Promise<Uint8Array> {
    if (replacement instanceof Uint8Array) return replacement
    const bytes = new Uint8Array(this.unitBytes)
    await this.#base.read(replacement.offset, bytes)
    if (replacement.head !== undefined) bytes.set(replacement.head)
    return bytes
  }
}
