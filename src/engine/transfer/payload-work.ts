/**
 * Makes one payload chunk of a delta node: reads what changed, leaves out blocks of zeros, puts the rest together. The
 * same in a thread and inline.
 */
import { KIB } from '#base'
import type { BlockSource } from '#engine/block'
import { type ChunkWriter, contentHash, type DeltaExtent, type ExtentList, isZero } from '#engine/repository'
import type { DeltaLayer } from './delta-layer.ts'
import type { Stored } from './segment-work.ts'

/** Pieces without payload are read from the disk; the others move over from older payload chunks. */
export type PayloadTask = Readonly<{ disk: number; pieces: ExtentList }>
export type PayloadResult = Stored & Readonly<{ extents: ExtentList; readBytes: number }>

/** Zeros are looked for in blocks of the size that file systems write. */
const ZERO_BLOCK_BYTES = 4 * KIB

type Run = { offset: number; length: number; at: number; isZero: boolean }

export async function makePayload(
  task: PayloadTask,
  source: BlockSource,
  layer: DeltaLayer,
  writer: ChunkWriter,
): Promise<PayloadResult> {
  const plain = new Uint8Array(task.pieces.reduce((sum, { length }) => sum + length, 0))
  const runs: Run[] = []
  let [used, readBytes] = [0, 0]
  for (const piece of task.pieces) {
    const bytes = plain.subarray(used, used + piece.length)
    if (piece.payload === undefined) {
      await source.read(piece.offset, bytes)
      readBytes += piece.length
    } else bytes.set(await layer.bytesOf(piece))
    used = takeRuns(runs, piece.offset, plain, used, piece.length)
  }
  const stored = writer.storedSince()
  const bytes = plain.subarray(0, used)
  const payload = { content: contentHash(bytes), sizeBytes: used }
  if (used > 0) await writer.put(payload.content, bytes, 'delta')
  const extents = runs.map(({ offset, length, at, isZero: zero }): DeltaExtent => {
    return zero ? { offset, length, payload: undefined, at: 0 } : { offset, length, payload, at }
  })
  return { ...stored(), extents, readBytes }
}

/** Keeps what is not zeros of `plain` from `at` on, moved together; gives where it ends. */
function takeRuns(runs: Run[], offset: number, plain: Uint8Array, at: number, length: number): number {
  let to = at
  for (let done = 0; done < length;) {
    const place = offset + done
    const size = Math.min(length - done, ZERO_BLOCK_BYTES - (place % ZERO_BLOCK_BYTES))
    const block = plain.subarray(at + done, at + done + size)
    const zero = isZero(block)
    const last = runs.at(-1)
    if (last !== undefined && last.isZero === zero && last.offset + last.length === place) last.length += size
    else runs.push({ offset: place, length: size, at: zero ? 0 : to, isZero: zero })
    if (!zero) {
      if (to !== at + done) plain.copyWithin(to, at + done, at + done + size)
      to += size
    }
    done += size
  }
  return to
}
