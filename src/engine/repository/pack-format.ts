/**
 * The bytes of a pack, as docs/format/pack.md describes them. Pure layout: no store, no compression.
 *
 *   header   96 bytes, plain:  magic "HFPACK01" · repository id 16 · salt 32 · session 8 · zeros
 *   chunks   sealed one after the other: ciphertext · tag 16; nonce = offset in the pack
 *   table    sealed as one: an entry of 48 bytes a chunk; nonce = offset in the pack
 *   footer   64 bytes, plain:  salt 32 · table offset 8 · table bytes (sealed) 4 · chunks 4 · zeros 8 · magic "HFPKEND1"
 *
 * Integers are little-endian. A pack's name is the SHA-256 of all its bytes, so whoever holds the bytes can check them
 * without a key. The footer repeats the salt so that one ranged read of the tail is enough to read the table.
 */
import { assert, CHUNK_BYTES_MAX } from '#base'
import { type ChunkId, HASH_BYTES, TAG_BYTES } from './crypto.ts'

export const PACK_HEADER_BYTES = 96
export const PACK_FOOTER_BYTES = 64
export const TABLE_ENTRY_BYTES = 48
const HEADER_MAGIC = Buffer.from('HFPACK01')
const FOOTER_MAGIC = Buffer.from('HFPKEND1')

/** data: content of disks. node: nodes of manifests. delta: payload of delta nodes, the bytes of many extents in each. */
export const CHUNK_KINDS = ['data', 'node', 'delta'] as const
export type ChunkKind = (typeof CHUNK_KINDS)[number]

/** 0: the plain bytes. 1: one zstd frame of them. */
const CODECS = 2

/** Where and how a chunk lies in its pack. `sealedBytes` includes the tag. */
export type PackedChunk = Readonly<{
  id: ChunkId
  offset: number
  sealedBytes: number
  plainBytes: number
  codec: number
  kind: ChunkKind
}>

export type PackFooter = Readonly<{ salt: Uint8Array; tableOffset: number; tableBytes: number; chunkCount: number }>

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function encodeHeader(repositoryId: Uint8Array, salt: Uint8Array, session: number): Uint8Array {
  const header = new Uint8Array(PACK_HEADER_BYTES)
  header.set(HEADER_MAGIC, 0)
  header.set(repositoryId, 8)
  header.set(salt, 24)
  view(header).setBigUint64(56, BigInt(session), true)
  return header
}

/** undefined: these are not the first bytes of a pack. */
export function decodeHeader(
  bytes: Uint8Array,
): { repositoryId: Uint8Array; salt: Uint8Array; session: number } | undefined {
  if (bytes.length < PACK_HEADER_BYTES || !HEADER_MAGIC.equals(bytes.subarray(0, 8))) return undefined
  const session = view(bytes).getBigUint64(56, true)
  if (session > BigInt(Number.MAX_SAFE_INTEGER)) return undefined
  return { repositoryId: bytes.slice(8, 24), salt: bytes.slice(24, 56), session: Number(session) }
}

export function encodeFooter(footer: PackFooter): Uint8Array {
  const bytes = new Uint8Array(PACK_FOOTER_BYTES)
  bytes.set(footer.salt, 0)
  view(bytes).setBigUint64(32, BigInt(footer.tableOffset), true)
  view(bytes).setUint32(40, footer.tableBytes, true)
  view(bytes).setUint32(44, footer.chunkCount, true)
  bytes.set(FOOTER_MAGIC, 56)
  return bytes
}

/** undefined: these are not the last bytes of a pack of `packBytes`, or they contradict its length. */
export function decodeFooter(bytes: Uint8Array, packBytes: number): PackFooter | undefined {
  if (bytes.length !== PACK_FOOTER_BYTES || !FOOTER_MAGIC.equals(bytes.subarray(56))) return undefined
  const tableOffset = Number(view(bytes).getBigUint64(32, true))
  const tableBytes = view(bytes).getUint32(40, true)
  const chunkCount = view(bytes).getUint32(44, true)
  const fits = tableOffset >= PACK_HEADER_BYTES && tableOffset + tableBytes + PACK_FOOTER_BYTES === packBytes
  if (!fits || tableBytes !== chunkCount * TABLE_ENTRY_BYTES + TAG_BYTES) return undefined
  return { salt: bytes.slice(0, 32), tableOffset, tableBytes, chunkCount }
}

