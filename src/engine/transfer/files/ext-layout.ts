/**
 * The on-disk records of ext2, ext3 and ext4, as far as reading files needs them (Linux, Documentation/filesystems/ext4).
 * All integers are little-endian; checksums of metadata are not checked.
 */
import { TransferError } from '../errors.ts'
import { type DiskView, damaged } from './disk-view.ts'

const SUPERBLOCK_AT = 1024
const MAGIC_AT = 56
const MAGIC = 0xef53
const INCOMPAT_RECOVER = 0x4
const INCOMPAT_META_BG = 0x10
const INCOMPAT_EXTENTS = 0x40
const INCOMPAT_64BIT = 0x80
/**
 * Features that may stand in a file system that is read here: filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg,
 * ea_inode, csum_seed, largedir, inline_data, encrypt (its files are refused one by one), casefold.
 */
const INCOMPAT_KNOWN =
  0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
const COMPAT_HAS_JOURNAL = 0x4
const COMPAT_SPARSE_SUPER2 = 0x200
const RO_COMPAT_SPARSE_SUPER = 0x1

export type ExtSuperblock = Readonly<{
  kind: 'ext2' | 'ext3' | 'ext4'
  label: string
  blockBytes: number
  blockCount: number
  firstDataBlock: number
  blocksPerGroup: number
  inodeCount: number
  inodesPerGroup: number
  inodeBytes: number
  descriptorBytes: number
  firstMetaGroup: number | undefined
  /** Whether a group begins with a copy of the superblock. */
  hasSuper: (group: number) => boolean
  /** The journal holds changes that are not yet in place. */
  needsRecovery: boolean
  /** 0: the journal lies on another disk. */
  journalInode: number
}>

function isPowerOf(base: number, value: number): boolean {
  let power = base
  while (power < value) power *= base
  return power === value
}

function superblockPlaces(bytes: Buffer): (group: number) => boolean {
  if ((bytes.readUInt32LE(92) & COMPAT_SPARSE_SUPER2) !== 0) {
    const backups = new Set([0, bytes.readUInt32LE(0x24c), bytes.readUInt32LE(0x250)])
    return (group) => backups.has(group)
  }
  if ((bytes.readUInt32LE(100) & RO_COMPAT_SPARSE_SUPER) === 0) return () => true
  return (group) => group <= 1 || isPowerOf(3, group) || isPowerOf(5, group) || isPowerOf(7, group)
}

function kindOf(incompat: number, compat: number): ExtSuperblock['kind'] {
  if ((incompat & (INCOMPAT_EXTENTS | INCOMPAT_64BIT)) !== 0) return 'ext4'
  return (compat & COMPAT_HAS_JOURNAL) !== 0 ? 'ext3' : 'ext2'
}

function checkSizes(superblock: ExtSuperblock, view: DiskView): void {
  const { blockBytes, inodeBytes, descriptorBytes, blocksPerGroup, inodesPerGroup, blockCount } = superblock
  const isSane =
    blockBytes <= 65536 &&
    inodeBytes >= 128 &&
    inodeBytes <= blockBytes &&
    isPowerOf(2, inodeBytes) &&
    descriptorBytes >= 32 &&
    descriptorBytes <= 1024 &&
    isPowerOf(2, descriptorBytes) &&
    blocksPerGroup > 0 &&
    blocksPerGroup <= blockBytes * 8 &&
    inodesPerGroup > 0 &&
    inodesPerGroup <= blockBytes * 8
  if (!isSane) throw damaged('the sizes in the superblock are impossible')
  if (blockCount * blockBytes > view.sizeBytes)
    throw damaged('the file system is larger than its partition', { blockCount })
}

