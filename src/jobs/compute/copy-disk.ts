/** Copies what is written of one disk into an empty one: holes stay holes, and zeros become holes. */
import { KIB, MIB, type ProgressSink } from '#base'
import type { BlockSource, BlockTarget, Extent } from '#engine/block'
import { isZero } from '#engine/repository'
import { checkRoom, type PoolPlace } from './pool-room.ts'

const PIECE_BYTES = 2 * MIB
/** The size of a qcow2 cluster: less would save nothing. */
const BLOCK_BYTES = 64 * KIB
const EXTENTS_SPAN_BYTES = 1024 * MIB
const AT_ONCE = 4
/** How much is written before the pool is looked at again. */
const LOOK_BYTES = 256 * MIB

export type CopyHow = Readonly<{ pool: PoolPlace; signal: AbortSignal; progress: ProgressSink; task: string }>

async function dataOf(source: BlockSource, signal: AbortSignal): Promise<Extent[]> {
  const found: Extent[] = []
  for (let at = 0; at < source.sizeBytes; at += EXTENTS_SPAN_BYTES) {
    const span = Math.min(EXTENTS_SPAN_BYTES, source.sizeBytes - at)
    found.push(...(await source.extents(at, span, signal)).filter(({ kind }) => kind === 'data'))
  }
  return found
}

function* pieces(extents: readonly Extent[]): Generator<Readonly<{ offset: number; length: number }>> {
  for (const { offset, length } of extents)
    for (let done = 0; done < length; done += PIECE_BYTES)
      yield { offset: offset + done, length: Math.min(PIECE_BYTES, length - done) }
}

/** What of the piece is not zeros, in whole blocks. */
function* writtenRuns(piece: Uint8Array): Generator<Readonly<{ from: number; to: number }>> {
  let from: number | undefined
  for (let at = 0; at < piece.length; at += BLOCK_BYTES) {
    const isHole = isZero(piece.subarray(at, at + BLOCK_BYTES))
    if (isHole && from !== undefined) yield { from, to: at }
    if (isHole) from = undefined
    else from ??= at
  }
  if (from !== undefined) yield { from, to: piece.length }
}

/** The target holds nothing yet and is at least as large. @throws `pool_full`, and what source and target raise */
export async function copyDisk(source: BlockSource, target: BlockTarget, how: CopyHow): Promise<void> {
  const extents = await dataOf(source, how.signal)
  const totalBytes = extents.reduce((sum, { length }) => sum + length, 0)
  await checkRoom(how.pool, totalBytes)
  const queue = pieces(extents)
  let doneBytes = 0
  let lookAt = LOOK_BYTES
  const work = async (): Promise<void> => {
    const buffer = new Uint8Array(PIECE_BYTES)
    for (const { offset, length } of queue) {
      const part = buffer.subarray(0, length)
      await source.read(offset, part, how.signal)
      for (const { from, to } of writtenRuns(part))
        await target.write(offset + from, part.subarray(from, to), how.signal)
      doneBytes += length
      how.progress({ task: how.task, doneBytes, totalBytes })
      if (doneBytes < lookAt) continue
      lookAt += LOOK_BYTES
      await checkRoom(how.pool, 0)
    }
  }
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, work))
  for (const one of ended) if (one.status === 'rejected') throw one.reason
}
