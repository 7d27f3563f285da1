/**
 * How fast one client may ask: a bucket of tokens each, filled at a steady rate (Azure Resource Manager throttles in the
 * same way and answers 429 with Retry-After). Buckets are as many as there are principals.
 */
import type { Clock } from '#base'
import { ArmError } from '#contract'

export type Rate = Readonly<{ perSecond: number; burst: number }>

type Bucket = { tokens: number; atMs: number }

export class RateLimit {
  readonly #rate: Rate
  readonly #clock: Clock
  readonly #buckets = new Map<string, Bucket>()

  constructor(rate: Rate, clock: Clock) {
    this.#rate = rate
    this.#clock = clock
  }

  /** Takes a token. @throws ArmError `TooManyRequests` */
  readonly admit = (client: string): void => {
    const { perSecond, burst } = this.#rate
    const nowMs = this.#clock.monotonicMs()
    const bucket = this.#buckets.get(client) ?? { tokens: burst, atMs: nowMs }
    this.#buckets.set(client, bucket)
    bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * perSecond)
    bucket.atMs = nowMs
    if (bucket.tokens < 1)
      throw new ArmError('TooManyRequests', `More than ${perSecond} requests a second: repeat it a little later.`)
    bucket.tokens -= 1
  }
}
