/**
 * What a subvolume of Btrfs says of its files: inodes, extents, entries of folders; from its tree as it was committed, and from
 * what its log tree adds to that (Linux, fs/btrfs/tree-log.c). The log is not written back but looked at beside the tree: a
 * logged inode, extent or name stands for the one in the tree, and names in ranges that a folder was logged over, but that
 * the log does not have, are gone.
 */
import { type BtrfsItem, type BtrfsKey, type BtrfsTrees, keyAt, OBJECT_TOP } from './btrfs-tree.ts'
import { damaged, readU64 } from './disk-view.ts'

export const ITEM = {
  inode: 1,
  inodeRef: 12,
  inodeExtref: 13,
  logRange: 72,
  folderItem: 84,
  folderIndex: 96,
  extent: 108,
  sum: 128,
  root: 132,
  rootRef: 156,
} as const
export const INODE_BYTES = 160

export type BtrfsEntry = Readonly<{ name: Buffer; location: BtrfsKey }>
/** `from` and `to`: the part of it that counts, where it is not all. */
export type FileExtent = Readonly<{ start: number; data: Buffer; from?: number; to?: number }>

export interface Subvolume {
  inode(number: number): Promise<Buffer | undefined>
  extents(inode: number): AsyncIterable<FileExtent>
  entries(folder: number): AsyncIterable<BtrfsEntry & Readonly<{ index: number }>>
}

/** The entries in one item; several names may share one. */
export function* entriesIn(data: Buffer): Generator<BtrfsEntry> {
  for (let at = 0; at + 30 <= data.length;) {
    const [extra, nameBytes] = [data.readUInt16LE(at + 25), data.readUInt16LE(at + 27)]
    const end = at + 30 + nameBytes + extra
    if (nameBytes === 0 || end > data.length) throw damaged('an entry of a folder is broken')
    yield { name: data.subarray(at + 30, at + 30 + nameBytes), location: keyAt(data, at) }
    at = end
  }
}

export class CommittedSubvolume implements Subvolume {
  readonly #trees: BtrfsTrees
  readonly #root: number

  constructor(trees: BtrfsTrees, root: number) {
    this.#trees = trees
    this.#root = root
  }

  async inode(number: number): Promise<Buffer | undefined> {
    const key = { object: number, type: ITEM.inode, offset: 0 }
    return (await this.#trees.first(this.#root, key, key))?.data
  }

  async *extents(inode: number): AsyncGenerator<FileExtent> {
    for await (const { key, data } of this.#all(inode, ITEM.extent)) yield { start: key.offset, data }
  }

  async *entries(folder: number): AsyncGenerator<BtrfsEntry & Readonly<{ index: number }>> {
    for await (const { key, data } of this.#all(folder, ITEM.folderIndex)) {
      for (const entry of entriesIn(data)) yield { ...entry, index: key.offset }
    }
  }

  #all(object: number, type: number): AsyncGenerator<BtrfsItem> {
    return this.#trees.items(this.#root, { object, type, offset: 0 }, { object, type, offset: OBJECT_TOP })
  }
}

type Range = Readonly<{ from: number; to: number }>
type Name = Readonly<{ folder: number; name: Buffer }>

/** Bytes of the file that an extent stands for. */
export function extentSpan({ start, data }: FileExtent, sectorBytes: number): Range {
  if (data.length < 21) throw damaged('an extent is cut off')
  if (data.readUInt8(20) === 0) {
    const end = start + readU64(data, 8)
    return { from: start, to: Math.ceil(end / sectorBytes) * sectorBytes }
  }
  if (data.length < 53) throw damaged('an extent is cut off')
  return { from: start, to: start + readU64(data, 45) }
}

/** A log tree is synced often and holds what was synced since the last commit: far fewer items than this. */
const ITEMS_MAX = 2_000_000

export class SubvolumeLog {
  readonly inodes = new Map<number, Buffer>()
  readonly extents = new Map<number, FileExtent[]>()
  readonly entries = new Map<number, (BtrfsEntry & Readonly<{ index: number }>)[]>()
  readonly ranges = new Map<number, Range[]>()
  /** Names of inodes, by inode. */
  readonly names = new Map<number, Name[]>()
  /** Checksums of data that was written since the last commit. */
  readonly sums: BtrfsItem[] = []

  static async read(trees: BtrfsTrees, root: number): Promise<SubvolumeLog> {
    const log = new SubvolumeLog()
    const [from, to] = [0, OBJECT_TOP]
    let count = 0
    const all = trees.items(root, { object: from, type: 0, offset: 0 }, { object: to, type: 255, offset: OBJECT_TOP })
    for await (const item of all) {
      count += 1
      if (count > ITEMS_MAX) throw damaged('the log of a subvolume does not end')
      log.#add({ key: item.key, data: Buffer.from(item.data) })
    }
    return log
  }

