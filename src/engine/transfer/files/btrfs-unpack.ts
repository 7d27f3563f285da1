/** Unpacks an extent of Btrfs: zlib, zstd, or LZO in segments that keep their lengths from crossing a sector's end. */
import { inflateSync, zstdDecompressSync } from 'node:zlib'
import { TransferError } from '../errors.ts'
import { damaged } from './disk-view.ts'
import { unpackLzo } from './lzo.ts'

/** Btrfs packs at most 128 KiB at once; more is asked for by hostile disks only. */
export const UNPACKED_BYTES_MAX = 1024 * 1024
const KIND = { zlib: 1, lzo: 2, zstd: 3 } as const
const LENGTH_BYTES = 4
const ZSTD_MAGIC = 0xfd2f_b528

function lzoSegments(packed: Buffer, sizeBytes: number, sectorBytes: number): Buffer {
  const total = packed.length < LENGTH_BYTES ? 0 : packed.readUInt32LE(0)
  if (total > packed.length || total < LENGTH_BYTES) throw damaged('packed data is longer than its extent')
  const parts: Buffer[] = []
  let left = sizeBytes
  for (let at = LENGTH_BYTES; at + LENGTH_BYTES <= total && left > 0;) {
    const inSector = sectorBytes - (at % sectorBytes)
    if (inSector < LENGTH_BYTES) {
      at += inSector
      continue
    }
    const length = packed.readUInt32LE(at)
    at += LENGTH_BYTES
    if (length === 0 || at + length > total) throw damaged('a segment of packed data is longer than the whole')
    const part = unpackLzo(packed.subarray(at, at + length), Math.min(left, sectorBytes))
    parts.push(part)
    left -= part.length
    at += length
  }
  return Buffer.concat(parts)
}

/** Where the only frame ends: behind it an extent is filled with zeros. */
function zstdFrame(packed: Buffer): Buffer {
  if (packed.length < 6 || packed.readUInt32LE(0) !== ZSTD_MAGIC) throw damaged('packed data does not begin as such')
  const descriptor = packed.readUInt8(4)
  const isSingle = (descriptor & 0x20) !== 0
  const sizeField = [isSingle ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0
  let at = 5 + (isSingle ? 0 : 1) + ([0, 1, 2, 4][descriptor & 3] ?? 0) + sizeField
  for (;;) {
    if (at + 3 > packed.length) throw damaged('packed data ends too early')
    const header = packed.readUIntLE(at, 3)
    at += 3 + (((header >>> 1) & 3) === 1 ? 1 : header >>> 3)
    if ((header & 1) === 1) return packed.subarray(0, at + ((descriptor & 4) === 0 ? 0 : 4))
  }
}

/**
 * @param sizeBytes of the data when unpacked; a shorter result is filled with zeros, as in Linux
 * @throws `files_damaged`, `files_unsupported`
 */
export function unpackExtent(kind: number, packed: Buffer, sizeBytes: number, sectorBytes: number): Buffer {
  if (sizeBytes > UNPACKED_BYTES_MAX) throw damaged('packed data is said to be impossibly large', { sizeBytes })
  const unpacked = unpack(kind, packed, sizeBytes, sectorBytes)
  if (unpacked.length === sizeBytes) return unpacked
  const filled = Buffer.alloc(sizeBytes)
  unpacked.copy(filled)
  return filled
}

function unpack(kind: number, packed: Buffer, sizeBytes: number, sectorBytes: number): Buffer {
  if (kind === KIND.lzo) return lzoSegments(packed, sizeBytes, sectorBytes)
  if (kind !== KIND.zlib && kind !== KIND.zstd) {
    throw new TransferError('files_unsupported', 'The file is packed in a way that is not read here.', {
      facts: { kind },
    })
  }
  try {
    const options = { maxOutputLength: UNPACKED_BYTES_MAX }
    return kind === KIND.zlib ? inflateSync(packed, options) : zstdDecompressSync(zstdFrame(packed), options)
  } catch (error) {
    if (error instanceof TransferError) throw error
    // zlib's own words about bytes that are not what it packs.
    throw damaged('packed data cannot be unpacked', { reason: error instanceof Error ? error.message : 'unknown' })
  }
}
