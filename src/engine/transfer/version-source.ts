/**
 * A disk version as a block device: random access to what a point keeps of one disk, without restoring it first. Serves
 * restores through qemu-img, instant boot, file reading and test failovers alike.
 *
 * Promises: bytes that come out were compared with the manifest's hashes; decoded chunks take `cacheBytes` of memory,
 * lent or not; what is read in sequence is fetched ahead, and many readers share one fetch.
 */
import { assert, MIB } from '#base'
import type { BlockSource, Extent, Loan } from '#engine/block'
import { appendExtent, assertInside } from '#engine/block'
import {
  type BlobStore,
  type ContentHash,
  decodeNode,
  type DiskRecord,
  FAN_OUT,
  findLeaf,
  type Repository,
  resolveVersion,
  type StoreDescriptor,
  type TreeRoot,
} from '#engine/repository'
import { type CachedChunk, ChunkCache } from './chunk-cache.ts'
import { ChunkLoan, partOf, type Piece } from './chunk-loan.ts'
import { DeltaSource } from './delta-source.ts'
import { NodeCache } from './node-cache.ts'
import { ReadAhead } from './read-ahead.ts'
import { ThreadPool } from './threads/thread-pool.ts'

export type VersionSourceOptions = Readonly<{
  store: StoreDescriptor | BlobStore
  /** Threads that fetch and decode; 0 does it inline. Two keep a core each busy. */
  threads?: number
  /** Decoded chunks to keep; memory is taken as it is needed. */
  cacheBytes?: number
}>

/** For all disks that one process serves: with two threads and the program it stays below 400 MiB. */
export const CACHE_BYTES_DEFAULT = 160 * MIB
/** Two for each of the threads, so that none idles. */
const SLOTS_MIN = 4
const READ_AHEAD_BYTES = 4 * MIB
const READ_AHEAD_STEP_BYTES = MIB
/** Leaves kept decoded: 256 of them map 16 GiB at the default chunk size. */
const LEAVES_MAX = 256

type Slots = readonly (ContentHash | undefined)[]
const NO_SLOTS: Slots = Array.from({ length: FAN_OUT }, () => undefined)

class VersionSource implements BlockSource {
  readonly sizeBytes: number
  readonly parallelism = 16
  readonly #chunkBytes: number
  readonly #tree: TreeRoot | null
  readonly #nodes: NodeCache
  readonly #pool: ThreadPool<'decode'>
  readonly #cache: ChunkCache
  readonly #ahead: ReadAhead
  readonly #leaves = new Map<number, Slots>()
  readonly #loading = new Map<number, Promise<Slots>>()
  readonly #zeros: Uint8Array
  /** Chunks that may still be lent: half of the cache always goes on serving those who copy. */
  #lendable: number

