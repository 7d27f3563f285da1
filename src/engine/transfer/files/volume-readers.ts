/**
 * Volumes put together from parts of disks: one part after another, in stripes, or over parity. They are what LVM and md
 * (lvm.ts, md-array.ts) describe; what a part lacks is found out when it is opened, not while it is read.
 *
 * Asserted: reads lie inside the volume. Bounded: a volume has as many parts as its description, which is bounded itself.
 */
import { assert } from '#base'
import type { ByteReader } from './disk-view.ts'

export type Part = Readonly<{ from: ByteReader; offset: number; sizeBytes: number }>

/** Parts one after another. */
export class JoinedVolume implements ByteReader {
  readonly sizeBytes: number
  readonly #parts: readonly Part[]
  readonly #starts: readonly number[]

  constructor(parts: readonly Part[]) {
    const starts: number[] = []
    let sizeBytes = 0
    for (const part of parts) {
      starts.push(sizeBytes)
      sizeBytes += part.sizeBytes
    }
    this.#parts = parts
    this.#starts = starts
    this.sizeBytes = sizeBytes
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    let index = this.#indexOf(offset)
    for (let done = 0; done < into.length; index += 1) {
      const [part, start] = [this.#parts[index], this.#starts[index]]
      assert(part !== undefined && start !== undefined, 'A read lies inside its volume')
      const inside = offset + done - start
      const length = Math.min(part.sizeBytes - inside, into.length - done)
      await part.from.read(part.offset + inside, into.subarray(done, done + length))
      done += length
    }
  }

  #indexOf(offset: number): number {
    let [low, high] = [0, this.#starts.length - 1]
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((this.#starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return low
  }
}

/** Where a chunk of a striped volume lies. */
export type ChunkPlace = Readonly<{ from: ByteReader; offset: number }>

/** Chunks of one size, each of which `place` finds. */
export abstract class ChunkedVolume implements ByteReader {
  readonly sizeBytes: number
  readonly chunkBytes: number

  constructor(sizeBytes: number, chunkBytes: number) {
    assert(Number.isSafeInteger(chunkBytes) && chunkBytes > 0, 'A chunk holds bytes')
    this.sizeBytes = sizeBytes
    this.chunkBytes = chunkBytes
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length;) {
      const at = offset + done
      const inChunk = at % this.chunkBytes
      const length = Math.min(this.chunkBytes - inChunk, into.length - done)
      await this.readChunk(Math.floor(at / this.chunkBytes), inChunk, into.subarray(done, done + length))
      done += length
    }
  }

  protected abstract readChunk(chunk: number, inChunk: number, into: Uint8Array): Promise<void>
}

/** Chunks in turn over legs (raid0). `firstTurn` rotates which leg the first chunk is on. */
export class StripedVolume extends ChunkedVolume {
  readonly #legs: readonly Part[]
  readonly #firstTurn: number

  constructor(legs: readonly Part[], chunkBytes: number, firstTurn = 0) {
    const legChunks = Math.floor(Math.min(...legs.map((leg) => leg.sizeBytes)) / chunkBytes)
    super(legChunks * legs.length * chunkBytes, chunkBytes)
    this.#legs = legs
    this.#firstTurn = firstTurn
  }

  protected async readChunk(chunk: number, inChunk: number, into: Uint8Array): Promise<void> {
    const leg = this.#legs[(chunk + this.#firstTurn) % this.#legs.length]
    assert(leg !== undefined, 'A stripe has a leg for each turn')
    await leg.from.read(leg.offset + Math.floor(chunk / this.#legs.length) * this.chunkBytes + inChunk, into)
  }
}

/** raid10, "near": each chunk `copies` times in a row over the legs, of which some may be missing. */
export class NearVolume extends ChunkedVolume {
  readonly #legs: readonly (Part | undefined)[]
  readonly #copies: number

  constructor(legs: readonly (Part | undefined)[], legBytes: number, chunkBytes: number, copies: number) {
    super(Math.floor((Math.floor(legBytes / chunkBytes) * legs.length) / copies) * chunkBytes, chunkBytes)
    this.#legs = legs
    this.#copies = copies
  }

  /** Whether each chunk has a leg. */
  get isWhole(): boolean {
    return this.#legs.every((_, chunk) => this.#legOf(chunk) !== undefined)
  }

  #legOf(chunk: number): Readonly<{ leg: Part; row: number }> | undefined {
    for (let copy = 0; copy < this.#copies; copy += 1) {
      const place = chunk * this.#copies + copy
      const leg = this.#legs[place % this.#legs.length]
      if (leg !== undefined) return { leg, row: Math.floor(place / this.#legs.length) }
    }
    return undefined
  }

  protected async readChunk(chunk: number, inChunk: number, into: Uint8Array): Promise<void> {
    const place = this.#legOf(chunk)
    assert(place !== undefined, 'A volume that is not whole is not opened')
    await place.leg.from.read(place.leg.offset + place.row * this.chunkBytes + inChunk, into)
  }
}

/** Which leg of a row holds parity, and which its data in order. */
export type RowLayout = (row: number) => Readonly<{ parity: number; data: readonly number[] }>

/** raid4, raid5 and raid6: one leg may be missing, and its data is what the others and the parity say. */
export class ParityVolume extends ChunkedVolume {
  readonly #legs: readonly (Part | undefined)[]
  readonly #layout: RowLayout
  readonly #dataLegs: number

  constructor(legs: readonly (Part | undefined)[], legBytes: number, chunkBytes: number, layout: RowLayout) {
    const dataLegs = layout(0).data.length
    super(Math.floor(legBytes / chunkBytes) * dataLegs * chunkBytes, chunkBytes)
    this.#legs = legs
    this.#layout = layout
    this.#dataLegs = dataLegs
  }

  protected async readChunk(chunk: number, inChunk: number, into: Uint8Array): Promise<void> {
    const row = Math.floor(chunk / this.#dataLegs)
    const { parity, data } = this.#layout(row)
    const own = data[chunk % this.#dataLegs]
    assert(own !== undefined, 'A row has a leg for each chunk')
    const offset = row * this.chunkBytes + inChunk
    const leg = this.#legs[own]
    if (leg !== undefined) return leg.from.read(leg.offset + offset, into)
    into.fill(0)
    const other = new Uint8Array(into.length)
    for (const index of [parity, ...data]) {
      if (index === own) continue
      const part = this.#legs[index]
      assert(part !== undefined, 'A volume that is not whole is not opened')
      await part.from.read(part.offset + offset, other)
      for (let i = 0; i < into.length; i += 1) into[i] = (into[i] ?? 0) ^ (other[i] ?? 0)
    }
  }
}
