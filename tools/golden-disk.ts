/** The disks of a golden repository, and by what a disk that came back is compared with what it was. */
import { createHash } from 'node:crypto'
import { SeededRandom } from '#base'
import { type ByteRange, MemoryDevice, stampedBytes } from '#engine/block'
import { isZero } from '#engine/repository'

const BLOCK_BYTES = 64 * 1024

/** A disk in memory that may be far larger than what is written to it, and what was written since its last point. */
export class GoldenDisk {
  device: MemoryDevice
  readonly #number: number
  #dirty: ByteRange[] = []

  constructor(number: number, sizeBytes: number) {
    this.#number = number
    this.device = new MemoryDevice(sizeBytes)
  }

  /** Sectors that say where they belong, at each place. */
  stamp(version: number, length: number, ...offsets: readonly number[]): this {
    for (const offset of offsets) this.#write(offset, stampedBytes({ disk: this.#number, version }, offset, length))
    return this
  }

  /** Bytes that no compression makes smaller. */
  noise(offset: number, length: number): this {
    return this.#write(offset, new SeededRandom(this.#number).bytes(length))
  }

  zero(offset: number, length: number): this {
    return this.#write(offset, new Uint8Array(length))
  }

  async grow(sizeBytes: number): Promise<void> {
    const grown = new MemoryDevice(sizeBytes)
    for await (const { offset, bytes } of blocksOf(this.device)) grown.writeSync(offset, bytes)
    this.device = grown
  }

  /** What changed since this was last asked. */
  takeDirty(): ByteRange[] {
    const dirty = this.#dirty.sort((a, b) => a.offset - b.offset)
    this.#dirty = []
    return dirty
  }

  #write(offset: number, bytes: Uint8Array): this {
    this.device.writeSync(offset, bytes)
    this.#dirty.push({ offset, length: bytes.length })
    return this
  }
}

async function* blocksOf(device: MemoryDevice): AsyncGenerator<{ offset: number; bytes: Uint8Array }> {
  for (const extent of await device.extents(0, device.sizeBytes)) {
    if (extent.kind !== 'data') continue
    for (let at = 0; at < extent.length; at += BLOCK_BYTES) {
      const bytes = new Uint8Array(Math.min(BLOCK_BYTES, extent.length - at))
      device.readSync(extent.offset + at, bytes)
      if (!isZero(bytes)) yield { offset: extent.offset + at, bytes }
    }
  }
}

/** SHA-256 of the size, and of the place and bytes of every 64 KiB that are not all zeros: quick for disks of many GiB. */
export async function blockSum(device: MemoryDevice): Promise<string> {
  const sum = createHash('sha256').update(`${device.sizeBytes}\n`)
  for await (const { offset, bytes } of blocksOf(device)) sum.update(`${offset} ${bytes.length}\n`).update(bytes)
  return sum.digest('hex')
}
