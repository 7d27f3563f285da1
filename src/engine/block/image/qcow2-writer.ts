/**
 * Writes a qcow2 image (QEMU, docs/interop/qcow2.txt, version 3) whose data is laid down by others, in any order and by
 * several threads at once: the data comes first, everything that describes it is written when all of it is there.
 *
 *   cluster 0 header | data, one range after the other | L2 tables | L1 table | refcount blocks | refcount table
 *
 * Every cluster of the file is used exactly once, so refcounts are all 1. A crash, or a failure before `finish`, leaves a
 * file without a header, which no program takes for an image.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { assert, KIB } from '#base'
import { syncFolder } from '#runtime'
import { dirname } from 'node:path'
import { fileError } from '../file-errors.ts'
import { checkVirtualSize } from './image-errors.ts'

/** The unit of allocation. It divides every chunk size. */
export const QCOW2_CLUSTER_BYTES = 64 * KIB
const CLUSTER_BITS = 16
const ENTRY_BYTES = 8
const ENTRIES = QCOW2_CLUSTER_BYTES / ENTRY_BYTES
/** What one L2 table maps: 512 MiB. */
const L2_SPAN_BYTES = ENTRIES * QCOW2_CLUSTER_BYTES
const REFCOUNTS_PER_BLOCK = QCOW2_CLUSTER_BYTES / 2
/** "Copied": this is the only reference to the cluster, so it may be written in place. Upper half of an entry. */
const COPIED_HIGH = 0x8000_0000
const HEADER_BYTES = 104
const TWO_32 = 2 ** 32

/** Where a range of the disk lies in the file. Both begin at a cluster's border; the length is the disk's. */
export type Qcow2Range = Readonly<{ offset: number; length: number; fileOffset: number }>

/** Where data may begin. */
export const QCOW2_DATA_OFFSET = QCOW2_CLUSTER_BYTES

export function qcow2ClustersBytes(lengthBytes: number): number {
  return Math.ceil(lengthBytes / QCOW2_CLUSTER_BYTES) * QCOW2_CLUSTER_BYTES
}

/** Creates the file with room for `dataBytes`; nothing of it is allocated. @throws BlockError target_exists, target_full */
export async function createQcow2File(path: string, dataBytes: number): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.truncate(QCOW2_DATA_OFFSET + dataBytes)
    } finally {
      await file.close()
    }
    await syncFolder(dirname(path))
  } catch (error) {
    throw fileError('create', path, error)
  }
}

/**
 * Describes the data that lies in [QCOW2_DATA_OFFSET, dataEnd): `ranges` cover it without gaps, in any order. The image is
 * whole and durable when this resolves. @throws BlockError target_full, block_io_error
 */
