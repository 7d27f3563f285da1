/**
 * zstd frames, one at a time, through contexts that this thread keeps. Node's one-shot calls make and throw away a context
 * (hundreds of KiB, for compression more than a MiB) and an output buffer for every frame: measured on chunks of disk
 * images that is a third of the time, both ways (docs/decisions, record 13).
 *
 * The way to a kept context is not documented by Node: the stream's own handle, called synchronously. It is taken only in
 * the Node release line that it was tried in, only when a first frame comes out exactly as the documented calls have it,
 * and whatever is not a plain success is done again by the documented calls, whose word is final. Bytes that come out of
 * `decompress` are compared with their SHA-256 by every caller.
 */
import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

/** The Node release line in which the handle's call is what is written here. */
const NODE_LINE = '24.'

/** What `decompress` needs behind the plain bytes: by it a frame that is longer than it should be is noticed. */
export const ZSTD_SLACK_BYTES = 64

/** At least ZSTD_COMPRESSBOUND (zstd.h): with so much room a frame is made in one step. */
function compressedBytesMax(plainBytes: number): number {
  return plainBytes + (plainBytes >> 8) + 1024
}

type Handle = {
  writeSync(
    flush: number,
    from: Uint8Array,
    fromAt: number,
    fromLength: number,
    into: Uint8Array,
    intoAt: number,
    intoLength: number,
  ): void
}
/** `state` after a call: what is left of the output, what is left of the input. */
type Stream = ReturnType<typeof createZstdCompress> | ReturnType<typeof createZstdDecompress>
type Context = Readonly<{ stream: Stream; handle: Handle; state: Uint32Array }>

/** A context that can be used, or undefined where the way to it is not known. */
function contextOf(stream: Stream): Context | undefined {
  const { _handle: handle, _writeState: state } = stream as unknown as { _handle?: Handle; _writeState?: unknown }
  if (!process.versions.node.startsWith(NODE_LINE) || typeof handle?.writeSync !== 'function') return undefined
  if (!(state instanceof Uint32Array) || state.length !== 2) return undefined
  // What is no frame destroys its stream, which is then replaced; the documented call says what is wrong.
  stream.on('error', () => undefined)
  return { stream, handle, state }
}

/** One frame from all of `from`; the bytes written, or undefined when anything is not as it should be. */
function run({ handle, state }: Context, from: Uint8Array, into: Uint8Array): number | undefined {
  state[0] = 0 // after a failure they stay as they were
  handle.writeSync(constants.ZSTD_e_end, from, 0, from.length, into, 0, into.length)
  const [outputLeft = 0, inputLeft = 1] = state
  return inputLeft === 0 && outputLeft > 0 ? into.length - outputLeft : undefined
}

export class Zstd {
  readonly #params: Readonly<Record<number, number>>
  #compressing: Context | undefined
  #decompressing: Context | undefined
  #packed: Uint8Array = new Uint8Array()

  constructor(level: number) {
    this.#params = { [constants.ZSTD_c_compressionLevel]: level }
    this.#compressing = contextOf(createZstdCompress({ params: this.#params }))
    this.#decompressing = contextOf(createZstdDecompress())
    if (!this.#provesItself()) this.#compressing = this.#decompressing = undefined
  }

  /** Whether contexts are kept; without, everything works the same and slower. */
  get keepsContexts(): boolean {
    return this.#compressing !== undefined && this.#decompressing !== undefined
  }

  /** A frame of `plain`. The bytes are valid until the next call. */
  compress(plain: Uint8Array): Uint8Array {
    const bytesMax = compressedBytesMax(plain.length)
    if (this.#compressing !== undefined) {
      if (this.#packed.length < bytesMax) this.#packed = new Uint8Array(bytesMax)
      const length = run(this.#compressing, plain, this.#packed)
      if (length !== undefined) return this.#packed.subarray(0, length)
      this.#compressing.stream.destroy()
      this.#compressing = contextOf(createZstdCompress({ params: this.#params }))
    }
    return zstdCompressSync(plain, {
      chunkSize: bytesMax,
      pledgedSrcSize: plain.length,
      params: this.#params,
    })
  }

  /**
   * Decompresses a frame of `plainBytes` to the beginning of `into`, which must have ZSTD_SLACK_BYTES more. False: it is not
   * such a frame, and what `into` holds means nothing.
   */
  decompress(frame: Uint8Array, into: Uint8Array, plainBytes: number): boolean {
    const room = into.subarray(0, plainBytes + ZSTD_SLACK_BYTES)
    if (this.#decompressing !== undefined) {
      if (run(this.#decompressing, frame, room) === plainBytes) return true
      this.#decompressing.stream.destroy()
      this.#decompressing = contextOf(createZstdDecompress())
    }
    try {
      const plain = zstdDecompressSync(frame, { chunkSize: room.length, maxOutputLength: room.length })
      if (plain.length === plainBytes) into.set(plain)
      return plain.length === plainBytes
    } catch {
      return false // Not a zstd frame, or one that is too large: the caller reports the chunk as corrupt.
    }
  }

  /** Two frames there and back, held against the documented calls. */
  #provesItself(): boolean {
    for (const length of [70_000, 1000]) {
      const plain = Uint8Array.from({ length }, (_, i) => (i * i) >> 7)
      const frame = this.compress(plain).slice()
      const into = new Uint8Array(length + ZSTD_SLACK_BYTES)
      if (!this.keepsContexts || Buffer.compare(zstdDecompressSync(frame), plain) !== 0) return false
      if (!this.decompress(frame, into, length) || Buffer.compare(into.subarray(0, length), plain) !== 0) return false
    }
    return true
  }
}
