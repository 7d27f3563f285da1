/**
 * Reads ext2, ext3 and ext4 without mounting them. Folders are read block by block, hashed or not, since a hashed folder's
 * blocks read as a plain one's. What the journal holds and the file system does not yet is put over it in memory first
 * (ext-journal.ts), so a crash-consistent point shows what a mount would show. Encrypted files and folders are refused by name.
 */
import { isHoldfastError } from '#base'
import { TransferError } from '../errors.ts'
import { DiskView, damaged } from './disk-view.ts'
import { blockRuns } from './ext-blocks.ts'
import { type ExtReplay, replayExtJournal } from './ext-journal.ts'
import { descriptorOffset, type ExtInode, type ExtSuperblock, parseInode, readExtSuperblock } from './ext-layout.ts'
import {
  type FileAttributes,
  type FileKind,
  type FilePiece,
  nameOf,
  type NodeReader,
  PIECE_BYTES_MAX,
} from './file-tree.ts'

const ROOT_INODE = 2
const FLAG_ENCRYPT = 0x800
const FLAG_INLINE_DATA = 0x1000_0000
const FLAG_EXTENTS = 0x80000
const XATTR_MAGIC = 0xea020000
const XATTR_SYSTEM = 7
const LINK_BYTES_MAX = 4096
const EXTERNAL_JOURNAL_NOTE = 'Its journal lies on another disk: changes of its last seconds may not be shown.'
const FOLDER_BYTES_MAX = 1024 * 1024 * 1024

const KINDS: Readonly<Record<number, FileKind>> = { 0x8000: 'file', 0x4000: 'folder', 0xa000: 'link' }

type Node = Readonly<{ inode: number }>
type Child = Readonly<{ name: string; node: Node }>

/** The value of "system.data" behind the inode: what did not fit into its 60 bytes. */
function inlineTail(inode: ExtInode): Buffer {
  const { record } = inode
  const start = 128 + (record.length > 128 ? record.readUInt16LE(128) : 0)
  if (start + 4 > record.length || record.readUInt32LE(start) !== XATTR_MAGIC) return Buffer.alloc(0)
  const first = start + 4
  for (let at = first; at + 16 <= record.length && record.readUInt32LE(at) !== 0;) {
    const nameBytes = record.readUInt8(at)
    const name = record.toString('latin1', at + 16, at + 16 + nameBytes)
    const valueAt = first + record.readUInt16LE(at + 2)
    const valueEnd = valueAt + record.readUInt32LE(at + 8)
    if (record.readUInt8(at + 1) === XATTR_SYSTEM && name === 'data') {
      if (valueEnd > record.length) throw damaged('data inside an inode does not fit into it', { inode: inode.number })
      return record.subarray(valueAt, valueEnd)
    }
    at += 16 + Math.ceil(nameBytes / 4) * 4
  }
  return Buffer.alloc(0)
}

/** The entries in one block of a folder, or in the folder part of an inode. */
function* entriesOf(block: Buffer): Generator<Child> {
  for (let at = 0; at + 8 <= block.length;) {
    const inode = block.readUInt32LE(at)
    const stored = block.readUInt16LE(at + 4)
    // 65536 does not fit the field: a single entry that fills a block of 64 KiB is written as 0 or 65535.
    const entryBytes = stored === 0 || stored === 65535 ? block.length - at : stored
    const nameBytes = block.readUInt8(at + 6)
    if (entryBytes < 8 || entryBytes % 4 !== 0 || at + entryBytes > block.length || 8 + nameBytes > entryBytes) {
      throw damaged('an entry of a folder is broken', { at, entryBytes, nameBytes })
    }
    const name = nameOf(block.subarray(at + 8, at + 8 + nameBytes))
    if (inode !== 0 && nameBytes > 0 && name !== '.' && name !== '..') yield { name, node: { inode } }
    at += entryBytes
  }
}

export class ExtReader implements NodeReader<Node> {
  readonly root: Node = { inode: ROOT_INODE }
  readonly superblock: ExtSuperblock
  readonly notes: readonly string[]
  readonly #view: DiskView

  private constructor(view: DiskView, superblock: ExtSuperblock, notes: readonly string[]) {
    this.#view = view
    this.superblock = superblock
    this.notes = notes
  }

  /** undefined: no ext file system here. */
  static async open(view: DiskView): Promise<ExtReader | undefined> {
    const superblock = await readExtSuperblock(view)
    if (superblock === undefined) return undefined
    const asItIs = new ExtReader(view, superblock, [])
    if (!superblock.needsRecovery) return asItIs
    const { replayed, notes } = await asItIs.#replay()
    if (replayed === undefined) return new ExtReader(view, superblock, notes)
    const seen = DiskView.of(replayed)
    // The journal may hold a grown file system's new sizes.
    return new ExtReader(seen, (await readExtSuperblock(seen)) ?? superblock, notes)
  }

  keyOf(node: Node): string {
    return String(node.inode)
  }

