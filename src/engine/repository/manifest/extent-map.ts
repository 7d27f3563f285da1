/**
 * Sorted lists of delta extents: laying one over another, cutting a piece out, leaving chunks out. Pure.
 *
 * A list is ascending and without overlaps. It is held in memory by whoever reads a version: about 100 bytes an extent, and
 * a version has at most DELTA_EXTENTS_MAX of them before they are folded into its tree.
 */
import { assert } from '#base'
import type { DeltaExtent } from './delta-node.ts'

export type ExtentList = readonly DeltaExtent[]

/** The part of an extent inside [from, to). */
function cut(extent: DeltaExtent, from: number, to: number): DeltaExtent {
  const offset = Math.max(extent.offset, from)
  const length = Math.min(extent.offset + extent.length, to) - offset
  assert(length > 0, 'The extent reaches into the piece')
  if (offset === extent.offset && length === extent.length) return extent
  const { payload, at } = extent
  return { offset, length, payload, at: payload === undefined ? 0 : at + offset - extent.offset }
}

const endOf = ({ offset, length }: DeltaExtent): number => offset + length

/** What is seen when `above` lies over `below`. */
export function overlay(below: ExtentList, above: ExtentList): DeltaExtent[] {
  if (below.length === 0) return [...above]
  const seen: DeltaExtent[] = []
  let i = 0
  /** Up to where the list below is used up or covered. */
  let done = 0
  const takeBelow = (to: number): void => {
    for (; i < below.length; i += 1) {
      const extent = below[i] as DeltaExtent
      if (extent.offset >= to) return
      if (endOf(extent) > done && done < to) seen.push(cut(extent, done, to))
      if (endOf(extent) > to) return
    }
  }
  for (const extent of above) {
    takeBelow(extent.offset)
    seen.push(extent)
    done = endOf(extent)
  }
  takeBelow(Infinity)
  return seen
}

/** The index of the first extent that ends after `offset`. */
function firstAfter(list: ExtentList, offset: number): number {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (endOf(list[middle] as DeltaExtent) <= offset) low = middle + 1
    else high = middle
  }
  return low
}

/** The parts of the list inside [from, to), by binary search. */
export function piecesIn(list: ExtentList, from: number, to: number): DeltaExtent[] {
  const pieces: DeltaExtent[] = []
  for (let i = firstAfter(list, from); i < list.length; i += 1) {
    const extent = list[i] as DeltaExtent
    if (extent.offset >= to) break
    pieces.push(cut(extent, from, to))
  }
  return pieces
}

/** Whether the list says anything of [from, to). */
export function touches(list: ExtentList, from: number, to: number): boolean {
  const next = list[firstAfter(list, from)]
  return next !== undefined && next.offset < to
}

/** Cuts the list at multiples of `unitBytes`, so that each extent lies in one unit. */
export function* splitAt(list: ExtentList, unitBytes: number): Generator<DeltaExtent> {
  for (const extent of list) {
    for (let from = extent.offset; from < endOf(extent);) {
      const to = Math.min(endOf(extent), (Math.floor(from / unitBytes) + 1) * unitBytes)
      yield cut(extent, from, to)
      from = to
    }
  }
}

/** The chunks that the list says anything of, ascending. */
export function overlaidChunks(list: ExtentList, chunkBytes: number): number[] {
  const chunks: number[] = []
  for (const { offset } of splitAt(list, chunkBytes)) {
    const chunk = Math.floor(offset / chunkBytes)
    if (chunks.at(-1) !== chunk) chunks.push(chunk)
  }
  return chunks
}

/** How many units of `unitBytes` the list says anything of. */
export function touchedUnits(list: ExtentList, unitBytes: number): number {
  let count = 0
  let last = -1
  for (const { offset, length } of list) {
    const [first, end] = [Math.floor(offset / unitBytes), Math.ceil((offset + length) / unitBytes)]
    count += end - Math.max(first, last + 1)
    last = end - 1
  }
  return count
}

/** Joins neighbours that go on where the one before ended, on the disk and in the payload. */
export function joined(list: Iterable<DeltaExtent>): DeltaExtent[] {
  const out: DeltaExtent[] = []
  for (const extent of list) {
    const last = out.at(-1)
    const goesOn =
      last !== undefined &&
      endOf(last) === extent.offset &&
      last.payload?.content === extent.payload?.content &&
      (last.payload === undefined || last.at + last.length === extent.at)
    if (goesOn) out[out.length - 1] = { ...last, length: last.length + extent.length }
    else out.push(extent)
  }
  return out
}
