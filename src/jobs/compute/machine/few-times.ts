/**
 * What a guest may do when it is asked again is asked here, some times, and then given up for good. A step's own attempts are for a
 * worker that was lost: as many as that takes would keep asking a guest that does not answer.
 */
import { type Clock, HoldfastError, isHoldfastError } from '#base'

const BETWEEN_MS = 1_000

export type FewTimes = Readonly<{
  clock: Clock
  signal: AbortSignal
  times: number
  /** Codes after which it is tried again. */
  after: readonly string[]
}>

/** @throws what the last attempt threw, with the verdict `never`; anything else at once, as it is */
export async function fewTimes<T>({ clock, signal, times, after }: FewTimes, act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await act()
    } catch (error) {
      if (!isHoldfastError(error, ...after)) throw error
      if (attempt >= times) throw givenUp(error)
    }
    await clock.sleep(BETWEEN_MS, signal)
  }
}

function givenUp({ code, message, facts, hint, cause }: HoldfastError): HoldfastError {
  return new HoldfastError(code, message, { facts, hint, cause, retry: 'never' })
}