  async attributes(node: Node): Promise<FileAttributes> {
    const inode = await this.#inode(node)
    const kind = KINDS[inode.mode & 0xf000] ?? 'other'
    const attributes = {
      kind,
      sizeBytes: inode.sizeBytes,
      mode: inode.mode & 0o7777,
      userId: inode.userId,
      groupId: inode.groupId,
      modifiedMs: inode.modifiedMs,
    }
    return kind === 'link' ? { ...attributes, linkTarget: nameOf(await this.#linkTarget(inode)) } : attributes
  }

  async *children(folder: Node): AsyncGenerator<Child> {
    const inode = await this.#inode(folder)
    refuseEncrypted(inode)
    if (inode.sizeBytes > FOLDER_BYTES_MAX) throw damaged('a folder is impossibly large', { inode: inode.number })
    if ((inode.flags & FLAG_INLINE_DATA) !== 0) {
      yield* entriesOf(inode.block.subarray(4)) // the first four bytes name the parent
      yield* entriesOf(inlineTail(inode))
      return
    }
    const { blockBytes } = this.superblock
    for await (const run of blockRuns(this.#view, this.superblock, inode)) {
      for (let i = 0; i < run.count && (run.fileBlock + i) * blockBytes < inode.sizeBytes; i += 1) {
        yield* entriesOf(await this.#view.read((run.diskBlock + i) * blockBytes, blockBytes))
      }
    }
  }

  async *pieces(file: Node): AsyncGenerator<FilePiece> {
    const inode = await this.#inode(file)
    refuseEncrypted(inode)
    if ((inode.flags & FLAG_INLINE_DATA) !== 0) {
      const data = Buffer.concat([inode.block, inlineTail(inode)]).subarray(0, inode.sizeBytes)
      if (data.length > 0) yield { offset: 0, data }
      return
    }
    const { blockBytes } = this.superblock
    for await (const run of blockRuns(this.#view, this.superblock, inode)) {
      const start = run.fileBlock * blockBytes
      const end = Math.min(start + run.count * blockBytes, inode.sizeBytes)
      for (let offset = start; offset < end; offset += PIECE_BYTES_MAX) {
        const length = Math.min(PIECE_BYTES_MAX, end - offset)
        yield { offset, data: await this.#view.readContent(run.diskBlock * blockBytes + (offset - start), length) }
      }
    }
  }

  async #replay(): Promise<ExtReplay> {
    const { journalInode, blockBytes, blockCount } = this.superblock
    if (journalInode === 0) return { notes: [EXTERNAL_JOURNAL_NOTE] }
    try {
      const inode = await this.#inode({ inode: journalInode })
      return await replayExtJournal(this.#view, blockBytes, blockCount, blockRuns(this.#view, this.superblock, inode))
    } catch (error) {
      if (!isHoldfastError(error, 'files_damaged')) throw error
      return { notes: [`Its journal cannot be found, so changes of its last seconds are not shown. ${error.message}`] }
    }
  }

  async #inode(node: Node): Promise<ExtInode> {
    const { inodeCount, inodesPerGroup, inodeBytes, blockBytes, descriptorBytes } = this.superblock
    const index = node.inode - 1
    if (index < 0 || index >= inodeCount) throw damaged('a file is said to have an inode that does not exist', node)
    const group = Math.floor(index / inodesPerGroup)
    const descriptor = await this.#view.read(descriptorOffset(this.superblock, group), descriptorBytes)
    const high = descriptorBytes >= 64 ? descriptor.readUInt32LE(40) : 0
    const table = descriptor.readUInt32LE(8) + high * 0x1_0000_0000
    const at = table * blockBytes + (index % inodesPerGroup) * inodeBytes
    return parseInode(node.inode, await this.#view.read(at, inodeBytes))
  }

  /** Short targets stand in the inode itself, where a block map would be. */
  async #linkTarget(inode: ExtInode): Promise<Buffer> {
    const { sizeBytes } = inode
    if (sizeBytes > LINK_BYTES_MAX) throw damaged('a link is too long', { inode: inode.number, sizeBytes })
    if ((inode.flags & FLAG_ENCRYPT) !== 0) return Buffer.from('(encrypted)')
    if (sizeBytes < inode.block.length && (inode.flags & (FLAG_EXTENTS | FLAG_INLINE_DATA)) === 0) {
      return inode.block.subarray(0, sizeBytes)
    }
    const parts: Buffer[] = []
    for await (const piece of this.pieces({ inode: inode.number })) parts.push(piece.data)
    return Buffer.concat(parts).subarray(0, sizeBytes)
  }
}

function refuseEncrypted(inode: ExtInode): void {
  if ((inode.flags & FLAG_ENCRYPT) === 0) return
  throw new TransferError('files_unsupported', 'The file or folder is encrypted inside the guest.', {
    facts: { inode: inode.number },
    hint: 'Boot or restore the whole disk: the key is known to the guest only.',
  })
}
