/**
 * Reads the entries of XFS folders: short ones in the inode, others in blocks. Blocks that serve finding names by hash (leaf,
 * node, free) lie behind the entries, from 32 GiB on, and are not needed.
 */
import { type DiskView, damaged, readU64BE } from './disk-view.ts'
import { nameOf } from './file-tree.ts'
import { xfsRuns } from './xfs-extents.ts'
import type { XfsInode, XfsSuperblock } from './xfs-layout.ts'

export type XfsChild = Readonly<{ name: string; node: Readonly<{ inode: number }> }>

const LEAVES_FROM_BYTES = 2 ** 35
/** By magic: bytes before the first entry, and whether finding aids stand at the end. */
const DATA_BLOCKS: Readonly<Record<string, Readonly<{ headerBytes: number; hasTail: boolean }>>> = {
  XD2B: { headerBytes: 16, hasTail: true },
  XD2D: { headerBytes: 16, hasTail: false },
  XDB3: { headerBytes: 64, hasTail: true },
  XDD3: { headerBytes: 64, hasTail: false },
}
const FREE_TAG = 0xffff

/** Entries in the inode itself: counts, the parent, then names with numbers of 4 or 8 bytes. */
export function* shortEntries({ fork, number }: XfsInode, { hasFileType }: XfsSuperblock): Generator<XfsChild> {
  if (fork.length < 6) throw damaged('a short folder is broken', { inode: number })
  const count = fork.readUInt8(0)
  const numberBytes = fork.readUInt8(1) > 0 ? 8 : 4
  let at = 2 + numberBytes
  for (let i = 0; i < count; i += 1) {
    const nameBytes = at < fork.length ? fork.readUInt8(at) : 0
    const numberAt = at + 3 + nameBytes + (hasFileType ? 1 : 0)
    if (nameBytes === 0 || numberAt + numberBytes > fork.length)
      throw damaged('a short folder is broken', { inode: number })
    const inode = numberBytes === 8 ? readU64BE(fork, numberAt) : fork.readUInt32BE(numberAt)
    yield { name: nameOf(fork.subarray(at + 3, at + 3 + nameBytes)), node: { inode } }
    at = numberAt + numberBytes
  }
}

function endOf(block: Buffer, kind: Readonly<{ headerBytes: number; hasTail: boolean }>): number {
  if (!kind.hasTail) return block.length
  const end = block.length - 8 - block.readUInt32BE(block.length - 8) * 8
  if (end < kind.headerBytes) throw damaged('a block of a folder is broken')
  return end
}

function* entriesOf(block: Buffer, { hasFileType }: XfsSuperblock): Generator<XfsChild> {
  const kind = DATA_BLOCKS[block.toString('latin1', 0, 4)]
  if (kind === undefined) throw damaged('a block of a folder is none')
  const end = endOf(block, kind)
  for (let at = kind.headerBytes; at + 16 <= end;) {
    if (block.readUInt16BE(at) === FREE_TAG) {
      const free = block.readUInt16BE(at + 2)
      if (free === 0 || free % 8 !== 0) throw damaged('a block of a folder is broken', { at })
      at += free
      continue
    }
    const nameBytes = block.readUInt8(at + 8)
    const entryBytes = Math.ceil((11 + nameBytes + (hasFileType ? 1 : 0)) / 8) * 8
    if (nameBytes === 0 || at + entryBytes > end) throw damaged('an entry of a folder is broken', { at })
    const name = nameOf(block.subarray(at + 9, at + 9 + nameBytes))
    if (name !== '.' && name !== '..') yield { name, node: { inode: readU64BE(block, at) } }
    at += entryBytes
  }
}

/** Blocks of folders may be larger than blocks of the file system, and then lie in several runs. */
async function* folderBlocks(view: DiskView, superblock: XfsSuperblock, inode: XfsInode): AsyncGenerator<Buffer> {
  const { blockBytes, folderBlockBytes } = superblock
  const perFolderBlock = folderBlockBytes / blockBytes
  let parts: Buffer[] = []
  for await (const run of xfsRuns(view, superblock, inode)) {
    if (run.fileBlock * blockBytes >= LEAVES_FROM_BYTES) break
    for (let i = 0; i < run.count; i += 1) {
      if ((run.fileBlock + i) % perFolderBlock !== parts.length)
        throw damaged('a block of a folder is not whole', { inode: inode.number })
      parts.push(await view.read(run.offset + i * blockBytes, blockBytes))
      if (parts.length < perFolderBlock) continue
      yield parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
      parts = []
    }
  }
}

export async function* xfsChildren(
  view: DiskView,
  superblock: XfsSuperblock,
  inode: XfsInode,
): AsyncGenerator<XfsChild> {
  if (inode.format === 'local') {
    yield* shortEntries(inode, superblock)
    return
  }
  for await (const block of folderBlocks(view, superblock, inode)) yield* entriesOf(block, superblock)
}
