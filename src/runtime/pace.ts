/**
 * How many bytes a second a process moves: one bucket for all of its threads, in memory that they share.
 *
 * Whoever moves bytes reserves its place in time, in one atomic step, and waits until then (generic cell rate algorithm,
 * ITU-T I.371): the mean is kept whatever the sizes, a pause is made up for by at most BURST_MS, and nobody starves. A change of
 * the rate lets all who wait reserve anew.
 */
import type { Clock } from '#base'
import { systemClock } from './system.ts'

const BURST_MS = 250
/** Whoever waits looks so often whether the rate was changed. */
const LOOK_MS = 500
const US_PER_S = 1_000_000n

/** 64-bit cells: bytes per second (0: no limit), microsecond up to which all is reserved, number of changes. */
const [RATE, RESERVED, CHANGES] = [0, 1, 2]
const MEMORY_BYTES = 3 * 8

export class Pace {
  readonly #clock: Clock
  #cells: BigInt64Array<SharedArrayBuffer>

  constructor(clock: Clock, memory = new SharedArrayBuffer(MEMORY_BYTES)) {
    this.#clock = clock
    this.#cells = new BigInt64Array(memory)
  }

  /** To hand to other threads. */
  get memory(): SharedArrayBuffer {
    return this.#cells.buffer
  }

  /** Counts together with another thread from now on. */
  share(memory: SharedArrayBuffer): void {
    this.#cells = new BigInt64Array(memory)
  }

  /** @param bytesPerSecond 0: no limit */
  set(bytesPerSecond: number): void {
    if (Atomics.load(this.#cells, RATE) === BigInt(bytesPerSecond)) return
    Atomics.store(this.#cells, RATE, BigInt(bytesPerSecond))
    Atomics.store(this.#cells, RESERVED, 0n)
    Atomics.add(this.#cells, CHANGES, 1n)
  }

  /** Undefined: they may be moved at once. Else resolves when they may. @throws BaseError `cancelled` */
  take(bytes: number, signal?: AbortSignal): Promise<void> | undefined {
    if (Atomics.load(this.#cells, RATE) === 0n || bytes === 0) return undefined
    return this.#wait(bytes, signal)
  }

  async #wait(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      const changes = Atomics.load(this.#cells, CHANGES)
      const startUs = this.#reserve(bytes)
      for (;;) {
        const leftMs = Number(startUs - this.#nowUs()) / 1000
        if (leftMs <= 0) return
        await this.#clock.sleep(Math.min(leftMs, LOOK_MS), signal)
        if (Atomics.load(this.#cells, CHANGES) !== changes) break
      }
    }
  }

  /** The microsecond at which they may begin. */
  #reserve(bytes: number): bigint {
    for (;;) {
      const rate = Atomics.load(this.#cells, RATE)
      const nowUs = this.#nowUs()
      if (rate === 0n) return nowUs
      const reserved = Atomics.load(this.#cells, RESERVED)
      const earliest = nowUs - BigInt(BURST_MS) * 1000n
      const start = reserved > earliest ? reserved : earliest
      const end = start + (BigInt(bytes) * US_PER_S) / rate
      if (Atomics.compareExchange(this.#cells, RESERVED, reserved, end) === reserved) return start
    }
  }

  #nowUs(): bigint {
    return BigInt(Math.round(this.#clock.monotonicMs() * 1000))
  }
}

/** Of this process and its threads; without a limit until one is set. */
export const processPace = new Pace(systemClock)
