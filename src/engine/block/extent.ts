/** Extents: runs of bytes of a device in one state. */
import { assert } from '#base'

/** data: must be read. hole: not allocated, reads as zeros. zero: allocated but known to read as zeros. */
export type ExtentKind = 'data' | 'hole' | 'zero'

/** `offset` and `length` in bytes; lists of extents are ascending and do not overlap. */
export type Extent = Readonly<{ offset: number; length: number; kind: ExtentKind }>

/** A run of bytes without a state, such as "changed since". */
export type ByteRange = Readonly<{ offset: number; length: number }>

/** Asserts what every list of ranges promises: ascending, not overlapping, not empty, inside `sizeBytes`. */
export function assertRanges(ranges: readonly ByteRange[], sizeBytes: number): void {
  let end = 0
  for (const range of ranges) {
    assert(range.length > 0 && range.offset >= end, 'Ranges ascend, do not overlap and are not empty')
    end = range.offset + range.length
  }
  assert(end <= sizeBytes, 'Ranges end inside the device')
}

/** Sum of the lengths. */
export function totalBytes(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, range) => sum + range.length, 0)
}

/** Widens every range to multiples of `unitBytes` (the last one cut at `sizeBytes`) and joins what then touches. */
export function alignRanges(ranges: readonly ByteRange[], unitBytes: number, sizeBytes: number): ByteRange[] {
  const aligned: { offset: number; length: number }[] = []
  for (const range of ranges) {
    const offset = Math.floor(range.offset / unitBytes) * unitBytes
    const end = Math.min(Math.ceil((range.offset + range.length) / unitBytes) * unitBytes, sizeBytes)
    const last = aligned.at(-1)
    if (last !== undefined && offset <= last.offset + last.length)
      last.length = Math.max(last.length, end - last.offset)
    else aligned.push({ offset, length: end - offset })
  }
  return aligned
}

/** What lies between the ranges, up to `sizeBytes`. */
export function complementOf(ranges: readonly ByteRange[], sizeBytes: number): ByteRange[] {
  const gaps: ByteRange[] = []
  let end = 0
  for (const range of [...ranges, { offset: sizeBytes, length: 0 }]) {
    if (range.offset > end) gaps.push({ offset: end, length: range.offset - end })
    end = range.offset + range.length
  }
  return gaps
}

/** What lies in a range of each list. */
export function commonRanges(left: readonly ByteRange[], right: readonly ByteRange[]): ByteRange[] {
  const common: ByteRange[] = []
  for (let i = 0, j = 0; ;) {
    const [a, b] = [left[i], right[j]]
    if (a === undefined || b === undefined) return common
    const offset = Math.max(a.offset, b.offset)
    const end = Math.min(a.offset + a.length, b.offset + b.length)
    if (end > offset) common.push({ offset, length: end - offset })
    if (a.offset + a.length < b.offset + b.length) i += 1
    else j += 1
  }
}

/** Appends a run to a list of extents, widening the last one when state and place allow it. For builders of lists. */
export function appendExtent(extents: Extent[], extent: Extent): void {
  if (extent.length === 0) return
  const last = extents.at(-1)
  if (last !== undefined && last.kind === extent.kind && last.offset + last.length === extent.offset) {
    extents[extents.length - 1] = { offset: last.offset, length: last.length + extent.length, kind: last.kind }
  } else {
    extents.push(extent)
  }
}
