/**
 * A store that fails as stores do, around any other: on demand (a queue of faults per method), by chance (a seeded rate
 * per call), or by dying (`crashAfter`: the process ends in the middle of its n-th write, and all that comes later fails).
 *
 * Faults and what they model:
 *   before     the request never arrived: nothing happened
 *   after      the reply was lost: the work is done, the caller hears an error
 *   truncated  a lying store: bytes or listings end early, puts keep only half. Everything else keeps the contract
 *   corrupt    a rotting store: one bit of the bytes is wrong
 *   delayed    the call comes late by the Clock
 *   full       no space: nothing happened, `store_full`
 */
import { assert, type Clock, type SeededRandom } from '#base'
import type { BlobInfo, BlobKey, BlobStore, StoreCapabilities } from '../blob-store.ts'
import { StoreError } from '../errors.ts'

export type StoreMethod = 'put' | 'get' | 'getRange' | 'head' | 'list' | 'delete' | 'lock'

export type StoreFault =
  | Readonly<{ kind: 'before' | 'after' | 'truncated' | 'corrupt' | 'full' }>
  | Readonly<{ kind: 'delayed'; ms: number }>

/** Probability per call, 0 to 1. */
export type FaultRates = Readonly<Partial<Record<'before' | 'after' | 'full', number>>>

const WRITES: ReadonlySet<StoreMethod> = new Set(['put', 'delete', 'lock'])

export class FaultyStore implements BlobStore {
  readonly location: string
  readonly capabilities: StoreCapabilities
  readonly #inner: BlobStore
  readonly #clock: Clock | undefined
  readonly #queues = new Map<StoreMethod, StoreFault[]>()
  #chance: Readonly<{ random: SeededRandom; rates: FaultRates }> | undefined
  #crash: { writesLeft: number; random: SeededRandom } | undefined
  #dead = false
  #writes = 0

  /** @param clock needed for `delayed` faults only. */
  constructor(inner: BlobStore, clock?: Clock) {
    this.#inner = inner
    this.#clock = clock
    this.location = inner.location
    this.capabilities = inner.capabilities
  }

  /** How many writes (put, delete, lock) were begun; a first run without faults tells a test how many places it can crash. */
  get writes(): number {
    return this.#writes
  }

  get crashed(): boolean {
    return this.#dead
  }

  /** The next calls of `method` meet these faults, one each, in this order. */
  failNext(method: StoreMethod, ...faults: readonly StoreFault[]): void {
    this.#queues.set(method, [...(this.#queues.get(method) ?? []), ...faults])
  }

  /** From now on calls without a queued fault fail by chance. */
  failByChance(random: SeededRandom, rates: FaultRates): void {
    this.#chance = { random, rates }
  }

  /** The first `writes` writes pass; in the next one the process dies, that one done or not as `random` has it. */
  crashAfter(writes: number, random: SeededRandom): void {
    this.#crash = { writesLeft: writes, random }
  }

