/** Waiting with an end. A promise that loses the race is left to settle by itself and its failure is taken care of. */
import type { Clock } from '#base'

/** `promise`, or the error that `late` makes when `timeoutMs` pass first. */
export async function within<T>(clock: Clock, timeoutMs: number, promise: Promise<T>, late: () => Error): Promise<T> {
  const stop = new AbortController()
  const deadline = clock.sleep(timeoutMs, stop.signal).then(
    () => 'late' as const,
    () => 'stopped' as const,
  )
  // The loser's rejection must not become an unhandled one: its outcome no longer matters to anybody.
  promise.catch(() => {})
  try {
    const first = await Promise.race([promise.then((value) => ({ value })), deadline])
    if (typeof first === 'object') return first.value
    throw late()
  } finally {
    stop.abort()
  }
}
