/**
 * Unpacks LZO1X, which Btrfs may have packed file data with (format: Linux, Documentation/staging/lzo.rst). Every copy is
 * checked against what is there and what was asked for; a stream that is not one is damage.
 */
import { damaged } from './disk-view.ts'

const END_DISTANCE_BASE = 0x4000

class Unpacking {
  readonly #from: Buffer
  readonly #into: Buffer
  #at = 0
  #done = 0

  constructor(from: Buffer, sizeBytes: number) {
    this.#from = from
    this.#into = Buffer.alloc(sizeBytes)
  }

  /** What was unpacked until the end mark. */
  run(): Buffer {
    let state = 0 // how many literals came before, up to 4
    const first = this.#peek()
    if (first > 17) {
      this.#at += 1
      const count = first - 17
      this.#literals(count)
      state = Math.min(count, 4)
    }
    for (;;) {
      const code = this.#byte()
      if (code < 16 && state === 0) {
        this.#literals(code === 0 ? this.#long(15) + 3 : code + 3)
        state = 4
        continue
      }
      const next = this.#match(code, state)
      if (next === undefined) return this.#into.subarray(0, this.#done)
      this.#literals(next)
      state = next
    }
  }

  /** Copies what was unpacked before; the number of literals that follow, undefined at the end mark. */
  #match(code: number, state: number): number | undefined {
    if (code >= 64) {
      const distance = ((code >>> 2) & 7) + (this.#byte() << 3) + 1
      return this.#copy(distance, (code >>> 5) + 1, code & 3)
    }
    if (code >= 32) {
      const length = (code & 31) === 0 ? this.#long(31) : code & 31
      const word = this.#word()
      return this.#copy((word >>> 2) + 1, length + 2, word & 3)
    }
    if (code >= 16) {
      const length = (code & 7) === 0 ? this.#long(7) : code & 7
      const word = this.#word()
      const distance = END_DISTANCE_BASE + ((code & 8) << 11) + (word >>> 2)
      return distance === END_DISTANCE_BASE ? undefined : this.#copy(distance, length + 2, word & 3)
    }
    const distance = (code >>> 2) + (this.#byte() << 2)
    return state === 4 ? this.#copy(distance + 0x801, 3, code & 3) : this.#copy(distance + 1, 2, code & 3)
  }

  /** Lengths that do not fit: each zero byte stands for 255 more. */
  #long(base: number): number {
    let length = base
    for (;;) {
      const byte = this.#byte()
      if (byte !== 0) return length + byte
      length += 255
    }
  }

  #peek(): number {
    return this.#at < this.#from.length ? this.#from.readUInt8(this.#at) : 0
  }

  #byte(): number {
    if (this.#at >= this.#from.length) throw damaged('packed data ends too early')
    this.#at += 1
    return this.#from.readUInt8(this.#at - 1)
  }

  #word(): number {
    return this.#byte() + (this.#byte() << 8)
  }

  #literals(count: number): void {
    if (this.#at + count > this.#from.length) throw damaged('packed data ends too early')
    this.#room(count)
    this.#from.copy(this.#into, this.#done, this.#at, this.#at + count)
    this.#at += count
    this.#done += count
  }

  #copy(distance: number, length: number, literals: number): number {
    if (distance > this.#done) throw damaged('packed data refers to what is not there')
    this.#room(length)
    // Byte by byte: a copy may overlap what it makes.
    for (let i = 0; i < length; i += 1) this.#into[this.#done + i] = this.#into[this.#done + i - distance] ?? 0
    this.#done += length
    return literals
  }

  #room(count: number): void {
    if (this.#done + count > this.#into.length) throw damaged('packed data is larger than it says')
  }
}

/** @throws `files_damaged`, also when more than `sizeBytes` would come out */
export function unpackLzo(packed: Buffer, sizeBytes: number): Buffer {
  return new Unpacking(packed, sizeBytes).run()
}