  put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    return this.#call('put', key, (fault) => this.#inner.put(key, fault === undefined ? parts : [harm(parts, fault)]))
  }

  get(key: BlobKey): Promise<Uint8Array> {
    return this.#call('get', key, async (fault) => harm([await this.#inner.get(key)], fault))
  }

  getRange(key: BlobKey, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#call('getRange', key, async (fault) =>
      harm([await this.#inner.getRange(key, offsetBytes, lengthBytes)], fault),
    )
  }

  head(key: BlobKey): Promise<number | undefined> {
    return this.#call('head', key, () => this.#inner.head(key))
  }

  async *list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo> {
    const fault = await this.#enter('list', prefix)
    let given = 0
    for await (const info of this.#inner.list(prefix, after)) {
      // The connection dies, or the liar stops, after the first object.
      if (given === 1 && fault?.kind === 'truncated') return
      if (given === 1 && fault?.kind === 'after') throw failed('list', prefix)
      this.#assertAlive('list', prefix)
      yield info
      given += 1
    }
    if (fault?.kind === 'after') throw failed('list', prefix)
  }

  delete(key: BlobKey): Promise<void> {
    return this.#call('delete', key, () => this.#inner.delete(key))
  }

  lock(key: BlobKey, untilMs: number): Promise<void> {
    return this.#call('lock', key, () => this.#inner.lock(key, untilMs))
  }

  mend(key: BlobKey, bytes: Uint8Array, sha256: string): Promise<boolean> {
    return this.#call('put', key, () => this.#inner.mend?.(key, bytes, sha256) ?? Promise.resolve(false))
  }

  timeMs(): Promise<number | undefined> {
    return this.#inner.timeMs()
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  async #call<T>(method: StoreMethod, key: string, work: (harm?: StoreFault) => Promise<T>): Promise<T> {
    const fault = await this.#enter(method, key)
    if (WRITES.has(method)) await this.#maybeDie(method, key, work)
    const harmful = fault?.kind === 'truncated' || fault?.kind === 'corrupt'
    const result = await work(harmful ? fault : undefined)
    this.#assertAlive(method, key)
    if (fault?.kind === 'after') throw failed(method, key)
    return result
  }

  /** Takes the fault that this call meets, and acts out those that strike before the work. */
  async #enter(method: StoreMethod, key: string): Promise<StoreFault | undefined> {
    this.#assertAlive(method, key)
    const fault = this.#queues.get(method)?.shift() ?? this.#faultByChance(method)
    if (fault?.kind === 'before') throw failed(method, key)
    if (fault?.kind === 'full') throw full(key, this.location)
    if (fault?.kind === 'delayed') {
      assert(this.#clock !== undefined, 'A delayed fault needs a clock')
      await this.#clock.sleep(fault.ms)
      this.#assertAlive(method, key)
    }
    return fault
  }

  #faultByChance(method: StoreMethod): StoreFault | undefined {
    if (this.#chance === undefined) return undefined
    const { random, rates } = this.#chance
    if (random.chance(rates.before ?? 0)) return { kind: 'before' }
    if (random.chance(rates.after ?? 0)) return { kind: 'after' }
    if (method === 'put' && random.chance(rates.full ?? 0)) return { kind: 'full' }
    return undefined
  }

  async #maybeDie(method: StoreMethod, key: string, work: () => Promise<unknown>): Promise<void> {
    this.#writes += 1
    if (this.#crash === undefined) return
    if (this.#crash.writesLeft > 0) {
      this.#crash.writesLeft -= 1
      return
    }
    this.#dead = true
    if (this.#crash.random.chance(0.5)) await work()
    this.#assertAlive(method, key)
  }

  #assertAlive(method: StoreMethod, key: string): void {
    if (!this.#dead) return
    throw new StoreError('store_unavailable', 'The process has died (a planted crash).', {
      facts: { method, key, crashed: true },
      retry: 'never',
    })
  }
}

function harm(parts: readonly Uint8Array[], fault: StoreFault | undefined): Uint8Array {
  const bytes = new Uint8Array(Buffer.concat(parts))
  if (fault?.kind === 'truncated') return bytes.subarray(0, Math.floor(bytes.length / 2))
  const middle = Math.floor(bytes.length / 2)
  if (fault?.kind === 'corrupt' && bytes.length > 0) bytes[middle] = (bytes[middle] ?? 0) ^ 0x10
  return bytes
}

function failed(method: StoreMethod, key: string): StoreError {
  return new StoreError('store_unavailable', `The store did not answer (a planted fault in ${method}).`, {
    facts: { method, key },
    retry: 'now',
  })
}

function full(key: BlobKey, location: string): StoreError {
  return new StoreError('store_full', `${location} has no space left (a planted fault).`, {
    facts: { key, location },
    retry: 'later',
  })
}
