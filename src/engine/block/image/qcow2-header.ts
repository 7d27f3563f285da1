/**
 * Reads a qcow2 header (QEMU, docs/interop/qcow2.txt) before QEMU does, so that a file of unknown origin cannot make QEMU
 * open other files, allocate without bound or ask for a key. Pure: bytes in, values or a BlockError out.
 */
import { BlockError } from '../errors.ts'
import { bufferOf, readU64 } from '../nbd/wire.ts'
import { checkVirtualSize, encryptedImage, invalidImage } from './image-errors.ts'

export type Qcow2Header = Readonly<{
  version: number
  virtualSizeBytes: number
  clusterBytes: number
  /** As the header names it, relative to the image's folder; checked by the caller. */
  backingFile: string | undefined
  backingFormat: string | undefined
  /** The raw external data file's name, if there is one. */
  dataFile: string | undefined
  hasExtendedL2: boolean
  isDirty: boolean
  isCorrupt: boolean
}>

const HEADER_BYTES_V2 = 72
const HEADER_BYTES_V3 = 104
/** QEMU's own bounds (block/qcow2.h). */
const L1_BYTES_MAX = 32 * 1024 * 1024
const REFCOUNT_TABLE_BYTES_MAX = 8 * 1024 * 1024
const SNAPSHOTS_MAX = 65_536
const BACKING_NAME_BYTES_MAX = 1023

const INCOMPATIBLE = { DIRTY: 1, CORRUPT: 2, DATA_FILE: 4, COMPRESSION: 8, EXTENDED_L2: 16 } as const
const INCOMPATIBLE_KNOWN = 31
const EXTENSION = { END: 0, BACKING_FORMAT: 0xe279_2aca, DATA_FILE: 0x4441_5441, CRYPTO: 0x0537_be77 } as const

/** @param head the first cluster of the file, or 64 KiB of it. @throws BlockError image_invalid, image_encrypted, image_too_large */
export function readQcow2Header(path: string, bytes: Uint8Array, fileBytes: number): Qcow2Header {
  const head = bufferOf(bytes)
  if (head.length < HEADER_BYTES_V2 || head.readUInt32BE(0) !== 0x51_46_49_fb) {
    throw new BlockError('image_format_mismatch', `${path} is not a qcow2 image.`, { facts: { path } })
  }
  const version = head.readUInt32BE(4)
  if (version !== 2 && version !== 3) throw invalidImage(path, 'has an unknown qcow2 version.', { version })
  if (version === 3 && head.length < HEADER_BYTES_V3) throw invalidImage(path, 'ends inside its header.')
  const clusterBits = head.readUInt32BE(20)
  if (clusterBits < 9 || clusterBits > 21) throw invalidImage(path, 'has an impossible cluster size.', { clusterBits })
  const clusterBytes = 2 ** clusterBits
  const virtualSizeBytes = readU64(head, 24)
  checkVirtualSize(path, virtualSizeBytes)
  if (head.readUInt32BE(32) !== 0) throw encryptedImage(path)
  const features = version === 3 ? readFeatures(path, head) : 0
  checkTables(path, head, { clusterBytes, virtualSizeBytes, fileBytes, features })
  const headerBytes = version === 3 ? head.readUInt32BE(100) : HEADER_BYTES_V2
  if (
    headerBytes < HEADER_BYTES_V2 ||
    headerBytes > clusterBytes ||
    headerBytes > head.length ||
    headerBytes % 8 !== 0
  ) {
    throw invalidImage(path, 'has an impossible header length.', { headerBytes })
  }
  const extensions = readExtensions(path, head.subarray(0, Math.min(clusterBytes, head.length)), headerBytes)
  if (extensions.has(EXTENSION.CRYPTO)) throw encryptedImage(path)
  const hasDataFile = (features & INCOMPATIBLE.DATA_FILE) !== 0
  return {
    version,
    virtualSizeBytes,
    clusterBytes,
    backingFile: readBackingFile(path, head, clusterBytes),
    backingFormat: extensions.get(EXTENSION.BACKING_FORMAT),
    dataFile: hasDataFile ? (extensions.get(EXTENSION.DATA_FILE) ?? '') : undefined,
    hasExtendedL2: (features & INCOMPATIBLE.EXTENDED_L2) !== 0,
    isDirty: (features & INCOMPATIBLE.DIRTY) !== 0,
    isCorrupt: (features & INCOMPATIBLE.CORRUPT) !== 0,
  }
}

