/**
 * Walks the trees of Btrfs: nodes by key, each with its checksum, address and level compared. Damage ends a walk.
 *
 * Bounded: a node's level falls at each step down, keys never descend from item to item, and no walk comes to a node twice, so
 * that it reads no more nodes than lie on the disks.
 */
import type { ChunkMap } from './btrfs-chunks.ts'
import { type BtrfsSuperblock, hasRightSum } from './btrfs-layout.ts'
import { damaged, readU64 } from './disk-view.ts'

export type BtrfsKey = Readonly<{ object: number; type: number; offset: number }>
export type BtrfsItem = Readonly<{ key: BtrfsKey; data: Buffer }>

const HEADER_BYTES = 101
const ITEM_BYTES = 25
const POINTER_BYTES = 33
const LEVEL_MAX = 7
/** Numbers that large are used for a few fixed objects only; -6 becomes OBJECT_TOP - 6. */
export const OBJECT_TOP = 2 ** 53 - 1

/** Keys may hold any 64 bits; those that do not fit are kept apart from others at the upper end. */
function number64(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32LE(at + 4)
  if (high < 0x20_0000) return bytes.readUInt32LE(at) + high * 0x1_0000_0000
  const below = 0xffff_ffff - bytes.readUInt32LE(at) + (0xffff_ffff - high) * 0x1_0000_0000
  return below < 1024 ? OBJECT_TOP - below - 1 : OBJECT_TOP - 1024
}

/** The number that stands for a negative object id. */
export function negativeObject(id: number): number {
  return OBJECT_TOP + id
}

export function keyAt(bytes: Buffer, at: number): BtrfsKey {
  return { object: number64(bytes, at), type: bytes.readUInt8(at + 8), offset: number64(bytes, at + 9) }
}

export function compareKeys(a: BtrfsKey, b: BtrfsKey): number {
  return a.object - b.object || a.type - b.type || a.offset - b.offset
}

export class BtrfsTrees {
  readonly chunks: ChunkMap
  readonly #superblock: BtrfsSuperblock

  constructor(chunks: ChunkMap, superblock: BtrfsSuperblock) {
    this.chunks = chunks
    this.#superblock = superblock
  }

  /** Items with `from <= key <= to`, ascending. @param root the tree's first node */
  async *items(root: number, from: BtrfsKey, to: BtrfsKey): AsyncGenerator<BtrfsItem> {
    const node = await this.#node(root, undefined)
    yield* this.#within(node, from, to, new Set())
  }

  async first(root: number, from: BtrfsKey, to: BtrfsKey): Promise<BtrfsItem | undefined> {
    for await (const item of this.items(root, from, to)) return item
    return undefined
  }

  /** The item with the greatest key that is not above `key` and has its object and type. */
  async lastUpTo(root: number, key: BtrfsKey): Promise<BtrfsItem | undefined> {
    let node = await this.#node(root, undefined)
    for (;;) {
      const level = node.readUInt8(100)
      const count = this.#countOf(node, level)
      const bytes = level === 0 ? ITEM_BYTES : POINTER_BYTES
      let [low, high] = [0, count]
      while (low < high) {
        const middle = Math.floor((low + high) / 2)
        if (compareKeys(keyAt(node, HEADER_BYTES + middle * bytes), key) <= 0) low = middle + 1
        else high = middle
      }
      if (low === 0) return undefined
      if (level === 0) {
        const item = itemAt(node, low - 1)
        return item.key.object === key.object && item.key.type === key.type ? item : undefined
      }
      node = await this.#node(readU64(node, HEADER_BYTES + (low - 1) * POINTER_BYTES + 17), level - 1)
    }
  }

  /** @param seen addresses of the walk's nodes below its first */
  async *#within(node: Buffer, from: BtrfsKey, to: BtrfsKey, seen: Set<number>): AsyncGenerator<BtrfsItem> {
    const level = node.readUInt8(100)
    const count = this.#countOf(node, level)
    const bytes = level === 0 ? ITEM_BYTES : POINTER_BYTES
    let previous: BtrfsKey | undefined
    for (let i = 0; i < count; i += 1) {
      const key = keyAt(node, HEADER_BYTES + i * bytes)
      if (previous !== undefined && compareKeys(previous, key) > 0) throw damaged('a tree does not ascend')
      previous = key
      if (compareKeys(key, to) > 0) return
      if (level === 0) {
        if (compareKeys(key, from) >= 0) yield itemAt(node, i)
        continue
      }
      const next = i + 1 < count ? keyAt(node, HEADER_BYTES + (i + 1) * bytes) : undefined
      if (next !== undefined && compareKeys(next, from) <= 0) continue
      const logical = readU64(node, HEADER_BYTES + i * POINTER_BYTES + 17)
      if (seen.has(logical)) throw damaged('a node of a tree stands in it twice', { logical })
      seen.add(logical)
      const child = await this.#node(logical, level - 1)
      const first = this.#countOf(child, level - 1) === 0 ? key : keyAt(child, HEADER_BYTES)
      if (compareKeys(first, key) < 0) throw damaged('a tree does not ascend')
      yield* this.#within(child, from, next === undefined ? to : lesser(to, next), seen)
    }
  }

  #countOf(node: Buffer, level: number): number {
    const count = node.readUInt32LE(96)
    const bytes = level === 0 ? ITEM_BYTES : POINTER_BYTES
    if (HEADER_BYTES + count * bytes > node.length) throw damaged('a node of a tree holds too much', { count })
    return count
  }

  async #node(logical: number, level: number | undefined): Promise<Buffer> {
    const { nodeBytes, sums } = this.#superblock
    const isRight = (bytes: Buffer): boolean =>
      hasRightSum(sums, bytes.subarray(32), bytes) && readU64(bytes, 48) === logical
    const node = await this.chunks.read(logical, nodeBytes, isRight, true)
    const own = node.readUInt8(100)
    if (own > LEVEL_MAX || (level !== undefined && own !== level))
      throw damaged('a node of a tree is of the wrong level', { logical })
    return node
  }
}

/** Up to the next branch's first key, which is not part of this one. */
function lesser(a: BtrfsKey, b: BtrfsKey): BtrfsKey {
  return compareKeys(a, b) <= 0 ? a : b
}

function itemAt(node: Buffer, index: number): BtrfsItem {
  const at = HEADER_BYTES + index * ITEM_BYTES
  const [offset, size] = [node.readUInt32LE(at + 17), node.readUInt32LE(at + 21)]
  if (HEADER_BYTES + offset + size > node.length) throw damaged('an item of a tree lies outside of it')
  const start = HEADER_BYTES + offset
  return { key: keyAt(node, at), data: node.subarray(start, start + size) }
}
