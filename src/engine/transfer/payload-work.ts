/**
 * Makes one payload chunk of a delta node: reads what changed, leaves out blocks of zeros, puts the rest together. The
 * same in a thread and inline.
 */
import type { ByteRange } from '#engine/block'
import { type ChunkWriter, contentHash, type DeltaExtent, type ExtentList, isZero } from '#engine/repository'
import type { DeltaLayer } from './delta-layer.ts'
import type { DiskAccess, Stored } from './segment-work.ts'

/** Pieces without payload are read from the disk; the others move over from older payload chunks. */
export type PayloadTask = Readonly<{ disk: number; pieces: ExtentList }>
export type PayloadResult = Stored & Readonly<{ extents: ExtentList; readBytes: number }>

/** Zeros are looked for in whole pieces, and in blocks of this part of a chunk: so a change is split into a few extents only. */
const ZERO_BLOCKS_A_CHUNK = 8

type Run = { offset: number; length: number; at: number; isZero: boolean }

export async function makePayload(
  task: PayloadTask,
  { source, chunkSizeBytes }: DiskAccess,
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
    const blockBytes = isZero(bytes) ? piece.length : chunkSizeBytes / ZERO_BLOCKS_A_CHUNK
    used = takeRuns(runs, piece, plain, used, blockBytes)
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
function takeRuns(runs: Run[], piece: ByteRange, plain: Uint8Array, at: number, blockBytes: number): number {
  const { offset, length } = piece
  let to = at
  for (let done = 0; done < length;) {
    const place = offset + done
    const size = Math.min(length - done, blockBytes - (place % blockBytes))
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