function readFeatures(path: string, head: Buffer): number {
  const high = head.readUInt32BE(72)
  const low = head.readUInt32BE(76)
  if (high !== 0 || (low & ~INCOMPATIBLE_KNOWN) !== 0) {
    throw invalidImage(path, 'uses qcow2 features that are not known here.', { high, low })
  }
  const refcountOrder = head.readUInt32BE(96)
  if (refcountOrder > 6) throw invalidImage(path, 'has an impossible reference count width.', { refcountOrder })
  return low
}

type Shape = Readonly<{ clusterBytes: number; virtualSizeBytes: number; fileBytes: number; features: number }>

function checkTables(path: string, head: Buffer, shape: Shape): void {
  const l1Entries = head.readUInt32BE(36)
  const l1Offset = readU64(head, 40)
  const extended = (shape.features & INCOMPATIBLE.EXTENDED_L2) !== 0
  const bytesPerL1Entry = (shape.clusterBytes / (extended ? 16 : 8)) * shape.clusterBytes
  const l1Needed = Math.ceil(shape.virtualSizeBytes / bytesPerL1Entry)
  const l1Bytes = l1Entries * 8
  const fits = l1Offset % shape.clusterBytes === 0 && l1Offset + l1Bytes <= shape.fileBytes
  if (l1Bytes > L1_BYTES_MAX || l1Entries < l1Needed || !fits) {
    throw invalidImage(path, 'has a first-level table that cannot be its own.', { l1Entries, l1Offset, l1Needed })
  }
  const refcountOffset = readU64(head, 48)
  const refcountBytes = head.readUInt32BE(56) * shape.clusterBytes
  if (
    refcountBytes > REFCOUNT_TABLE_BYTES_MAX ||
    refcountOffset % shape.clusterBytes !== 0 ||
    refcountOffset > shape.fileBytes
  ) {
    throw invalidImage(path, 'has a reference count table that cannot be its own.', { refcountBytes, refcountOffset })
  }
  const snapshots = head.readUInt32BE(60)
  if (snapshots > SNAPSHOTS_MAX || readU64(head, 64) > shape.fileBytes) {
    throw invalidImage(path, 'has a snapshot table that cannot be its own.', { snapshots })
  }
}

function readExtensions(path: string, cluster: Buffer, headerBytes: number): Map<number, string> {
  const found = new Map<number, string>()
  const backingOffset = readU64(cluster, 8)
  const end = backingOffset === 0 ? cluster.length : Math.min(backingOffset, cluster.length)
  for (let at = headerBytes; at + 8 <= end;) {
    const type = cluster.readUInt32BE(at)
    const length = cluster.readUInt32BE(at + 4)
    if (type === EXTENSION.END) return found
    if (at + 8 + length > end)
      throw invalidImage(path, 'has a header extension that runs out of its header.', { length })
    found.set(type, cluster.subarray(at + 8, at + 8 + length).toString('utf8'))
    at += 8 + Math.ceil(length / 8) * 8
  }
  return found
}

function readBackingFile(path: string, head: Buffer, clusterBytes: number): string | undefined {
  const offset = readU64(head, 8)
  const length = head.readUInt32BE(16)
  if (offset === 0) return undefined
  if (length === 0 || length > BACKING_NAME_BYTES_MAX || offset + length > Math.min(clusterBytes, head.length)) {
    throw invalidImage(path, 'has a backing file name outside its header.', { offset, length })
  }
  return head.subarray(offset, offset + length).toString('utf8')
}
