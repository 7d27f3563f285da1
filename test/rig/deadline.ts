/** Waiting in tests: for a condition that is looked at again and again, with a deadline, never for a length of time. */
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '#runtime'

const POLL_MS_DEFAULT = 20

/**
 * The first value of `probe` that is not undefined. A probe that throws ends the wait with its error.
 * @throws Error that names `what` when `timeoutMs` have passed.
 */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined> | T | undefined,
  pollMs = POLL_MS_DEFAULT,
): Promise<T> {
  const endMs = systemClock.monotonicMs() + timeoutMs
  for (;;) {
    const value = await probe()
    if (value !== undefined) return value
    if (systemClock.monotonicMs() >= endMs) throw new Error(`Waited ${timeoutMs} ms in vain for ${what}.`)
    await delay(pollMs)
  }
}
