/**
 * ChunkCache keeps decoded chunks of one disk version in shared memory: the threads write them where they are served from,
 * so that no chunk is copied between threads and the memory is what was asked for, to the byte.
 *
 *   queued ──> filling ──> ready ──> (evicted)      a failed chunk is forgotten: the next reader tries again
 *
 * Promises
 *   1. A chunk that many want is decoded once. Whoever waits is called in the turn in which the chunk is there, and may read
 *      it then without holding it; who needs it longer takes a hold, and a held chunk is not evicted.
 *   2. Wanted chunks go before those fetched ahead. A chunk that nobody waits for any more is not decoded.
 *   3. A damaged chunk fails alone, also when it was decoded together with sound ones.
 * The caller leaves some slots without holds: while all are held, nothing more is decoded.
 * Eviction is second chance (CLOCK): a hit costs one write, and a chunk that was used twice outlives a scan.
 */
import { assert, BaseError, must } from '#base'
import type { ContentHash } from '#engine/repository'
import type { DecodeItem } from './threads/decode-runner.ts'

/** Decodes into the slots on the given lane; resolves to the length of each. */
export type Decode = (lane: number, items: readonly DecodeItem[]) => Promise<readonly number[]>

export type ChunkCacheOptions = Readonly<{
  memory: SharedArrayBuffer
  slotBytes: number
  /** Decoders that work side by side. */
  lanes: number
  decode: Decode
}>

export type Waiter = Readonly<{
  /** The bytes may be evicted after it returned, unless it took a hold. */
  ready: (chunk: CachedChunk) => void
  failed: (error: unknown) => void
  signal?: AbortSignal | undefined
}>

/** A few chunks a task: neighbours in a pack are one read, and a task still ends soon. */
const CHUNKS_PER_TASK_MAX = 4
/** Tasks in a lane: one running, one waiting. */
const TASKS_PER_LANE = 2

type State = 'wanted' | 'ahead' | 'filling' | 'ready' | 'gone'

export class CachedChunk {
  readonly number: number
  readonly content: ContentHash
  state: State
  slot = -1
  /** While `ready`. */
  bytes: Uint8Array | undefined
  holds = 0
  usedAgain = false
  /** Decoded by itself, because a task with it in it failed. */
  alone = false
  waiters: Waiter[] = []

  constructor(number: number, content: ContentHash, state: State) {
    this.number = number
    this.content = content
    this.state = state
  }
}

export class ChunkCache {
  readonly slots: number
  readonly #slotBytes: number
  readonly #decode: Decode
  readonly #views: readonly Buffer[]
  readonly #inSlot: (CachedChunk | undefined)[]
  readonly #free: number[]
  readonly #chunks = new Map<number, CachedChunk>()
  readonly #tasksInLane: number[]
  #wanted: CachedChunk[] = []
  #ahead: CachedChunk[] = []
  #hand = 0
  #dispatching = false
  readonly #aheadMax: number

  constructor(options: ChunkCacheOptions) {
    const { memory, slotBytes, lanes } = options
    this.slots = Math.floor(memory.byteLength / slotBytes)
    assert(this.slots > 0 && lanes > 0, 'A cache has a slot, and somebody fills it')
    this.#slotBytes = slotBytes
    this.#aheadMax = Math.floor(this.slots / 4)
    this.#decode = options.decode
    this.#views = Array.from({ length: this.slots }, (_, slot) => Buffer.from(memory, slot * slotBytes, slotBytes))
    this.#inSlot = Array.from({ length: this.slots }, () => undefined)
    // The lowest slots first: what is never used costs no memory.
    this.#free = Array.from({ length: this.slots }, (_, i) => this.slots - 1 - i)
    this.#tasksInLane = Array.from({ length: lanes }, () => 0)
  }

  /** The chunk if it is here now. */
  find(number: number): CachedChunk | undefined {
    const chunk = this.#chunks.get(number)
    if (chunk?.state !== 'ready') return undefined
    chunk.usedAgain = true
    return chunk
  }

  /** Calls `waiter` once: at once when the chunk is here, else when it is or has failed. */
  want(number: number, content: ContentHash, waiter: Waiter): void {
    const known = this.#chunks.get(number)
    if (known?.state === 'ready') return tellReady(known, waiter)
    const chunk = known ?? this.#add(number, content, 'wanted')
    chunk.waiters.push(waiter)
    if (known === undefined || known.state === 'ahead') this.#wanted.push(chunk)
    if (chunk.state === 'ahead') chunk.state = 'wanted'
    this.#dispatchSoon()
  }

  /** Decodes the chunk when nothing else is wanted. A hint: dropped when much is waiting already. */
  fetchAhead(number: number, content: ContentHash): void {
    if (this.#chunks.has(number) || this.#ahead.length >= this.#aheadMax) return
    this.#ahead.push(this.#add(number, content, 'ahead'))
    this.#dispatchSoon()
  }

  /** From here to `release` the chunk's bytes stay where they are. */
  hold(chunk: CachedChunk): void {
    assert(chunk.state === 'ready', 'Only what is there can be held')
    chunk.holds += 1
  }

  release(chunk: CachedChunk): void {
    assert(chunk.holds > 0, 'Every hold is released once')
    chunk.holds -= 1
    if (chunk.holds === 0 && this.#waiting > 0) this.#dispatchSoon()
  }

  get #waiting(): number {
    return this.#wanted.length + this.#ahead.length
  }

  #add(number: number, content: ContentHash, state: State): CachedChunk {
    const chunk = new CachedChunk(number, content, state)
    this.#chunks.set(number, chunk)
    return chunk
  }

