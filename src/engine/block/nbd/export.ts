/**
 * What the server offers under a name: a source, and a target where clients may write. Meta contexts besides
 * base:allocation are functions over ranges, such as a dirty bitmap.
 */
import { assert } from '#base'
import type { BlockSource, BlockTarget } from '../device.ts'
import type { ByteRange } from '../extent.ts'

/** A run in one state; `flags` as the meta context defines them (dirty bitmap: bit 0 is "dirty"). */
export type MetaExtent = Readonly<{ length: number; flags: number }>

/** The states of [offset, offset + length), ascending from `offset`, covering it completely. */
export type MetaContext = (offset: number, length: number, signal: AbortSignal) => Promise<readonly MetaExtent[]>

export type NbdExport = Readonly<{
  source: BlockSource
  /** Given when clients may write; of the same size, usually the same object as `source`. */
  target?: BlockTarget
  description?: string
  /** By full name, such as `qemu:dirty-bitmap:changed`. */
  contexts?: ReadonlyMap<string, MetaContext>
  /** What clients should read at once: a power of two, 64 KiB unless told otherwise. */
  blockBytesPreferred?: number
}>

/** A meta context whose dirty parts are `ranges`: ascending, not overlapping. */
export function dirtyContext(ranges: readonly ByteRange[]): MetaContext {
  return (offset, length) => Promise.resolve(dirtyExtentsOf(ranges, offset, length))
}

function dirtyExtentsOf(ranges: readonly ByteRange[], offset: number, length: number): MetaExtent[] {
  const extents: MetaExtent[] = []
  const end = offset + length
  let position = offset
  for (let index = firstEndingAfter(ranges, offset); position < end; index += 1) {
    const range = ranges[index]
    const start = Math.min(range?.offset ?? end, end)
    if (start > position) extents.push({ length: start - position, flags: 0 })
    position = Math.max(position, start)
    if (range === undefined || position >= end) break
    const stop = Math.min(range.offset + range.length, end)
    assert(stop > position, 'Dirty ranges ascend and do not overlap')
    extents.push({ length: stop - position, flags: 1 })
    position = stop
  }
  return extents
}

function firstEndingAfter(ranges: readonly ByteRange[], offset: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const range = ranges[middle]
    if (range !== undefined && range.offset + range.length <= offset) low = middle + 1
    else high = middle
  }
  return low
}
