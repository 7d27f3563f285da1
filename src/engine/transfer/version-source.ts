/**
 * A disk version as a block device: random access to what a point keeps of one disk, without restoring it first. Serves
 * restores through qemu-img, instant boot, file reading and test failovers alike.
 *
 * Promises: bytes that come out were compared with the manifest's hashes; memory is bounded by `cacheBytes` and the
 * requests in flight (and the list of extents of a version with delta nodes, see resolveVersion); reads of neighbouring
 * chunks in sequence are fetched ahead, and many readers share one fetch.
 */
import { assert, MIB, must } from '#base'
import type { BlockSource, Extent } from '#engine/block'
import { appendExtent, assertInside } from '#engine/block'
import {
  type BlobStore,
  type ContentHash,
  decodeNode,
  type DiskRecord,
  FAN_OUT,
  findLeaf,
  type Repository,
  type ResolvedVersion,
  resolveVersion,
  type StoreDescriptor,
} from '#engine/repository'
import { DeltaLayer } from './delta-layer.ts'
import { NodeCache } from './node-cache.ts'
import { ThreadPool } from './threads/thread-pool.ts'

export type VersionSourceOptions = Readonly<{
  store: StoreDescriptor | BlobStore
  /** Threads that fetch and decode; 0 does it inline. Two keep a core each busy. */
  threads?: number
  cacheBytes?: number
}>

const CACHE_BYTES_DEFAULT = 96 * MIB
const READ_AHEAD_BYTES = 4 * MIB
/** Leaves kept decoded: 256 of them map 16 GiB at the default chunk size. */
const LEAVES_MAX = 256

/** A decoded chunk, or undefined for a hole. */
type Entry = Promise<Uint8Array | undefined>
const HOLE: Entry = Promise.resolve(undefined)

/** A chunk to be fetched; without content the tree has a hole there, over which something lies. */
type Missing = Readonly<{ chunk: number; content: ContentHash | undefined }>
const NOTHING: Promise<{ chunks: readonly Uint8Array[] }> = Promise.resolve({ chunks: [] })

type Slots = readonly (ContentHash | undefined)[]
const NO_SLOTS: Slots = Array.from({ length: FAN_OUT }, () => undefined)

class VersionSource implements BlockSource {
  readonly sizeBytes: number
  readonly parallelism = 16
  readonly #chunkBytes: number
  readonly #tree: ResolvedVersion['tree']
  readonly #layer: DeltaLayer
  readonly #nodes: NodeCache
  readonly #pool: ThreadPool<'decode'>
  readonly #cacheBytes: number
  readonly #leaves = new Map<number, Promise<Slots>>()
  /** Decoded chunks, least recently used first. */
  readonly #chunks = new Map<number, Entry>()
  #nextExpected = 0

