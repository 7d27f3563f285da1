/** The only wrapper that retries. What may be retried is decided where the error is born (`HoldfastError.retry`). */
import { HoldfastError } from './errors.ts'
import type { Clock } from './clock.ts'

export type RetryPolicy = Readonly<{
  attemptsMax: number
  delayMs: number
  delayMsMax: number
}>

/**
 * Runs `attempt` until it succeeds, fails with `retry: 'never'` or an error that is not ours, or the attempts are used up.
 * Delays double from `delayMs` up to `delayMsMax`. @throws the last error.
 */
export async function withRetry<T>(
  clock: Clock,
  policy: RetryPolicy,
  attempt: (attemptNumber: number) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  let delayMs = policy.delayMs
  for (let attemptNumber = 1; ; attemptNumber += 1) {
    try {
      return await attempt(attemptNumber)
    } catch (error) {
      const hopeless = !(error instanceof HoldfastError) || error.retry === 'never'
      if (hopeless || attemptNumber >= policy.attemptsMax) throw error
      await clock.sleep(delayMs, signal)
      delayMs = Math.min(delayMs * 2, policy.delayMsMax)
    }
  }
}
