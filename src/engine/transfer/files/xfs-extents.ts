/**
 * Where the content of an XFS file lies: from the extents in its inode or from a B+tree of them. Runs ascend; what no run
 * covers, and what was only set aside, is a hole. Trees that do not ascend or are too deep are damage.
 */
import { type DiskView, damaged, readU64BE } from './disk-view.ts'
import { blockOffset, type XfsInode, type XfsSuperblock } from './xfs-layout.ts'

/** `count` blocks of the file from `fileBlock` on lie from the byte `offset` of the file system on. */
export type XfsRun = Readonly<{ fileBlock: number; offset: number; count: number }>

const RECORD_BYTES = 16
const DEPTH_MAX = 9
/** Long-form B+tree blocks, of version 4 and of version 5. */
const TREE_BLOCK = [
  { magic: 'BMAP', headerBytes: 24 },
  { magic: 'BMA3', headerBytes: 72 },
] as const

type Walk = { nextFileBlock: number }

function* recordsIn(superblock: XfsSuperblock, bytes: Buffer, count: number, walk: Walk): Generator<XfsRun> {
  if (count * RECORD_BYTES > bytes.length) throw damaged('a file has more extents than fit')
  for (let at = 0; at < count * RECORD_BYTES; at += RECORD_BYTES) {
    const [first, second] = [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)]
    const [third, fourth] = [bytes.readUInt32BE(at + 8), bytes.readUInt32BE(at + 12)]
    const isUnwritten = first >= 0x8000_0000
    const fileBlock = (first & 0x7fff_ffff) * 2 ** 23 + (second >>> 9)
    const block = (second & 0x1ff) * 2 ** 43 + third * 2 ** 11 + (fourth >>> 21)
    const blocks = fourth & 0x1f_ffff
    if (fileBlock < walk.nextFileBlock || blocks === 0)
      throw damaged('the extents of a file do not ascend', { fileBlock })
    walk.nextFileBlock = fileBlock + blocks
    if (!isUnwritten) yield { fileBlock, offset: blockOffset(superblock, block, blocks), count: blocks }
  }
}

async function* treeBlock(
  view: DiskView,
  superblock: XfsSuperblock,
  block: number,
  level: number,
  walk: Walk,
): AsyncGenerator<XfsRun> {
  const { blockBytes } = superblock
  const bytes = await view.read(blockOffset(superblock, block, 1), blockBytes)
  const kind = TREE_BLOCK[superblock.version === 5 ? 1 : 0]
  const count = bytes.readUInt16BE(6)
  const isSane = bytes.toString('latin1', 0, 4) === kind.magic && bytes.readUInt16BE(4) === level
  if (!isSane) throw damaged('a tree of extents is broken', { block })
  const body = bytes.subarray(kind.headerBytes)
  if (level === 0) yield* recordsIn(superblock, body, count, walk)
  else yield* childrenIn(view, superblock, body, count, level, walk)
}

/** Keys, and behind as many as could fit, the blocks that they lead to. */
async function* childrenIn(
  view: DiskView,
  superblock: XfsSuperblock,
  body: Buffer,
  count: number,
  level: number,
  walk: Walk,
): AsyncGenerator<XfsRun> {
  const capacity = Math.floor(body.length / 16)
  if (count > capacity) throw damaged('a tree of extents has too many branches', { count })
  for (let i = 0; i < count; i += 1) {
    const key = readU64BE(body, i * 8)
    if (key < walk.nextFileBlock && i > 0) throw damaged('a tree of extents does not ascend', { key })
    yield* treeBlock(view, superblock, readU64BE(body, (capacity + i) * 8), level - 1, walk)
    // Also past an empty child: each step must lead on, or a small tree could be walked for ever.
    walk.nextFileBlock = Math.max(walk.nextFileBlock, key + 1)
  }
}

/** The runs of a file's content. */
export async function* xfsRuns(view: DiskView, superblock: XfsSuperblock, inode: XfsInode): AsyncGenerator<XfsRun> {
  const walk: Walk = { nextFileBlock: 0 }
  if (inode.format === 'extents') {
    yield* recordsIn(superblock, inode.fork, inode.extentCount, walk)
    return
  }
  if (inode.format !== 'btree') throw damaged('a file has no extents', { inode: inode.number })
  const level = inode.fork.readUInt16BE(0)
  if (level < 1 || level > DEPTH_MAX) throw damaged('a tree of extents is too deep', { level })
  yield* childrenIn(view, superblock, inode.fork.subarray(4), inode.fork.readUInt16BE(2), level, walk)
}
