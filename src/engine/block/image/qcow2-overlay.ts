/**
 * An empty qcow2 overlay (QEMU, docs/interop/qcow2.txt, version 3), written by us: four clusters of which four small pieces
 * are not zero, so that hundreds are made in the time in which qemu-img makes one, and each takes a few KiB.
 *
 *   cluster 0 header, backing format, backing name | refcount table | refcount block | L1 table, all zero
 *
 * Every cluster is used once. What nothing is written to reads as the backing image does, and beyond its end as zeros. The
 * file is durable when this resolves; its folder is the caller's to sync. A crash leaves a file that may be no image.
 */
import { open } from 'node:fs/promises'
import { assert, SECTOR_BYTES } from '#base'
import { fileError } from '../file-errors.ts'
import { checkVirtualSize } from './image-errors.ts'
import { QCOW2_CLUSTER_BYTES } from './qcow2-writer.ts'

const CLUSTER_BITS = 16
const HEADER_BYTES = 104
const BACKING_FORMAT_EXTENSION = 0xe279_2aca
/** QEMU's own bound of a backing file's name. */
const BACKING_NAME_BYTES_MAX = 1023
const L2_SPAN_BYTES = (QCOW2_CLUSTER_BYTES / 8) * QCOW2_CLUSTER_BYTES
const REFCOUNTS_PER_BLOCK = QCOW2_CLUSTER_BYTES / 2

export type Qcow2Backing = Readonly<{ path: string; format: 'qcow2' | 'raw' }>

type Layout = Readonly<{ sizeBytes: number; backing: Qcow2Backing; l1Entries: number; l1Clusters: number }>

function eightfold(length: number): number {
  return Math.ceil(length / 8) * 8
}

function encodeHeader({ sizeBytes, backing, l1Entries }: Layout): Buffer {
  const format = Buffer.from(backing.format)
  const name = Buffer.from(backing.path)
  assert(name.length > 0 && name.length <= BACKING_NAME_BYTES_MAX, 'The name of a backing file fits its header')
  const nameAt = HEADER_BYTES + 8 + eightfold(format.length) + 8
  const header = Buffer.alloc(nameAt + name.length)
  header.writeUInt32BE(0x51_46_49_fb, 0) // "QFI\xfb"
  header.writeUInt32BE(3, 4)
  header.writeBigUInt64BE(BigInt(nameAt), 8)
  header.writeUInt32BE(name.length, 16)
  header.writeUInt32BE(CLUSTER_BITS, 20)
  header.writeBigUInt64BE(BigInt(sizeBytes), 24)
  header.writeUInt32BE(l1Entries, 36)
  header.writeBigUInt64BE(BigInt(3 * QCOW2_CLUSTER_BYTES), 40)
  header.writeBigUInt64BE(BigInt(QCOW2_CLUSTER_BYTES), 48)
  header.writeUInt32BE(1, 56) // clusters of the refcount table
  header.writeUInt32BE(4, 96) // refcount_order: refcounts of 16 bits
  header.writeUInt32BE(HEADER_BYTES, 100)
  header.writeUInt32BE(BACKING_FORMAT_EXTENSION, HEADER_BYTES)
  header.writeUInt32BE(format.length, HEADER_BYTES + 4)
  format.copy(header, HEADER_BYTES + 8)
  name.copy(header, nameAt)
  return header
}

function piecesOf(layout: Layout): readonly (readonly [offset: number, bytes: Buffer])[] {
  const table = Buffer.alloc(8)
  table.writeBigUInt64BE(BigInt(2 * QCOW2_CLUSTER_BYTES))
  const clusters = 3 + layout.l1Clusters
  assert(clusters <= REFCOUNTS_PER_BLOCK, 'One block counts all clusters of an empty overlay')
  const refcounts = Buffer.alloc(2 * clusters)
  for (let cluster = 0; cluster < clusters; cluster += 1) refcounts.writeUInt16BE(1, 2 * cluster)
  return [
    [0, encodeHeader(layout)],
    [QCOW2_CLUSTER_BYTES, table],
    [2 * QCOW2_CLUSTER_BYTES, refcounts],
  ]
}

/**
 * @param sizeBytes whole sectors; may be more than the backing image has
 * @throws BlockError target_exists, target_full, image_too_large
 */
export async function createQcow2Overlay(path: string, sizeBytes: number, backing: Qcow2Backing): Promise<void> {
  assert(sizeBytes % SECTOR_BYTES === 0 && sizeBytes > 0, 'A disk has whole sectors')
  checkVirtualSize(path, sizeBytes)
  const l1Entries = Math.ceil(sizeBytes / L2_SPAN_BYTES)
  const l1Clusters = Math.ceil((l1Entries * 8) / QCOW2_CLUSTER_BYTES)
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      for (const [offset, bytes] of piecesOf({ sizeBytes, backing, l1Entries, l1Clusters }))
        await file.write(bytes, 0, bytes.length, offset)
      await file.truncate((3 + l1Clusters) * QCOW2_CLUSTER_BYTES)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    throw fileError('create', path, error)
  }
}
