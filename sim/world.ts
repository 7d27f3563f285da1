/**
 * One simulated world: a store, several processes on it that back up, forget, prune, read and verify at once, and what
 * goes wrong: crashes in the middle of a write, lost replies, a full store, pins that run out because the clock went on.
 *
 * After every event the truth is compared by an observer that sees the store directly:
 *   - every point that was acknowledged and that nobody began to forget is there; what was forgotten is not
 *   - every live point gives back exactly its bytes (all of them again whenever an object was deleted)
 *   - operations fail only for what was done to them
 * and at the end: verify finds nothing, with and without key, and prune leaves no garbage.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isHoldfastError, ManualClock, messageOf, SeededRandom } from '#base'
import { type BlobStore, MemoryStore, type PointRecord, prune, Repository } from '#engine/repository'
import { verifyWithKey, verifyWithoutKey } from '#engine/transfer'
import { systemClock } from '#runtime'
import { plantForeignCheckpoint } from './fork.ts'
import { MachineModel } from './machine-model.ts'
import { type Operation, startOperation } from './operations.ts'
import { SimulatedProcess } from './simulated-process.ts'
import { type Canary, CHECKPOINT_ENTRIES, CREDENTIAL, restoredDifference, type Surroundings } from './surroundings.ts'
import { quiet, Turns } from './turns.ts'

const KDF_COST = { memoryKib: 8, passes: 1, parallelism: 1 }
const HOUR_MS = 3600_000
const RUNNING_MAX = 4
/** How long nothing may move, by the real clock. */
const HANG_MS = 5_000

const DAY_MS = 24 * HOUR_MS

export type WorldOptions = Readonly<{ seed: number; operations: number; canary: Canary; locks?: boolean }>
export type WorldReport = Readonly<{
  turns: number
  points: number
  deletes: number
  crashes: number
  jumps: number
  planted: number
  fromCheckpoint: number
  clockJumps: number
  /** Points that were locked when they were acknowledged. */
  locked: number
}>

export class World implements Surroundings {
  readonly random: SeededRandom
  readonly clock = new ManualClock()
  readonly trueClock = new ManualClock()
  readonly locks: 'server' | 'host' | undefined
  readonly store: MemoryStore
  readonly turns: Turns
  readonly model: MachineModel
  readonly canary: Canary
  readonly folder: string
  /** How often time went on by more than a pin lasts. */
  jumps = 0
  deletes = 0
  clockJumps = 0
  crashes = 0
  fromCheckpoint = 0
  #deletesSeen = 0
  #processes: SimulatedProcess[] = []
  #operations: Operation[] = []
  #observer: Repository | undefined
  readonly #checked = new Set<string>()
  readonly planted = new Set<string>()
  readonly events: string[] = []

  constructor(options: WorldOptions, folder: string) {
    this.random = new SeededRandom(options.seed)
    this.turns = new Turns(new SeededRandom(options.seed ^ 0x5eed))
    this.model = new MachineModel(this.random)
    this.canary = options.canary
    this.folder = folder
    this.locks = options.locks === true ? (options.seed % 2 === 0 ? 'server' : 'host') : undefined
    const clock = this.locks === 'server' ? this.trueClock : this.clock
    const clockOf = this.locks === 'server' ? 'store' : 'host'
    this.store = new MemoryStore({ name: 'simulated', ...(this.locks === undefined ? {} : { clock, clockOf }) })
  }

  async run(operations: number): Promise<WorldReport> {
    await this.#init()
    let started = 0
    while (started < operations || this.#operations.length > 0) {
      if (started < operations && this.#operations.length < RUNNING_MAX && this.#mayStart()) {
        started += 1
        this.#start(started)
        await quiet()
      } else if (this.turns.waiting > 0) await this.turns.next()
      else if (this.clock.sleeping > 0) this.#advance(6_000)
      else await this.#settleOrHang()
      this.#passTime()
      if (this.random.chance(0.002)) await this.#plant()
      await this.#afterEvent()
    }
    await this.#end()
    return {
      turns: this.turns.trace.length,
      points: this.#checked.size,
      deletes: this.deletes,
      crashes: this.crashes,
      jumps: this.jumps,
      planted: this.planted.size,
      fromCheckpoint: this.fromCheckpoint,
      clockJumps: this.clockJumps,
      locked: this.model.lockedUntilMs.size,
    }
  }

  /** Ends the run: the message says what the user would have seen. */
  fail(what: string): never {
    throw new Error(what)
  }

