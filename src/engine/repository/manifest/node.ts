/**
 * A node of the manifest tree, as docs/format/manifest.md describes its bytes. A tree names the content of one disk
 * version: a leaf (level 0) holds 256 chunks, a node of level n 256 nodes of level n - 1. Equal parts of two versions are
 * the same nodes, because nodes are chunks and are named by their content. What is absent reads as zeros and costs nothing.
 *
 *   magic "HFN1" · level 1 · zero 1 · slots 2 · used bytes 8 · presence bitmap 32 · SHA-256 of each present child 32
 *
 * used bytes: plain bytes of all chunks under the node. Integers little-endian; bit i of the bitmap is slot i.
 */
import { assert } from '#base'
import { type ContentHash, HASH_BYTES } from '../crypto.ts'

export const FAN_OUT = 256
/** 64 TiB in 64 KiB chunks are 2^30 chunks: four levels of 2^8. */
export const LEVEL_MAX = 4
const HEAD_BYTES = 48
const MAGIC = Buffer.from('HFN1')

export type ManifestNode = { readonly level: number; usedBytes: number; readonly slots: (ContentHash | undefined)[] }

export function emptyNode(level: number): ManifestNode {
  return { level, usedBytes: 0, slots: Array.from({ length: FAN_OUT }) }
}

export function encodeNode(node: ManifestNode): Uint8Array {
  assert(node.slots.length === FAN_OUT, 'A node has 256 slots')
  const present = node.slots.filter((slot) => slot !== undefined)
  const bytes = Buffer.alloc(HEAD_BYTES + present.length * HASH_BYTES)
  MAGIC.copy(bytes)
  bytes.writeUInt8(node.level, 4)
  bytes.writeUInt16LE(FAN_OUT, 6)
  bytes.writeBigUInt64LE(BigInt(node.usedBytes), 8)
  let at = HEAD_BYTES
  node.slots.forEach((slot, i) => {
    if (slot === undefined) return
    bytes.writeUInt8(bytes.readUInt8(16 + (i >> 3)) | (1 << (i & 7)), 16 + (i >> 3))
    bytes.set(slot, at)
    at += HASH_BYTES
  })
  return bytes
}

/** undefined when the bytes are no node of `level`. */
export function decodeNode(bytes: Uint8Array, level: number): ManifestNode | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.length < HEAD_BYTES || !MAGIC.equals(buffer.subarray(0, 4))) return undefined
  if (buffer.readUInt8(4) !== level || buffer.readUInt16LE(6) !== FAN_OUT) return undefined
  const node = emptyNode(level)
  node.usedBytes = Number(buffer.readBigUInt64LE(8))
  let at = HEAD_BYTES
  for (let i = 0; i < FAN_OUT; i += 1) {
    if (((buffer[16 + (i >> 3)] ?? 0) & (1 << (i & 7))) === 0) continue
    if (at + HASH_BYTES > buffer.length) return undefined
    node.slots[i] = buffer.subarray(at, at + HASH_BYTES) as Uint8Array as ContentHash
    at += HASH_BYTES
  }
  return at === buffer.length ? node : undefined
}

/** The level of the root of a tree over `chunkCount` chunks: the lowest that covers them all. */
export function rootLevel(chunkCount: number): number {
  let level = 0
  for (let covered = FAN_OUT; covered < chunkCount; covered *= FAN_OUT) level += 1
  assert(level <= LEVEL_MAX, 'Disk sizes are bounded by DISK_BYTES_MAX')
  return level
}
