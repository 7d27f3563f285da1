/**
 * Stores chunks that the repository does not have, in packs, and remembers on which packs the caller now relies.
 *
 * Promises
 *   1. When `flush` has resolved, every chunk that was put is durable: in a pack that this writer stored, in a live pack that
 *      the index knew (`reliesOn`), or in a pack of another writer of the same run (the run flushes all before it commits).
 *   2. At most two packs are in memory: one being built, one being stored.
 * A crash leaves packs that no log entry names; prune removes them when their session is over.
 */
import { assert, type Random } from '#base'
import type { BlobStore } from './blob-store.ts'
import type { StoredChunk } from './chunk-reader.ts'
import type { ChunkId, ContentHash, KeyRing } from './crypto.ts'
import type { IndexReader } from './index/chunk-index.ts'
import type { SharedIdSet } from './index/shared-id-set.ts'
import type { PackAdded } from './log/entry.ts'
import { packBufferBytes, PackBuilder } from './pack-builder.ts'
import { type ChunkKind, packKeyOf } from './pack-format.ts'

export type ChunkWriterParts = Readonly<{
  store: BlobStore
  keys: KeyRing
  index: IndexReader
  /** Shared by all writers of one run. */
  claims: SharedIdSet
  random: Random
  /** The log number of the session's pin; stands in the pack's header. */
  session: number
  /** Absent: PACK_BYTES_TARGET. Smaller packs are for tests. */
  packBytesTarget?: number
}>

/** What a flushed writer leaves to be committed. */
export type Written = Readonly<{ packs: readonly PackAdded[]; reliesOn: readonly number[] }>

export class ChunkWriter {
  readonly #parts: ChunkWriterParts
  readonly #packs: PackAdded[] = []
  readonly #reliesOn = new Set<number>()
  #buffers: Uint8Array[] = []
  #building: { pack: PackBuilder; buffer: Uint8Array } | undefined
  #storing: Promise<void> = Promise.resolve()
  #buffersMade = 0
  #newBytes = 0
  #storedBytes = 0

  constructor(parts: ChunkWriterParts) {
    this.#parts = parts
  }

  /** Puts a chunk unless it is known. Resolves when the caller may reuse `plain`. */
  async put(content: ContentHash, plain: Uint8Array, kind: ChunkKind): Promise<void> {
    const id = this.#parts.keys.chunkId(content)
    if (!this.#isNew(id)) return
    const pack = await this.#openPack()
    this.#count(plain.length, pack.add(id, plain, kind))
    if (pack.isFull) await this.#storePack()
  }

  /** As put, of a chunk in its stored form that another repository has authenticated. */
  async putStored(content: ContentHash, stored: StoredChunk): Promise<void> {
    await this.putStoredAs(this.#parts.keys.chunkId(content), stored)
  }

  /** As putStored, under a name that is already one of this repository. */
  async putStoredAs(id: ChunkId, stored: StoredChunk): Promise<void> {
    if (!this.#isNew(id)) return
    const pack = await this.#openPack()
    const { plainBytes, codec, kind } = stored
    this.#count(plainBytes, pack.addCompressed({ id, plainBytes, codec, kind }, stored.bytes))
    if (pack.isFull) await this.#storePack()
  }

  /** Relies on a stored copy of the content if there is one; false: it must be put. */
  relyOn(content: ContentHash): boolean {
    return this.#relyOnId(this.#parts.keys.chunkId(content))
  }

  /** A reading of what has been stored from now on; for saying what one part of a run cost. */
  storedSince(): () => { newBytes: number; storedBytes: number } {
    const [newBytes, storedBytes] = [this.#newBytes, this.#storedBytes]
    return () => ({ newBytes: this.#newBytes - newBytes, storedBytes: this.#storedBytes - storedBytes })
  }

  /** Stores what is left and waits until all is durable. The writer is then done. */
  async flush(): Promise<Written> {
    if (this.#building !== undefined) await this.#storePack()
    await this.#storing
    this.#buffers = []
    return { packs: this.#packs, reliesOn: [...this.#reliesOn] }
  }

  #relyOnId(id: ChunkId): boolean {
    const known = this.#parts.index.storedIn(id)
    if (known !== undefined) this.#reliesOn.add(known)
    return known !== undefined
  }

  /** Whether the caller must store it; if not, it is stored already or another writer of this run stores it. */
  #isNew(id: ChunkId): boolean {
    return !this.#relyOnId(id) && this.#parts.claims.claim(id)
  }

  #count(newBytes: number, storedBytes: number): void {
    this.#newBytes += newBytes
    this.#storedBytes += storedBytes
  }

  /** A buffer is free when it was never used or its pack is stored; two in all. */
  async #openPack(): Promise<PackBuilder> {
    if (this.#building !== undefined) return this.#building.pack
    if (this.#buffers.length === 0 && this.#buffersMade === 2) await this.#storing
    if (this.#buffers.length === 0) {
      this.#buffers.push(new Uint8Array(packBufferBytes(this.#parts.packBytesTarget)))
      this.#buffersMade += 1
    }
    const buffer = this.#buffers.pop()
    assert(buffer !== undefined && this.#buffersMade <= 2, 'A writer owns at most two buffers')
    const { keys, random, session, packBytesTarget } = this.#parts
    this.#building = { pack: new PackBuilder(keys, random, session, buffer, packBytesTarget), buffer }
    return this.#building.pack
  }

  /** Waits for the pack before, then begins to store this one; the caller goes on building the next meanwhile. */
  async #storePack(): Promise<void> {
    assert(this.#building !== undefined, 'There is a pack to store')
    const { pack, buffer } = this.#building
    this.#building = undefined
    const { name, bytes } = pack.finish()
    await this.#storing
    this.#storing = this.#parts.store.put(packKeyOf(name), [bytes]).then(() => {
      this.#packs.push({ name, lengthBytes: bytes.length })
      this.#buffers.push(buffer)
    })
    this.#storing.catch(() => {
      // Kept for the next await of #storing, which is certain: flush is the only way to a commit.
    })
  }
}
