/** Takes the fields of an option's data apart, one after the other; running past the end is the peer's fault. */
import { STRING_BYTES_MAX, violation } from './wire.ts'

export class DataCursor {
  readonly #data: Buffer
  #at = 0

  constructor(data: Buffer) {
    this.#data = data
  }

  get left(): number {
    return this.#data.length - this.#at
  }

  u16(): number {
    return this.#take(2).readUInt16BE(0)
  }

  u32(): number {
    return this.#take(4).readUInt32BE(0)
  }

  /** The next `length` bytes, or all that is left. */
  bytes(length = this.left): Buffer {
    return this.#take(length)
  }

  /** A string behind its 32-bit length. */
  string(): string {
    return this.text(this.u32())
  }

  /** A string of `length` bytes, or of all that is left. */
  text(length = this.left): string {
    if (length > STRING_BYTES_MAX) throw violation('The peer sent a name longer than NBD allows.', { length })
    const bytes = this.#take(length)
    const text = bytes.toString('utf8')
    if (text.includes('\0')) throw violation('The peer sent a name with a NUL byte in it.')
    return text
  }

  end(): void {
    if (this.left !== 0) throw violation('The peer sent more option data than the option has.', { left: this.left })
  }

  #take(length: number): Buffer {
    if (length > this.left) throw violation('The peer sent option data that ends too early.', { length })
    this.#at += length
    return this.#data.subarray(this.#at - length, this.#at)
  }
}
