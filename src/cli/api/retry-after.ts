/** How long to wait before the next question, as the server says it. */
import type { HttpAnswer } from './https.ts'

const RETRY_AFTER_MS_MAX = 60_000

/** Milliseconds; a second where nothing usable is said. */
export function retryAfterMs(answer: Pick<HttpAnswer, 'headers'>): number {
  const seconds = Number(answer.headers['retry-after'])
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, RETRY_AFTER_MS_MAX) : 1000
}
