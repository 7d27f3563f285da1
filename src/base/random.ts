/** Chance comes in through the constructor. `SystemRandom` (runtime) is cryptographic; `SeededRandom` replays. */

export interface Random {
  /** `length` bytes. Keys, salts and ids must come from SystemRandom. */
  bytes(length: number): Uint8Array
}

/** A version-4 UUID of the source's bytes (RFC 9562, section 5.4). */
export function randomUuid(random: Random): string {
  const bytes = random.bytes(16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** Deterministic chance for tests and the simulation: the same seed gives the same run (xorshift128, Marsaglia 2003). */
export class SeededRandom implements Random {
  readonly #state: Uint32Array

  constructor(seed: number) {
    // splitmix32 spreads a small seed over the state; the state is never all zero.
    let mix = seed >>> 0
    this.#state = Uint32Array.from({ length: 4 }, () => {
      mix = (mix + 0x9e3779b9) >>> 0
      let z = mix
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
      return (z ^ (z >>> 16)) >>> 0 || 1
    })
  }

  /** A 32-bit unsigned integer. */
  next(): number {
    const s = this.#state
    let t = s[3] ?? 0
    const first = s[0] ?? 0
    s[3] = s[2] ?? 0
    s[2] = s[1] ?? 0
    s[1] = first
    t ^= t << 11
    t ^= t >>> 8
    s[0] = (t ^ first ^ (first >>> 19)) >>> 0
    return s[0]
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    return bound <= 1 ? 0 : Math.floor((this.next() / 0x1_0000_0000) * bound)
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() / 0x1_0000_0000 < probability
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new RangeError('pick() from an empty list')
    return item
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.next() & 0xff)
  }
}
