/**
 * Reads Btrfs on one device or several, without mounting it: the default subvolume as a mount shows it, and from the top level
 * all others, which are folders there. Checksums of metadata and data are compared; a wrong copy is passed over for a right one.
 *
 * What was synced after the last commit stands in log trees, and is looked at beside the committed ones (btrfs-subvolume.ts), so
 * a crash-consistent point shows what a mount would show.
 */
import { isHoldfastError } from '#base'
import { ChunkMap } from './btrfs-chunks.ts'
import { BtrfsData } from './btrfs-data.ts'
import { type BtrfsSuperblock, readBtrfsSuperblock } from './btrfs-layout.ts'
import {
  CommittedSubvolume,
  entriesIn,
  INODE_BYTES,
  ITEM,
  LoggedSubvolume,
  type Subvolume,
  SubvolumeLog,
} from './btrfs-subvolume.ts'
import { type BtrfsItem, type BtrfsKey, BtrfsTrees, negativeObject, OBJECT_TOP } from './btrfs-tree.ts'
import { type DiskView, damaged, readU64 } from './disk-view.ts'
import { type FileAttributes, type FileKind, type FilePiece, nameOf, type NodeReader } from './file-tree.ts'

/** `root`: the subvolume. */
type Node = Readonly<{ root: number; inode: number }>

const TREE = { chunks: 256, sums: 7, topLevel: 5, log: negativeObject(-6) } as const
const CHUNK_ITEM = 228
const FIRST_INODE = 256
/** A subvolume inside of a snapshot is an empty folder. */
const EMPTY_INODE = 2
const FLAG_NO_SUMS = 1
const LINK_BYTES_MAX = 4096
const SUBVOLUMES_NAMED = 12
const KINDS: Readonly<Record<number, FileKind>> = { 0x8000: 'file', 0x4000: 'folder', 0xa000: 'link' }
const UNCHECKED_NOTE = 'Its checksums are of a kind that is not compared here (xxhash or BLAKE2).'

/** All of one file system that was opened once, for each of its subvolumes that is shown. */
class Btrfs {
  readonly superblock: BtrfsSuperblock
  readonly trees: BtrfsTrees
  readonly notes: string[] = []
  readonly #roots = new Map<number, Promise<Subvolume | undefined>>()
  readonly #logs = new Map<number, SubvolumeLog>()

  constructor(superblock: BtrfsSuperblock, trees: BtrfsTrees) {
    this.superblock = superblock
    this.trees = trees
  }

  static async open(devices: readonly Readonly<{ superblock: BtrfsSuperblock; view: DiskView }>[]): Promise<Btrfs> {
    const { superblock } = devices.reduce((best, one) =>
      one.superblock.generation > best.superblock.generation ? one : best,
    )
    const views = new Map(devices.toReversed().map(({ superblock: own, view }) => [own.deviceId, view]))
    const chunks = new ChunkMap(views)
    chunks.addSystem(superblock.systemChunks)
    const trees = new BtrfsTrees(chunks, superblock)
    const [from, to] = [0, OBJECT_TOP].map((offset) => ({ object: TREE.chunks, type: CHUNK_ITEM, offset }))
    for await (const { key, data } of trees.items(superblock.chunkTree, from as BtrfsKey, to as BtrfsKey)) {
      chunks.add(key.offset, data)
    }
    const all = new Btrfs(superblock, trees)
    if (superblock.sums === 'unchecked') all.notes.push(UNCHECKED_NOTE)
    const missing = superblock.deviceCount - views.size
    if (missing > 0) all.notes.push(`${missing} of its ${superblock.deviceCount} devices are not here.`)
    await all.#readLogs()
    return all
  }