  #add({ key, data }: BtrfsItem): void {
    const { object, type, offset } = key
    if (type === ITEM.inode && data.length >= INODE_BYTES) this.inodes.set(object, data)
    else if (type === ITEM.extent) push(this.extents, object, { start: offset, data })
    else if (type === ITEM.logRange) push(this.ranges, object, { from: offset, to: rangeEnd(data) })
    else if (type === ITEM.sum) this.sums.push({ key, data })
    else if (type === ITEM.folderIndex) {
      for (const entry of entriesIn(data)) push(this.entries, object, { ...entry, index: offset })
    } else if (type === ITEM.inodeRef) {
      for (const name of namesIn(data, 8)) push(this.names, object, { folder: offset, name })
    } else if (type === ITEM.inodeExtref) {
      if (data.length >= 8)
        for (const name of namesIn(data, 16)) push(this.names, object, { folder: readU64(data, 0), name })
    }
  }
}

function push<V>(map: Map<number, V[]>, key: number, value: V): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

function rangeEnd(data: Buffer): number {
  if (data.length < 8) throw damaged('the log of a folder is cut off')
  return data.readUInt32LE(4) >= 0x20_0000 ? OBJECT_TOP : readU64(data, 0)
}

/** Names behind `before` bytes and a length, one after another. */
function* namesIn(data: Buffer, before: number): Generator<Buffer> {
  for (let at = 0; at + before + 2 <= data.length;) {
    const start = at + before + 2
    const end = start + data.readUInt16LE(at + before)
    if (end === start || end > data.length) throw damaged('a name of an inode is broken')
    yield data.subarray(start, end)
    at = end
  }
}

export class LoggedSubvolume implements Subvolume {
  readonly #committed: Subvolume
  readonly #log: SubvolumeLog
  readonly #sectorBytes: number
  /** Names that the log gives to inodes, by folder. */
  readonly #given = new Map<number, Readonly<{ name: Buffer; inode: number }>[]>()

  constructor(committed: Subvolume, log: SubvolumeLog, sectorBytes: number) {
    this.#committed = committed
    this.#log = log
    this.#sectorBytes = sectorBytes
    for (const [inode, names] of log.names) {
      if (isUnlinked(log.inodes.get(inode))) continue
      for (const { folder, name } of names) push(this.#given, folder, { name, inode })
    }
  }

  /** A logged inode without a generation only says that it is there: what the tree has of it counts, but for its size. */
  async inode(number: number): Promise<Buffer | undefined> {
    const [logged, committed] = [this.#log.inodes.get(number), await this.#committed.inode(number)]
    if (logged === undefined || isUnlinked(logged)) return committed
    if (committed === undefined || readU64(logged, 0) !== 0) return logged
    const size = readU64(logged, 16)
    if (size === 0 || (logged.readUInt32LE(52) & 0xf000) !== 0x8000) return committed
    const merged = Buffer.from(committed)
    logged.copy(merged, 16, 16, 24)
    return merged
  }

  /** Committed extents are cut to what no logged one stands for. */
  async *extents(inode: number): AsyncGenerator<FileExtent> {
    const logged = this.#log.extents.get(inode) ?? []
    let [next, covered] = [0, 0]
    for await (const extent of this.#committed.extents(inode)) {
      const span = extentSpan(extent, this.#sectorBytes)
      for (let from = Math.max(span.from, covered); from < span.to;) {
        const other = logged[next]
        const over = other === undefined ? undefined : extentSpan(other, this.#sectorBytes)
        if (other !== undefined && over !== undefined && over.from <= from) {
          yield other
          next += 1
          covered = over.to
          from = Math.max(from, covered)
          continue
        }
        const to = Math.min(span.to, over?.from ?? span.to)
        yield { ...extent, from, to }
        from = to
      }
    }
    yield* logged.slice(next)
  }

  async *entries(folder: number): AsyncGenerator<BtrfsEntry & Readonly<{ index: number }>> {
    const found = new Map<string, BtrfsEntry & Readonly<{ index: number }>>()
    const ranges = this.#log.ranges.get(folder) ?? []
    const logged = this.#log.entries.get(folder) ?? []
    for await (const entry of this.#committed.entries(folder)) {
      const isLoggedOver = ranges.some(({ from, to }) => entry.index >= from && entry.index <= to)
      if (isLoggedOver || this.#isRenamed(folder, entry)) continue
      found.set(entry.name.toString('latin1'), entry)
    }
    for (const entry of logged) {
      if (entry.location.type === ITEM.inode && (await this.inode(entry.location.object)) === undefined) continue
      found.set(entry.name.toString('latin1'), entry)
    }
    for (const { name, inode } of this.#given.get(folder) ?? []) {
      if ((await this.inode(inode)) === undefined) continue
      const location = { object: inode, type: ITEM.inode, offset: 0 }
      found.set(name.toString('latin1'), { name, location, index: 0 })
    }
    yield* found.values()
  }

  /** The log has names of this inode in this folder, and this one is not among them. */
  #isRenamed(folder: number, { name, location }: BtrfsEntry): boolean {
    if (location.type !== ITEM.inode) return false
    const names = (this.#log.names.get(location.object) ?? []).filter((other) => other.folder === folder)
    return names.length > 0 && !names.some((other) => other.name.equals(name))
  }
}

function isUnlinked(inode: Buffer | undefined): boolean {
  return inode !== undefined && inode.readUInt32LE(40) === 0
}
