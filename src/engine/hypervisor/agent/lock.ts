/**
 * One conversation per agent socket at a time, first come first served, within this process. QEMU's chardev serves one
 * client; a second one would connect and hear nothing. Other processes are told apart only by their silence.
 */
import { BaseError, type Clock } from '#base'
import { HypervisorError } from '../errors.ts'

const TAILS = new Map<string, Promise<void>>()

/** Waits for its turn and returns the release. @throws `agent_busy` when the turn does not come in `timeoutMs`. */
export async function lockAgent(clock: Clock, socketPath: string, timeoutMs: number): Promise<() => void> {
  const before = TAILS.get(socketPath) ?? Promise.resolve()
  const mine = Promise.withResolvers<void>()
  const tail = before.then(() => mine.promise)
  TAILS.set(socketPath, tail)
  const release = (): void => {
    mine.resolve()
    if (TAILS.get(socketPath) === tail) TAILS.delete(socketPath)
  }
  const stop = new AbortController()
  const late = clock.sleep(timeoutMs, stop.signal).then(
    () => true,
    (error: unknown) => {
      if (error instanceof BaseError) return false
      throw error
    },
  )
  const isLate = await Promise.race([before.then(() => false), late])
  stop.abort()
  if (!isLate) return release
  release()
  throw new HypervisorError('agent_busy', 'The guest agent is in use by another task of Holdfast.', {
    facts: { socketPath, timeoutMs },
    retry: 'later',
  })
}
