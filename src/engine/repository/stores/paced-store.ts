/** A store whose bytes are moved at the pace of this process (runtime, pace.ts); everything else passes. */
import type { Clock } from '#base'
import type { Pace } from '#runtime'
import type { BlobInfo, BlobKey, BlobStore, StoreCapabilities, StoreReserve } from '../blob-store.ts'

export class PacedStore implements BlobStore {
  readonly location: string
  readonly capabilities: StoreCapabilities
  readonly reserve: StoreReserve | undefined
  readonly #inner: BlobStore
  readonly #pace: Pace

  constructor(inner: BlobStore, pace: Pace) {
    this.#inner = inner
    this.#pace = pace
    this.location = inner.location
    this.capabilities = inner.capabilities
    this.reserve = inner.reserve
  }

  async sweep(clock: Clock): Promise<number> {
    return (await this.#inner.sweep?.(clock)) ?? 0
  }

  async put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    await this.#pace.take(parts.reduce((sum, { length }) => sum + length, 0))
    return this.#inner.put(key, parts)
  }

  /** How long it is shows with its bytes: whoever comes next waits for it. */
  async get(key: BlobKey, memory?: Uint8Array): Promise<Uint8Array> {
    const bytes = await this.#inner.get(key, memory)
    await this.#pace.take(bytes.length)
    return bytes
  }

  async getRange(key: BlobKey, offsetBytes: number, lengthBytes: number, memory?: Uint8Array): Promise<Uint8Array> {
    await this.#pace.take(lengthBytes)
    return this.#inner.getRange(key, offsetBytes, lengthBytes, memory)
  }

  head(key: BlobKey): Promise<number | undefined> {
    return this.#inner.head(key)
  }

  list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo> {
    return this.#inner.list(prefix, after)
  }

  delete(key: BlobKey): Promise<void> {
    return this.#inner.delete(key)
  }

  lock(key: BlobKey, untilMs: number): Promise<void> {
    return this.#inner.lock(key, untilMs)
  }

  mend(key: BlobKey, bytes: Uint8Array, sha256: string): Promise<boolean> {
    return this.#inner.mend?.(key, bytes, sha256) ?? Promise.resolve(false)
  }

  timeMs(): Promise<number | undefined> {
    return this.#inner.timeMs()
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}
