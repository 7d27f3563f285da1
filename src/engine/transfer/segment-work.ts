/**
 * Reads one segment of a disk and puts what is new: the hot path of every backup, the same in a thread and inline.
 *
 *   read (1 MiB at a time) -> zero? nothing : SHA-256 -> as in the parent? keep : known? keep : compress, seal, pack
 *
 * With `parentLeaf` the segment is an incremental: chunks that no range touches stay as the parent has them, and a chunk
 * that is touched only in part is completed from the parent, so that nothing outside the ranges is ever asked of the source.
 */
import { assert, MIB } from '#base'
import type { BlockSource, ByteRange } from '#engine/block'
import {
  type ChunkReader,
  type ChunkWriter,
  type ContentHash,
  contentHash,
  decodeNode,
  emptyNode,
  encodeNode,
  type ExtentList,
  FAN_OUT,
  isZero,
  type ManifestNode,
} from '#engine/repository'
import type { DeltaLayer } from './delta-layer.ts'
import { leafBytes, type Segment } from './segment-plan.ts'

export type SegmentTask = Readonly<{
  disk: number
  segment: Segment
  mode: 'whole' | 'changes'
  parentLeaf?: ContentHash
  /** What delta nodes lay over the parent's tree, in chunks that are folded into it: under what the ranges give. */
  over?: ExtentList
}>
/** What was new to the repository: plain bytes, and what they took in packs. */
export type Stored = Readonly<{ newBytes: number; storedBytes: number }>

export type SegmentResult = Stored &
  Readonly<{
    disk: number
    leafIndex: number
    content: ContentHash | undefined
    usedBytes: number
    usedBytesBefore: number
    readBytes: number
  }>

export type DiskAccess = Readonly<{ source: BlockSource; sizeBytes: number; chunkSizeBytes: number }>

const READ_BYTES = 1 * MIB

type ChunkSpan = Readonly<{
  slot: number
  offset: number
  length: number
  ranges: readonly ByteRange[]
  over: ExtentList
  isWhole: boolean
}>

/** The chunks that the ranges touch, each with its part of the ranges. */
function touchedChunks(task: SegmentTask, disk: DiskAccess): ChunkSpan[] {
  const { chunkSizeBytes, sizeBytes } = disk
  const spans = new Map<number, ByteRange[]>()
  for (const { offset, length } of task.segment.ranges) {
    for (let at = offset; at < offset + length;) {
      const chunk = Math.floor(at / chunkSizeBytes)
      const cut = Math.min(offset + length, (chunk + 1) * chunkSizeBytes)
      const list = spans.get(chunk) ?? []
      list.push({ offset: at, length: cut - at })
      spans.set(chunk, list)
      at = cut
    }
  }
  const over = Map.groupBy(task.over ?? [], ({ offset }) => Math.floor(offset / chunkSizeBytes))
  const chunks =
    over.size === 0 ? [...spans.keys()] : [...new Set([...spans.keys(), ...over.keys()])].sort((a, b) => a - b)
  return chunks.map((chunk) => {
    const ranges = spans.get(chunk) ?? []
    const offset = chunk * chunkSizeBytes
    const length = Math.min(chunkSizeBytes, sizeBytes - offset)
    const covered = ranges.reduce((sum, range) => sum + range.length, 0)
    const isWhole = task.mode === 'whole' || covered === length
    return { slot: chunk % FAN_OUT, offset, length, ranges, over: over.get(chunk) ?? [], isWhole }
  })
}

export class SegmentWorker {
  readonly #reader: ChunkReader
  readonly #writer: ChunkWriter
  readonly #layer: DeltaLayer
  #buffer = new Uint8Array(READ_BYTES)

  constructor(reader: ChunkReader, writer: ChunkWriter, layer: DeltaLayer) {
    this.#reader = reader
    this.#writer = writer
    this.#layer = layer
  }

