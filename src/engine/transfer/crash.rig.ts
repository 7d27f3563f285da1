/**
 * A crash after every write: an operation is run on a copy of a prepared store, once for every write that it makes, and
 * the process dies in that write (done or not done). Then another process opens the store and runs the operation again.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isHoldfastError, ManualClock, type Random, SeededRandom } from '#base'
import { MemoryDevice, stampedBytes } from '#engine/block'
import {
  type BlobStore,
  FaultyStore,
  MemoryStore,
  type PointRecord,
  prune,
  Repository,
  type RepositoryEnvironment,
} from '#engine/repository'
import { backUp, type BackupDisk } from './backup.ts'
import { DELTA_LIMITS, type DeltaLimits } from './delta-plan.ts'
import { restoreDisk } from './restore.ts'
import { verifyWithKey, verifyWithoutKey } from './verify.ts'

export const CREDENTIAL = { kind: 'passphrase', passphrase: 'correct horse' } as const
export const COST = { memoryKib: 8, passes: 1, parallelism: 1 }
export const CHUNK = 64 * 1024

/** One process: its own caches, chance and time. */
export class CrashProcess {
  readonly store: BlobStore
  readonly clock: ManualClock
  readonly random: Random
  readonly cacheFolder: string

  constructor(store: BlobStore, cacheFolder: string, clock: ManualClock, random: Random) {
    this.store = store
    this.cacheFolder = cacheFolder
    this.clock = clock
    this.random = random
  }

  get environment(): RepositoryEnvironment {
    return { clock: this.clock, random: this.random, cacheFolder: this.cacheFolder, writer: 'test' }
  }

  init(): Promise<unknown> {
    const options = { credential: CREDENTIAL, chunkSizeBytes: CHUNK, kdfCost: COST }
    return Repository.init(this.store, options, this.environment)
  }

  open(): Promise<Repository> {
    return Repository.open(this.store, CREDENTIAL, this.environment)
  }

  /** Backs one disk up in packs of a few chunks. `notes` carry what a test wants to find again. */
  async backUp(
    bytes: Uint8Array,
    changes: BackupDisk['changes'],
    note: string,
    parent?: string,
    deltas: DeltaLimits = DELTA_LIMITS,
  ): Promise<PointRecord> {
    const repository = await this.open()
    const source = { opened: MemoryDevice.from(bytes) }
    const disk: BackupDisk = { id: 'd', lun: 0, format: 'raw', sizeBytes: bytes.length, source, changes }
    const { store, clock, random } = this
    return backUp(
      repository,
      {
        machine: 'm',
        takenAtMs: clock.nowMs(),
        consistency: 'crash',
        notes: [note],
        disks: [disk],
        ...(parent === undefined ? {} : { parentPoint: parent }),
      },
      { store, clock, random, writer: 'test', packBytesTarget: 3 * CHUNK, deltas },
    )
  }

  async prune(): Promise<void> {
    await prune(await this.open(), { clock: this.clock, random: this.random }, { wasteShareMax: 0 })
  }
}

export class CrashLab {
  readonly #folders: string[] = []
  readonly clock = new ManualClock()

  async process(store: BlobStore, seed: number): Promise<CrashProcess> {
    // Caches are synced at every save, of which there are hundreds here: a folder in memory is as good, where there is one.
    const folder = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'holdfast-crash-'))
    this.#folders.push(folder)
    return new CrashProcess(store, folder, this.clock, new SeededRandom(seed))
  }

  async clean(): Promise<void> {
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true })
  }

  /** How many writes `work` makes on a copy of `store` when nothing disturbs it. */
  async writesOf(store: MemoryStore, work: (process: CrashProcess) => Promise<unknown>): Promise<number> {
    const faulty = new FaultyStore(await copyOf(store))
    await work(await this.process(faulty, 1))
    return faulty.writes
  }

  /** The store after `work` that nothing disturbed. */
  async crashFree(store: MemoryStore, work: (process: CrashProcess) => Promise<unknown>): Promise<MemoryStore> {
    const copy = await copyOf(store)
    await work(await this.process(copy, 1))
    return copy
  }

  /** Runs `work` to its death in write `n`, then again in another process; gives the store as it is then. */
  async crashAndRepeat(
    store: MemoryStore,
    n: number,
    lastIsDone: boolean,
    work: (process: CrashProcess) => Promise<unknown>,
  ): Promise<MemoryStore> {
    const copy = await copyOf(store)
    const faulty = new FaultyStore(copy)
    faulty.crashAfter(n, chanceThatSays(lastIsDone))
    await assert.rejects(work(await this.process(faulty, 2 + n)), (error) => isHoldfastError(error), `write ${n}`)
    assert.ok(faulty.crashed)
    this.clock.advance(2 * 3600_000)
    await work(await this.process(copy, 1000 + n))
    return copy
  }

  /** What a user can see of the store: the sums of all points by note, verified; and no garbage after a prune. */
  async visible(store: MemoryStore): Promise<Map<string, Buffer>> {
    const process = await this.process(store, 5000)
    this.clock.advance(2 * 3600_000)
    await process.prune()
    const repository = await process.open()
    assert.deepEqual((await verifyWithKey(repository, { store })).damage, [])
    assert.deepEqual((await verifyWithoutKey(store, process, { store })).damage, [])
    for await (const { key } of store.list('packs/'))
      assert.equal(repository.log.state.packNamed(key.slice(-64))?.status, 'live', 'nothing is left that nobody needs')
    const found = new Map<string, Buffer>()
    for (const point of repository.points()) {
      const [disk] = point.disks
      assert(disk)
      const target = new MemoryDevice(disk.virtualSizeBytes)
      await restoreDisk(repository, disk, { opened: target }, { store, clock: this.clock })
      found.set(point.notes[0] ?? '', Buffer.from(target.toBytes()))
    }
    return found
  }
}

function chanceThatSays(yes: boolean): SeededRandom {
  for (let seed = 1; ; seed += 1) {
    if (new SeededRandom(seed).chance(0.5) === yes) return new SeededRandom(seed)
  }
}

export async function copyOf(store: BlobStore): Promise<MemoryStore> {
  const copy = new MemoryStore({ name: 'copy' })
  for await (const { key } of store.list('')) await copy.put(key, [await store.get(key)])
  return copy
}

/** A disk of `chunks` chunks; those that `versions` names carry that version, the rest is zeros. */
export function diskOf(chunks: number, versions: Readonly<Record<number, number>>): Uint8Array {
  const bytes = new Uint8Array(chunks * CHUNK)
  for (const [chunk, version] of Object.entries(versions)) {
    const offset = Number(chunk) * CHUNK
    bytes.set(stampedBytes({ disk: 1, version }, offset, CHUNK), offset)
  }
  return bytes
}