  async #init(): Promise<void> {
    const environment = { clock: this.clock, random: this.random, cacheFolder: this.folder, writer: 'sim' }
    await Repository.init(
      this.store,
      { credential: CREDENTIAL, chunkSizeBytes: 64 * 1024, kdfCost: KDF_COST },
      environment,
    )
    const count = 2 + this.random.below(2)
    for (let i = 0; i < count; i += 1)
      this.#processes.push(new SimulatedProcess(this, `p${i}`, join(this.folder, `p${i}`)))
  }

  #mayStart(): boolean {
    return this.#operations.length === 0 || this.turns.waiting === 0 || this.random.chance(0.08)
  }

  #start(number: number): void {
    const free = this.#processes.filter(({ running }) => running < 2)
    const process = this.random.pick(free.length > 0 ? free : this.#processes)
    const operation = startOperation(this, process, number)
    this.events.push(`start ${operation.label}`)
    this.#operations.push(operation)
  }

  #passTime(): void {
    if (this.random.chance(0.02)) this.#advance(this.random.below(20 * 60_000))
    if (this.random.chance(0.004)) {
      this.#advance(2 * HOUR_MS)
      this.jumps += 1
      this.events.push('two hours pass')
    }
    if (this.locks !== undefined) this.#passDays(this.locks)
  }

  #advance(ms: number): void {
    this.clock.advance(ms)
    this.trueClock.advance(ms)
  }

  /** Days pass, or months of silence; the hosts' clock goes wrong, always by more than is plausible, and right again. */
  #passDays(kind: 'server' | 'host'): void {
    if (this.random.chance(0.01)) {
      this.#advance(this.random.below(40) * HOUR_MS)
      this.jumps += 1
    }
    if (this.random.chance(0.001)) {
      this.#advance(45 * DAY_MS)
      this.jumps += 1
      this.events.push('45 days pass')
    }
    const isWrong = this.clock.nowMs() !== this.trueClock.nowMs()
    const often = this.canary === 'believes-its-clock' ? 0.05 : 0.005
    if (!this.random.chance(isWrong ? 0.02 : often)) return
    const days = isWrong ? 0 : this.random.pick([60, 400, 4000, -2, -400])
    this.clock.jumpTo(this.trueClock.nowMs() + days * DAY_MS)
    this.clockJumps += 1
    this.events.push(`the clock is ${days} days off (locks kept by the ${kind})`)
  }

  /** Somebody who can write to the store, and has a copy of it with a history of its own, lays a checkpoint of that here. */
  async #plant(): Promise<void> {
    const cacheFolder = join(this.folder, `fork${this.turns.trace.length}-${this.events.length}`)
    const environment = { clock: this.clock, random: new SeededRandom(this.random.next()), cacheFolder, writer: 'fork' }
    for (const key of await plantForeignCheckpoint(this.store, environment, this.random)) this.planted.add(key)
    this.events.push('checkpoints of another history are planted')
  }

  async #settleOrHang(): Promise<void> {
    // What works in threads of the runtime nobody can see: on a busy machine it takes its time.
    for (const end = systemClock.monotonicMs() + HANG_MS; systemClock.monotonicMs() < end;) {
      await quiet()
      if (this.turns.waiting > 0 || this.clock.sleeping > 0) return
      if (this.#operations.some(({ outcome }) => outcome !== undefined)) return
    }
    this.fail(`nothing moves any more: ${this.#operations.map(({ label }) => label).join(', ')}`)
  }

  async #afterEvent(): Promise<void> {
    const done = this.#operations.filter(({ outcome }) => outcome !== undefined)
    this.#operations = this.#operations.filter(({ outcome }) => outcome === undefined)
    for (const operation of done) {
      this.events.push(`end   ${operation.label}: ${operation.outcome === 'ok' ? 'ok' : messageOf(operation.outcome)}`)
      if (operation.outcome !== 'ok') this.#judge(operation)
    }
    this.#buryCrashed()
    if (done.length > 0 || this.deletes > this.#deletesSeen) await this.checkTruth()
  }

  #judge(operation: Operation): void {
    const { outcome: error, label } = operation
    if (operation.mayFail(error)) return
    const code = isHoldfastError(error) ? error.code : 'not an error of ours'
    const stack = error instanceof Error ? error.stack : ''
    this.fail(`${label} failed although nothing was done to it (${code}): ${stack}`)
  }

  /** A crashed process is forgotten with all its objects; another one takes its place, now and then with its caches. */
  #buryCrashed(): void {
    this.#processes = this.#processes.map((process) => {
      if (!process.crashed || process.running > 0) return process
      this.crashes += 1
      const folder = this.random.chance(0.5) ? process.cacheFolder : join(this.folder, `c${this.crashes}`)
      return new SimulatedProcess(this, `p${this.#processes.length + this.crashes}`, folder)
    })
  }

  async #observe(): Promise<Repository> {
    if (this.#observer === undefined || this.random.chance(0.05)) {
      const cacheFolder = join(this.folder, 'observer')
      const checkpoints = { entriesMin: CHECKPOINT_ENTRIES }
      const environment = { clock: this.clock, random: this.random, cacheFolder, writer: 'observer', checkpoints }
      await this.#observer?.close()
      this.#observer = await Repository.open(this.store, CREDENTIAL, environment)
    }
    await this.#observer.log.refresh()
    return this.#observer
  }

  /** Compares what the repository holds with what was promised. */
  async checkTruth(): Promise<void> {
    const observer = await this.#observe()
    if (observer.log.damage.length > 0) this.fail(`the log is damaged: ${JSON.stringify(observer.log.damage)}`)
    const live = new Map(observer.points().map((point) => [point.id, point]))
    for (const id of this.model.acknowledged) {
      if (!live.has(id) && !this.model.forgetBegun.has(id)) this.fail(`point ${id} was acknowledged and is lost`)
    }
    const trueMs = this.trueClock.nowMs()
    for (const [id, untilMs] of this.model.lockedUntilMs)
      if (untilMs > trueMs && !live.has(id)) this.fail(`point ${id} was locked and is lost`)
    for (const id of this.model.forgotten) if (live.has(id)) this.fail(`point ${id} was forgotten and is there`)
    const again = this.deletes > this.#deletesSeen
    this.#deletesSeen = this.deletes
    for (const point of live.values()) {
      if (again || !this.#checked.has(point.id)) await this.#checkPoint(observer, point, this.store)
      this.#checked.add(point.id)
    }
  }

  async #checkPoint(repository: Repository, point: PointRecord, store: BlobStore): Promise<void> {
    const different = await restoredDifference(this, repository, point, store).catch(
      (error: unknown) => `it cannot be restored: ${messageOf(error)}`,
    )
    if (different !== undefined) this.fail(`point ${point.id} (${point.notes[0]}, ${point.mode}): ${different}`)
  }

  /** All locks end, after a silence that an operator has to vouch for where only the hosts have clocks. */
  async #endLocks(last: Repository): Promise<void> {
    await prune(last, this).catch((error: unknown) => {
      if (!isHoldfastError(error, 'clock_doubted')) throw error
    })
    await this.checkTruth()
    this.#advance(60 * DAY_MS)
    if (this.locks === 'host') await last.immutability.acceptTime()
  }

  async #end(): Promise<void> {
    this.#advance(2 * HOUR_MS)
    this.clock.jumpTo(this.trueClock.nowMs())
    const cacheFolder = join(this.folder, 'end')
    const { clock, random, store } = this
    for (const key of this.planted) await store.delete(key)
    const checkpoints = { entriesMin: CHECKPOINT_ENTRIES }
    const last = await Repository.open(store, CREDENTIAL, { clock, random, cacheFolder, writer: 'end', checkpoints })
    if (last.log.from > 0) this.fromCheckpoint += 1
    if (this.locks !== undefined) await this.#endLocks(last)
    // A host whose clock was ahead when the log began may have died with a pin that lasts as long: an operator knows of it.
    const future = last.log.state.pins
      .active(clock.nowMs())
      .filter(([, pin]) => pin.expiresAtMs > clock.nowMs() + 2 * HOUR_MS)
    if (future.length > 0 && this.locks !== undefined) await last.dropPins(future.map(([number]) => number))
    for (const round of [1, 2]) {
      const { heldBack } = await prune(last, { clock, random })
      if (heldBack > 0) this.fail(`prune ${round} after the end is held back`)
    }
    this.deletes += 1
    await this.checkTruth()
    const withKey = await verifyWithKey(last, { store })
    const without = await verifyWithoutKey(store, { clock, random }, { store })
    if (!withKey.ok) this.fail(`verify with the key at the end: ${JSON.stringify(withKey.damage)}`)
    if (!without.ok) this.fail(`verify without the key at the end: ${JSON.stringify(without.damage)}`)
    for await (const { key } of store.list('packs/')) {
      const pack = last.log.state.packNamed(key.slice(-64))
      if (pack !== undefined && pack.status === 'live') continue
      // What was locked for a commit that never came, by a clock that was ahead, stays until that lock ends.
      const isHeld = await store.delete(key).then(
        () => false,
        (error: unknown) => isHoldfastError(error, 'blob_locked'),
      )
      if (!isHeld) this.fail(`garbage is left for ever: ${key} (${pack?.status})`)
    }
    await last.close()
    await this.#observer?.close()
  }
}

/** Runs one world to its end. @throws Error that names the seed and the command that replays it */
export async function runWorld(options: WorldOptions): Promise<WorldReport> {
  // Caches are synced at every save: a folder in memory, where there is one, is much faster and as good for this.
  const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  const folder = await mkdtemp(join(parent, 'holdfast-sim-'))
  const world = new World(options, folder)
  try {
    return await world.run(options.operations)
  } catch (error) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
    throw new Error(
      [
        `Seed ${options.seed} fails: ${stack}`,
        `Replay: HOLDFAST_SIM_SEED=${options.seed} script/node tools/run-tests.ts sim`,
        'Events:',
        ...world.events.slice(-40),
        'Turns:',
        ...world.turns.trace.slice(-60),
      ].join('\n'),
      { cause: error },
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
