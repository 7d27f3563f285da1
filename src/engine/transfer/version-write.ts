/**
 * Writing one disk's new version through a pool of backup runners: its tree, and over that a delta node where the plan says
 * so (delta-plan.ts).
 *
 *   order                                   why
 *   1 chunks and leaves of the tree         a chunk that is folded is completed from the chain below, never from the disk
 *   2 inner nodes of the tree
 *   3 payload chunks                        what changed elsewhere, and what of older payload moves
 *   4 the delta node                        names all of these
 *
 * Nothing of it counts before the point is committed; a crash leaves packs that nobody names. Bytes outside the ranges that
 * changed are never asked of the source.
 */
import { toHex } from '#base'
import type { ByteRange } from '#engine/block'
import {
  type ChangedLeaf,
  type ContentHash,
  contentHash,
  type DeltaExtent,
  encodeDeltaNode,
  type ExtentList,
  FAN_OUT,
  findLeaf,
  joined,
  overlay,
  readNode,
  type ResolvedVersion,
  rootLevel,
  type RootRef,
  splitAt,
  type TreeRoot,
  updateTree,
} from '#engine/repository'
import { asExtents, type DeltaPlan, isSpent } from './delta-plan.ts'
import type { NodeCache } from './node-cache.ts'
import type { PayloadResult } from './payload-work.ts'
import { planSegments, type Segment } from './segment-plan.ts'
import type { SegmentResult, Stored } from './segment-work.ts'
import type { BackupTask } from './threads/backup-runner.ts'
import type { ThreadPool } from './threads/thread-pool.ts'

export type VersionPlan = Readonly<{
  /** Number of the disk in the pool. */
  disk: number
  sizeBytes: number
  chunkSizeBytes: number
  /** Ascending; what may be read of the source. */
  ranges: readonly ByteRange[]
  /** whole: what the ranges do not name is zeros. changes: it is as in the parent. */
  mode: 'whole' | 'changes'
  parent: ResolvedVersion
  parentRoot: RootRef
  parentUsedBytes: number
  delta: DeltaPlan
}>

export type WrittenVersion = Readonly<{
  root: RootRef
  usedBytes: number
  readBytes: number
  newBytes: number
  storedBytes: number
}>

export type VersionWriterParts = Readonly<{
  pool: ThreadPool<'backup'>
  nodes: NodeCache
  /** Told what was read, whenever something was. */
  onRead: (readBytes: number) => Promise<void>
}>

export async function writeVersion(parts: VersionWriterParts, plan: VersionPlan): Promise<WrittenVersion> {
  const write = new VersionWrite(parts, plan)
  const tree = await write.tree()
  if (plan.delta.node === 'none') return { ...write.sums, root: tree.root, usedBytes: tree.usedBytes }
  return write.delta(tree)
}

type Tree = Readonly<{ root: TreeRoot | null; usedBytes: number }>

class VersionWrite {
  readonly sums = { readBytes: 0, newBytes: 0, storedBytes: 0 }
  readonly #parts: VersionWriterParts
  readonly #plan: VersionPlan

  constructor(parts: VersionWriterParts, plan: VersionPlan) {
    this.#parts = parts
    this.#plan = plan
  }

