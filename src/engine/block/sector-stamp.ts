/**
 * Test content that says where it belongs: every 512-byte sector begins with (disk, sector, version) and goes on with
 * bytes that follow from them, so that a swapped, shifted, stale or missing sector names itself.
 */
import { SECTOR_BYTES } from '#base'

/** Which disk, and which of its versions, the content belongs to. */
export type Stamp = Readonly<{ disk: number; version: number }>

/** Fills one sector of 512 bytes: never all zero, different from its neighbours and from other versions. */
function stampSector(into: Buffer, stamp: Stamp, sector: number): void {
  let mix = (Math.imul(sector + 1, 0x9e3779b1) ^ Math.imul(stamp.disk + 1, 0x85ebca6b) ^ stamp.version) >>> 0
  for (let at = 16; at < SECTOR_BYTES; at += 4) {
    mix = (Math.imul(mix ^ (mix >>> 15), 0x2c1b3c6d) + at) >>> 0
    into.writeUInt32LE(mix, at)
  }
  into.writeUInt32LE(stamp.disk, 0)
  into.writeBigUInt64LE(BigInt(sector), 4)
  into.writeUInt32LE(stamp.version, 12)
}

/** `length` bytes of stamped content as they lie at `offset` of the disk; any alignment. */
export function stampedBytes(stamp: Stamp, offset: number, length: number): Buffer {
  const first = Math.floor(offset / SECTOR_BYTES)
  const last = Math.ceil((offset + length) / SECTOR_BYTES)
  const sectors = Buffer.alloc((last - first) * SECTOR_BYTES)
  for (let sector = first; sector < last; sector += 1) {
    stampSector(sectors.subarray((sector - first) * SECTOR_BYTES, (sector - first + 1) * SECTOR_BYTES), stamp, sector)
  }
  const start = offset - first * SECTOR_BYTES
  return sectors.subarray(start, start + length)
}
