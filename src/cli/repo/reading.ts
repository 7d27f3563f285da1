/**
 * A reader's stay in a repository: its pin keeps prune from deleting what is being read, and is renewed while that lasts.
 * Where the store cannot be written there is no pin, and reading goes on all the same: nothing can be pruned there either.
 */
import type { Repository, Session } from '#engine/repository'

const RENEW_CHECK_MS = 60_000

export async function whileReading<T>(repository: Repository, purpose: string, use: () => Promise<T>): Promise<T> {
  const session = await repository.beginReading(purpose)
  if (session === undefined) return use()
  const done = new AbortController()
  const renewing = renew(session, done.signal)
  try {
    return await use()
  } finally {
    done.abort()
    await renewing
    await session.end().catch(() => {
      // The pin runs out by itself; what was read is not worse for it.
    })
  }
}

async function renew(session: Session, signal: AbortSignal): Promise<void> {
  const { systemClock } = await import('#runtime')
  while (!signal.aborted) {
    await systemClock.sleep(RENEW_CHECK_MS, signal).catch(() => undefined)
    if (!signal.aborted) {
      await session.keepAlive().catch(() => {
        // Tried again in a minute; until the pin has run out nothing is lost.
      })
    }
  }
}
