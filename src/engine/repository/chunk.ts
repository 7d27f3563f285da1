/**
 * A chunk between its plain and its stored form: compressed when that helps.
 *
 * codec 0: stored as it is. codec 1: one zstd frame (RFC 8878) whose content is exactly the plain bytes.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { assert, CHUNK_BYTES_MAX } from '#base'

export type Codec = 0 | 1
export const CODEC_PLAIN = 0
export const CODEC_ZSTD = 1

/** Level 1: measured, level 3 costs 25 % more time for 3 % of size on disk images; see docs/decisions. */
const ZSTD_LEVEL = 1
/** Compression must save at least 1/32, or the chunk is stored plain: reading it then costs nothing. */
const SAVING_SHIFT = 5
/** Room so that zstd gives its output in one piece: an incompressible chunk grows by its frame header only. */
const OUTPUT_SLACK_BYTES = 4096

export function compressChunk(plain: Uint8Array): { codec: Codec; bytes: Uint8Array } {
  const packed = zstdCompressSync(plain, {
    chunkSize: plain.length + OUTPUT_SLACK_BYTES,
    pledgedSrcSize: plain.length,
    params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL },
  })
  const worthIt = packed.length <= plain.length - (plain.length >> SAVING_SHIFT)
  return worthIt ? { codec: CODEC_ZSTD, bytes: packed } : { codec: CODEC_PLAIN, bytes: plain }
}

/** The plain bytes, or undefined when `bytes` are not a frame of exactly `plainBytes`. Bounded whatever the frame claims. */
export function decompressChunk(codec: number, bytes: Uint8Array, plainBytes: number): Uint8Array | undefined {
  assert(plainBytes <= CHUNK_BYTES_MAX, 'Validated when the table was parsed')
  if (codec === CODEC_PLAIN) return bytes.length === plainBytes ? bytes : undefined
  if (codec !== CODEC_ZSTD) return undefined
  try {
    const plain = zstdDecompressSync(bytes, { chunkSize: plainBytes + 64, maxOutputLength: plainBytes + 64 })
    return plain.length === plainBytes ? plain : undefined
  } catch {
    return undefined // Not a zstd frame, or one that is too large: the caller reports the chunk as corrupt.
  }
}

const zeros = new Uint8Array(CHUNK_BYTES_MAX)

/** Whether every byte is zero. Usually decided by the first few bytes (memcmp). */
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length)
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) return false
  }
  return true
}
