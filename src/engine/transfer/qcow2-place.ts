/**
 * Places for the data of a disk in a qcow2 file that several threads fill: each leaf's chunks lie together, and the leaves
 * in the order in which threads came to them. One counter, shared by all threads, says where the next leaf goes.
 */
import { must } from '#base'
import { QCOW2_DATA_OFFSET, qcow2ClustersBytes, type Qcow2Range } from '#engine/block'

/** A counter of eight bytes: where the next leaf goes. */
export function newQcow2Counter(): SharedArrayBuffer {
  const counter = new SharedArrayBuffer(8)
  new BigInt64Array(counter)[0] = BigInt(QCOW2_DATA_OFFSET)
  return counter
}

export function qcow2DataEnd(counter: SharedArrayBuffer): number {
  return Number(Atomics.load(new BigInt64Array(counter), 0))
}

/** Where the chunks of one leaf go: `offsets` ascend, each of a chunk of `chunkSizeBytes` that may be cut by the disk's end. */
export function placeInQcow2(
  counter: SharedArrayBuffer,
  offsets: readonly number[],
  disk: Readonly<{ sizeBytes: number; chunkSizeBytes: number }>,
): { fileOffsets: Map<number, number>; ranges: Qcow2Range[] } {
  const lengthOf = (offset: number): number => Math.min(disk.chunkSizeBytes, disk.sizeBytes - offset)
  const bytes = offsets.reduce((sum, offset) => sum + qcow2ClustersBytes(lengthOf(offset)), 0)
  let fileOffset = Number(Atomics.add(new BigInt64Array(counter), 0, BigInt(bytes)))
  const fileOffsets = new Map<number, number>()
  const ranges: Qcow2Range[] = []
  for (const offset of offsets) {
    const length = lengthOf(offset)
    fileOffsets.set(offset, fileOffset)
    const last = ranges.at(-1)
    // Together in the disk is together in the file here.
    if (last !== undefined && last.offset + last.length === offset)
      ranges[ranges.length - 1] = { ...must(last, 'Just seen'), length: last.length + length }
    else ranges.push({ offset, length, fileOffset })
    fileOffset += qcow2ClustersBytes(length)
  }
  return { fileOffsets, ranges }
}
