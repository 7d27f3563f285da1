/**
 * Where the content of an ext file lies: from an extent tree (ext4) or a block map (ext2, ext3). Both come as runs that
 * ascend; what no run covers is a hole. Trees that do not ascend, loop or branch too much are damage.
 */
import { type DiskView, damaged } from './disk-view.ts'
import type { ExtInode, ExtSuperblock } from './ext-layout.ts'

/** `count` blocks of the file from `fileBlock` on lie from `diskBlock` on. */
export type BlockRun = Readonly<{ fileBlock: number; diskBlock: number; count: number }>

const FLAG_EXTENTS = 0x80000
const EXTENT_MAGIC = 0xf30a
const EXTENT_DEPTH_MAX = 5
/** Longer lengths mark blocks that are set aside and read as zeros. */
const EXTENT_LENGTH_MAX = 32768
const DIRECT_BLOCKS = 12

type Walk = { nextFileBlock: number }

async function* extentNode(
  view: DiskView,
  blockBytes: number,
  node: Buffer,
  depth: number,
  walk: Walk,
): AsyncGenerator<BlockRun> {
  const entries = node.readUInt16LE(2)
  if (node.readUInt16LE(0) !== EXTENT_MAGIC || node.readUInt16LE(6) !== depth) throw damaged('an extent tree is broken')
  if (12 + entries * 12 > node.length) throw damaged('an extent tree has too many entries', { entries })
  for (let at = 12; at < 12 + entries * 12; at += 12) {
    const fileBlock = node.readUInt32LE(at)
    if (fileBlock < walk.nextFileBlock) throw damaged('an extent tree does not ascend', { fileBlock })
    if (depth > 0) {
      const child = node.readUInt32LE(at + 4) + node.readUInt16LE(at + 8) * 0x1_0000_0000
      yield* extentNode(view, blockBytes, await view.read(child * blockBytes, blockBytes), depth - 1, walk)
      // Also past an empty child: each step must lead on, or a small tree could be walked for ever.
      walk.nextFileBlock = Math.max(walk.nextFileBlock, fileBlock + 1)
      continue
    }
    const length = node.readUInt16LE(at + 4)
    const isWritten = length <= EXTENT_LENGTH_MAX
    const count = isWritten ? length : length - EXTENT_LENGTH_MAX
    walk.nextFileBlock = fileBlock + Math.max(count, 1)
    const diskBlock = node.readUInt32LE(at + 8) + node.readUInt16LE(at + 6) * 0x1_0000_0000
    if (isWritten && count > 0) yield { fileBlock, diskBlock, count }
  }
}

async function* mappedBlocks(
  view: DiskView,
  blockBytes: number,
  pointers: Buffer,
  level: number,
  firstFileBlock: number,
  endFileBlock: number,
): AsyncGenerator<BlockRun> {
  const spanBlocks = (blockBytes / 4) ** level
  for (let i = 0; i * 4 < pointers.length; i += 1) {
    const fileBlock = firstFileBlock + i * spanBlocks
    if (fileBlock >= endFileBlock) return
    const pointer = pointers.readUInt32LE(i * 4)
    if (pointer === 0) continue
    if (level === 0) yield { fileBlock, diskBlock: pointer, count: 1 }
    else {
      const below = await view.read(pointer * blockBytes, blockBytes)
      yield* mappedBlocks(view, blockBytes, below, level - 1, fileBlock, endFileBlock)
    }
  }
}

async function* blockMap(view: DiskView, blockBytes: number, inode: ExtInode): AsyncGenerator<BlockRun> {
  const endFileBlock = Math.ceil(inode.sizeBytes / blockBytes)
  const direct = inode.block.subarray(0, DIRECT_BLOCKS * 4)
  yield* mappedBlocks(view, blockBytes, direct, 0, 0, endFileBlock)
  let firstFileBlock = DIRECT_BLOCKS
  for (let level = 1; level <= 3; level += 1) {
    const at = (DIRECT_BLOCKS + level - 1) * 4
    const pointer = inode.block.subarray(at, at + 4)
    if (firstFileBlock < endFileBlock)
      yield* mappedBlocks(view, blockBytes, pointer, level, firstFileBlock, endFileBlock)
    firstFileBlock += (blockBytes / 4) ** level
  }
}

/** The runs of a file's content, joined where they touch. */
export async function* blockRuns(view: DiskView, superblock: ExtSuperblock, inode: ExtInode): AsyncGenerator<BlockRun> {
  const { blockBytes } = superblock
  const depth = inode.block.readUInt16LE(6)
  const usesExtents = (inode.flags & FLAG_EXTENTS) !== 0
  if (usesExtents && depth > EXTENT_DEPTH_MAX) throw damaged('an extent tree is too deep', { depth })
  const runs = usesExtents
    ? extentNode(view, blockBytes, inode.block, depth, { nextFileBlock: 0 })
    : blockMap(view, blockBytes, inode)
  let pending: BlockRun | undefined
  for await (const run of runs) {
    const joins =
      pending !== undefined &&
      pending.fileBlock + pending.count === run.fileBlock &&
      pending.diskBlock + pending.count === run.diskBlock
    if (pending !== undefined && joins) pending = { ...pending, count: pending.count + run.count }
    else {
      if (pending !== undefined) yield pending
      pending = run
    }
  }
  if (pending !== undefined) yield pending
}