export function encodeTable(chunks: readonly PackedChunk[]): Uint8Array {
  const table = new Uint8Array(chunks.length * TABLE_ENTRY_BYTES)
  const fields = view(table)
  chunks.forEach((chunk, i) => {
    const at = i * TABLE_ENTRY_BYTES
    table.set(chunk.id, at)
    fields.setUint32(at + 32, chunk.offset, true)
    fields.setUint32(at + 36, chunk.sealedBytes, true)
    fields.setUint32(at + 40, chunk.plainBytes, true)
    table[at + 44] = chunk.codec
    table[at + 45] = CHUNK_KINDS.indexOf(chunk.kind)
  })
  return table
}

/** The chunks of an opened table; undefined when an entry lies outside [header, table) or claims what no chunk can be. */
export function decodeTable(table: Uint8Array, tableOffset: number): PackedChunk[] | undefined {
  if (table.length % TABLE_ENTRY_BYTES !== 0) return undefined
  const fields = view(table)
  const chunks: PackedChunk[] = []
  for (let at = 0; at < table.length; at += TABLE_ENTRY_BYTES) {
    const kind = CHUNK_KINDS[table[at + 45] ?? -1]
    const chunk = {
      id: table.slice(at, at + HASH_BYTES) as ChunkId,
      offset: fields.getUint32(at + 32, true),
      sealedBytes: fields.getUint32(at + 36, true),
      plainBytes: fields.getUint32(at + 40, true),
      codec: table[at + 44] ?? 0,
    }
    const inside = chunk.offset >= PACK_HEADER_BYTES && chunk.offset + chunk.sealedBytes <= tableOffset
    if (
      kind === undefined ||
      chunk.codec >= CODECS ||
      !inside ||
      chunk.sealedBytes < TAG_BYTES ||
      chunk.plainBytes > CHUNK_BYTES_MAX
    )
      return undefined
    chunks.push({ ...chunk, kind })
  }
  return chunks
}

const CHUNK_AAD_TAG = Buffer.from('HFCHUNK1')
const TABLE_AAD_TAG = Buffer.from('HFTABLE1')
const CHUNK_AAD_BYTES = 8 + 16 + HASH_BYTES + 4 + 1

/** What a sealed chunk is bound to: format, repository, name, plain length, codec. */
export function chunkAad(repositoryId: Uint8Array, id: Uint8Array, plainBytes: number, codec: number): Uint8Array {
  assert(id.length === HASH_BYTES, 'A chunk id has 32 bytes')
  const aad = new Uint8Array(CHUNK_AAD_BYTES)
  aad.set(CHUNK_AAD_TAG, 0)
  aad.set(repositoryId, 8)
  aad.set(id, 24)
  view(aad).setUint32(56, plainBytes, true)
  aad[60] = codec
  return aad
}

/** What a sealed table is bound to: format, repository, number of chunks. */
export function tableAad(repositoryId: Uint8Array, chunkCount: number): Uint8Array {
  const aad = new Uint8Array(28)
  aad.set(TABLE_AAD_TAG, 0)
  aad.set(repositoryId, 8)
  view(aad).setUint32(24, chunkCount, true)
  return aad
}

/** The store key of a pack: fanned out over 256 folders by its name. */
export function packKeyOf(name: string): string {
  return `packs/${name.slice(0, 2)}/${name}`
}

/** The pack name that a store key stands for; undefined for a key that is no pack's. */
export function packNameOf(key: string): string | undefined {
  const match = /^packs\/([0-9a-f]{2})\/([0-9a-f]{64})$/.exec(key)
  return match?.[2]?.startsWith(match[1] ?? '-') === true ? match[2] : undefined
}