export async function finishQcow2File(
  path: string,
  sizeBytes: number,
  ranges: readonly Qcow2Range[],
  dataEnd: number,
): Promise<void> {
  checkVirtualSize(path, sizeBytes)
  try {
    const file = await open(path, 'r+')
    try {
      await writeTables(file, sizeBytes, ranges, dataEnd)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    throw fileError('write', path, error)
  }
}

async function writeTables(
  file: FileHandle,
  sizeBytes: number,
  ranges: readonly Qcow2Range[],
  dataEnd: number,
): Promise<void> {
  const covered = ranges.reduce((sum, { length }) => sum + qcow2ClustersBytes(length), QCOW2_DATA_OFFSET)
  assert(covered === dataEnd, 'Every cluster of data belongs to exactly one range')
  const l1 = Buffer.alloc(qcow2ClustersBytes(Math.ceil(sizeBytes / L2_SPAN_BYTES) * ENTRY_BYTES))
  let end = dataEnd
  for (const { index, table } of l2Tables(ranges)) {
    await writeAll(file, table, end)
    writeReference(l1, index, end)
    end += table.length
  }
  const l1Offset = end
  await writeAll(file, l1, l1Offset)
  const refcounts = planRefcounts(l1Offset + l1.length)
  await writeRefcounts(file, refcounts)
  await file.truncate(refcounts.fileBytes)
  const header = encodeHeader({ sizeBytes, l1Entries: Math.ceil(sizeBytes / L2_SPAN_BYTES), l1Offset, refcounts })
  await writeAll(file, header, 0)
}

/** The L2 tables that map anything, ascending. Each is only valid until the next one is asked for. */
function* l2Tables(ranges: readonly Qcow2Range[]): Generator<{ index: number; table: Buffer }> {
  const table = Buffer.alloc(QCOW2_CLUSTER_BYTES)
  let index: number | undefined
  for (const { offset, length, fileOffset } of ranges.toSorted((a, b) => a.offset - b.offset)) {
    assert(offset % QCOW2_CLUSTER_BYTES === 0 && fileOffset % QCOW2_CLUSTER_BYTES === 0, 'Ranges begin with clusters')
    for (let at = 0; at < length; at += QCOW2_CLUSTER_BYTES) {
      const of = Math.floor((offset + at) / L2_SPAN_BYTES)
      if (index !== of) {
        if (index !== undefined) yield { index, table }
        table.fill(0)
        index = of
      }
      writeReference(table, ((offset + at) % L2_SPAN_BYTES) / QCOW2_CLUSTER_BYTES, fileOffset + at)
    }
  }
  if (index !== undefined) yield { index, table }
}

function writeReference(table: Buffer, entry: number, fileOffset: number): void {
  table.writeUInt32BE(COPIED_HIGH + Math.floor(fileOffset / TWO_32), entry * ENTRY_BYTES)
  table.writeUInt32BE(fileOffset % TWO_32, entry * ENTRY_BYTES + 4)
}

type Refcounts = Readonly<{
  blocksOffset: number
  blocks: number
  tableOffset: number
  tableClusters: number
  fileBytes: number
}>

/** Refcount blocks and their table, which count themselves too: grown until they cover the whole file. */
function planRefcounts(usedBytes: number): Refcounts {
  const used = usedBytes / QCOW2_CLUSTER_BYTES
  for (let blocks = 1; ;) {
    const tableClusters = Math.ceil(blocks / ENTRIES)
    const clusters = used + blocks + tableClusters
    const needed = Math.ceil(clusters / REFCOUNTS_PER_BLOCK)
    if (needed <= blocks) {
      const tableOffset = usedBytes + blocks * QCOW2_CLUSTER_BYTES
      const fileBytes = clusters * QCOW2_CLUSTER_BYTES
      return { blocksOffset: usedBytes, blocks, tableOffset, tableClusters, fileBytes }
    }
    blocks = needed
  }
}

async function writeRefcounts(file: FileHandle, plan: Refcounts): Promise<void> {
  const clusters = plan.fileBytes / QCOW2_CLUSTER_BYTES
  const table = Buffer.alloc(plan.tableClusters * QCOW2_CLUSTER_BYTES)
  const block = Buffer.alloc(QCOW2_CLUSTER_BYTES)
  for (let i = 0; i < plan.blocks; i += 1) {
    const counted = Math.max(0, Math.min(REFCOUNTS_PER_BLOCK, clusters - i * REFCOUNTS_PER_BLOCK))
    block.fill(0).fill(Buffer.from([0, 1]), 0, counted * 2)
    const offset = plan.blocksOffset + i * QCOW2_CLUSTER_BYTES
    await writeAll(file, block, offset)
    table.writeBigUInt64BE(BigInt(offset), i * ENTRY_BYTES)
  }
  await writeAll(file, table, plan.tableOffset)
}

function encodeHeader(
  image: Readonly<{ sizeBytes: number; l1Entries: number; l1Offset: number; refcounts: Refcounts }>,
): Buffer {
  const header = Buffer.alloc(QCOW2_CLUSTER_BYTES)
  header.writeUInt32BE(0x51_46_49_fb, 0) // "QFI\xfb"
  header.writeUInt32BE(3, 4)
  header.writeUInt32BE(CLUSTER_BITS, 20)
  header.writeBigUInt64BE(BigInt(image.sizeBytes), 24)
  header.writeUInt32BE(image.l1Entries, 36)
  header.writeBigUInt64BE(BigInt(image.l1Offset), 40)
  header.writeBigUInt64BE(BigInt(image.refcounts.tableOffset), 48)
  header.writeUInt32BE(image.refcounts.tableClusters, 56)
  header.writeUInt32BE(4, 96) // refcount_order: refcounts of 16 bits
  header.writeUInt32BE(HEADER_BYTES, 100)
  return header
}

async function writeAll(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
}
