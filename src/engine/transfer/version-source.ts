/**
 * A disk version as a block device: random access to what a point keeps of one disk, without restoring it first. Serves
 * restores through qemu-img, instant boot, file reading and test failovers alike.
 *
 * Promises: bytes that come out were compared with the manifest's hashes; memory is bounded by `cacheBytes` and the
 * requests in flight; reads of neighbouring chunks in sequence are fetched ahead, and many readers share one fetch.
 */
import { assert, MIB } from '#base'
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
  type StoreDescriptor,
} from '#engine/repository'
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

type Slots = readonly (ContentHash | undefined)[]
const NO_SLOTS: Slots = Array.from({ length: FAN_OUT }, () => undefined)

class VersionSource implements BlockSource {
  readonly sizeBytes: number
  readonly parallelism = 16
  readonly #chunkBytes: number
  readonly #disk: DiskRecord
  readonly #nodes: NodeCache
  readonly #pool: ThreadPool<'decode'>
  readonly #cacheBytes: number
  readonly #leaves = new Map<number, Promise<Slots>>()
  /** Decoded chunks, least recently used first. */
  readonly #chunks = new Map<number, Entry>()
  #nextExpected = 0

  constructor(disk: DiskRecord, nodes: NodeCache, pool: ThreadPool<'decode'>, cacheBytes: number) {
    this.sizeBytes = disk.virtualSizeBytes
    this.#chunkBytes = disk.chunkSizeBytes
    this.#disk = disk
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
    const content = await findLeaf(this.#nodes.read, this.#disk.root, index)
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
    const missing: { chunk: number; content: ContentHash }[] = []
    for (let chunk = first; chunk <= ahead; chunk += 1) {
      const known = this.#chunks.get(chunk)
      const content = leaves.get(Math.floor(chunk / FAN_OUT))?.[chunk % FAN_OUT]
      if (known !== undefined) {
        this.#chunks.delete(chunk)
        this.#chunks.set(chunk, known)
      } else if (content !== undefined) missing.push({ chunk, content })
    }
    const half = Math.ceil(missing.length / 2)
    for (const group of [missing.slice(0, half), missing.slice(half)]) if (group.length > 0) this.#fetch(group)
    return Array.from({ length: last - first + 1 }, (_, i) => this.#chunks.get(first + i) ?? HOLE)
  }

  #fetch(group: readonly { chunk: number; content: ContentHash }[]): void {
    const decoded = this.#pool.runNext({ contents: group.map(({ content }) => content) })
    group.forEach(({ chunk }, i) => {
      const plain = decoded.then(({ chunks }) => chunks[i])
      this.#chunks.set(chunk, plain)
      // Whoever waits for it hears of the failure; the next reader tries again.
      plain.catch(() => this.#chunks.delete(chunk))
    })
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
  const threads = 'put' in options.store ? 0 : (options.threads ?? 2)
  const init = { store: options.store, access: await repository.threadAccess() }
  const pool = await ThreadPool.start('decode', init, { threads })
  return new VersionSource(
    disk,
    new NodeCache(await repository.chunkReader()),
    pool,
    options.cacheBytes ?? CACHE_BYTES_DEFAULT,
  )
}