  async run(task: SegmentTask, disk: DiskAccess): Promise<SegmentResult> {
    const node = await this.#parentNode(task)
    const usedBytesBefore = node.usedBytes
    const chunks = touchedChunks(task, disk)
    const stored = this.#writer.storedSince()
    let readBytes = 0
    for (let first = 0; first < chunks.length;) {
      const group = neighbours(chunks, first, Math.max(READ_BYTES, disk.chunkSizeBytes))
      readBytes += await this.#takeGroup(group, node, disk)
      first += group.length
    }
    node.usedBytes = usedBytesOf(node, task.segment.leafIndex, disk)
    const content = await this.#putLeaf(node)
    return {
      ...stored(),
      disk: task.disk,
      leafIndex: task.segment.leafIndex,
      content,
      usedBytes: node.usedBytes,
      usedBytesBefore,
      readBytes,
    }
  }

  async #parentNode(task: SegmentTask): Promise<ManifestNode> {
    if (task.parentLeaf === undefined) return emptyNode(0)
    const node = decodeNode(await this.#reader.read(task.parentLeaf), 0)
    assert(node !== undefined, 'findLeaf gave a leaf')
    return node
  }

  /** Reads neighbouring whole chunks in one request, or one partial chunk in pieces; gives the bytes read. */
  async #takeGroup(group: readonly ChunkSpan[], node: ManifestNode, disk: DiskAccess): Promise<number> {
    const [first] = group
    assert(first !== undefined, 'A group has at least one chunk')
    if (!first.isWhole) return this.#takePartial(first, node, disk)
    const length = group.reduce((sum, chunk) => sum + chunk.length, 0)
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(length)
    const bytes = this.#buffer.subarray(0, length)
    await disk.source.read(first.offset, bytes)
    for (const chunk of group) {
      const at = chunk.offset - first.offset
      await this.#takeChunk(chunk.slot, bytes.subarray(at, at + chunk.length), node)
    }
    return length
  }

  async #takePartial(chunk: ChunkSpan, node: ManifestNode, disk: DiskAccess): Promise<number> {
    const bytes = new Uint8Array(chunk.length)
    const parent = node.slots[chunk.slot]
    // A grown disk's old last chunk is shorter than it is now; what the parent lacks reads as zeros unless a range covers it.
    if (parent !== undefined) bytes.set((await this.#reader.read(parent)).subarray(0, chunk.length))
    await this.#layer.lay(chunk.over, chunk.offset, bytes)
    let readBytes = 0
    for (const range of chunk.ranges) {
      const at = range.offset - chunk.offset
      await disk.source.read(range.offset, bytes.subarray(at, at + range.length))
      readBytes += range.length
    }
    await this.#takeChunk(chunk.slot, bytes, node)
    return readBytes
  }

  async #takeChunk(slot: number, plain: Uint8Array, node: ManifestNode): Promise<void> {
    if (isZero(plain)) {
      node.slots[slot] = undefined
      return
    }
    const content = contentHash(plain)
    const before = node.slots[slot]
    if (before !== undefined && Buffer.compare(before, content) === 0) return
    await this.#writer.put(content, plain, 'data')
    node.slots[slot] = content
  }

  async #putLeaf(node: ManifestNode): Promise<ContentHash | undefined> {
    if (node.slots.every((slot) => slot === undefined)) return undefined
    const bytes = encodeNode(node)
    const content = contentHash(bytes)
    await this.#writer.put(content, bytes, 'node')
    return content
  }
}

/** Whole chunks that follow each other without a gap, up to `bytesMax`; or the one partial chunk. */
function neighbours(chunks: readonly ChunkSpan[], first: number, bytesMax: number): ChunkSpan[] {
  const group: ChunkSpan[] = []
  let bytes = 0
  for (const chunk of chunks.slice(first, first + FAN_OUT)) {
    const last = group.at(-1)
    const fits =
      last === undefined ||
      (last.isWhole && chunk.isWhole && last.offset + last.length === chunk.offset && bytes + chunk.length <= bytesMax)
    if (!fits) break
    group.push(chunk)
    bytes += chunk.length
  }
  return group
}

function usedBytesOf(node: ManifestNode, leafIndex: number, disk: DiskAccess): number {
  const start = leafIndex * leafBytes(disk.chunkSizeBytes)
  return node.slots.reduce((sum, slot, i) => {
    if (slot === undefined) return sum
    return sum + Math.min(disk.chunkSizeBytes, disk.sizeBytes - (start + i * disk.chunkSizeBytes))
  }, 0)
}
