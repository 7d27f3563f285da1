/**
 * Reads packs out of a store: tables, single chunks, runs of neighbouring chunks, and the check of a whole pack.
 * Bytes that come out were authenticated; anything else is `pack_corrupt` or `chunk_corrupt`, never bytes.
 */
import { freeMemory, isHoldfastError, toHex } from '#base'
import type { BlobStore } from './blob-store.ts'
import { decompressChunk } from './chunk.ts'
import { Scratch } from './scratch.ts'
import { type ChunkId, type ContentHash, contentHash, type KeyRing, type SealingKey, sha256 } from './crypto.ts'
import { RepositoryError } from './errors.ts'
import {
  chunkAad,
  decodeFooter,
  decodeHeader,
  decodeTable,
  PACK_FOOTER_BYTES,
  type PackedChunk,
  packKeyOf,
  tableAad,
} from './pack-format.ts'

/** A tail of this length holds the footer and the table of all but packs of very many tiny chunks. */
const TAIL_BYTES = 64 * 1024

export type PackRef = Readonly<{ name: string; lengthBytes: number }>
export type PackTable = Readonly<{ salt: Uint8Array; chunks: readonly PackedChunk[] }>

export function packCorrupt(name: string, what: string): RepositoryError {
  return new RepositoryError('pack_corrupt', `Pack ${name.slice(0, 16)} is damaged: ${what}.`, {
    facts: { pack: name },
    hint: 'Run "holdfast repo verify" to see which points it touches, then "holdfast repo repair --mirror" a healthy copy.',
  })
}

function chunkCorrupt(pack: string, id: Uint8Array, what: string): RepositoryError {
  return new RepositoryError('chunk_corrupt', `A chunk in pack ${pack.slice(0, 16)} is damaged: ${what}.`, {
    facts: { pack, chunk: toHex(id) },
    hint: 'Run "holdfast repo verify" to see which points it touches, then "holdfast repo repair --mirror" a healthy copy.',
  })
}

function packMissing(name: string, cause: unknown): RepositoryError {
  return new RepositoryError('pack_missing', `Pack ${name.slice(0, 16)} is not in the store.`, {
    facts: { pack: name },
    hint: 'Run "holdfast repo verify" to see which points it touches, then "holdfast repo repair --mirror" a healthy copy.',
    cause,
  })
}

async function readOf(
  store: BlobStore,
  ref: PackRef,
  offset: number,
  length: number,
  memory?: Scratch,
): Promise<Uint8Array> {
  try {
    return await store.getRange(packKeyOf(ref.name), offset, length, memory?.room(length))
  } catch (cause) {
    if (isHoldfastError(cause, 'blob_not_found')) {
      throw packMissing(ref.name, cause)
    }
    if (isHoldfastError(cause, 'blob_range_invalid')) throw packCorrupt(ref.name, 'it is shorter than the log says')
    throw cause
  }
}

function openTable(keys: KeyRing, name: string, packBytes: number, tail: Uint8Array): PackTable | 'tail too short' {
  const footer = decodeFooter(tail.subarray(tail.length - PACK_FOOTER_BYTES), packBytes)
  if (footer === undefined) throw packCorrupt(name, 'its footer is not one')
  const start = tail.length - PACK_FOOTER_BYTES - footer.tableBytes
  if (start < 0) return 'tail too short'
  const sealed = tail.subarray(start, start + footer.tableBytes)
  const aad = tableAad(keys.repositoryId, footer.chunkCount)
  const plain = keys.packKey(footer.salt).open(footer.tableOffset, aad, sealed)
  if (plain === undefined) throw packCorrupt(name, 'its table does not open with the key of this repository')
  const chunks = decodeTable(plain, footer.tableOffset)
  if (chunks === undefined) throw packCorrupt(name, 'its table contradicts itself')
  return { salt: footer.salt, chunks }
}

/** The table of a pack, by one read of its tail (two for packs of very many chunks). @throws pack_missing, pack_corrupt */
export async function readPackTable(store: BlobStore, keys: KeyRing, ref: PackRef): Promise<PackTable> {
  for (let tailBytes = Math.min(TAIL_BYTES, ref.lengthBytes); ; tailBytes = ref.lengthBytes) {
    const tail = await readOf(store, ref, ref.lengthBytes - tailBytes, tailBytes)
    const table = tail.length < PACK_FOOTER_BYTES ? 'tail too short' : openTable(keys, ref.name, ref.lengthBytes, tail)
    if (table !== 'tail too short') return table
    if (tailBytes === ref.lengthBytes) throw packCorrupt(ref.name, 'it is too short to be one')
  }
}

/**
 * Reads the sealed bytes [offset, offset + length) of a pack; with `memory` they are valid until it is used again.
 * @throws pack_missing, pack_corrupt
 */
export function readSealed(
  store: BlobStore,
  ref: PackRef,
  offset: number,
  length: number,
  memory?: Scratch,
): Promise<Uint8Array> {
  return readOf(store, ref, offset, length, memory)
}

/** The stored (still compressed) bytes of a chunk. @throws chunk_corrupt */
export function openChunk(
  keys: KeyRing,
  key: SealingKey,
  pack: string,
  chunk: PackedChunk,
  sealed: Uint8Array,
): Uint8Array {
  const aad = chunkAad(keys.repositoryId, chunk.id, chunk.plainBytes, chunk.codec)
  const bytes = key.open(chunk.offset, aad, sealed)
  if (bytes === undefined) throw chunkCorrupt(pack, chunk.id, 'its seal is broken')
  return bytes
}

