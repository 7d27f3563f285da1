/** Ends work that a peer drags out: the clock's, so that tests need not wait. */
import { BaseError, type Clock } from '#base'
import { BlockError } from '../errors.ts'

/**
 * Runs `work`; when it takes longer than `timeoutMs`, or `signal` aborts, `stop` is called with the error, which must make
 * `work` settle. @throws what `work` throws, or that error.
 */
export async function withDeadline<T>(
  options: Readonly<{ clock: Clock; timeoutMs: number; what: string; signal?: AbortSignal | undefined }>,
  stop: (error: Error) => void,
  work: () => Promise<T>,
): Promise<T> {
  const finished = new AbortController()
  let failure: Error | undefined
  const end = (error: Error): void => {
    failure ??= error
    stop(failure)
  }
  const onAbort = (): void => end(new BaseError('cancelled', `${options.what} was cancelled.`))
  if (options.signal?.aborted === true) onAbort()
  options.signal?.addEventListener('abort', onAbort, { once: true })
  options.clock.sleep(options.timeoutMs, finished.signal).then(
    () => end(timeoutError(options.what, options.timeoutMs)),
    () => {
      // The work finished first and the sleep was cancelled.
    },
  )
  try {
    return await work()
  } catch (error) {
    throw failure ?? error
  } finally {
    finished.abort()
    options.signal?.removeEventListener('abort', onAbort)
  }
}

export function timeoutError(what: string, timeoutMs: number): BlockError {
  return new BlockError('nbd_timed_out', `${what} took longer than ${timeoutMs} ms.`, {
    facts: { timeoutMs },
    retry: 'later',
    hint: 'See whether the NBD server hangs, or the disk or network below it; then run it again.',
  })
}
