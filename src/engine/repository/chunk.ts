/**
 * A chunk between its plain and its stored form: compressed when that helps.
 *
 * codec 0: stored as it is. codec 1: one zstd frame (RFC 8878) whose content is exactly the plain bytes.
 */
import { assert, CHUNK_BYTES_MAX } from '#base'
import { Scratch } from './scratch.ts'
import { Zstd, ZSTD_SLACK_BYTES } from './zstd.ts'

export type Codec = 0 | 1
export const CODEC_PLAIN = 0
export const CODEC_ZSTD = 1

/** Level 1: measured, level 3 costs 25 % more time for 3 % of size on disk images; see docs/decisions. */
const ZSTD_LEVEL = 1
/** Compression must save at least 1/32, or the chunk is stored plain: reading it then costs nothing. */
const SAVING_SHIFT = 5

let zstd: Zstd | undefined

/** This thread's compressor, made when it is first needed. */
function zstdOfThread(): Zstd {
  return (zstd ??= new Zstd(ZSTD_LEVEL))
}

/** The bytes are valid until the next call. */
export function compressChunk(plain: Uint8Array): { codec: Codec; bytes: Uint8Array } {
  const packed = zstdOfThread().compress(plain)
  const worthIt = packed.length <= plain.length - (plain.length >> SAVING_SHIFT)
  return worthIt ? { codec: CODEC_ZSTD, bytes: packed } : { codec: CODEC_PLAIN, bytes: plain }
}

/**
 * The plain bytes, or undefined when `bytes` are not a frame of exactly `plainBytes`. Bounded whatever the frame claims.
 * With `memory` they may lie in it and are valid until it is used again; without they are the caller's.
 */
export function decompressChunk(
  codec: number,
  bytes: Uint8Array,
  plainBytes: number,
  memory = new Scratch(),
): Uint8Array | undefined {
  assert(plainBytes <= CHUNK_BYTES_MAX, 'Validated when the table was parsed')
  if (codec === CODEC_PLAIN) return bytes.length === plainBytes ? bytes : undefined
  if (codec !== CODEC_ZSTD) return undefined
  const room = memory.room(plainBytes + ZSTD_SLACK_BYTES)
  return zstdOfThread().decompress(bytes, room, plainBytes) ? room.subarray(0, plainBytes) : undefined
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
