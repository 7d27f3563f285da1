/**
 * Planning what to read of a disk: pure. The unit of work is a segment: the part of a disk that one manifest leaf covers
 * (256 chunks), so that whoever reads it can also write the leaf.
 */
import { assert } from '#base'
import { alignRanges, type ByteRange } from '#engine/block'
import { FAN_OUT } from '#engine/repository'

export type Segment = Readonly<{
  leafIndex: number
  /** What to read: ascending, inside the leaf, at the granularity of the source. */
  ranges: readonly ByteRange[]
}>

export function leafBytes(chunkSizeBytes: number): number {
  return FAN_OUT * chunkSizeBytes
}

/** Cuts ascending ranges at leaf borders. Leaves without any range have no segment. */
export function planSegments(ranges: readonly ByteRange[], chunkSizeBytes: number): Segment[] {
  const span = leafBytes(chunkSizeBytes)
  const byLeaf = new Map<number, ByteRange[]>()
  for (const range of ranges) {
    const end = range.offset + range.length
    for (let at = range.offset; at < end;) {
      const leafIndex = Math.floor(at / span)
      const cut = Math.min(end, (leafIndex + 1) * span)
      const list = byLeaf.get(leafIndex) ?? []
      list.push({ offset: at, length: cut - at })
      byLeaf.set(leafIndex, list)
      at = cut
    }
  }
  return [...byLeaf].sort(([a], [b]) => a - b).map(([leafIndex, list]) => ({ leafIndex, ranges: list }))
}

/**
 * What an incremental has to look at: what the bitmap says, and what a resize moved. A grown disk's old last chunk was
 * cut at the old end, and its tail is not in the bitmap (QEMU keeps the count on `block_resize`), so both are added.
 */
export function incrementalRanges(
  dirty: readonly ByteRange[],
  options: Readonly<{ sizeBytes: number; parentSizeBytes: number; chunkSizeBytes: number }>,
): ByteRange[] {
  const { sizeBytes, parentSizeBytes, chunkSizeBytes } = options
  assert(sizeBytes >= parentSizeBytes, 'A disk that shrank is scanned')
  const ranges = [...dirty]
  if (sizeBytes > parentSizeBytes) {
    const lastChunk = Math.floor(parentSizeBytes / chunkSizeBytes) * chunkSizeBytes
    ranges.push({ offset: lastChunk, length: sizeBytes - lastChunk })
  }
  return alignRanges(
    ranges.sort((a, b) => a.offset - b.offset),
    1,
    sizeBytes,
  )
}
