/**
 * A store in memory, for tests and the simulation: passes the same contract as the real ones. With a clock it enforces
 * locks, as an object store with retention does. Limits: gone with the process; one thread.
 */
import { hash } from 'node:crypto'
import type { Clock } from '#base'
import type { BlobInfo, BlobKey, BlobStore, StoreCapabilities } from '../blob-store.ts'
import { blobLocked, blobNotFound, checkKey, checkPrefix, checkRange, lockUnsupported } from './blob-rules.ts'

type Stored = { bytes: Uint8Array; lockedUntilMs: number }

export type MemoryStoreOptions = Readonly<{
  /** Given: locks are enforced by it. Absent: the store has no locks. */
  clock?: Clock
  /** Whose clock that is: the store's own (default), as of a server, or the host's, as of a folder. */
  clockOf?: 'store' | 'host'
  name?: string
}>

export class MemoryStore implements BlobStore {
  readonly location: string
  readonly capabilities: StoreCapabilities
  readonly #clock: Clock | undefined
  readonly #ownsClock: boolean
  readonly #objects = new Map<BlobKey, Stored>()

  constructor(options: MemoryStoreOptions = {}) {
    this.location = `memory:${options.name ?? ''}`
    this.#clock = options.clock
    this.#ownsClock = options.clockOf !== 'host'
    this.capabilities = { lock: options.clock === undefined ? 'none' : this.#ownsClock ? 'store' : 'program' }
  }

  async put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    checkKey(key)
    if (this.#objects.has(key)) return 'exists'
    this.#objects.set(key, { bytes: new Uint8Array(Buffer.concat(parts)), lockedUntilMs: 0 })
    return 'created'
  }

  async get(key: BlobKey): Promise<Uint8Array> {
    return this.#stored(key).bytes.slice()
  }

  async getRange(key: BlobKey, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const { bytes } = this.#stored(key)
    checkRange(key, offsetBytes, lengthBytes, bytes.length)
    return bytes.slice(offsetBytes, offsetBytes + lengthBytes)
  }

  async head(key: BlobKey): Promise<number | undefined> {
    checkKey(key)
    return this.#objects.get(key)?.bytes.length
  }

  async *list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo> {
    checkPrefix(prefix)
    const wanted = (key: BlobKey): boolean => key.startsWith(prefix) && (after === undefined || key > after)
    for (const key of [...this.#objects.keys()].filter(wanted).sort()) {
      const stored = this.#objects.get(key)
      if (stored !== undefined) yield { key, sizeBytes: stored.bytes.length }
    }
  }

  async delete(key: BlobKey): Promise<void> {
    checkKey(key)
    const untilMs = this.#objects.get(key)?.lockedUntilMs ?? 0
    if (this.#clock !== undefined && untilMs > this.#clock.nowMs()) throw blobLocked(key, this.location, untilMs)
    this.#objects.delete(key)
  }

  async lock(key: BlobKey, untilMs: number): Promise<void> {
    if (this.#clock === undefined) throw lockUnsupported(this.location)
    const stored = this.#stored(key)
    stored.lockedUntilMs = Math.max(stored.lockedUntilMs, untilMs)
  }

  async mend(key: BlobKey, bytes: Uint8Array, sha256: string): Promise<boolean> {
    const stored = this.#stored(key)
    if (hash('sha256', bytes) !== sha256 || hash('sha256', stored.bytes) === sha256) return false
    stored.bytes = bytes.slice()
    return true
  }

  async timeMs(): Promise<number | undefined> {
    return this.#ownsClock ? this.#clock?.nowMs() : undefined
  }

  async close(): Promise<void> {}

  /** Until when an object is locked; 0 when it is not. For tests. */
  lockedUntilMs(key: BlobKey): number {
    return this.#stored(key).lockedUntilMs
  }

  /** What an attacker or a rotting disk would do: replaces the bytes behind the contract's back. For tests of damage. */
  overwrite(key: BlobKey, bytes: Uint8Array): void {
    this.#stored(key).bytes = bytes.slice()
  }

  #stored(key: BlobKey): Stored {
    checkKey(key)
    const stored = this.#objects.get(key)
    if (stored === undefined) throw blobNotFound(key, this.location)
    return stored
  }
}
