/**
 * Chunks by content, wherever they lie. Neighbours in a pack are read in one request, every chunk is checked against the
 * hash that the manifest names, and a copy that is damaged gives way to another copy before an error is raised.
 */
import { isHoldfastError, KIB, MIB, must, toHex } from '#base'
import type { BlobStore } from './blob-store.ts'
import type { ChunkId, ContentHash, KeyRing, SealingKey } from './crypto.ts'
import { RepositoryError } from './errors.ts'
import type { IndexReader } from './index/chunk-index.ts'
import type { ChunkLocation } from './index/run-file.ts'
import { type ChunkKind, decodeFooter, decodeHeader, PACK_FOOTER_BYTES, PACK_HEADER_BYTES } from './pack-format.ts'
import { Scratch } from './scratch.ts'
import { openChunk, openPlain, packCorrupt, type PackRef, readSealed } from './pack-reader.ts'

/** One request never spans more than this, and reads over gaps no larger than that. */
const RUN_BYTES_MAX = 4 * MIB
const GAP_BYTES_MAX = 64 * KIB
const PACK_KEYS_MAX = 1024
/** Two for each reading at one time; a server of disks has more, and gives the rest back. */
const MEMORIES_KEPT_MAX = 4
/** What says that one copy is bad, and another may be good. */
const COPY_IS_BAD = ['chunk_corrupt', 'pack_corrupt', 'pack_missing'] as const

export type ChunkRequest<T> = Readonly<{ content: ContentHash; tag: T }>
type Located<T> = ChunkRequest<T> & Readonly<{ id: ChunkId; at: ChunkLocation }>

/** A chunk as packs keep it: compressed by `codec`, not sealed. */
export type StoredChunk = Readonly<{ bytes: Uint8Array; codec: number; plainBytes: number; kind: ChunkKind }>

type Fetched<T> = Readonly<{ run: readonly Located<T>[]; bytes: Promise<Uint8Array | undefined> }>
type Sink<R, T> = (opened: R, tag: T) => void | Promise<void>
/** Opens a sealed copy; undefined when it is sound but not what the manifest means. */
type Opener<R> = (chunk: Located<unknown>, key: SealingKey, pack: string, sealed: Uint8Array) => R | undefined

export class ChunkReader {
  readonly #store: BlobStore
  readonly #keys: KeyRing
  readonly #index: IndexReader
  readonly #packKeys = new Map<string, SealingKey>()
  /** What runs are read into, while nobody reads. */
  readonly #memories: Scratch[] = []

  constructor(store: BlobStore, keys: KeyRing, index: IndexReader) {
    this.#store = store
    this.#keys = keys
    this.#index = index
  }

  /** @throws chunk_missing, chunk_corrupt, pack_missing */
  async read(content: ContentHash): Promise<Uint8Array> {
    const id = this.#keys.chunkId(content)
    return this.#readAnyCopy({ content, tag: undefined, id, at: this.#locate(id) }, this.#openPlain)
  }

  /**
   * Reads many chunks, calling `sink` once for each in an order that suits the packs. The bytes are the sink's; with
   * `memory` they lie in it and are the sink's until it resolves.
   * @throws chunk_missing, chunk_corrupt, pack_missing, and what the sink throws
   */
  readMany<T>(requests: readonly ChunkRequest<T>[], sink: Sink<Uint8Array, T>, memory?: Scratch): Promise<void> {
    const open = memory === undefined ? this.#openPlain : this.#opener(memory)
    return this.#readMany(requests, open, sink)
  }

  /** As readMany, of the stored form: authenticated by the seal, neither decompressed nor hashed. For copies. */
  readManyStored<T>(requests: readonly ChunkRequest<T>[], sink: Sink<StoredChunk, T>): Promise<void> {
    return this.#readMany(requests, this.#openStored, sink)
  }

