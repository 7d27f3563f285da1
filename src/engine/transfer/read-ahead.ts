/**
 * ReadAhead tells sequential reading from random reading, several readers at a time: a client with many connections, or a
 * copy in many places, is as many streams. A read that begins where one of the last ones ended goes on with its stream.
 */
import { must } from '#base'

/** More streams than a client has connections; a random read pushes out the oldest. */
const STREAMS_MAX = 16

type Stream = { nextOffset: number; aheadEnd: number }

export class ReadAhead {
  /** The beginning counts as gone on: whoever reads it usually reads on. */
  readonly #streams: Stream[] = [{ nextOffset: 0, aheadEnd: 0 }]
  readonly #bytes: number
  readonly #stepBytes: number
  #oldest = 0

  /** @param bytes how far ahead of a stream to be @param stepBytes how much at least is worth asking for at once */
  constructor(bytes: number, stepBytes: number) {
    this.#bytes = bytes
    this.#stepBytes = stepBytes
  }

  /** Notes a read of [offset, end). What to fetch ahead of it now, or undefined. */
  note(offset: number, end: number): Readonly<{ start: number; end: number }> | undefined {
    const stream = this.#streams.find(({ nextOffset }) => nextOffset === offset)
    if (stream === undefined) {
      this.#begin(end)
      return undefined
    }
    stream.nextOffset = end
    const start = Math.max(end, stream.aheadEnd)
    if (this.#bytes === 0 || end + this.#bytes - start < this.#stepBytes) return undefined
    stream.aheadEnd = end + this.#bytes
    return { start, end: stream.aheadEnd }
  }

  #begin(nextOffset: number): void {
    const stream = { nextOffset, aheadEnd: 0 }
    if (this.#streams.length < STREAMS_MAX) this.#streams.push(stream)
    else {
      must(this.#streams[this.#oldest], 'The list is full')
      this.#streams[this.#oldest] = stream
      this.#oldest = (this.#oldest + 1) % STREAMS_MAX
    }
  }
}
