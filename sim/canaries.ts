/** Defects that are planted on purpose. The simulation must find each, or it is worth nothing. */
import type { BlobInfo, BlobKey, BlobStore, StoreCapabilities } from '#engine/repository'

/**
 * Breaks "packs durable first": says of a pack that it is stored, and stores it later, while the process lives.
 * As a store that acknowledges before fsync, or a writer that does not wait.
 */
export class EarlyStore implements BlobStore {
  readonly location: string
  readonly capabilities: StoreCapabilities
  readonly #inner: BlobStore
  readonly #isDead: () => boolean
  readonly #late: { key: BlobKey; bytes: Uint8Array }[] = []

  constructor(inner: BlobStore, isDead: () => boolean) {
    this.#inner = inner
    this.#isDead = isDead
    this.location = inner.location
    this.capabilities = inner.capabilities
  }

  async put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    if (key.startsWith('packs/')) {
      this.#late.push({ key, bytes: new Uint8Array(Buffer.concat(parts)) })
      return 'created'
    }
    const outcome = await this.#inner.put(key, parts)
    for (const { key: late, bytes } of this.#late.splice(0)) if (!this.#isDead()) await this.#inner.put(late, [bytes])
    return outcome
  }

  get(key: BlobKey): Promise<Uint8Array> {
    return this.#inner.get(key)
  }

  getRange(key: BlobKey, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#inner.getRange(key, offsetBytes, lengthBytes)
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

  timeMs(): Promise<number | undefined> {
    return this.#inner.timeMs()
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}
