/**
 * The only place that repeats a call to a store: what failed with `retry: 'now'` is tried again, with growing delays.
 * What asks for `later` (a full disk, a missing mount) is the business of whoever plans the work and passes at once.
 *
 * A put whose reply was lost may answer `exists` of the caller's own object: nothing here can tell it from another
 * writer's. Where it matters (the log) the repository compares the stored bytes; where it does not (packs are named by
 * their content) `exists` is as good as `created`.
 */
import { type Clock, HoldfastError, type RetryPolicy, withRetry } from '#base'
import type { BlobInfo, BlobKey, BlobStore, StoreCapabilities, StoreReserve } from '../blob-store.ts'

/** About 12 seconds in all: longer troubles are shown, and the next run of the job goes on. */
export const STORE_RETRY_POLICY: RetryPolicy = { attemptsMax: 7, delayMs: 200, delayMsMax: 5000 }

type Outcome<T> = { value: T } | { error: unknown }

export class RetryingStore implements BlobStore {
  readonly location: string
  readonly capabilities: StoreCapabilities
  readonly reserve: StoreReserve | undefined
  readonly #inner: BlobStore
  readonly #clock: Clock
  readonly #policy: RetryPolicy

  constructor(inner: BlobStore, clock: Clock, policy: RetryPolicy = STORE_RETRY_POLICY) {
    this.#inner = inner
    this.#clock = clock
    this.#policy = policy
    this.location = inner.location
    this.capabilities = inner.capabilities
    this.reserve = inner.reserve
  }

  async sweep(clock: Clock): Promise<number> {
    return (await this.#inner.sweep?.(clock)) ?? 0
  }

  put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    return this.#retry(() => this.#inner.put(key, parts))
  }

  get(key: BlobKey, memory?: Uint8Array): Promise<Uint8Array> {
    return this.#retry(() => this.#inner.get(key, memory))
  }

  getRange(key: BlobKey, offsetBytes: number, lengthBytes: number, memory?: Uint8Array): Promise<Uint8Array> {
    return this.#retry(() => this.#inner.getRange(key, offsetBytes, lengthBytes, memory))
  }

  head(key: BlobKey): Promise<number | undefined> {
    return this.#retry(() => this.#inner.head(key))
  }

  /** A listing that breaks goes on after the last object that was given; every object given renews the attempts. */
  async *list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo> {
    let last = after
    let listing = this.#inner.list(prefix, last)[Symbol.asyncIterator]()
    let broken = false
    try {
      for (;;) {
        const next = await this.#retry(async () => {
          if (broken) listing = this.#inner.list(prefix, last)[Symbol.asyncIterator]()
          broken = true // until it is known to have answered
          const result = await listing.next()
          broken = false
          return result
        })
        if (next.done === true) return
        last = next.value.key
        yield next.value
      }
    } finally {
      await listing.return?.()
    }
  }

  delete(key: BlobKey): Promise<void> {
    return this.#retry(() => this.#inner.delete(key))
  }

  lock(key: BlobKey, untilMs: number): Promise<void> {
    return this.#retry(() => this.#inner.lock(key, untilMs))
  }

  mend(key: BlobKey, bytes: Uint8Array, sha256: string): Promise<boolean> {
    return this.#retry(() => this.#inner.mend?.(key, bytes, sha256) ?? Promise.resolve(false))
  }

  timeMs(): Promise<number | undefined> {
    return this.#retry(() => this.#inner.timeMs())
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  async #retry<T>(call: () => Promise<T>): Promise<T> {
    const outcome = await withRetry<Outcome<T>>(this.#clock, this.#policy, async () => {
      try {
        return { value: await call() }
      } catch (error) {
        if (error instanceof HoldfastError && error.retry === 'now') throw error
        return { error } // hopeless for now: taken out of the loop, thrown below
      }
    })
    if ('error' in outcome) throw outcome.error
    return outcome.value
  }
}
