/**
 * Puts a logged inode over the one on the disk (Linux, fs/xfs/xfs_inode_item_recover.c). The log holds the core in the byte
 * order of the machine that wrote it, here little-endian; forks as they stand on the disk, but for the root of a tree, which
 * is logged in its form in memory. Attribute forks are left as they are.
 */
import { CORE_BYTES } from './xfs-layout.ts'

const FIELDS = { data: 0x2, extents: 0x4, root: 0x8 } as const
const FLAG2 = { bigTime: 0x8, manyExtents: 0x10 } as const
/** Widths of the core's fields that are numbers, by offset. */
const WORDS = [0, 2, 6, 20, 22, 30, 80, 88, 90]
const LONGS = [8, 12, 16, 72, 76, 84, 92]
const QUADS = [56, 64]
const NEW_LONGS = [96, 128]
const NEW_QUADS = [104, 112, 120]
const TIMES = [32, 40, 48]
const NEW_TIMES = [144]
const FLUSHES_MAX = 0xffff
/** Logged cores of old inodes end before the list of unlinked ones, forks begin behind it. */
const LOGGED_OLD_BYTES = 96

/** A core as it stands on the disk. */
function coreOf(logged: Buffer): Buffer {
  const isNew = logged.readUInt8(4) >= 3
  const core = Buffer.from(logged.subarray(0, isNew ? CORE_BYTES.new : LOGGED_OLD_BYTES))
  const flags2 = isNew ? Number(logged.readBigUInt64LE(120) & 0xffn) : 0
  const hasMany = (flags2 & FLAG2.manyExtents) !== 0
  const swap = (at: number, bytes: number): void => void core.subarray(at, at + bytes).reverse()
  for (const at of WORDS) if (!(hasMany && (at === 30 || at === 80))) swap(at, 2)
  for (const at of LONGS) swap(at, 4)
  for (const at of QUADS) swap(at, 8)
  if (hasMany) {
    swap(24, 8)
    swap(80, 2)
  }
  if (isNew) {
    for (const at of NEW_LONGS) swap(at, 4)
    for (const at of NEW_QUADS) swap(at, 8)
  }
  for (const at of isNew ? [...TIMES, ...NEW_TIMES] : TIMES) {
    if ((flags2 & FLAG2.bigTime) !== 0) swap(at, 8)
    else {
      swap(at, 4)
      swap(at + 4, 4)
    }
  }
  return core
}

/** Whether what is on the disk was written after what was logged. */
function isNewer(record: Buffer, logged: Buffer, lsn: bigint): boolean {
  if (record.readUInt8(4) >= 3) {
    const own = record.readBigUInt64BE(112)
    return own !== 0n && own !== 0xffff_ffff_ffff_ffffn && own > lsn
  }
  const [there, here] = [record.readUInt16BE(30), logged.readUInt16LE(30)]
  const hasWrapped = there === FLUSHES_MAX && here < FLUSHES_MAX >>> 1
  return here < there && !hasWrapped
}

/** The root of a tree in memory is a whole block; in an inode it is its counts, keys and places, packed. */
function packRoot(fork: Buffer, root: Buffer, headerBytes: number): boolean {
  const count = root.readUInt16BE(6)
  const [from, into] = [Math.floor((root.length - headerBytes) / 16), Math.floor((fork.length - 4) / 16)]
  if (count > from || count > into) return false
  root.copy(fork, 0, 4, 8) // level and count
  root.copy(fork, 4, headerBytes, headerBytes + count * 8)
  root.copy(fork, 4 + into * 8, headerBytes + from * 8, headerBytes + (from + count) * 8)
  return true
}

/** @returns false when what was logged cannot belong to this inode. */
export function replayInode(record: Buffer, regions: readonly Buffer[], fields: number, lsn: bigint): boolean {
  const [, logged, data] = regions
  if (logged === undefined || logged.length < LOGGED_OLD_BYTES || logged.readUInt16LE(0) !== 0x494e) return false
  if (isNewer(record, logged, lsn)) return true
  const core = coreOf(logged)
  // The inode's own number and the identity of its file system stay as they are on the disk.
  core.copy(record, 0, 0, Math.min(core.length, 152))
  const isNew = core.length === CORE_BYTES.new
  const start = isNew ? CORE_BYTES.new : CORE_BYTES.old
  const forkBytes = record.readUInt8(82) * 8
  const fork = record.subarray(start, forkBytes === 0 ? record.length : Math.min(record.length, start + forkBytes))
  if ((fields & (FIELDS.data | FIELDS.extents | FIELDS.root)) === 0) return true
  if (data === undefined) return false
  if ((fields & FIELDS.root) !== 0) return packRoot(fork, data, isNew ? 72 : 24)
  if (data.length > fork.length) return false
  data.copy(fork)
  return true
}