  /** At the end of the turn, so that what one turn wants is shared out evenly. */
  #dispatchSoon(): void {
    if (this.#dispatching) return
    this.#dispatching = true
    process.nextTick(() => {
      this.#dispatching = false
      this.#dispatch()
    })
  }

  #dispatch(): void {
    for (;;) {
      const busy = this.#tasksInLane.reduce((sum, tasks) => sum + tasks, 0)
      const room = TASKS_PER_LANE * this.#tasksInLane.length - busy
      if (room === 0 || this.#waiting === 0) return
      const batch = this.#take(Math.min(CHUNKS_PER_TASK_MAX, Math.ceil(this.#waiting / room)))
      if (batch.length === 0) return
      void this.#run(this.#tasksInLane.indexOf(Math.min(...this.#tasksInLane)), batch)
    }
  }

  /** Up to `count` chunks that wait, each with a slot; none when no slot is free or nobody waits any more. */
  #take(count: number): CachedChunk[] {
    const batch: CachedChunk[] = []
    for (let chunk = this.#next(); chunk !== undefined; chunk = this.#next()) {
      const slot = chunk.alone && batch.length > 0 ? undefined : this.#freeSlot()
      if (slot === undefined) {
        this.#queueOf(chunk).unshift(chunk)
        return batch
      }
      this.#inSlot[slot] = chunk
      chunk.slot = slot
      chunk.state = 'filling'
      batch.push(chunk)
      if (batch.length === count || chunk.alone) return batch
    }
    return batch
  }

  #queueOf(chunk: CachedChunk): CachedChunk[] {
    return chunk.state === 'wanted' ? this.#wanted : this.#ahead
  }

  /** The next one that still waits in the queue where it stands. */
  #next(): CachedChunk | undefined {
    for (let chunk = this.#wanted.shift(); chunk !== undefined; chunk = this.#wanted.shift()) {
      if (chunk.waiters.some(({ signal }) => signal?.aborted !== true)) return chunk
      this.#forget(chunk, new BaseError('cancelled', 'Nobody waits for the chunk any more.'))
    }
    for (let chunk = this.#ahead.shift(); chunk !== undefined; chunk = this.#ahead.shift())
      if (chunk.state === 'ahead') return chunk
    return undefined
  }

  #freeSlot(): number | undefined {
    const free = this.#free.pop()
    if (free !== undefined) return free
    // Twice around: the first time takes the second chances away.
    for (let step = 0; step < 2 * this.slots; step += 1) {
      const slot = this.#hand
      this.#hand = (this.#hand + 1) % this.slots
      const chunk = must(this.#inSlot[slot], 'A slot that is not free has a chunk')
      if (chunk.state !== 'ready' || chunk.holds > 0) continue
      if (!chunk.usedAgain) {
        this.#drop(chunk)
        return must(this.#free.pop(), 'Dropping gave its slot back')
      }
      chunk.usedAgain = false
    }
    return undefined
  }

  async #run(lane: number, batch: readonly CachedChunk[]): Promise<void> {
    this.#tasksInLane[lane] = (this.#tasksInLane[lane] ?? 0) + 1
    try {
      const items = batch.map(({ content, slot }) => ({ content, at: slot * this.#slotBytes }))
      const lengths = await this.#decode(lane, items)
      for (const [i, chunk] of batch.entries()) this.#filled(chunk, must(lengths[i], 'Every chunk has a length'))
    } catch (error) {
      for (const chunk of batch) this.#failed(chunk, error, batch.length > 1)
    }
    this.#tasksInLane[lane] = (this.#tasksInLane[lane] ?? 0) - 1
    this.#dispatchSoon()
  }

  #filled(chunk: CachedChunk, length: number): void {
    chunk.bytes = must(this.#views[chunk.slot], 'It was decoded into a slot').subarray(0, length)
    chunk.state = 'ready'
    const waiters = chunk.waiters
    chunk.waiters = []
    for (const waiter of waiters) tellReady(chunk, waiter)
  }

  #failed(chunk: CachedChunk, error: unknown, withOthers: boolean): void {
    if (!withOthers || chunk.waiters.length === 0) return this.#forget(chunk, error)
    this.#freeSlotOf(chunk)
    chunk.alone = true
    chunk.state = 'wanted'
    this.#wanted.push(chunk)
  }

  #forget(chunk: CachedChunk, error: unknown): void {
    const waiters = chunk.waiters
    chunk.waiters = []
    this.#drop(chunk)
    for (const waiter of waiters) waiter.failed(error)
  }

  #drop(chunk: CachedChunk): void {
    this.#chunks.delete(chunk.number)
    this.#freeSlotOf(chunk)
    chunk.state = 'gone'
    chunk.bytes = undefined
  }

  #freeSlotOf(chunk: CachedChunk): void {
    if (chunk.slot < 0) return
    this.#inSlot[chunk.slot] = undefined
    this.#free.push(chunk.slot)
    chunk.slot = -1
  }
}

/** What a waiter throws is its own failure and nobody else's. */
function tellReady(chunk: CachedChunk, waiter: Waiter): void {
  try {
    waiter.ready(chunk)
  } catch (error) {
    waiter.failed(error)
  }
}
