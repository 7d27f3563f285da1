/**
 * Builds one pack in memory: chunks are sealed as they come, the table and footer at the end, and the name is the hash
 * of the whole. Nothing of it exists in the store before `finish` was put there, so a crash leaves nothing but a gap.
 */
import { createHash, type Hash } from 'node:crypto'
import { assert, MIB, type Random, toHex } from '#base'
import { compressChunk } from './chunk.ts'
import { type ChunkId, type KeyRing, type SealingKey, TAG_BYTES } from './crypto.ts'
import {
  chunkAad,
  type ChunkKind,
  encodeFooter,
  encodeHeader,
  encodeTable,
  PACK_FOOTER_BYTES,
  PACK_HEADER_BYTES,
  type PackedChunk,
  TABLE_ENTRY_BYTES,
  tableAad,
} from './pack-format.ts'

/** A pack is closed when it has grown past this; it is a little larger than the last chunk made it. */
export const PACK_BYTES_TARGET = 16 * MIB

export type FinishedPack = Readonly<{
  name: string
  bytes: Uint8Array
  salt: Uint8Array
  chunks: readonly PackedChunk[]
}>

export class PackBuilder {
  readonly #keys: KeyRing
  readonly #key: SealingKey
  readonly #salt: Uint8Array
  readonly #buffer: Uint8Array
  readonly #hash: Hash = createHash('sha256')
  readonly #chunks: PackedChunk[] = []
  readonly #bytesTarget: number
  #length = 0

  /** @param buffer where the pack is built; must hold packBufferBytes(bytesTarget). Free for reuse when the put has resolved. */
  constructor(
    keys: KeyRing,
    random: Random,
    session: number,
    buffer: Uint8Array,
    bytesTarget: number = PACK_BYTES_TARGET,
  ) {
    assert(buffer.length >= packBufferBytes(bytesTarget), 'The buffer is made for packs of the target size')
    this.#bytesTarget = bytesTarget
    this.#keys = keys
    this.#salt = random.bytes(32)
    this.#key = keys.packKey(this.#salt)
    this.#buffer = buffer
    this.#append(encodeHeader(keys.repositoryId, this.#salt, session))
  }

  get isEmpty(): boolean {
    return this.#chunks.length === 0
  }

  get isFull(): boolean {
    return this.#length >= this.#bytesTarget || this.#chunks.length >= CHUNKS_MAX
  }

  /** Compresses and seals `plain` under `id`; gives the stored bytes. Not to be called on a full pack. */
  add(id: ChunkId, plain: Uint8Array, kind: ChunkKind): number {
    assert(!this.isFull, 'A full pack takes no chunk')
    const { codec, bytes } = compressChunk(plain)
    return this.addCompressed({ id, plainBytes: plain.length, codec, kind }, bytes)
  }

  /** As `add`, of bytes that are already in their stored form (a copy between repositories, a repack). */
  addCompressed(
    chunk: Readonly<{ id: ChunkId; plainBytes: number; codec: number; kind: ChunkKind }>,
    bytes: Uint8Array,
  ): number {
    const offset = this.#length
    const aad = chunkAad(this.#keys.repositoryId, chunk.id, chunk.plainBytes, chunk.codec)
    const { ciphertext, tag } = this.#key.seal(offset, aad, bytes)
    this.#append(ciphertext)
    this.#append(tag)
    const sealedBytes = bytes.length + TAG_BYTES
    this.#chunks.push({ ...chunk, offset, sealedBytes })
    return sealedBytes
  }

  /** Closes the pack. The returned bytes are a view of the buffer. */
  finish(): FinishedPack {
    assert(!this.isEmpty, 'An empty pack is never stored')
    const tableOffset = this.#length
    const table = this.#key.seal(
      tableOffset,
      tableAad(this.#keys.repositoryId, this.#chunks.length),
      encodeTable(this.#chunks),
    )
    this.#append(table.ciphertext)
    this.#append(table.tag)
    const tableBytes = this.#length - tableOffset
    this.#append(encodeFooter({ salt: this.#salt, tableOffset, tableBytes, chunkCount: this.#chunks.length }))
    const bytes = this.#buffer.subarray(0, this.#length)
    return { name: toHex(this.#hash.digest()), bytes, salt: this.#salt, chunks: this.#chunks }
  }

  #append(bytes: Uint8Array): void {
    assert(this.#length + bytes.length <= this.#buffer.length, 'The pack fits its buffer')
    this.#buffer.set(bytes, this.#length)
    this.#hash.update(bytes)
    this.#length += bytes.length
  }
}

/** Chunks that compress to almost nothing are many in a pack: a pack of so many is full, which bounds its table. */
const CHUNKS_MAX = 64 * 1024
const CHUNK_SEALED_BYTES_MAX = 4 * MIB + 64

/** What a buffer for packs of `bytesTarget` must hold: the target, one chunk too many, and the longest table. */
export function packBufferBytes(bytesTarget: number = PACK_BYTES_TARGET): number {
  const chunksMax = Math.min(CHUNKS_MAX, Math.ceil(bytesTarget / TAG_BYTES) + 1)
  const table = chunksMax * TABLE_ENTRY_BYTES + TAG_BYTES
  return PACK_HEADER_BYTES + bytesTarget + CHUNK_SEALED_BYTES_MAX + table + PACK_FOOTER_BYTES
}
