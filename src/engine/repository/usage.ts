/**
 * What each point uses of a repository: by itself, alone, and what giving it up would free.
 *
 *   usedBytes    plain bytes of its chunks; a hole costs nothing, a chunk that stands in two places counts twice
 *   ownBytes     plain bytes of the chunks that no other point names, each once
 *   freedBytes   what these, and the tree nodes that no other point names, take in the store: sealed, without the packs'
 *                frames. Prune gives it back: at once where a whole pack is waste, else once the pack is mostly waste
 *
 * Every tree node is read at most twice: when the first point names it, and when the second one does; below a node that is
 * shared everything is, so it is not entered again. What a chain of delta nodes lies over is named by it, whether it is read
 * there or not: a version that others lie over frees little until they are gone. Memory: 24 bytes a chunk of the index and a third on top, as prune.
 * Precision: chunks are told apart by 128 bits of their hash; of several copies one counts; what is committed meanwhile is
 * not looked at.
 */
import { must, toHex } from '#base'
import type { ChunkReader } from './chunk-reader.ts'
import type { ContentHash } from './crypto.ts'
import { RepositoryError } from './errors.ts'
import type { IndexReader } from './index/chunk-index.ts'
import { FAN_OUT } from './manifest/node.ts'
import { nodeRef, readNode } from './manifest/tree.ts'
import { deltaContent, isDelta, readDeltaNode } from './manifest/version.ts'
import type { DeltaRoot, DiskRecord, PointId } from './point.ts'
import type { Repository } from './repository.ts'

export type PointUsage = Readonly<{ usedBytes: number; ownBytes: number; freedBytes: number }>

const WORDS_PER_SLOT = 5
const LOAD_MAX = 0.75
const NOBODY = 0
const SHARED = 0xffff_ffff

/** Whose each chunk is: nobody's yet, one point's, or shared. Open addressing over the first 16 bytes of the hash. */
class Owners {
  readonly #words: Uint32Array
  readonly #slots: number

  constructor(chunksMax: number) {
    this.#slots = Math.max(64, Math.ceil(chunksMax / LOAD_MAX))
    this.#words = new Uint32Array(this.#slots * WORDS_PER_SLOT)
  }

