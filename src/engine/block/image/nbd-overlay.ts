/**
 * An overlay over a disk that is served by NBD: what a machine that is booted from a recovery point writes to, from its
 * first instruction on, while its bytes are still elsewhere.
 *
 * What is a hole below is made a zero cluster at once, so that filling the overlay later moves data and not size: a disk of
 * 1 TiB with 200 MiB of data costs 200 MiB. Clusters are as large as the default chunk: 32 MiB of tables for 1 TiB.
 * (Sub-clusters, `extended_l2`, would copy less on small writes, but QEMU 7.2 aborts when block-stream reads into them:
 * bdrv_co_do_copy_on_readv rounds to clusters and then counts bytes below zero. Seen here; mended in QEMU 8.1.)
 *
 * The file is written here and not by qemu-img (QEMU docs/interop/qcow2.txt, version 3): its tables are known beforehand, so
 * that a guest need not wait until a thousand zeroing requests have built them one by one.
 *
 *   cluster   0 header | 1 refcount table | 2 refcount block | 3.. L1 table | L2 tables of the regions that have a hole
 */
import { open, unlink } from 'node:fs/promises'
import { SECTOR_BYTES, assert } from '#base'
import { fileError } from '../file-errors.ts'
import type { ByteRange } from '../extent.ts'

export type NbdBacking = Readonly<{
  /** Goes into the overlay's header: the same path after every restart. */
  socketPath: string
  exportName: string
  /** How long the guest's reads wait for a server that is away before they fail. */
  reconnectDelaySeconds: number
}>

const CLUSTER_BITS = 18
const CLUSTER_BYTES = 1 << CLUSTER_BITS
const L2_ENTRIES = CLUSTER_BYTES / 8
/** What one L2 table maps: 8 GiB. */
const REGION_BYTES = L2_ENTRIES * CLUSTER_BYTES
/** With 16-bit counts one block counts 131,072 clusters, 32 GiB of tables: more than 1,000 TiB of disk need. */
const COUNTED_CLUSTERS_MAX = CLUSTER_BYTES / 2
const L1_CLUSTER = 3
const HEADER_BYTES = 104
const BACKING_NAME_BYTES_MAX = 1_023
const EXTENSION_BACKING_FORMAT = 0xe2792aca
const COPIED = 1n << 63n
/** The cluster reads as zeros and none is allocated for it. */
const ZERO = 1n

type Layout = Readonly<{ sizeBytes: number; l1Entries: number; l1Clusters: number; usedClusters: number }>

