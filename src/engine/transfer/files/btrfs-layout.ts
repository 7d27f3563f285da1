/**
 * The superblock of Btrfs and its list of system chunks (Linux, include/uapi/linux/btrfs_tree.h; Btrfs documentation,
 * "On-disk format"). All integers are little-endian.
 */
import { createHash } from 'node:crypto'
import { toHex } from '#base'
import { TransferError } from '../errors.ts'
import { crc32c } from './crc32c.ts'
import { type DiskView, damaged, readU64 } from './disk-view.ts'

export type BtrfsSums = 'crc32c' | 'sha256' | 'unchecked'

export type BtrfsSuperblock = Readonly<{
  /** One for all devices of a file system. */
  id: string
  label: string
  generation: number
  rootTree: number
  chunkTree: number
  /** 0: there is none. */
  logTree: number
  sectorBytes: number
  nodeBytes: number
  totalBytes: number
  deviceCount: number
  deviceId: number
  rootFolder: number
  sums: BtrfsSums
  sumBytes: number
  systemChunks: Buffer
}>

export const SUPERBLOCK_AT = 65_536
const SUPERBLOCK_BYTES = 4096
const MAGIC = '_BHRfS_M'
/** All but zones, the new extent tree and the tree of stripes: mixed references, default subvolume, mixed groups, lzo, zstd, ... */
const INCOMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000
const SUMS: readonly Readonly<{ sums: BtrfsSums; bytes: number }>[] = [
  { sums: 'crc32c', bytes: 4 },
  { sums: 'unchecked', bytes: 8 }, // xxhash64
  { sums: 'sha256', bytes: 32 },
  { sums: 'unchecked', bytes: 32 }, // BLAKE2b
]
const SYSTEM_CHUNKS_MAX = 2048

/** Whether a checksum that stands in `expected` is that of `bytes`. What is not calculated here counts as right. */
export function hasRightSum(sums: BtrfsSums, bytes: Buffer, expected: Buffer): boolean {
  if (sums === 'crc32c') return crc32c(bytes) === expected.readUInt32LE(0)
  if (sums === 'sha256') return createHash('sha256').update(bytes).digest().equals(expected.subarray(0, 32))
  return true
}

function unsupported(message: string, facts: Readonly<Record<string, string | number>>): TransferError {
  return new TransferError('files_unsupported', message, { facts, hint: 'Boot or restore the whole disk instead.' })
}

function isPowerBetween(value: number, low: number, high: number): boolean {
  return value >= low && value <= high && (value & (value - 1)) === 0
}

/** The superblock; undefined when there is no Btrfs here. @throws `files_damaged`, `files_unsupported` */
export async function readBtrfsSuperblock(view: DiskView): Promise<BtrfsSuperblock | undefined> {
  if (view.sizeBytes < SUPERBLOCK_AT + SUPERBLOCK_BYTES) return undefined
  const bytes = await view.read(SUPERBLOCK_AT, SUPERBLOCK_BYTES)
  if (bytes.toString('latin1', 64, 72) !== MAGIC) return undefined
  const sum = SUMS[bytes.readUInt16LE(196)]
  if (sum === undefined) throw unsupported('The Btrfs file system has checksums of an unknown kind.', {})
  if (!hasRightSum(sum.sums, bytes.subarray(32), bytes)) throw damaged('the superblock has a wrong checksum')
  const incompat = readU64(bytes, 188)
  const unknown = Math.floor(incompat / 2 ** 32) * 2 ** 32 + ((incompat & ~INCOMPAT_KNOWN) >>> 0)
  if (unknown !== 0) {
    const facts = { incompatibleFeatures: `0x${unknown.toString(16)}` }
    throw unsupported('The Btrfs file system uses a feature that Holdfast cannot read.', facts)
  }
  const [sectorBytes, nodeBytes, systemBytes] = [144, 148, 160].map((at) => bytes.readUInt32LE(at))
  const isSane =
    isPowerBetween(sectorBytes ?? 0, 512, 65_536) &&
    isPowerBetween(nodeBytes ?? 0, 4096, 65_536) &&
    (systemBytes ?? SYSTEM_CHUNKS_MAX + 1) <= SYSTEM_CHUNKS_MAX
  if (!isSane) throw damaged('the sizes in the superblock are impossible')
  return {
    id: toHex(bytes.subarray(32, 48)),
    label: bytes.toString('utf8', 299, 299 + 256).replace(/\0.*$/s, ''),
    generation: readU64(bytes, 72),
    rootTree: readU64(bytes, 80),
    chunkTree: readU64(bytes, 88),
    logTree: readU64(bytes, 96),
    sectorBytes: sectorBytes ?? 0,
    nodeBytes: nodeBytes ?? 0,
    totalBytes: readU64(bytes, 112),
    deviceCount: readU64(bytes, 136),
    deviceId: readU64(bytes, 201),
    rootFolder: readU64(bytes, 128),
    sums: sum.sums,
    sumBytes: sum.bytes,
    systemChunks: bytes.subarray(811, 811 + (systemBytes ?? 0)),
  }
}