  constructor(
    disk: DiskRecord,
    version: ResolvedVersion,
    nodes: NodeCache,
    pool: ThreadPool<'decode'>,
    cacheBytes: number,
  ) {
    this.sizeBytes = disk.virtualSizeBytes
    this.#chunkBytes = disk.chunkSizeBytes
    this.#tree = version.tree
    this.#layer = new DeltaLayer(version.extents, async (content) => {
      const { chunks } = await this.#pool.runNext({ contents: [content] })
      return must(chunks[0], 'One chunk was asked for')
    })
    this.#nodes = nodes
    this.#pool = pool
    this.#cacheBytes = cacheBytes
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    assertInside(this, offset, into.length)
    if (into.length === 0) return
    const first = Math.floor(offset / this.#chunkBytes)
    const last = Math.floor((offset + into.length - 1) / this.#chunkBytes)
    const sequential = offset === this.#nextExpected
    this.#nextExpected = offset + into.length
    const ahead = sequential ? Math.ceil(READ_AHEAD_BYTES / this.#chunkBytes) : 0
    const end = Math.ceil(this.sizeBytes / this.#chunkBytes) - 1
    const wanted = await this.#want(first, last, Math.min(last + ahead, end))
    for (const [i, plain] of wanted.entries()) this.#copy(first + i, await plain, offset, into)
    this.#evict()
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    assertInside(this, offset, length)
    const extents: Extent[] = []
    const end = offset + length
    for (let at = offset; at < end;) {
      const chunk = Math.floor(at / this.#chunkBytes)
      const slots = await this.#leaf(Math.floor(chunk / FAN_OUT))
      const leafEnd = (Math.floor(chunk / FAN_OUT) + 1) * FAN_OUT * this.#chunkBytes
      const isBare = slots === NO_SLOTS && !this.#layer.touches(at, leafEnd)
      const stop = Math.min(end, isBare ? leafEnd : (chunk + 1) * this.#chunkBytes)
      const isHole = slots[chunk % FAN_OUT] === undefined && !this.#layer.holdsData(at, stop)
      appendExtent(extents, { offset: at, length: stop - at, kind: isHole ? 'hole' : 'data' })
      at = stop
    }
    return extents
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }

  #copy(chunk: number, plain: Uint8Array | undefined, offset: number, into: Uint8Array): void {
    const start = chunk * this.#chunkBytes
    const from = Math.max(offset, start)
    const to = Math.min(offset + into.length, start + this.#chunkBytes)
    const target = into.subarray(from - offset, to - offset)
    if (plain === undefined) target.fill(0)
    else {
      const part = plain.subarray(from - start, to - start)
      assert(part.length === target.length, 'A chunk covers its part of the disk')
      target.set(part)
    }
  }

  #leaf(index: number): Promise<Slots> {
    const known = this.#leaves.get(index)
    if (known !== undefined) return known
    const loading = this.#loadLeaf(index)
    if (this.#leaves.size >= LEAVES_MAX) this.#leaves.clear()
    this.#leaves.set(index, loading)
    loading.catch(() => this.#leaves.delete(index)) // whoever waits for it hears of it; the next reader tries again
    return loading
  }

  async #loadLeaf(index: number): Promise<Slots> {
    const content = await findLeaf(this.#nodes.read, this.#tree, index)
    if (content === undefined) return NO_SLOTS
    const node = decodeNode(await this.#nodes.read(content), 0)
    assert(node !== undefined, 'findLeaf gave a leaf')
    return node.slots
  }

  /**
   * The chunks [first, last] of the disk, fetched unless they are there, and begins to fetch up to `ahead` more. What is
   * missing is split in two tasks, so that two threads decode. Between the leaves being known and the fetches being noted
   * nothing else runs, so that concurrent readers share one fetch.
   */
  async #want(first: number, last: number, ahead: number): Promise<Entry[]> {
    const leaves = new Map<number, Slots>()
    for (let leaf = Math.floor(first / FAN_OUT); leaf <= Math.floor(ahead / FAN_OUT); leaf += 1)
      leaves.set(leaf, await this.#leaf(leaf))
    const missing: Missing[] = []
    for (let chunk = first; chunk <= ahead; chunk += 1) {
      const known = this.#chunks.get(chunk)
      const content = leaves.get(Math.floor(chunk / FAN_OUT))?.[chunk % FAN_OUT]
      if (known !== undefined) {
        this.#chunks.delete(chunk)
        this.#chunks.set(chunk, known)
      } else if (content !== undefined || this.#isLaidOver(chunk)) missing.push({ chunk, content })
    }
    const half = Math.ceil(missing.length / 2)
    for (const group of [missing.slice(0, half), missing.slice(half)]) if (group.length > 0) this.#fetch(group)
    return Array.from({ length: last - first + 1 }, (_, i) => this.#chunks.get(first + i) ?? HOLE)
  }

  #isLaidOver(chunk: number): boolean {
    return this.#layer.touches(chunk * this.#chunkBytes, (chunk + 1) * this.#chunkBytes)
  }

  #fetch(group: readonly Missing[]): void {
    const contents = group.flatMap(({ content }) => content ?? [])
    const decoded = contents.length === 0 ? NOTHING : this.#pool.runNext({ contents })
    let next = 0
    group.forEach(({ chunk, content }) => {
      const i = content === undefined ? contents.length : next++
      const ofTree = decoded.then(({ chunks }) => chunks[i])
      const plain = this.#isLaidOver(chunk) ? ofTree.then((below) => this.#laidOver(chunk, below)) : ofTree
      this.#chunks.set(chunk, plain)
      // Whoever waits for it hears of the failure; the next reader tries again.
      plain.catch(() => this.#chunks.delete(chunk))
    })
  }

  #laidOver(chunk: number, below: Uint8Array | undefined): Promise<Uint8Array> {
    const offset = chunk * this.#chunkBytes
    return this.#layer.over(below, offset, Math.min(this.#chunkBytes, this.sizeBytes - offset))
  }

  #evict(): void {
    const chunksMax = Math.ceil(this.#cacheBytes / this.#chunkBytes)
    for (const chunk of this.#chunks.keys()) {
      if (this.#chunks.size <= chunksMax) break
      this.#chunks.delete(chunk)
    }
  }
}

/** Opens one disk of a point for reading. Closing it ends its threads; the repository stays open. */
export async function openVersion(
  repository: Repository,
  disk: DiskRecord,
  options: VersionSourceOptions,
): Promise<BlockSource> {
  const nodes = new NodeCache(await repository.chunkReader())
  const version = await resolveVersion(nodes.read, disk.root)
  const threads = 'put' in options.store ? 0 : (options.threads ?? 2)
  const init = { store: options.store, access: await repository.threadAccess() }
  const pool = await ThreadPool.start('decode', init, { threads })
  return new VersionSource(disk, version, nodes, pool, options.cacheBytes ?? CACHE_BYTES_DEFAULT)
}
