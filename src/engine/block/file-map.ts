/**
 * FileMap in use: checks, look-up and translation to extents. A map may come from another thread or from qemu-img, so it
 * is checked where it is opened: ascending, not overlapping, not empty, inside the disk.
 */
import type { FileMap, FileRun } from './device.ts'
import { BlockError } from './errors.ts'
import { appendExtent, type Extent } from './extent.ts'

/** The map of a raw file without holes: every byte of the disk lies at its own offset. */
export function identityMap(sizeBytes: number): FileMap {
  return { runs: sizeBytes === 0 ? [] : [{ start: 0, length: sizeBytes, kind: 'data', fileOffset: 0 }] }
}

/** @throws BlockError image_invalid when the map is not one of a disk of `sizeBytes`. */
export function checkFileMap(map: FileMap, sizeBytes: number, path: string): void {
  let end = 0
  for (const run of map.runs) {
    const whole = [run.start, run.length, run.fileOffset, run.start + run.length, run.fileOffset + run.length]
    const sound = whole.every((n) => Number.isSafeInteger(n) && n >= 0)
    if (!sound || run.length === 0 || run.start < end) throw badMap(path, run)
    end = run.start + run.length
  }
  if (end > sizeBytes) throw badMap(path, map.runs.at(-1))
}

function badMap(path: string, run: FileRun | undefined): BlockError {
  return new BlockError('image_invalid', `The allocation map of ${path} contradicts itself.`, {
    facts: { path, start: run?.start, length: run?.length, fileOffset: run?.fileOffset },
  })
}

/** Index of the first run that ends after `offset`; `runs.length` when there is none. */
export function firstRunAfter(runs: readonly FileRun[], offset: number): number {
  let low = 0
  let high = runs.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const run = runs[middle]
    if (run !== undefined && run.start + run.length <= offset) low = middle + 1
    else high = middle
  }
  return low
}

/** Part of a disk range: at `fileOffset` of the file, or zeros when that is undefined. `at` counts from the range's start. */
export type MappedPiece = Readonly<{ at: number; length: number; fileOffset: number | undefined; kind: Extent['kind'] }>

/** Cuts [offset, offset + length) along the runs of a checked map. */
export function* mappedPieces(map: FileMap, offset: number, length: number): Generator<MappedPiece> {
  const end = offset + length
  let position = offset
  for (let index = firstRunAfter(map.runs, offset); position < end; index += 1) {
    const run = map.runs[index]
    const runStart = run === undefined ? end : Math.min(run.start, end)
    if (position < runStart) {
      yield { at: position - offset, length: runStart - position, fileOffset: undefined, kind: 'hole' }
      position = runStart
    }
    if (run === undefined || position >= end) return
    const pieceEnd = Math.min(run.start + run.length, end)
    const fileOffset = run.kind === 'data' ? run.fileOffset + (position - run.start) : undefined
    yield { at: position - offset, length: pieceEnd - position, fileOffset, kind: run.kind }
    position = pieceEnd
  }
}

/** The extents of [offset, offset + length) by a checked map. */
export function mappedExtents(map: FileMap, offset: number, length: number): Extent[] {
  const extents: Extent[] = []
  for (const piece of mappedPieces(map, offset, length)) {
    appendExtent(extents, { offset: offset + piece.at, length: piece.length, kind: piece.kind })
  }
  return extents
}
