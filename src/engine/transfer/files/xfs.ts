/**
 * Reads XFS, versions 4 and 5, without mounting it. What the log holds and the file system does not yet is put over it in
 * memory first (xfs-log.ts, xfs-replay.ts), so a crash-consistent point shows what a mount would show.
 *
 * Data on a realtime device is refused by name; shared (reflink) data is read as any other.
 */
import { TransferError } from '../errors.ts'
import { DiskView, damaged } from './disk-view.ts'
import {
  type FileAttributes,
  type FileKind,
  type FilePiece,
  nameOf,
  type NodeReader,
  PIECE_BYTES_MAX,
} from './file-tree.ts'
import { xfsRuns } from './xfs-extents.ts'
import { xfsChildren } from './xfs-folders.ts'
import { inodeOffset, parseXfsInode, readXfsSuperblock, type XfsInode, type XfsSuperblock } from './xfs-layout.ts'
import { replayXfsLog } from './xfs-replay.ts'

type Node = Readonly<{ inode: number }>

const KINDS: Readonly<Record<number, FileKind>> = { 0x8000: 'file', 0x4000: 'folder', 0xa000: 'link' }
const LINK_BYTES_MAX = 1024
const LINK_HEADER_BYTES = 56
const LINK_RUN_BYTES_MAX = 128 * 1024
const FOLDER_BYTES_MAX = 2 ** 35

export class XfsReader implements NodeReader<Node> {
  readonly root: Node
  readonly superblock: XfsSuperblock
  readonly notes: readonly string[]
  readonly #view: DiskView

  private constructor(view: DiskView, superblock: XfsSuperblock, notes: readonly string[]) {
    this.#view = view
    this.superblock = superblock
    this.notes = notes
    this.root = { inode: superblock.rootInode }
  }

  /** undefined: no XFS here. @throws `files_damaged`, `files_unsupported` */
  static async open(view: DiskView): Promise<XfsReader | undefined> {
    const first = await readXfsSuperblock(view)
    if (first === undefined) return undefined
    const { replayed, notes } = await replayXfsLog(view, first)
    const seen = replayed === undefined ? view : DiskView.of(replayed)
    // The log may hold a grown file system's new sizes.
    const superblock = replayed === undefined ? first : ((await readXfsSuperblock(seen)) ?? first)
    return new XfsReader(seen, superblock, notes)
  }

  keyOf(node: Node): string {
    return String(node.inode)
  }

  async attributes(node: Node): Promise<FileAttributes> {
    const inode = await this.#inode(node)
    const kind = KINDS[inode.mode & 0xf000] ?? 'other'
    const { sizeBytes, userId, groupId, modifiedMs } = inode
    const attributes = { kind, sizeBytes, mode: inode.mode & 0o7777, userId, groupId, modifiedMs }
    return kind === 'link' ? { ...attributes, linkTarget: nameOf(await this.#linkTarget(inode)) } : attributes
  }

  async *children(folder: Node): AsyncGenerator<Readonly<{ name: string; node: Node }>> {
    const inode = await this.#inode(folder)
    if (inode.sizeBytes > FOLDER_BYTES_MAX) throw damaged('a folder is impossibly large', { inode: inode.number })
    yield* xfsChildren(this.#view, this.superblock, inode)
  }

  async *pieces(file: Node): AsyncGenerator<FilePiece> {
    const inode = await this.#inode(file)
    if (inode.isRealtime) {
      throw new TransferError('files_unsupported', 'The file lies on a realtime device of its XFS file system.', {
        facts: { inode: inode.number },
        hint: 'Boot or restore the machine: its kernel reads it.',
      })
    }
    const { blockBytes } = this.superblock
    for await (const run of xfsRuns(this.#view, this.superblock, inode)) {
      const start = run.fileBlock * blockBytes
      const end = Math.min(start + run.count * blockBytes, inode.sizeBytes)
      for (let offset = start; offset < end; offset += PIECE_BYTES_MAX) {
        const length = Math.min(PIECE_BYTES_MAX, end - offset)
        yield { offset, data: await this.#view.readContent(run.offset + (offset - start), length) }
      }
    }
  }

  async #inode({ inode }: Node): Promise<XfsInode> {
    const { superblock } = this
    const record = await this.#view.read(inodeOffset(superblock, inode), superblock.inodeBytes)
    const parsed = parseXfsInode(inode, record)
    if (parsed.mode === 0) throw damaged('a file is said to have an inode that is free', { inode })
    return parsed
  }

  /** A target stands in the inode, or in blocks of which in version 5 each run begins with a header. */
  async #linkTarget(inode: XfsInode): Promise<Buffer> {
    const { sizeBytes } = inode
    if (sizeBytes > LINK_BYTES_MAX) throw damaged('a link is too long', { inode: inode.number, sizeBytes })
    if (inode.format === 'local') return inode.fork.subarray(0, sizeBytes)
    const { blockBytes, version } = this.superblock
    const parts: Buffer[] = []
    let found = 0
    for await (const run of xfsRuns(this.#view, this.superblock, inode)) {
      if (found >= sizeBytes) break
      if (run.count * blockBytes > LINK_RUN_BYTES_MAX) throw damaged('a link is too long', { inode: inode.number })
      const bytes = await this.#view.read(run.offset, run.count * blockBytes)
      const part = version === 4 ? bytes : bytes.subarray(LINK_HEADER_BYTES, LINK_HEADER_BYTES + bytes.readUInt32BE(8))
      if (part.length === 0) throw damaged('a link is cut off', { inode: inode.number })
      parts.push(part)
      found += part.length
    }
    const target = Buffer.concat(parts)
    if (target.length < sizeBytes) throw damaged('a link is cut off', { inode: inode.number })
    return target.subarray(0, sizeBytes)
  }
}