  async #readMany<R, T>(requests: readonly ChunkRequest<T>[], open: Opener<R>, sink: Sink<R, T>): Promise<void> {
    const located = requests.map((request) => {
      const id = this.#keys.chunkId(request.content)
      return { ...request, id, at: this.#locate(id) }
    })
    located.sort((a, b) => a.at.pack - b.at.pack || a.at.offset - b.at.offset)
    const memories = [this.#memories.pop() ?? new Scratch(), this.#memories.pop() ?? new Scratch()] as const
    const runs = runsOf(located)
    let turn = 0
    const fetchNext = (): Fetched<T> | undefined => {
      const run = runs.next().value
      if (run === undefined) return undefined
      turn = 1 - turn
      const bytes = this.#fetch(run, memories[turn === 0 ? 0 : 1])
      bytes.catch(() => undefined) // heard of when its turn comes, if it comes
      return { run, bytes }
    }
    let next = fetchNext()
    try {
      // While one run is opened the next one is read.
      while (next !== undefined) {
        const { run, bytes } = next
        const read = await bytes
        next = fetchNext()
        await this.#openRun(run, read, open, sink)
      }
    } finally {
      await next?.bytes.catch(() => undefined) // until then its memory is written to
      if (this.#memories.length < MEMORIES_KEPT_MAX) this.#memories.push(...memories)
    }
  }

  #locate(id: ChunkId): ChunkLocation {
    const at = this.#index.locate(id)[0]
    if (at !== undefined) return at
    throw new RepositoryError('chunk_missing', 'A chunk that a manifest names is in no pack of the repository.', {
      facts: { chunk: toHex(id) },
      hint: 'Run "holdfast repo verify" to see which points it touches, then "holdfast repo repair --mirror" a healthy copy.',
    })
  }

  /** The bytes of a run, or undefined: each chunk then looks for another copy by itself and raises the error if there is none. */
  async #fetch(run: readonly Located<unknown>[], memory: Scratch): Promise<Uint8Array | undefined> {
    const { at: first } = must(run[0], 'A run has at least one chunk')
    const { at: last } = must(run.at(-1), 'A run has at least one chunk')
    const length = last.offset + last.sealedBytes - first.offset
    try {
      return await readSealed(this.#store, this.#index.packs.ref(first.pack), first.offset, length, memory)
    } catch (error) {
      if (!isHoldfastError(error, 'pack_missing', 'pack_corrupt')) throw error
      return undefined
    }
  }

  async #openRun<R, T>(
    run: readonly Located<T>[],
    bytes: Uint8Array | undefined,
    open: Opener<R>,
    sink: Sink<R, T>,
  ): Promise<void> {
    const { at: first } = must(run[0], 'A run has at least one chunk')
    for (const chunk of run) {
      const sealed = bytes?.subarray(
        chunk.at.offset - first.offset,
        chunk.at.offset - first.offset + chunk.at.sealedBytes,
      )
      const opened = (sealed && (await this.#tryOpen(chunk, sealed, open))) ?? (await this.#readAnyCopy(chunk, open))
      await sink(opened, chunk.tag)
    }
  }

  #opener(memory?: Scratch): Opener<Uint8Array> {
    return (chunk, key, pack, sealed) => {
      const { plain, content } = openPlain(this.#keys, key, pack, { ...chunk.at, id: chunk.id }, sealed, memory)
      return Buffer.compare(content, chunk.content) === 0 ? plain : undefined
    }
  }

  readonly #openPlain = this.#opener()

  readonly #openStored: Opener<StoredChunk> = (chunk, key, pack, sealed) => {
    const bytes = openChunk(this.#keys, key, pack, { ...chunk.at, id: chunk.id }, sealed)
    return { bytes, codec: chunk.at.codec, plainBytes: chunk.at.plainBytes, kind: chunk.at.kind }
  }

  /** What the copy holds, or undefined when it is damaged: every copy is tried before that is an error. */
  async #tryOpen<R>(chunk: Located<unknown>, sealed: Uint8Array, open: Opener<R>): Promise<R | undefined> {
    try {
      return await this.#openCopy(chunk, sealed, open)
    } catch (error) {
      if (isHoldfastError(error, ...COPY_IS_BAD)) return undefined
      throw error
    }
  }

  /** @throws chunk_corrupt, pack_corrupt, pack_missing */
  async #openCopy<R>(chunk: Located<unknown>, sealed: Uint8Array, open: Opener<R>): Promise<R> {
    const { name } = this.#index.packs.ref(chunk.at.pack)
    let failure: unknown
    for (const place of ['header', 'footer'] as const) {
      try {
        const opened = open(chunk, await this.#packKey(chunk.at.pack, place), name, sealed)
        if (opened !== undefined) return opened
      } catch (error) {
        if (!isHoldfastError(error, 'chunk_corrupt', 'pack_corrupt')) throw error
        failure = error // the salt stands in the pack twice: damage of one end alone costs nothing
      }
    }
    throw failure ?? packCorrupt(name, 'a chunk in it is another than its table says')
  }

  async #readAnyCopy<R>(chunk: Located<unknown>, open: Opener<R>): Promise<R> {
    let failure: unknown
    for (const at of this.#index.locate(chunk.id)) {
      try {
        const sealed = await readSealed(this.#store, this.#index.packs.ref(at.pack), at.offset, at.sealedBytes)
        return await this.#openCopy({ ...chunk, at }, sealed, open)
      } catch (error) {
        if (!isHoldfastError(error, ...COPY_IS_BAD)) throw error
        failure ??= error
      }
    }
    throw must(failure, 'A chunk that was located has a copy')
  }

  /** The key of a pack by the salt in its header, or in its footer. @throws pack_missing, pack_corrupt */
  async #packKey(ordinal: number, place: 'header' | 'footer'): Promise<SealingKey> {
    const known = this.#packKeys.get(`${place} ${ordinal}`)
    if (known !== undefined) return known
    const ref = this.#index.packs.ref(ordinal)
    const salt = await (place === 'header' ? saltInHeader(this.#store, ref) : saltInFooter(this.#store, ref))
    const key = this.#keys.packKey(salt)
    if (this.#packKeys.size >= PACK_KEYS_MAX) this.#packKeys.clear()
    this.#packKeys.set(`${place} ${ordinal}`, key)
    return key
  }
}

async function saltInHeader(store: BlobStore, ref: PackRef): Promise<Uint8Array> {
  const header = decodeHeader(await readSealed(store, ref, 0, PACK_HEADER_BYTES))
  if (header === undefined) throw packCorrupt(ref.name, 'its header is not one')
  return header.salt
}

async function saltInFooter(store: BlobStore, ref: PackRef): Promise<Uint8Array> {
  const offset = ref.lengthBytes - PACK_FOOTER_BYTES
  if (offset < 0) throw packCorrupt(ref.name, 'it is too short to be one')
  const footer = decodeFooter(await readSealed(store, ref, offset, PACK_FOOTER_BYTES), ref.lengthBytes)
  if (footer === undefined) throw packCorrupt(ref.name, 'its footer is not one')
  return footer.salt
}

/** Cuts sorted chunks into runs, each as long as one request may be. */
function* runsOf<T>(located: readonly Located<T>[]): Generator<Located<T>[], undefined> {
  for (let first = 0; first < located.length;) {
    const run = runFrom(located, first)
    yield run
    first += run.length
  }
  return undefined
}

/** The longest run from `first` that one request may read. */
function runFrom<T>(located: readonly Located<T>[], first: number): Located<T>[] {
  const start = must(located[first], 'Inside the list')
  const run = [start]
  let end = start.at.offset + start.at.sealedBytes
  for (let i = first + 1; i < located.length; i += 1) {
    const next = must(located[i], 'Inside the list')
    const isNear = next.at.pack === start.at.pack && next.at.offset - end <= GAP_BYTES_MAX
    if (!isNear || next.at.offset + next.at.sealedBytes - start.at.offset > RUN_BYTES_MAX) break
    run.push(next)
    end = Math.max(end, next.at.offset + next.at.sealedBytes)
  }
  return run
}
