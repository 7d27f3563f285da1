/**
 * The pins of the log: who is at work, and until when that holds prune back and keeps the horizon behind him. Pure.
 *
 * A pin by a clock that was not believed (immutability/observed-time.ts) holds no longer than pins last, whatever it says.
 */
import type { Pin } from './entry.ts'

/** Twice what a pin lasts. */
const DOUBTED_PIN_MS_MAX = 2 * 60 * 60_000

/** `doubted`: when it was taken, it ran out further ahead of the observed time than any pin does. */
export type PinState = Readonly<{ number: number; pin: Pin; doubted?: true }>

function isActive({ pin, doubted }: PinState, nowMs: number): boolean {
  const isFarAhead = doubted === true && pin.expiresAtMs > nowMs + DOUBTED_PIN_MS_MAX
  return pin.expiresAtMs > nowMs && !isFarAhead
}

export class Pins {
  readonly #pins = new Map<number, PinState>()

  constructor(pins: readonly PinState[] = []) {
    for (const pin of pins) this.#pins.set(pin.number, pin)
  }

  get size(): number {
    return this.#pins.size
  }

  add(number: number, pin: Pin, observedMs: number): void {
    const isDoubted = pin.expiresAtMs > observedMs + DOUBTED_PIN_MS_MAX
    this.#pins.set(number, isDoubted ? { number, pin, doubted: true } : { number, pin })
  }

  drop(number: number): void {
    this.#pins.delete(number)
  }

  /** Those that had not run out at `nowMs`. */
  active(nowMs: number): [number, Pin][] {
    return [...this.#pins.values()].filter((one) => isActive(one, nowMs)).map(({ number, pin }) => [number, pin])
  }

  /**
   * Gives up those that have run out; and doubted ones of stays that the horizon has passed, once they are far ahead of what
   * was observed: the clock may still turn out to be right, but such a stay commits nothing any more.
   */
  compact(observedMs: number, horizon: number): void {
    for (const one of this.#pins.values()) {
      const isPassed = one.doubted === true && (one.pin.session ?? one.number) <= horizon
      const isOver = one.pin.expiresAtMs <= observedMs || (isPassed && !isActive(one, observedMs))
      if (isOver) this.#pins.delete(one.number)
    }
  }

  states(): PinState[] {
    return [...this.#pins.values()]
  }
}