function parseSuperblock(bytes: Buffer): ExtSuperblock {
  const incompat = bytes.readUInt32LE(96)
  const is64Bit = (incompat & INCOMPAT_64BIT) !== 0
  const isDynamic = bytes.readUInt32LE(76) >= 1
  return {
    kind: kindOf(incompat, bytes.readUInt32LE(92)),
    label: bytes.toString('utf8', 120, 136).replace(/\0.*$/s, ''),
    blockBytes: 1024 * 2 ** Math.min(bytes.readUInt32LE(24), 31),
    blockCount: bytes.readUInt32LE(4) + (is64Bit ? bytes.readUInt32LE(0x150) * 0x1_0000_0000 : 0),
    firstDataBlock: bytes.readUInt32LE(20),
    blocksPerGroup: bytes.readUInt32LE(32),
    inodeCount: bytes.readUInt32LE(0),
    inodesPerGroup: bytes.readUInt32LE(40),
    inodeBytes: isDynamic ? bytes.readUInt16LE(88) : 128,
    descriptorBytes: is64Bit ? bytes.readUInt16LE(254) : 32,
    firstMetaGroup: (incompat & INCOMPAT_META_BG) === 0 ? undefined : bytes.readUInt32LE(260),
    hasSuper: superblockPlaces(bytes),
    needsRecovery: (incompat & INCOMPAT_RECOVER) !== 0,
    journalInode: bytes.readUInt32LE(0xe0),
  }
}

/** The superblock; undefined when there is no ext file system here. @throws `files_damaged`, `files_unsupported`. */
export async function readExtSuperblock(view: DiskView): Promise<ExtSuperblock | undefined> {
  if (view.sizeBytes < SUPERBLOCK_AT + 1024) return undefined
  const bytes = await view.read(SUPERBLOCK_AT, 1024)
  if (bytes.readUInt16LE(MAGIC_AT) !== MAGIC) return undefined
  const unknown = bytes.readUInt32LE(96) & ~INCOMPAT_KNOWN
  if (unknown !== 0) {
    throw new TransferError('files_unsupported', 'The ext4 file system uses a feature that Holdfast cannot read.', {
      facts: { incompatibleFeatures: `0x${(unknown >>> 0).toString(16)}` },
      hint: 'Boot or restore the whole disk instead.',
    })
  }
  const superblock = parseSuperblock(bytes)
  checkSizes(superblock, view)
  return superblock
}

/** Byte offset of the descriptor of `group` in the file system (with or without meta_bg). */
export function descriptorOffset(superblock: ExtSuperblock, group: number): number {
  const perBlock = superblock.blockBytes / superblock.descriptorBytes
  const tableBlock = Math.floor(group / perBlock)
  const inBlock = (group % perBlock) * superblock.descriptorBytes
  const { firstMetaGroup, firstDataBlock, blocksPerGroup, blockBytes } = superblock
  if (firstMetaGroup === undefined || tableBlock < firstMetaGroup) {
    return (firstDataBlock + 1 + tableBlock) * blockBytes + inBlock
  }
  const firstGroup = tableBlock * perBlock
  const skipped = superblock.hasSuper(firstGroup) ? 1 : 0
  return (firstDataBlock + firstGroup * blocksPerGroup + skipped) * blockBytes + inBlock
}

export type ExtInode = Readonly<{
  number: number
  mode: number
  sizeBytes: number
  userId: number
  groupId: number
  modifiedMs: number
  flags: number
  /** The 60 bytes that hold a block map, the root of an extent tree, a short link's target or the data itself. */
  block: Buffer
  /** All of the record, for the attributes behind it. */
  record: Buffer
}>

/** Reads the fields of an inode record. */
export function parseInode(number: number, record: Buffer): ExtInode {
  const extraBytes = record.length > 128 ? record.readUInt16LE(128) : 0
  const modifiedExtra = extraBytes >= 12 ? record.readUInt32LE(136) : 0
  const seconds = record.readInt32LE(16) + (modifiedExtra & 3) * 0x1_0000_0000
  const sizeBytes = record.readUInt32LE(4) + record.readUInt32LE(108) * 0x1_0000_0000
  if (!Number.isSafeInteger(sizeBytes)) throw damaged('a file is larger than any disk', { inode: number })
  return {
    number,
    mode: record.readUInt16LE(0),
    sizeBytes,
    userId: record.readUInt16LE(2) + record.readUInt16LE(120) * 65536,
    groupId: record.readUInt16LE(24) + record.readUInt16LE(122) * 65536,
    modifiedMs: seconds * 1000 + Math.floor((modifiedExtra >>> 2) / 1_000_000),
    flags: record.readUInt32LE(32),
    block: record.subarray(40, 100),
    record,
  }
}