  /** A log that cannot be followed is a note, and the file system is shown without it. */
  async #readLogs(): Promise<void> {
    if (this.superblock.logTree === 0) return
    try {
      const [from, to] = [0, OBJECT_TOP].map((offset) => ({ object: TREE.log, type: ITEM.root, offset }))
      const roots = this.trees.items(this.superblock.logTree, from as BtrfsKey, to as BtrfsKey)
      for await (const { key, data } of roots) {
        this.#logs.set(key.offset, await SubvolumeLog.read(this.trees, rootOf(data)))
      }
    } catch (error) {
      if (!isHoldfastError(error, 'files_damaged')) throw error
      this.#logs.clear()
      this.notes.push(`Its log cannot be read, so changes of its last seconds are not shown. ${error.message}`)
    }
  }

  /** Undefined: there is none of this number, or it was deleted. */
  subvolume(id: number): Promise<Subvolume | undefined> {
    const known = this.#roots.get(id)
    if (known !== undefined) return known
    const opened = this.#open(id)
    this.#roots.set(id, opened)
    opened.catch(() => this.#roots.delete(id)) // who asked gets the error
    return opened
  }

  async #open(id: number): Promise<Subvolume | undefined> {
    const root = await this.rootItem(id)
    if (root === undefined || root.readUInt32LE(216) === 0) return undefined
    const committed = new CommittedSubvolume(this.trees, rootOf(root))
    const log = this.#logs.get(id)
    return log === undefined ? committed : new LoggedSubvolume(committed, log, this.superblock.sectorBytes)
  }

  async rootItem(id: number): Promise<Buffer | undefined> {
    const { rootTree } = this.superblock
    const [from, to] = [0, OBJECT_TOP].map((offset) => ({ object: id, type: ITEM.root, offset }))
    const item = await this.trees.first(rootTree, from as BtrfsKey, to as BtrfsKey)
    if (item !== undefined && item.data.length < 239) throw damaged('the root of a subvolume is cut off', { id })
    return item?.data
  }

  async isChild(parent: number, child: number): Promise<boolean> {
    const key = { object: parent, type: ITEM.rootRef, offset: child }
    return (await this.trees.first(this.superblock.rootTree, key, key)) !== undefined
  }

  async data(): Promise<BtrfsData> {
    const root = await this.rootItem(TREE.sums)
    const logged = [...this.#logs.values()].flatMap((log): readonly BtrfsItem[] => log.sums)
    return new BtrfsData(this.trees, this.superblock, root === undefined ? undefined : rootOf(root), logged)
  }

  /** What a mount shows that names no subvolume. */
  async defaultId(): Promise<number> {
    const { rootTree, rootFolder } = this.superblock
    const [from, to] = [0, OBJECT_TOP].map((offset) => ({ object: rootFolder, type: ITEM.folderItem, offset }))
    for await (const { data } of this.trees.items(rootTree, from as BtrfsKey, to as BtrfsKey)) {
      for (const { name, location } of entriesIn(data))
        if (name.toString('latin1') === 'default') return location.object
    }
    return TREE.topLevel
  }

  /** Names of subvolumes, as far as a note should be long. */
  async subvolumeNames(): Promise<string[]> {
    const names: string[] = []
    const from = { object: TREE.topLevel, type: ITEM.rootRef, offset: 0 }
    const to = { object: OBJECT_TOP - 1024, type: 255, offset: OBJECT_TOP }
    for await (const { key, data } of this.trees.items(this.superblock.rootTree, from, to)) {
      if (key.type !== ITEM.rootRef || data.length < 18) continue
      names.push(nameOf(data.subarray(18, 18 + data.readUInt16LE(16))))
      if (names.length > SUBVOLUMES_NAMED) break
    }
    return names
  }
}

function rootOf(item: Buffer): number {
  if (item.length < 184) throw damaged('the root of a tree is cut off')
  return readU64(item, 176)
}

export class BtrfsReader implements NodeReader<Node> {
  readonly root: Node
  readonly #all: Btrfs
  readonly #data: BtrfsData

  constructor(all: Btrfs, data: BtrfsData, id: number) {
    this.#all = all
    this.#data = data
    this.root = { root: id, inode: FIRST_INODE }
  }

  keyOf({ root, inode }: Node): string {
    return `${root}:${inode}`
  }

