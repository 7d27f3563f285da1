/**
 * The scheduler of the simulation: every call to a store waits for its turn, and one waiting call at a time is let go, by
 * seeded choice. Between two turns everything that can run does run until it waits again, files of caches included; so the
 * same seed gives the same interleaving.
 */
import { must, type SeededRandom } from '#base'
import type { BlobInfo, BlobKey, BlobStore, StoreCapabilities } from '#engine/repository'

type Waiting = Readonly<{ label: string; go: () => void }>

export class Turns {
  readonly #random: SeededRandom
  #waiting: Waiting[] = []
  /** What was let go, for the trace of a failed run. */
  readonly trace: string[] = []

  constructor(random: SeededRandom) {
    this.#random = random
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Resolves when this call is let go. */
  wait(label: string): Promise<void> {
    return new Promise((go) => this.#waiting.push({ label, go }))
  }

  /** Lets one waiting call go and comes back when all is waiting again. */
  async next(): Promise<void> {
    const [chosen] = this.#waiting.splice(this.#random.below(this.#waiting.length), 1)
    const { label, go } = must(chosen, 'next() is called while something waits')
    this.trace.push(label)
    go()
    await quiet()
  }
}

const fileWork = (): boolean => process.getActiveResourcesInfo().some((name) => /fsreq|closereq/i.test(name))

/** Resolves when no promise and no file operation is on its way any more. */
export async function quiet(): Promise<void> {
  for (let idle = 0; idle < 2;) {
    await new Promise((resolve) => setImmediate(resolve))
    idle = fileWork() ? 0 : idle + 1
  }
}

/** A store whose every call waits for its turn, twice: before it reaches the store and before its reply is heard. */
export class TurnStore implements BlobStore {
  readonly location: string
  readonly capabilities: StoreCapabilities
  readonly #inner: BlobStore
  readonly #turns: Turns
  readonly #name: string
  readonly #onDelete: (key: BlobKey) => void

  constructor(inner: BlobStore, turns: Turns, name: string, onDelete: (key: BlobKey) => void = () => {}) {
    this.#inner = inner
    this.#turns = turns
    this.#name = name
    this.#onDelete = onDelete
    this.location = inner.location
    this.capabilities = inner.capabilities
  }

  put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    const bytes = Buffer.concat(parts) // what is handed in is what is stored, whatever the caller does with its buffer
    return this.#both('put', key, () => this.#inner.put(key, [bytes]))
  }

  get(key: BlobKey): Promise<Uint8Array> {
    return this.#one('get', key, () => this.#inner.get(key))
  }

  getRange(key: BlobKey, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#one('read', key, () => this.#inner.getRange(key, offsetBytes, lengthBytes))
  }

  head(key: BlobKey): Promise<number | undefined> {
    return this.#one('head', key, () => this.#inner.head(key))
  }

  async *list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo> {
    await this.#turns.wait(`${this.#name} list ${prefix}`)
    for await (const info of this.#inner.list(prefix, after)) yield info
  }

  delete(key: BlobKey): Promise<void> {
    return this.#both('delete', key, async () => {
      await this.#inner.delete(key)
      this.#onDelete(key)
    })
  }

  lock(key: BlobKey, untilMs: number): Promise<void> {
    return this.#both('lock', key, () => this.#inner.lock(key, untilMs))
  }

  timeMs(): Promise<number | undefined> {
    return this.#one('time', '', () => this.#inner.timeMs())
  }

  async close(): Promise<void> {
    // The store outlives the processes that use it.
  }

  async #one<T>(verb: string, key: BlobKey, call: () => Promise<T>): Promise<T> {
    await this.#turns.wait(`${this.#name} ${verb} ${key.slice(0, 20)}`)
    return call()
  }

  async #both<T>(verb: string, key: BlobKey, call: () => Promise<T>): Promise<T> {
    const result = await this.#one(verb, key, call)
    await this.#turns.wait(`${this.#name} heard ${verb} ${key.slice(0, 20)}`)
    return result
  }
}
