/**
 * What a simulated disk holds, as a map from blocks to versions; its bytes follow from (disk, sector, version), so that a
 * point is compared byte by byte although no copy of its bytes was kept. Sectors compress well, which keeps packs small.
 */
import { must, type SeededRandom, SECTOR_BYTES } from '#base'
import { type ByteRange, MemoryDevice } from '#engine/block'

export const BLOCK_BYTES = 4096
const COMPARE_BYTES = 64 * 1024
/** Few versions, so that disks come back to what they held before and new points share chunks with forgotten ones. */
const VERSIONS = 4

function fill(bytes: Uint8Array, disk: number, block: number, version: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
    const sector = (block * BLOCK_BYTES + at) / SECTOR_BYTES
    view.setUint32(at, disk + 1)
    view.setUint32(at + 4, sector)
    view.setUint32(at + 8, version)
    view.setUint32(at + SECTOR_BYTES - 4, Math.imul(sector + 7, 0x9e3779b1) ^ version)
  }
}

export class DiskContent {
  readonly disk: number
  readonly sizeBytes: number
  readonly #blocks: ReadonlyMap<number, number>

  constructor(disk: number, sizeBytes: number, blocks: ReadonlyMap<number, number> = new Map()) {
    this.disk = disk
    this.sizeBytes = sizeBytes
    this.#blocks = blocks
  }

  /** The next content: some blocks written, some trimmed, now and then a larger disk. */
  changed(random: SeededRandom): DiskContent {
    const sizeBytes = this.sizeBytes + (random.chance(0.1) ? SECTOR_BYTES * random.below(40_000) : 0)
    const blocks = new Map(this.#blocks)
    const count = Math.floor(sizeBytes / BLOCK_BYTES)
    for (let i = 1 + random.below(8); i > 0; i -= 1) {
      // Mostly near the front, so that chunks are shared; sometimes in another leaf of the manifest.
      const block = random.chance(0.8) ? random.below(Math.min(count, 160)) : random.below(count)
      if (random.chance(0.2)) blocks.delete(block)
      else blocks.set(block, 1 + random.below(VERSIONS))
    }
    return new DiskContent(this.disk, sizeBytes, blocks)
  }

  /** Where `other` differs, and some more that does not: bitmaps are coarse. */
  dirtySince(other: DiskContent, random: SeededRandom): ByteRange[] {
    const candidates = new Set([...this.#blocks.keys(), ...other.#blocks.keys()])
    const dirty = [...candidates].filter(
      (block) => this.#blocks.get(block) !== other.#blocks.get(block) || random.chance(0.1),
    )
    return dirty
      .sort((a, b) => a - b)
      .map((block) => ({ offset: block * BLOCK_BYTES, length: BLOCK_BYTES }))
      .filter(({ offset }) => offset + BLOCK_BYTES <= this.sizeBytes)
  }

  device(): MemoryDevice {
    const device = new MemoryDevice(this.sizeBytes)
    const bytes = new Uint8Array(BLOCK_BYTES)
    for (const [block, version] of this.#blocks) {
      bytes.fill(0)
      fill(bytes, this.disk, block, version)
      device.writeSync(block * BLOCK_BYTES, bytes)
    }
    return device
  }

  /** Where `restored` differs from this content; undefined when it is equal. */
  async difference(restored: MemoryDevice): Promise<string | undefined> {
    const expected = this.device()
    const touched = new Set<number>()
    for (const device of [expected, restored]) {
      for (const { offset, length, kind } of await device.extents(0, this.sizeBytes)) {
        if (kind !== 'data') continue
        for (let at = offset; at < offset + length; at += COMPARE_BYTES) touched.add(at)
      }
    }
    for (const offset of touched) {
      const length = Math.min(COMPARE_BYTES, this.sizeBytes - offset)
      const [want, have] = [new Uint8Array(length), new Uint8Array(length)]
      expected.readSync(offset, want)
      restored.readSync(offset, have)
      if (Buffer.compare(want, have) === 0) continue
      const first = want.findIndex((byte, i) => byte !== have[i])
      return `disk ${this.disk} differs at byte ${offset + first}: ${must(want[first], 'found')} became ${have[first]}`
    }
    return undefined
  }
}