  async attributes(node: Node): Promise<FileAttributes> {
    if (node.inode === EMPTY_INODE)
      return { kind: 'folder', sizeBytes: 0, mode: 0o755, userId: 0, groupId: 0, modifiedMs: 0 }
    const inode = await this.#inode(node)
    const mode = inode.readUInt32LE(52)
    const kind = KINDS[mode & 0xf000] ?? 'other'
    const attributes = {
      kind,
      sizeBytes: readU64(inode, 16),
      mode: mode & 0o7777,
      userId: inode.readUInt32LE(44),
      groupId: inode.readUInt32LE(48),
      modifiedMs: Number(inode.readBigInt64LE(136)) * 1000 + Math.floor(inode.readUInt32LE(144) / 1_000_000),
    }
    return kind === 'link' ? { ...attributes, linkTarget: await this.#linkTarget(node) } : attributes
  }

  async *children(folder: Node): AsyncGenerator<Readonly<{ name: string; node: Node }>> {
    if (folder.inode === EMPTY_INODE) return
    const subvolume = await this.#subvolume(folder)
    for await (const { name, location } of subvolume.entries(folder.inode)) {
      yield { name: nameOf(name), node: await this.#nodeAt(folder, location) }
    }
  }

  async *pieces(file: Node): AsyncGenerator<FilePiece> {
    const inode = await this.#inode(file)
    const hasSums = (readU64(inode, 64) & FLAG_NO_SUMS) === 0
    const subvolume = await this.#subvolume(file)
    for await (const extent of subvolume.extents(file.inode)) {
      yield* this.#data.pieces(extent, readU64(inode, 16), hasSums)
    }
  }

  async #nodeAt(folder: Node, location: BtrfsKey): Promise<Node> {
    if (location.type !== ITEM.root) return { root: folder.root, inode: location.object }
    const isThere = await this.#all.isChild(folder.root, location.object)
    return isThere ? { root: location.object, inode: FIRST_INODE } : { root: folder.root, inode: EMPTY_INODE }
  }

  async #subvolume({ root }: Node): Promise<Subvolume> {
    const subvolume = await this.#all.subvolume(root)
    if (subvolume === undefined) throw damaged('a subvolume is not there', { subvolume: root })
    return subvolume
  }

  async #inode(node: Node): Promise<Buffer> {
    const inode = await (await this.#subvolume(node)).inode(node.inode)
    if (inode === undefined || inode.length < INODE_BYTES) throw damaged('an inode is not there', node)
    return inode
  }

  async #linkTarget(node: Node): Promise<string> {
    const parts: Buffer[] = []
    for await (const { data } of this.pieces(node)) {
      parts.push(data)
      if (parts.length > 1 || data.length > LINK_BYTES_MAX) throw damaged('a link is too long', node)
    }
    return nameOf(Buffer.concat(parts))
  }
}

export type BtrfsDevice = Readonly<{ superblock: BtrfsSuperblock; view: DiskView }>
export type OpenedBtrfs = Readonly<{
  label: string
  notes: readonly string[]
  reader: BtrfsReader
  /** The top level, where it is not what a mount shows. */
  top?: BtrfsReader
}>

/** The device of a Btrfs file system that `view` is; undefined when it is none. */
export async function readBtrfsDevice(view: DiskView): Promise<BtrfsDevice | undefined> {
  const superblock = await readBtrfsSuperblock(view)
  return superblock === undefined ? undefined : { superblock, view }
}

/** Opens the file system that all `devices` belong to. @throws `files_damaged`, `files_unsupported` */
export async function openBtrfs(devices: readonly BtrfsDevice[]): Promise<OpenedBtrfs> {
  const all = await Btrfs.open(devices)
  const data = await all.data()
  const id = await all.defaultId()
  const reader = new BtrfsReader(all, data, id)
  await reader.attributes(reader.root) // what cannot be read at all is refused as a whole
  const names = await all.subvolumeNames()
  const more = names.length > SUBVOLUMES_NAMED ? ', ...' : ''
  const notes = [...all.notes]
  if (names.length > 0) notes.push(`Subvolumes: ${names.slice(0, SUBVOLUMES_NAMED).join(', ')}${more}.`)
  const facts = { label: all.superblock.label, notes, reader }
  return id === TREE.topLevel ? facts : { ...facts, top: new BtrfsReader(all, data, TREE.topLevel) }
}
