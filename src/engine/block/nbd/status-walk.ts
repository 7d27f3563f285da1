/**
 * Asks a server for the states of a range (NBD_CMD_BLOCK_STATUS), as often as it takes, and visits them in order, cut to
 * the range. Large ranges are asked for in segments, several at once, because each answer costs a round trip.
 */
import { BaseError, must } from '#base'
import type { ByteRange } from '../extent.ts'
import type { NbdConnection } from './connection.ts'
import { CMD, violation } from './wire.ts'

export type StatusQuestion = Readonly<{
  context: string
  offset: number
  length: number
  signal: AbortSignal | undefined
  /** Chosen anew for every request. */
  connection: () => NbdConnection
}>

/** `flags` as the meta context defines them. */
type Run = Readonly<{ range: ByteRange; flags: number }>

/** A multiple of every block size that fits the 32 bits of a request's length. */
const SEGMENT_BYTES_MAX = 2 ** 32 - 65536
const SEGMENTS_AT_ONCE = 8

export async function walkStatus(
  question: StatusQuestion,
  visit: (range: ByteRange, flags: number) => void,
): Promise<void> {
  const end = question.offset + question.length
  const segments: Promise<Run[]>[] = []
  const visitNext = async (): Promise<void> => {
    const runs = await must(segments.shift(), 'A segment is under way')
    for (const { range, flags } of runs) visit(range, flags)
  }
  // Segments begin at multiples of their size, so that their ends are whole blocks.
  for (let start = question.offset; start < end;) {
    const stop = Math.min((Math.floor(start / SEGMENT_BYTES_MAX) + 1) * SEGMENT_BYTES_MAX, end)
    const segment = readSegment(question, start, stop)
    segment.catch(() => {
      // Thrown where the segment's turn comes; when an earlier one fails first, its error is the one that counts.
    })
    segments.push(segment)
    if (segments.length === SEGMENTS_AT_ONCE) await visitNext()
    start = stop
  }
  while (segments.length > 0) await visitNext()
}

async function readSegment(question: StatusQuestion, start: number, end: number): Promise<Run[]> {
  const runs: Run[] = []
  for (let position = start; position < end;) {
    if (question.signal?.aborted === true) throw new BaseError('cancelled', 'Asking for block states was cancelled.')
    position = await readOnce(question, position, end, runs)
  }
  return runs
}

/** One request; adds what it told of [position, end) and returns how far that went. */
async function readOnce(question: StatusQuestion, position: number, end: number, runs: Run[]): Promise<number> {
  const connection = question.connection()
  const { blockBytesMin: block, contexts, sizeBytes } = connection.info
  const start = position - (position % block)
  const length = Math.min(Math.ceil((end - start) / block) * block, sizeBytes - start)
  const { signal, context } = question
  const answer = await connection.request({ type: CMD.BLOCK_STATUS, flags: 0, offset: start, length, signal })
  const id = contexts.get(context)
  const chunk = answer.statuses.find((status) => status.contextId === id)
  if (chunk === undefined) throw violation('The server left out the meta context.', { context })
  let at = start
  for (const [index, extentLength] of chunk.lengths.entries()) {
    const from = Math.max(at, position)
    const to = Math.min(at + extentLength, end)
    if (to > from) runs.push({ range: { offset: from, length: to - from }, flags: chunk.flags[index] ?? 0 })
    at += extentLength
  }
  if (at <= position) throw violation('The server reports no progress in the allocation.')
  return at
}