/**
 * The plain bytes of a chunk, with their hash, which the caller compares. With `memory` they may lie in it and are valid
 * until it is used again. @throws chunk_corrupt
 */
export function openPlain(
  keys: KeyRing,
  key: SealingKey,
  pack: string,
  chunk: PackedChunk,
  sealed: Uint8Array,
  memory?: Scratch,
): { plain: Uint8Array; content: ContentHash } {
  const stored = openChunk(keys, key, pack, chunk, sealed)
  const plain = decompressChunk(chunk.codec, stored, chunk.plainBytes, memory)
  if (plain !== stored) freeMemory(stored)
  if (plain === undefined) throw chunkCorrupt(pack, chunk.id, 'it does not decompress to its length')
  const content = contentHash(plain)
  return { plain, content }
}

/** Whether `plain` with `content` belongs under `id`. Costs one HMAC; callers that know the content hash compare that. */
export function isNamed(keys: KeyRing, id: ChunkId, content: ContentHash): boolean {
  return Buffer.compare(keys.chunkId(content), id) === 0
}

/** What a look at a whole pack found. `badChunks` are ids whose bytes are not what they were; "all" when no table opens. */
export type PackCheck = Readonly<{
  intact: boolean
  session: number | undefined
  badChunks: readonly ChunkId[] | 'all'
}>

/** All bytes of a pack; with `memory` they are valid until it is used again. @throws pack_missing */
export async function readPack(store: BlobStore, ref: PackRef, memory?: Scratch): Promise<Uint8Array> {
  try {
    return await store.get(packKeyOf(ref.name), memory?.room(ref.lengthBytes))
  } catch (cause) {
    // What is far longer than the log says has the pack at its beginning, or not: one byte more tells that it is not intact.
    if (isHoldfastError(cause, 'blob_too_large')) return store.getRange(packKeyOf(ref.name), 0, ref.lengthBytes + 1)
    if (!isHoldfastError(cause, 'blob_not_found')) throw cause
    throw packMissing(ref.name, cause)
  }
}

function matchesName(ref: PackRef, bytes: Uint8Array): boolean {
  return bytes.length === ref.lengthBytes && toHex(sha256(bytes)) === ref.name
}

/** Compares the stored bytes of a pack with its name. Needs no key. */
export function checkPack(ref: PackRef, bytes: Uint8Array): PackCheck {
  const intact = matchesName(ref, bytes)
  return { intact, session: decodeHeader(bytes)?.session, badChunks: intact ? [] : 'all' }
}

/** As checkPack, and opens every chunk, in `memory`, and compares it with its own name. */
export function checkPackWithKey(keys: KeyRing, ref: PackRef, bytes: Uint8Array, memory = new Scratch()): PackCheck {
  const header = decodeHeader(bytes)
  const foreign = header === undefined || Buffer.compare(header.repositoryId, keys.repositoryId) !== 0
  const intact = matchesName(ref, bytes) && !foreign
  // What was appended to a pack hurts no reader: it reads what the log says is there.
  const badChunks = badChunksIn(keys, ref, bytes.subarray(0, ref.lengthBytes), memory)
  return { intact: intact && badChunks.length === 0, session: header?.session, badChunks }
}

function badChunksIn(keys: KeyRing, ref: PackRef, bytes: Uint8Array, memory: Scratch): ChunkId[] | 'all' {
  try {
    const table = openTable(keys, ref.name, bytes.length, bytes)
    if (table === 'tail too short') return 'all'
    const key = keys.packKey(table.salt)
    const isHurt = (chunk: PackedChunk): boolean => {
      const sealed = bytes.subarray(chunk.offset, chunk.offset + chunk.sealedBytes)
      return !isChunkIntact(keys, key, ref.name, chunk, sealed, memory)
    }
    return table.chunks.filter(isHurt).map((chunk) => chunk.id)
  } catch (error) {
    if (isHoldfastError(error, 'pack_corrupt')) return 'all'
    throw error
  }
}

function isChunkIntact(
  keys: KeyRing,
  key: SealingKey,
  pack: string,
  chunk: PackedChunk,
  sealed: Uint8Array,
  memory: Scratch,
): boolean {
  try {
    return isNamed(keys, chunk.id, openPlain(keys, key, pack, chunk, sealed, memory).content)
  } catch (error) {
    if (isHoldfastError(error, 'chunk_corrupt')) return false
    throw error
  }
}

/** The chunks of a pack that still open, in their stored form. Whether each matches its name is the caller's to know. */
export async function* salvageChunks(
  store: BlobStore,
  keys: KeyRing,
  ref: PackRef,
): AsyncGenerator<
  Readonly<{
    id: ChunkId
    stored: Pick<PackedChunk, 'codec' | 'plainBytes' | 'kind'> & Readonly<{ bytes: Uint8Array }>
  }>
> {
  const bytes = await readPack(store, ref)
  const table = openTable(keys, ref.name, bytes.length, bytes)
  if (table === 'tail too short') return
  const key = keys.packKey(table.salt)
  for (const chunk of table.chunks) {
    const sealed = bytes.subarray(chunk.offset, chunk.offset + chunk.sealedBytes)
    const { codec, plainBytes, kind } = chunk
    const opened = key.open(chunk.offset, chunkAad(keys.repositoryId, chunk.id, plainBytes, codec), sealed)
    if (opened !== undefined) yield { id: chunk.id, stored: { bytes: opened, codec, plainBytes, kind } }
  }
}
