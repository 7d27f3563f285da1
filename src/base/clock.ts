/**
 * Time comes in through the constructor. `SystemClock` (runtime) is the only real one; `ManualClock` is for tests and the
 * simulation, so that a retry, a timeout and a lease are tested without sleeping.
 */
import { BaseError } from './errors.ts'

export interface Clock {
  /** Milliseconds since the Unix epoch, for what people and policies read. May jump. */
  nowMs(): number
  /** Milliseconds from an arbitrary start; never goes backwards. For durations and timeouts. */
  monotonicMs(): number
  /** Resolves after `ms`; rejects with `cancelled` when `signal` aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

type Sleeper = { dueMs: number; wake: () => void }

/** A clock that stands still until it is moved. */
export class ManualClock implements Clock {
  #nowMs: number
  #monotonicMs = 0
  #sleepers: Sleeper[] = []

  constructor(nowMs = 1_790_000_000_000) {
    this.#nowMs = nowMs
  }

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(new BaseError('cancelled', 'The wait was cancelled.'))
      const sleeper: Sleeper = { dueMs: this.#monotonicMs + ms, wake: resolve }
      this.#sleepers.push(sleeper)
      signal?.addEventListener(
        'abort',
        () => {
          this.#sleepers = this.#sleepers.filter((other) => other !== sleeper)
          reject(new BaseError('cancelled', 'The wait was cancelled.'))
        },
        { once: true },
      )
    })
  }

  /** How many sleeps are pending; lets a test see that the code under test has come to its wait. */
  get sleeping(): number {
    return this.#sleepers.length
  }

  /** Moves both readings forward and wakes what is due, earliest first. */
  advance(ms: number): void {
    this.#nowMs += ms
    this.#monotonicMs += ms
    const due = this.#sleepers.filter((sleeper) => sleeper.dueMs <= this.#monotonicMs)
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.dueMs > this.#monotonicMs)
    for (const sleeper of due.sort((a, b) => a.dueMs - b.dueMs)) sleeper.wake()
  }

  /** Sets the wall clock alone, as a wrong NTP answer or an operator would. */
  jumpTo(nowMs: number): void {
    this.#nowMs = nowMs
  }
}