  async tree(): Promise<Tree> {
    const { parent, chunkSizeBytes, sizeBytes } = this.#plan
    const { pool, nodes } = this.#parts
    const changed = new Map<number, ChangedLeaf>()
    await pool.runAll(this.#segmentTasks(), async (result) => {
      const leaf = result as SegmentResult
      changed.set(leaf.leafIndex, leaf)
      await this.#count(leaf)
    })
    const level = rootLevel(Math.ceil(sizeBytes / chunkSizeBytes))
    const put = (content: ContentHash, bytes: Uint8Array): Promise<void> => this.#putNode(content, bytes)
    return updateTree({ parent: parent.tree, level, changed, read: nodes.read, put })
  }

  async delta(tree: Tree): Promise<WrittenVersion> {
    const { parent, parentRoot, delta } = this.#plan
    const chain = delta.node === 'append' ? NO_CHAIN : this.#chainLeft()
    const own = await this.#writePayload(chain.moving)
    if (delta.node === 'append' && own.length === 0)
      return { ...this.sums, root: parentRoot, usedBytes: this.#plan.parentUsedBytes }
    const extents = joined(overlay(chain.staying, own))
    const usedBytes = await this.#usedBytes(tree, extents)
    const below = delta.node === 'append' ? parent.nodes : []
    const payloads = [...new Map(extents.flatMap(({ payload }) => payloadEntry(payload))).values()]
    const bytes = encodeDeltaNode({ base: tree.root, below, payloads, extents })
    const content = contentHash(bytes)
    await this.#putNode(content, bytes)
    return { ...this.sums, root: { hash: toHex(content), delta: below.length + 1 }, usedBytes }
  }

  async #putNode(content: ContentHash, bytes: Uint8Array): Promise<void> {
    this.#parts.nodes.remember(content, bytes)
    const stored = await this.#parts.pool.runOne({ kind: 'chunk', content, bytes, as: 'node' })
    await this.#count(stored as Stored)
  }

  async #count(result: Stored & Readonly<{ readBytes?: number }>): Promise<void> {
    const { readBytes = 0, newBytes, storedBytes } = result
    this.sums.readBytes += readBytes
    this.sums.newBytes += newBytes
    this.sums.storedBytes += storedBytes
    await this.#parts.onRead(readBytes)
  }

  async *#segmentTasks(): AsyncGenerator<BackupTask> {
    const { disk, mode, parent } = this.#plan
    const over = Map.groupBy(this.#inFold(parent.extents), ({ offset }) => Math.floor(offset / this.#leafBytes))
    for (const segment of this.#segments([...over.keys()])) {
      const parentLeaf = await findLeaf(this.#parts.nodes.read, parent.tree, segment.leafIndex)
      const laid = over.get(segment.leafIndex)
      yield {
        kind: 'segment',
        disk,
        segment,
        mode,
        ...(parentLeaf === undefined ? {} : { parentLeaf }),
        ...(laid === undefined ? {} : { over: laid }),
      }
    }
  }

  /** What the tree takes of the ranges, and the leaves that change by the chain alone. */
  #segments(leavesOfChain: readonly number[]): Segment[] {
    const { mode, ranges, chunkSizeBytes, delta } = this.#plan
    const isAll = mode === 'whole' || delta.node === 'none'
    const segments = planSegments(isAll ? ranges : this.#inFold(asExtents(ranges)), chunkSizeBytes)
    const known = new Set(segments.map(({ leafIndex }) => leafIndex))
    const more = leavesOfChain.filter((leafIndex) => !known.has(leafIndex))
    return [...segments, ...more.map((leafIndex) => ({ leafIndex, ranges: [] }))].sort(
      (a, b) => a.leafIndex - b.leafIndex,
    )
  }

  get #leafBytes(): number {
    return FAN_OUT * this.#plan.chunkSizeBytes
  }

  #chunkOf(offset: number): number {
    return Math.floor(offset / this.#plan.chunkSizeBytes)
  }

  /** The parts in chunks that go into the tree, each in one chunk. */
  #inFold(list: ExtentList): DeltaExtent[] {
    const { fold } = this.#plan.delta
    if (fold.size === 0 || list.length === 0) return []
    return [...splitAt(list, this.#plan.chunkSizeBytes)].filter(({ offset }) => fold.has(this.#chunkOf(offset)))
  }

  #besideFold(list: ExtentList): DeltaExtent[] {
    const { fold } = this.#plan.delta
    if (fold.size === 0) return [...list]
    return joined(
      [...splitAt(list, this.#plan.chunkSizeBytes)].filter(({ offset }) => !fold.has(this.#chunkOf(offset))),
    )
  }

  /** What is still seen of the chain beside the tree and the changes: where it is, or to be moved out of spent payload. */
  #chainLeft(): Readonly<{ staying: ExtentList; moving: ExtentList }> {
    const changes = asExtents(this.#plan.ranges)
    const isChange = new Set<DeltaExtent>(changes)
    const seen = this.#besideFold(overlay(this.#plan.parent.extents, changes).filter((extent) => !isChange.has(extent)))
    const seenBytes = new Map<string, number>()
    for (const { payload, length } of seen) {
      if (payload === undefined) continue
      const key = toHex(payload.content)
      seenBytes.set(key, (seenBytes.get(key) ?? 0) + length)
    }
    const moves = ({ payload }: DeltaExtent): boolean =>
      payload !== undefined && isSpent(seenBytes.get(toHex(payload.content)) ?? 0, this.#plan.chunkSizeBytes)
    return { staying: seen.filter((extent) => !moves(extent)), moving: seen.filter(moves) }
  }

  /** Stores what changed beside the tree, and what moves, in payload chunks; gives the extents that point into them. */
  async #writePayload(moving: ExtentList): Promise<DeltaExtent[]> {
    const changes = this.#besideFold(asExtents(this.#plan.ranges))
    const pieces = overlay(moving, changes)
    const own: DeltaExtent[] = []
    await this.#parts.pool.runAll(this.#payloadTasks(pieces), async (result) => {
      const payload = result as PayloadResult
      own.push(...payload.extents)
      await this.#count(payload)
    })
    return own.sort((a, b) => a.offset - b.offset)
  }

  /** A payload chunk is at most as large as a chunk of the disk. */
  *#payloadTasks(pieces: ExtentList): Generator<BackupTask> {
    const { disk, chunkSizeBytes } = this.#plan
    let group: DeltaExtent[] = []
    let room = chunkSizeBytes
    for (const piece of pieces) {
      for (let done = 0; done < piece.length;) {
        const length = Math.min(piece.length - done, room)
        group.push({ ...piece, offset: piece.offset + done, length, at: piece.at + done })
        done += length
        room -= length
        if (room > 0) continue
        yield { kind: 'payload', disk, pieces: group }
        group = []
        room = chunkSizeBytes
      }
    }
    if (group.length > 0) yield { kind: 'payload', disk, pieces: group }
  }

  /**
   * The tree's, and chunks that it does not have where delta nodes hold data. After appending it is what the parent had and
   * what is new, so chunks that a chain fills and zeroes again are counted until it is merged. Chunks that were folded are in
   * no extent, so the parent's tree answers for both.
   */
  async #usedBytes(tree: Tree, extents: ExtentList): Promise<number> {
    const { parent, parentUsedBytes, delta, sizeBytes } = this.#plan
    if (tree.usedBytes === sizeBytes) return sizeBytes
    const chunks = this.#chunksWithData(extents)
    if (delta.node === 'merge') return tree.usedBytes + (await this.#absentBytes([...chunks]))
    const held = this.#chunksWithData(parent.extents)
    const fresh = [...chunks].filter((chunk) => !held.has(chunk))
    return Math.min(sizeBytes, parentUsedBytes + (await this.#absentBytes(fresh)))
  }

  #chunksWithData(list: ExtentList): Set<number> {
    const chunks = new Set<number>()
    for (const { offset, length, payload } of list) {
      if (payload === undefined) continue
      for (let chunk = this.#chunkOf(offset); chunk <= this.#chunkOf(offset + length - 1); chunk += 1) chunks.add(chunk)
    }
    return chunks
  }

  /** Bytes of those of the chunks that the parent's tree does not have. */
  async #absentBytes(chunks: readonly number[]): Promise<number> {
    const { parent, sizeBytes, chunkSizeBytes } = this.#plan
    const { read } = this.#parts.nodes
    let bytes = 0
    for (const [leafIndex, inLeaf] of Map.groupBy(chunks, (chunk) => Math.floor(chunk / FAN_OUT))) {
      const content = await findLeaf(read, parent.tree, leafIndex)
      const slots = content === undefined ? [] : (await readNode(read, { content, level: 0 })).slots
      for (const chunk of inLeaf) {
        if (slots[chunk % FAN_OUT] === undefined) bytes += Math.min(chunkSizeBytes, sizeBytes - chunk * chunkSizeBytes)
      }
    }
    return bytes
  }
}

const NO_CHAIN: Readonly<{ staying: ExtentList; moving: ExtentList }> = { staying: [], moving: [] }

function payloadEntry(payload: DeltaExtent['payload']): (readonly [string, NonNullable<DeltaExtent['payload']>])[] {
  return payload === undefined ? [] : [[toHex(payload.content), payload]]
}