/** Creates the overlay, durably. @throws BlockError target_full, target_exists, …; the file is removed then */
export async function createNbdOverlay(
  path: string,
  backing: NbdBacking,
  sizeBytes: number,
  holes: readonly ByteRange[],
): Promise<void> {
  assert(sizeBytes % SECTOR_BYTES === 0, 'A disk has whole sectors')
  const regions = regionsOf(sizeBytes, holes)
  const l1Entries = Math.ceil(sizeBytes / REGION_BYTES)
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / CLUSTER_BYTES))
  const usedClusters = L1_CLUSTER + l1Clusters + regions.size
  assert(usedClusters <= COUNTED_CLUSTERS_MAX, 'The tables of a disk are counted by one block')
  const layout = { sizeBytes, l1Entries, l1Clusters, usedClusters }
  let made = false
  try {
    const handle = await open(path, 'wx', 0o600)
    made = true
    try {
      await handle.write(headerOf(layout, backing), 0, CLUSTER_BYTES, 0)
      await handle.write(refcountTable(), 0, CLUSTER_BYTES, CLUSTER_BYTES)
      await handle.write(refcountBlock(layout), 0, CLUSTER_BYTES, 2 * CLUSTER_BYTES)
      await handle.write(l1Table(layout, regions), 0, l1Clusters * CLUSTER_BYTES, L1_CLUSTER * CLUSTER_BYTES)
      let at = (L1_CLUSTER + l1Clusters) * CLUSTER_BYTES
      for (const clusters of regions.values()) {
        await handle.write(l2Table(clusters), 0, CLUSTER_BYTES, at)
        at += CLUSTER_BYTES
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (made) await unlink(path)
    throw fileError('create', path, error)
  }
}

/** Runs of clusters inside one region. */
type Clusters = Readonly<{ first: number; end: number }>

/** By region, in order, the clusters that lie wholly in a hole; regions without any are left out. */
function regionsOf(sizeBytes: number, holes: readonly ByteRange[]): Map<number, Clusters[]> {
  const regions = new Map<number, Clusters[]>()
  const clusters = Math.ceil(sizeBytes / CLUSTER_BYTES)
  for (const { offset, length } of holes) {
    const first = Math.ceil(offset / CLUSTER_BYTES)
    const end = offset + length >= sizeBytes ? clusters : Math.floor((offset + length) / CLUSTER_BYTES)
    for (let at = first; at < end;) {
      const region = Math.floor(at / L2_ENTRIES)
      const stop = Math.min(end, (region + 1) * L2_ENTRIES)
      const runs = regions.get(region) ?? []
      runs.push({ first: at - region * L2_ENTRIES, end: stop - region * L2_ENTRIES })
      regions.set(region, runs)
      at = stop
    }
  }
  return regions
}

function headerOf(layout: Layout, backing: NbdBacking): Buffer {
  const { socketPath, exportName, reconnectDelaySeconds } = backing
  const server = { type: 'unix', path: socketPath }
  const file = { driver: 'nbd', server, export: exportName, 'reconnect-delay': reconnectDelaySeconds }
  const name = Buffer.from(`json:${JSON.stringify({ driver: 'raw', file })}`)
  assert(name.length <= BACKING_NAME_BYTES_MAX, 'Socket and export are short')
  const header = Buffer.alloc(CLUSTER_BYTES)
  const nameAt = HEADER_BYTES + 24
  header.write('QFI\xfb', 'latin1')
  header.writeUInt32BE(3, 4)
  header.writeBigUInt64BE(BigInt(nameAt), 8)
  header.writeUInt32BE(name.length, 16)
  header.writeUInt32BE(CLUSTER_BITS, 20)
  header.writeBigUInt64BE(BigInt(layout.sizeBytes), 24)
  header.writeUInt32BE(layout.l1Entries, 36)
  header.writeBigUInt64BE(BigInt(L1_CLUSTER * CLUSTER_BYTES), 40)
  header.writeBigUInt64BE(BigInt(CLUSTER_BYTES), 48)
  header.writeUInt32BE(1, 56)
  header.writeUInt32BE(4, 96) // counts of 1 << 4 bits
  header.writeUInt32BE(HEADER_BYTES, 100)
  header.writeUInt32BE(EXTENSION_BACKING_FORMAT, HEADER_BYTES)
  header.writeUInt32BE(3, HEADER_BYTES + 4)
  header.write('raw', HEADER_BYTES + 8) // then padding to 8, and the end of extensions, eight zeros
  name.copy(header, nameAt)
  return header
}

function refcountTable(): Buffer {
  const table = Buffer.alloc(CLUSTER_BYTES)
  table.writeBigUInt64BE(BigInt(2 * CLUSTER_BYTES), 0)
  return table
}

function refcountBlock(layout: Layout): Buffer {
  const block = Buffer.alloc(CLUSTER_BYTES)
  for (let cluster = 0; cluster < layout.usedClusters; cluster += 1) block.writeUInt16BE(1, cluster * 2)
  return block
}

function l1Table(layout: Layout, regions: ReadonlyMap<number, unknown>): Buffer {
  const table = Buffer.alloc(layout.l1Clusters * CLUSTER_BYTES)
  let cluster = L1_CLUSTER + layout.l1Clusters
  for (const region of regions.keys()) {
    table.writeBigUInt64BE(COPIED | BigInt(cluster * CLUSTER_BYTES), region * 8)
    cluster += 1
  }
  return table
}

const ZERO_ENTRY = Buffer.alloc(8)
ZERO_ENTRY.writeBigUInt64BE(ZERO)

function l2Table(runs: readonly Clusters[]): Buffer {
  const table = Buffer.alloc(CLUSTER_BYTES)
  for (const { first, end } of runs) table.fill(ZERO_ENTRY, first * 8, end * 8)
  return table
}
