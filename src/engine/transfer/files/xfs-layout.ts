/**
 * The on-disk records of XFS, versions 4 and 5, as far as reading files needs them (XFS Algorithms & Data Structures, 3rd
 * edition; Linux, fs/xfs/libxfs/xfs_format.h). All integers are big-endian. Checksums of metadata are not checked, since
 * what the log replaced has none; every number is.
 */
import { TransferError } from '../errors.ts'
import { type DiskView, damaged, readU64BE } from './disk-view.ts'

export type XfsSuperblock = Readonly<{
  version: 4 | 5
  label: string
  uuid: Buffer
  /** What metadata carries as its owner's identity. */
  metaUuid: Buffer
  blockBytes: number
  blockCount: number
  groupBlocks: number
  groupCount: number
  /** Block numbers are a group's number shifted by so much, and a block of it. */
  groupBlockLog: number
  inodeBytes: number
  inodesPerBlockLog: number
  rootInode: number
  folderBlockBytes: number
  /** Entries of folders carry the kind of what they lead to. */
  hasFileType: boolean
  /** First block of the log; 0: it is on another disk. */
  logStart: number
  logBlocks: number
}>

export const SUPERBLOCK_BYTES = 512
const MAGIC = 'XFSB'
const VERSION = { number: 0xf, folders2: 0x2000, more: 0x8000 } as const
const FEATURES2_FTYPE = 0x200
/** ftype, sparse inodes, metadata uuid, bigtime, large extent counters, exchange, parent pointers. */
const INCOMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80
const INCOMPAT_FTYPE = 0x1
const INCOMPAT_META_UUID = 0x4
const INCOMPAT_NEEDS_REPAIR = 0x10

function unsupported(message: string, facts: Readonly<Record<string, string | number>> = {}): TransferError {
  return new TransferError('files_unsupported', message, { facts, hint: 'Boot or restore the whole disk instead.' })
}

function checkFeatures(bytes: Buffer, version: number): void {
  const word = bytes.readUInt16BE(100)
  if (version === 4 && (word & VERSION.folders2) === 0)
    throw unsupported('The XFS file system is of the first version.')
  if (version === 4) return
  const incompat = bytes.readUInt32BE(216)
  if ((incompat & INCOMPAT_NEEDS_REPAIR) !== 0) throw unsupported('The XFS file system asks for xfs_repair first.')
  const unknown = (incompat & ~INCOMPAT_KNOWN) >>> 0
  if (unknown === 0) return
  const facts = { incompatibleFeatures: `0x${unknown.toString(16)}` }
  throw unsupported('The XFS file system uses a feature that Holdfast cannot read.', facts)
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0
}

function checkSizes(superblock: XfsSuperblock, view: DiskView): void {
  const { blockBytes, inodeBytes, groupBlocks, groupCount, groupBlockLog, blockCount, folderBlockBytes } = superblock
  const isSane =
    isPowerOfTwo(blockBytes) &&
    blockBytes >= 512 &&
    blockBytes <= 65_536 &&
    isPowerOfTwo(inodeBytes) &&
    inodeBytes >= 256 &&
    inodeBytes <= Math.min(2048, blockBytes) &&
    groupBlocks > 0 &&
    groupBlockLog <= 31 &&
    2 ** groupBlockLog >= groupBlocks &&
    groupCount === Math.ceil(blockCount / groupBlocks) &&
    folderBlockBytes <= 65_536
  if (!isSane) throw damaged('the sizes in the superblock are impossible')
  if (blockCount * blockBytes > view.sizeBytes)
    throw damaged('the file system is larger than its partition', { blockCount })
}

function parseSuperblock(bytes: Buffer, version: 4 | 5): XfsSuperblock {
  const incompat = version === 5 ? bytes.readUInt32BE(216) : 0
  const features2 = (bytes.readUInt16BE(100) & VERSION.more) === 0 ? 0 : bytes.readUInt32BE(200)
  const [blockBytes, inodeBytes] = [bytes.readUInt32BE(4), bytes.readUInt16BE(104)]
  const uuid = bytes.subarray(32, 48)
  return {
    version,
    label: bytes.toString('utf8', 108, 120).replace(/\0.*$/s, ''),
    uuid,
    metaUuid: (incompat & INCOMPAT_META_UUID) === 0 ? uuid : bytes.subarray(248, 264),
    blockBytes,
    blockCount: readU64BE(bytes, 8),
    groupBlocks: bytes.readUInt32BE(84),
    groupCount: bytes.readUInt32BE(88),
    groupBlockLog: bytes.readUInt8(124),
    inodeBytes,
    inodesPerBlockLog: Math.round(Math.log2(Math.max(1, blockBytes) / Math.max(1, inodeBytes))),
    rootInode: readU64BE(bytes, 56),
    folderBlockBytes: blockBytes * 2 ** Math.min(bytes.readUInt8(192), 31),
    hasFileType: version === 5 ? (incompat & INCOMPAT_FTYPE) !== 0 : (features2 & FEATURES2_FTYPE) !== 0,
    logStart: readU64BE(bytes, 48),
    logBlocks: bytes.readUInt32BE(96),
  }
}

