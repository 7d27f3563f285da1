/** The real clock and the real chance. */
import { randomFillSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { BaseError, type Clock, type Random } from '#base'

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  // CLOCK_MONOTONIC (clock_gettime(2)): one clock for all processes of a boot, so a lease that one wrote another may judge.
  monotonicMs: () => Number(process.hrtime.bigint()) / 1e6,
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal })
    } catch (cause) {
      throw new BaseError('cancelled', 'The wait was cancelled.', { cause })
    }
  },
}

export const systemRandom: Random = {
  bytes: (length) => randomFillSync(new Uint8Array(length)),
}
