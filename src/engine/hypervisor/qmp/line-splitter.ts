/**
 * Cuts a byte stream into lines. A peer that sends a longer line than allowed is refused instead of filling the memory.
 * QMP needs room: `query-qmp-schema` answers about 200 KiB in one line (QEMU 7.2), growing with every release.
 */
import { MIB } from '#base'

export const LINE_BYTES_MAX = 16 * MIB

const NEWLINE = 0x0a

export class LineSplitter {
  readonly #lineBytesMax: number
  #held: Buffer[] = []
  #heldBytes = 0

  constructor(lineBytesMax = LINE_BYTES_MAX) {
    this.#lineBytesMax = lineBytesMax
  }

  /** The lines that `bytes` completes, without their line ends. @throws RangeError when a line exceeds the limit. */
  push(bytes: Buffer): Buffer[] {
    const lines: Buffer[] = []
    let start = 0
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      this.#hold(bytes.subarray(start, end))
      lines.push(Buffer.concat(this.#held))
      this.#held = []
      this.#heldBytes = 0
      start = end + 1
    }
    this.#hold(bytes.subarray(start))
    return lines
  }

  #hold(part: Buffer): void {
    this.#heldBytes += part.length
    if (this.#heldBytes > this.#lineBytesMax) throw new RangeError(`A line exceeds ${this.#lineBytesMax} bytes`)
    if (part.length > 0) this.#held.push(part)
  }
}
