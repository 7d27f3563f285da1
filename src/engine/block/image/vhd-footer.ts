/**
 * The footer of a VHD (Microsoft, "Virtual Hard Disk Image Format Specification" 1.0): the last 512 bytes of the file, and
 * for dynamic disks a copy in front. All numbers are big-endian. Pure.
 */
import { assert, SECTOR_BYTES } from '#base'
import { bufferOf, readU64, writeU64 } from '../nbd/wire.ts'
import { backingRefused, checkVirtualSize, invalidImage } from './image-errors.ts'

export const VHD_FOOTER_BYTES = 512
const DISK_TYPE = { FIXED: 2, DYNAMIC: 3, DIFFERENCING: 4 } as const
const COOKIE = 'conectix'
const CHECKSUM_AT = 64
/** Seconds from the Unix epoch to 2000-01-01 00:00:00 UTC, where VHD time begins. */
const VHD_EPOCH_SECONDS = 946_684_800

export type VhdFooter = Readonly<{ kind: 'fixed' | 'dynamic'; virtualSizeBytes: number }>

/** @throws BlockError image_invalid, image_backing_refused (differencing disk), image_too_large */
export function readVhdFooter(path: string, bytes: Uint8Array): VhdFooter {
  const footer = bufferOf(bytes)
  if (footer.length < VHD_FOOTER_BYTES || footer.toString('latin1', 0, 8) !== COOKIE) {
    throw invalidImage(path, 'does not end like a VHD.')
  }
  if (footer.readUInt32BE(CHECKSUM_AT) !== checksumOf(footer)) throw invalidImage(path, 'has a damaged VHD footer.')
  const virtualSizeBytes = readU64(footer, 48)
  checkVirtualSize(path, virtualSizeBytes)
  if (virtualSizeBytes % SECTOR_BYTES !== 0) throw invalidImage(path, 'has a size that is not whole sectors.')
  const type = footer.readUInt32BE(60)
  if (type === DISK_TYPE.DIFFERENCING) throw backingRefused(path, 'its parent', 'it is a differencing disk')
  if (type !== DISK_TYPE.FIXED && type !== DISK_TYPE.DYNAMIC)
    throw invalidImage(path, 'is of an unknown kind.', { type })
  return { kind: type === DISK_TYPE.FIXED ? 'fixed' : 'dynamic', virtualSizeBytes }
}

/** The footer of a fixed VHD of exactly `sizeBytes`. `id` is 16 random bytes, `nowMs` the wall clock. */
export function makeFixedVhdFooter(sizeBytes: number, id: Uint8Array, nowMs: number): Buffer {
  assert(sizeBytes % SECTOR_BYTES === 0 && id.length === 16, 'A VHD has whole sectors and a 16-byte id')
  const footer = Buffer.alloc(VHD_FOOTER_BYTES)
  footer.write(COOKIE, 0, 'latin1')
  footer.writeUInt32BE(2, 8)
  footer.writeUInt32BE(0x0001_0000, 12)
  footer.fill(0xff, 16, 24)
  footer.writeUInt32BE(Math.max(0, Math.floor(nowMs / 1000) - VHD_EPOCH_SECONDS), 24)
  // QEMU trusts the size field only of creators that it knows, and rounds to cylinders else; "qem2" is the mark that its
  // own force_size=on writes (block/vpc.c).
  footer.write('qem2', 28, 'latin1')
  footer.writeUInt32BE(0x0001_0000, 32)
  footer.write('Wi2k', 36, 'latin1')
  writeU64(footer, sizeBytes, 40)
  writeU64(footer, sizeBytes, 48)
  writeGeometry(footer, sizeBytes)
  footer.writeUInt32BE(DISK_TYPE.FIXED, 60)
  footer.set(id, 68)
  footer.writeUInt32BE(checksumOf(footer), CHECKSUM_AT)
  return footer
}

/** The one's complement of the sum of all bytes, the checksum's own left out. */
function checksumOf(footer: Buffer): number {
  let sum = 0
  for (const [at, byte] of footer.subarray(0, VHD_FOOTER_BYTES).entries()) {
    if (at < CHECKSUM_AT || at >= CHECKSUM_AT + 4) sum += byte
  }
  return ~sum >>> 0
}

/** "Appendix: CHS Calculation" of the specification. */
function writeGeometry(footer: Buffer, sizeBytes: number): void {
  const sectors = Math.min(sizeBytes / SECTOR_BYTES, 65_535 * 16 * 255)
  let [perTrack, heads, cylinderHeads] = [255, 16, 0]
  if (sectors < 65_535 * 16 * 63) {
    perTrack = 17
    cylinderHeads = Math.floor(sectors / perTrack)
    heads = Math.max(4, Math.floor((cylinderHeads + 1023) / 1024))
    if (cylinderHeads >= heads * 1024 || heads > 16) [perTrack, heads] = [31, 16]
    cylinderHeads = Math.floor(sectors / perTrack)
    if (cylinderHeads >= heads * 1024) [perTrack, heads] = [63, 16]
  }
  cylinderHeads = Math.floor(sectors / perTrack)
  footer.writeUInt16BE(Math.min(65_535, Math.floor(cylinderHeads / heads)), 56)
  footer.writeUInt8(heads, 58)
  footer.writeUInt8(perTrack, 59)
}