  constructor(
    disk: DiskRecord,
    tree: TreeRoot | null,
    nodes: NodeCache,
    pool: ThreadPool<'decode'>,
    memory: SharedArrayBuffer,
  ) {
    this.sizeBytes = disk.virtualSizeBytes
    this.#chunkBytes = disk.chunkSizeBytes
    this.#tree = tree
    this.#nodes = nodes
    this.#pool = pool
    this.#cache = new ChunkCache({
      memory,
      slotBytes: disk.chunkSizeBytes,
      lanes: pool.lanes,
      decode: async (lane, items) => (await pool.runOn(lane, { items })).lengths,
    })
    this.#ahead = new ReadAhead(Math.min(READ_AHEAD_BYTES, Math.floor(memory.byteLength / 4)), READ_AHEAD_STEP_BYTES)
    this.#zeros = new Uint8Array(disk.chunkSizeBytes)
    this.#lendable = Math.floor(this.#cache.slots / 2)
  }

  async read(offset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertInside(this, offset, into.length)
    this.#fetchAhead(offset, into.length)
    await this.#fetch(this.#pieces(offset, into.length), signal, (piece, chunk) => {
      const target = into.subarray(piece.into, piece.into + piece.to - piece.from)
      if (chunk === undefined) target.fill(0)
      else target.set(partOf(chunk, piece))
    })
  }

  lend(offset: number, length: number, signal?: AbortSignal): Loan | Promise<Loan> | undefined {
    assertInside(this, offset, length)
    const pieces = this.#pieces(offset, length)
    if (pieces.length > this.#lendable) return undefined
    this.#fetchAhead(offset, length)
    this.#lendable -= pieces.length
    const loan = new ChunkLoan(this.#cache, pieces, this.#zeros, () => (this.#lendable += pieces.length))
    try {
      const missing = pieces.filter((piece) => !this.#lendNow(loan, piece))
      return missing.length === 0 ? loan : this.#lendFetched(loan, missing, signal)
    } catch (error) {
      loan.release()
      throw error
    }
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    assertInside(this, offset, length)
    const extents: Extent[] = []
    const end = offset + length
    for (let at = offset; at < end;) {
      const chunk = Math.floor(at / this.#chunkBytes)
      const slots = await this.#leaf(Math.floor(chunk / FAN_OUT))
      const leafEnd = (Math.floor(chunk / FAN_OUT) + 1) * FAN_OUT * this.#chunkBytes
      const stop = Math.min(end, slots === NO_SLOTS ? leafEnd : (chunk + 1) * this.#chunkBytes)
      appendExtent(extents, {
        offset: at,
        length: stop - at,
        kind: slots[chunk % FAN_OUT] === undefined ? 'hole' : 'data',
      })
      at = stop
    }
    return extents
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }

  /** Whether the piece could be lent without waiting. */
  #lendNow(loan: ChunkLoan, piece: Piece): boolean {
    const chunk = this.#cache.find(piece.chunk)
    if (chunk === undefined && !this.#isKnownHole(piece.chunk)) return false
    loan.lend(piece, chunk)
    return true
  }

  /** The loan, once the missing pieces are in it. */
  async #lendFetched(loan: ChunkLoan, missing: readonly Piece[], signal: AbortSignal | undefined): Promise<Loan> {
    try {
      await this.#fetch(missing, signal, (piece, chunk) => loan.lend(piece, chunk))
      return loan
    } catch (error) {
      loan.release()
      throw error
    }
  }

  /** Gives every piece with its chunk, or without one where the disk has a hole, to `take`. It has ended with all of them. */
  async #fetch(
    pieces: readonly Piece[],
    signal: AbortSignal | undefined,
    take: (piece: Piece, chunk: CachedChunk | undefined) => void,
  ): Promise<void> {
    const ended = await Promise.allSettled(pieces.map((piece) => this.#fetchPiece(piece, signal, take)))
    for (const outcome of ended) if (outcome.status === 'rejected') throw outcome.reason
  }

  async #fetchPiece(
    piece: Piece,
    signal: AbortSignal | undefined,
    take: (piece: Piece, chunk: CachedChunk | undefined) => void,
  ): Promise<void> {
    const leaf = Math.floor(piece.chunk / FAN_OUT)
    // Without waiting where that can be: what is wanted comes before what is fetched ahead.
    const content = (this.#leaves.get(leaf) ?? (await this.#leaf(leaf)))[piece.chunk % FAN_OUT]
    if (content === undefined) return take(piece, undefined)
    await new Promise<void>((resolve, reject) => {
      const ready = (chunk: CachedChunk): void => {
        take(piece, chunk)
        resolve()
      }
      this.#cache.want(piece.chunk, content, { ready, failed: reject, signal })
    })
  }

  #pieces(offset: number, length: number): Piece[] {
    const pieces: Piece[] = []
    for (let at = offset; at < offset + length;) {
      const chunk = Math.floor(at / this.#chunkBytes)
      const start = chunk * this.#chunkBytes
      const to = Math.min(offset + length - start, this.#chunkBytes)
      pieces.push({ index: pieces.length, chunk, from: at - start, to, into: at - offset })
      at = start + to
    }
    return pieces
  }

  #fetchAhead(offset: number, length: number): void {
    const ahead = this.#ahead.note(offset, offset + length)
    if (ahead === undefined) return
    const last = Math.ceil(Math.min(ahead.end, this.sizeBytes) / this.#chunkBytes) - 1
    for (let chunk = Math.floor(ahead.start / this.#chunkBytes); chunk <= last; chunk += 1) {
      const slots = this.#leaves.get(Math.floor(chunk / FAN_OUT))
      if (slots === undefined) {
        // Whoever reads there hears of a failure; this is only early.
        this.#leaf(Math.floor(chunk / FAN_OUT)).catch(() => undefined)
        return
      }
      const content = slots[chunk % FAN_OUT]
      if (content !== undefined) this.#cache.fetchAhead(chunk, content)
    }
  }

  #isKnownHole(chunk: number): boolean {
    const slots = this.#leaves.get(Math.floor(chunk / FAN_OUT))
    return slots !== undefined && slots[chunk % FAN_OUT] === undefined
  }

  async #leaf(index: number): Promise<Slots> {
    const known = this.#leaves.get(index) ?? this.#loading.get(index)
    if (known !== undefined) return known
    const loading = this.#loadLeaf(index)
    this.#loading.set(index, loading)
    try {
      const slots = await loading
      if (this.#leaves.size >= LEAVES_MAX) this.#leaves.clear()
      this.#leaves.set(index, slots)
      return slots
    } finally {
      this.#loading.delete(index)
    }
  }

  async #loadLeaf(index: number): Promise<Slots> {
    const content = await findLeaf(this.#nodes.read, this.#tree, index)
    if (content === undefined) return NO_SLOTS
    const node = decodeNode(await this.#nodes.read(content), 0)
    assert(node !== undefined, 'findLeaf gave a leaf')
    return node.slots
  }
}

/** Opens one disk of a point for reading. Closing it ends its threads; the repository stays open. */
export async function openVersion(
  repository: Repository,
  disk: DiskRecord,
  options: VersionSourceOptions,
): Promise<BlockSource> {
  const threads = 'put' in options.store ? 0 : (options.threads ?? 2)
  const slotBytes = disk.chunkSizeBytes
  const diskBytes = Math.ceil(disk.virtualSizeBytes / slotBytes) * slotBytes
  const cacheBytes = Math.min(options.cacheBytes ?? CACHE_BYTES_DEFAULT, diskBytes)
  // Taken from the system as it is written to.
  const memory = new SharedArrayBuffer(Math.max(SLOTS_MIN, Math.floor(cacheBytes / slotBytes)) * slotBytes)
  const init = { store: options.store, access: await repository.threadAccess(), memory, slotBytes }
  const reader = await repository.chunkReader()
  const nodes = new NodeCache(reader)
  const { tree, extents } = await resolveVersion(nodes.read, disk.root)
  const pool = await ThreadPool.start('decode', init, { threads })
  const source = new VersionSource(disk, tree, nodes, pool, memory)
  return extents.length === 0 ? source : new DeltaSource(source, extents, (content) => reader.read(content))
}