/** The superblock; undefined when there is no XFS here. @throws `files_damaged`, `files_unsupported`. */
export async function readXfsSuperblock(view: DiskView): Promise<XfsSuperblock | undefined> {
  if (view.sizeBytes < SUPERBLOCK_BYTES) return undefined
  const bytes = await view.read(0, SUPERBLOCK_BYTES)
  if (bytes.toString('latin1', 0, 4) !== MAGIC) return undefined
  const version = bytes.readUInt16BE(100) & VERSION.number
  if (version !== 4 && version !== 5) throw unsupported('The XFS file system is of a version that is not read here.')
  checkFeatures(bytes, version)
  if (bytes.readUInt8(126) !== 0) throw damaged('the XFS file system was never made to its end')
  const superblock = parseSuperblock(bytes, version)
  checkSizes(superblock, view)
  return superblock
}

/** Byte offset of `count` blocks from a file system block number on; they lie in one group. */
export function blockOffset(superblock: XfsSuperblock, block: number, count: number): number {
  const { groupBlockLog, groupBlocks, groupCount, blockBytes } = superblock
  const group = Math.floor(block / 2 ** groupBlockLog)
  const inGroup = block % 2 ** groupBlockLog
  if (group >= groupCount || inGroup + count > groupBlocks) throw damaged('a block lies outside its group', { block })
  return (group * groupBlocks + inGroup) * blockBytes
}

/** Byte offset of an inode. */
export function inodeOffset(superblock: XfsSuperblock, inode: number): number {
  const { inodesPerBlockLog, inodeBytes } = superblock
  const perBlock = 2 ** inodesPerBlockLog
  return blockOffset(superblock, Math.floor(inode / perBlock), 1) + (inode % perBlock) * inodeBytes
}

export type ForkFormat = 'device' | 'local' | 'extents' | 'btree'

export type XfsInode = Readonly<{
  number: number
  mode: number
  userId: number
  groupId: number
  sizeBytes: number
  modifiedMs: number
  isRealtime: boolean
  format: ForkFormat
  extentCount: number
  /** The data fork: content, extents, or the root of a tree of them. */
  fork: Buffer
}>

export const INODE_MAGIC = 0x494e
const FORMATS: readonly ForkFormat[] = ['device', 'local', 'extents', 'btree']
const FLAG_REALTIME = 1
const FLAG2_BIGTIME = 0x8
const FLAG2_MANY_EXTENTS = 0x10
/** Bytes of the core, before the forks: inodes of versions 1 and 2, and of version 3. */
export const CORE_BYTES = { old: 100, new: 176 } as const
const BIGTIME_EPOCH_S = 2 ** 31

function modifiedMs(record: Buffer, isBig: boolean): number {
  if (!isBig) return record.readInt32BE(40) * 1000 + Math.floor(record.readUInt32BE(44) / 1_000_000)
  return Math.floor(Number(record.readBigUInt64BE(40) / 1_000_000n)) - BIGTIME_EPOCH_S * 1000
}

export function parseXfsInode(number: number, record: Buffer): XfsInode {
  if (record.readUInt16BE(0) !== INODE_MAGIC) throw damaged('an inode is none', { inode: number })
  const version = record.readUInt8(4)
  const format = FORMATS[record.readUInt8(5)]
  if (format === undefined) throw damaged('an inode is of an unknown format', { inode: number })
  const core = version >= 3 ? CORE_BYTES.new : CORE_BYTES.old
  const forkBytes = record.readUInt8(82) * 8
  if (core + forkBytes > record.length) throw damaged('the parts of an inode do not fit into it', { inode: number })
  const flags2 = version >= 3 ? record.readUInt32BE(124) : 0
  return {
    number,
    mode: record.readUInt16BE(2),
    userId: record.readUInt32BE(8),
    groupId: record.readUInt32BE(12),
    sizeBytes: readU64BE(record, 56),
    modifiedMs: modifiedMs(record, (flags2 & FLAG2_BIGTIME) !== 0),
    isRealtime: (record.readUInt16BE(90) & FLAG_REALTIME) !== 0,
    format,
    extentCount: (flags2 & FLAG2_MANY_EXTENTS) === 0 ? record.readUInt32BE(76) : readU64BE(record, 24),
    fork: record.subarray(core, forkBytes === 0 ? record.length : core + forkBytes),
  }
}