  /** The place of a chunk's owner in `words`. */
  at(content: ContentHash): number {
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength)
    const key = [view.getUint32(0), view.getUint32(4), view.getUint32(8), view.getUint32(12)]
    let slot = Math.floor((view.getUint32(16) / 0x1_0000_0000) * this.#slots)
    for (let probe = 0; probe < this.#slots; probe += 1) {
      const at = slot * WORDS_PER_SLOT
      if (this.#words[at + 4] === NOBODY) {
        for (const [i, word] of key.entries()) this.#words[at + i] = word
        return at + 4
      }
      if (key.every((word, i) => this.#words[at + i] === word)) return at + 4
      slot = slot + 1 === this.#slots ? 0 : slot + 1
    }
    throw new RangeError('There are more chunks than the index has')
  }

  get(at: number): number {
    return this.#words[at] ?? NOBODY
  }

  set(at: number, owner: number): void {
    this.#words[at] = owner
  }
}

type Sum = { usedBytes: number; ownBytes: number; freedBytes: number }

class Walk {
  readonly #repository: Repository
  readonly #reader: ChunkReader
  readonly #index: IndexReader
  readonly #owners: Owners
  readonly #sums: readonly Sum[]
  readonly #signal: AbortSignal | undefined

  constructor(
    parts: Readonly<{ repository: Repository; reader: ChunkReader; index: IndexReader; chunksMax: number }>,
    sums: readonly Sum[],
    signal: AbortSignal | undefined,
  ) {
    this.#repository = parts.repository
    this.#reader = parts.reader
    this.#index = parts.index
    this.#owners = new Owners(parts.chunksMax)
    this.#sums = sums
    this.#signal = signal
  }

  /** @param owner ordinal of the point, from 1 */
  async disk(owner: number, disk: DiskRecord): Promise<void> {
    const root = isDelta(disk.root) ? await this.#chain(owner, disk.root) : nodeRef(disk.root)
    if (root !== undefined) await this.#node(owner, disk, root.content, root.level, 0)
  }

  /** A chain of delta nodes and their payload; gives the tree below them. */
  async #chain(owner: number, root: DeltaRoot): Promise<ReturnType<typeof nodeRef>> {
    const read = (wanted: ContentHash): Promise<Uint8Array> => this.#reader.read(wanted)
    const content = deltaContent(root)
    const top = await readDeltaNode(read, content)
    for (const one of [...top.below, content]) {
      if (!this.#take(owner, one, 0)) continue
      const { payloads } = one === content ? top : await readDeltaNode(read, one)
      for (const payload of payloads) this.#take(owner, payload.content, payload.sizeBytes)
    }
    return nodeRef(top.base)
  }

  attachment(owner: number, content: ContentHash, bytes: number): void {
    this.#take(owner, content, bytes)
  }

  /** @param first number of the first chunk below the node */
  async #node(owner: number, disk: DiskRecord, content: ContentHash, level: number, first: number): Promise<void> {
    this.#signal?.throwIfAborted()
    if (!this.#take(owner, content, 0)) return
    const { slots } = await readNode((wanted) => this.#reader.read(wanted), { content, level })
    for (const [i, slot] of slots.entries()) {
      if (slot === undefined) continue
      const at = first + i * FAN_OUT ** level
      if (level > 0) await this.#node(owner, disk, slot, level - 1, at)
      else {
        const { chunkSizeBytes, virtualSizeBytes } = disk
        this.#take(owner, slot, Math.min(chunkSizeBytes, virtualSizeBytes - at * chunkSizeBytes))
      }
    }
  }

  /** Notes that the point names the chunk. false: nothing below it changes by that. */
  #take(owner: number, content: ContentHash, bytes: number): boolean {
    const at = this.#owners.at(content)
    const before = this.#owners.get(at)
    if (before === owner || before === SHARED) return false
    const sealed = this.#sealedBytes(content)
    if (before === NOBODY) {
      this.#add(owner, bytes, sealed)
      this.#owners.set(at, owner)
    } else {
      this.#add(before, -bytes, -sealed)
      this.#owners.set(at, SHARED)
    }
    return true
  }

  #add(owner: number, bytes: number, sealed: number): void {
    const sum = must(this.#sums[owner - 1], 'Owners are the points that are walked')
    sum.ownBytes += bytes
    sum.freedBytes += sealed
  }

  #sealedBytes(content: ContentHash): number {
    const id = this.#repository.keys.chunkId(content)
    const [found] = this.#index.locate(id)
    if (found !== undefined) return found.sealedBytes
    throw new RepositoryError('chunk_missing', 'A chunk that a live point needs is in no pack.', {
      facts: { chunk: toHex(id) },
      hint: 'Run "holdfast repo verify" to see which points it touches.',
    })
  }
}

/** By point. @throws chunk_missing, and what reading nodes raises */
export async function measureUsage(
  repository: Repository,
  signal?: AbortSignal,
): Promise<ReadonlyMap<PointId, PointUsage>> {
  await repository.log.refresh()
  const points = repository.points()
  const reader = await repository.chunkReader()
  const index = await repository.index()
  const sums = points.map(({ disks }) => ({
    usedBytes: disks.reduce((sum, disk) => sum + disk.usedBytes, 0),
    ownBytes: 0,
    freedBytes: 0,
  }))
  const walk = new Walk({ repository, reader, index: index.reader, chunksMax: index.size + 1024 }, sums, signal)
  for (const [i, { disks, attachments }] of points.entries()) {
    for (const disk of disks) await walk.disk(i + 1, disk)
    for (const { chunks, sizeBytes } of attachments)
      for (const chunk of chunks)
        walk.attachment(i + 1, Buffer.from(chunk, 'hex') as Uint8Array as ContentHash, sizeBytes / chunks.length)
  }
  return new Map(points.map(({ id }, i) => [id, must(sums[i], 'One sum a point')]))
}
