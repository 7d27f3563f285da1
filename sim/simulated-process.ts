/** One process of the simulated world: its way to the store with its faults, its cache folder, its open repository. */
import { SeededRandom } from '#base'
import { type BlobStore, FaultyStore, Repository, RetryingStore } from '#engine/repository'
import { EarlyStore } from './canaries.ts'
import { CHECKPOINT_ENTRIES, CREDENTIAL, type Surroundings } from './surroundings.ts'
import { TurnStore } from './turns.ts'

export class SimulatedProcess {
  readonly name: string
  readonly cacheFolder: string
  readonly store: BlobStore
  readonly random: SeededRandom
  /** Operations that are under way. */
  running = 0
  /** Whether calls may fail although they are retried or not retried at all. */
  readonly unreliable: boolean
  readonly #faulty: FaultyStore
  readonly #world: Surroundings
  #opening: Promise<Repository> | undefined

  constructor(world: Surroundings, name: string, cacheFolder: string) {
    this.name = name
    this.cacheFolder = cacheFolder
    this.#world = world
    this.random = new SeededRandom(world.random.next())
    const turns = new TurnStore(world.store, world.turns, name, () => (world.deletes += 1))
    const inner = world.canary === 'acknowledges-packs-early' ? new EarlyStore(turns, () => this.crashed) : turns
    this.#faulty = new FaultyStore(inner, world.clock)
    this.unreliable = this.random.chance(0.4)
    const retries = this.random.chance(0.7)
    if (this.unreliable) this.#faulty.failByChance(this.random, { before: 0.02, after: 0.02, full: 0.02 })
    this.store = retries ? new RetryingStore(this.#faulty, world.clock) : this.#faulty
  }

  get crashed(): boolean {
    return this.#faulty.crashed
  }

  /** The process will die in one of its next writes. */
  crashSoon(): void {
    this.#faulty.crashAfter(this.random.below(8), this.random)
  }

  /** The open repository; opened anew now and then, so that both stale and fresh views are at work. */
  async repository(): Promise<Repository> {
    if (this.running <= 1 && this.random.chance(0.15)) this.#opening = undefined
    this.#opening ??= this.#open()
    try {
      return await this.#opening
    } catch (error) {
      this.#opening = undefined
      throw error
    }
  }

  #open(): Promise<Repository> {
    const { clock, canary } = this.#world
    const { random, cacheFolder } = this
    const trust = canary === 'trusts-any-checkpoint' ? 'blindly' : 'chain'
    const checkpoints = { entriesMin: CHECKPOINT_ENTRIES, trust } as const
    return Repository.open(this.store, CREDENTIAL, { clock, random, cacheFolder, writer: this.name, checkpoints })
  }
}
