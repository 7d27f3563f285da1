/** What the processes and operations of a simulated world see of it. */
import type { ManualClock, SeededRandom } from '#base'
import { MemoryDevice } from '#engine/block'
import type { BlobStore, MemoryStore, PointRecord, Repository } from '#engine/repository'
import { restoreDisk } from '#engine/transfer'
import type { MachineModel } from './machine-model.ts'
import type { Turns } from './turns.ts'

/** A key file: keys are derived from passphrases in threads of the runtime, at moments that no seed decides. */
export const CREDENTIAL = { kind: 'key-file', bytes: Buffer.alloc(32, 'simulated') } as const

/** A defect that is planted on purpose, to see that the simulation would find it. */
export type Canary =
  | 'none'
  | 'acknowledges-packs-early'
  | 'deletes-without-entry'
  | 'trusts-any-checkpoint'
  | 'believes-its-clock'

/** Checkpoints come after few entries, so that every world has some. */
export const CHECKPOINT_ENTRIES = 6

export interface Surroundings {
  readonly random: SeededRandom
  readonly clock: ManualClock
  readonly store: MemoryStore
  /** Checkpoints of another history that somebody has laid into the store. */
  readonly planted: ReadonlySet<string>
  /** The true time; `clock` is what the hosts believe. They differ only in worlds with locks. */
  readonly trueClock: ManualClock
  /** Who keeps locks: a server by the true time, or the hosts by theirs; undefined in worlds without. */
  readonly locks: 'server' | 'host' | undefined
  /** How often the hosts' clock jumped. */
  readonly clockJumps: number
  readonly turns: Turns
  readonly model: MachineModel
  readonly canary: Canary
  /** How often time went on by more than a pin lasts. */
  readonly jumps: number
  /** Objects that were deleted. */
  deletes: number
}

/** Restores every disk of a point and compares; undefined when all is equal. */
export async function restoredDifference(
  { model, clock }: Surroundings,
  repository: Repository,
  point: PointRecord,
  store: BlobStore,
): Promise<string | undefined> {
  const expected = model.contentOf(point)
  if (expected.length !== point.disks.length) return `it has ${point.disks.length} disks, not ${expected.length}`
  for (const [i, disk] of point.disks.entries()) {
    const target = new MemoryDevice(disk.virtualSizeBytes)
    await restoreDisk(repository, disk, { opened: target }, { store, clock })
    const different = await expected[i]?.difference(target)
    if (different !== undefined) return different
  }
  return undefined
}
