/**
 * MemoryDevice is a whole BlockDevice in memory: sparse pages, exact extents, any size that memory of its data allows.
 * It is the reference that other devices are compared with, and the device that tests of other parts use.
 *
 * A page that was never written, or was zeroed whole, is a hole; every other page is data. Writes and reads take effect
 * in one turn, in the order of the calls. `flushes` counts durability points for tests.
 */
import { KIB } from '#base'
import { assertInside, type BlockDevice } from './device.ts'
import { appendExtent, type Extent } from './extent.ts'

const PAGE_BYTES = 64 * KIB

/** A sparse device in memory; see the header of this file. */
export class MemoryDevice implements BlockDevice {
  readonly sizeBytes: number
  readonly parallelism = 16
  /** How often flush() was called. */
  flushes = 0
  readonly #pages = new Map<number, Uint8Array>()

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes
  }

  /** A device of the size and content of `bytes`; runs of zeros of a whole page become holes. */
  static from(bytes: Uint8Array): MemoryDevice {
    const device = new MemoryDevice(bytes.length)
    for (let offset = 0; offset < bytes.length; offset += PAGE_BYTES) {
      const page = bytes.subarray(offset, offset + PAGE_BYTES)
      if (page.some((byte) => byte !== 0)) device.writeSync(offset, page)
    }
    return device
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.readSync(offset, into)
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.writeSync(offset, data)
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    assertInside(this, offset, length)
    for (const piece of piecesOf(offset, length)) {
      if (piece.length === PAGE_BYTES) this.#pages.delete(piece.page)
      else this.#pages.get(piece.page)?.fill(0, piece.inPage, piece.inPage + piece.length)
    }
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    assertInside(this, offset, length)
    const extents: Extent[] = []
    for (const piece of piecesOf(offset, length)) {
      const kind = this.#pages.has(piece.page) ? 'data' : 'hole'
      appendExtent(extents, { offset: offset + piece.done, length: piece.length, kind })
    }
    return extents
  }

  async flush(): Promise<void> {
    this.flushes += 1
  }

  async close(): Promise<void> {
    // Nothing to give back: the content outlives close(), so that a test can look at it.
  }

  readSync(offset: number, into: Uint8Array): void {
    assertInside(this, offset, into.length)
    for (const piece of piecesOf(offset, into.length)) {
      const page = this.#pages.get(piece.page)
      const part = into.subarray(piece.done, piece.done + piece.length)
      if (page === undefined) part.fill(0)
      else part.set(page.subarray(piece.inPage, piece.inPage + piece.length))
    }
  }

  writeSync(offset: number, data: Uint8Array): void {
    assertInside(this, offset, data.length)
    for (const piece of piecesOf(offset, data.length)) {
      let page = this.#pages.get(piece.page)
      if (page === undefined) {
        page = new Uint8Array(PAGE_BYTES)
        this.#pages.set(piece.page, page)
      }
      page.set(data.subarray(piece.done, piece.done + piece.length), piece.inPage)
    }
  }

  /** The whole content as one array. For small devices in tests. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.sizeBytes)
    this.readSync(0, bytes)
    return bytes
  }
}

type Piece = Readonly<{ page: number; inPage: number; done: number; length: number }>

function* piecesOf(offset: number, length: number): Generator<Piece> {
  for (let done = 0; done < length;) {
    const page = Math.floor((offset + done) / PAGE_BYTES)
    const inPage = offset + done - page * PAGE_BYTES
    const pieceLength = Math.min(PAGE_BYTES - inPage, length - done)
    yield { page, inPage, done, length: pieceLength }
    done += pieceLength
  }
}
