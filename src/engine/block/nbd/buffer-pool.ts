/** Keeps large buffers for the next read: fresh ones cost page faults, which cap a server at half its speed. */
const POOLED_BYTES_MIN = 64 * 1024

export class BufferPool {
  readonly #bytesMax: number
  readonly #free = new Map<number, Buffer[]>()
  #freeBytes = 0

  /** @param bytesMax how much may lie idle. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** A buffer of exactly `length` bytes with arbitrary content. */
  take(length: number): Buffer {
    if (length < POOLED_BYTES_MIN) return Buffer.allocUnsafe(length)
    const size = 2 ** Math.ceil(Math.log2(length))
    const kept = this.#free.get(size)?.pop()
    if (kept !== undefined) this.#freeBytes -= size
    return (kept ?? Buffer.allocUnsafeSlow(size)).subarray(0, length)
  }

  /** Gives a buffer of take() back; nobody may hold it any more. */
  give(buffer: Buffer): void {
    const size = buffer.buffer.byteLength
    if (buffer.length < POOLED_BYTES_MIN || this.#freeBytes + size > this.#bytesMax) return
    const list = this.#free.get(size) ?? []
    list.push(Buffer.from(buffer.buffer))
    this.#free.set(size, list)
    this.#freeBytes += size
  }
}
