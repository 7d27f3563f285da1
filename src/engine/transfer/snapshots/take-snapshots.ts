/**
 * Takes snapshots: opens the instant, tries its change tracking, says that it is open, keeps its disks.
 *
 * Nothing may rest on an instant whose tracking is still in doubt (guarded-instant.ts gives it up for a later one), so it is
 * `onOpen` that says which instant it is. From then on it is this one or none.
 */
import type { ConsistencyLevel } from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import { type GuardedInstant, openGuarded } from '../guarded-instant.ts'
import {
  type ImageToTake,
  type MachineToTake,
  type OpenedSources,
  openSources,
  type OpenSourcesOptions,
} from './open-sources.ts'
import { type DiskToKeep, type KeepOptions, parentsOf, storeSnapshots, trackingFor } from './store-snapshots.ts'

export type SnapshotsToTake = Readonly<{
  sources: readonly (MachineToTake | ImageToTake)[]
  disks: readonly DiskToKeep[]
  options: Omit<OpenSourcesOptions, 'tracking'>
}>

/** Milliseconds; `skewMs`: several machines were stopped within this; `pauseMs`: the longest that one stood still. */
export type OpenInstantFacts = Readonly<{
  takenAtMs: number
  skewMs: number
  pauseMs: number
  consistency: ConsistencyLevel
}>

/** @throws what opening, reading and storing raise; whether before or after `onOpen` is the caller's to know */
export async function takeSnapshots(
  repository: Repository,
  { sources, disks, options }: SnapshotsToTake,
  onOpen: (facts: OpenInstantFacts) => void,
  keep: KeepOptions,
): Promise<PointRecord[]> {
  const opened: OpenedSources[] = []
  const parents = parentsOf(repository, disks)
  const reader = await repository.chunkReader()
  try {
    const guarded: GuardedInstant = await openGuarded(
      async (distrusted) => {
        const tracking = trackingFor(repository, disks, distrusted, keep.random)
        const one = await openSources(sources, { ...options, tracking })
        opened.push(one)
        return one.instant
      },
      {
        parentOf: (diskId) => parents.get(diskId)?.disk,
        read: (content) => reader.read(content),
        random: keep.random,
        turn: repository.points().length,
      },
    )
    const { takenAtMs, pauseMs, consistency } = guarded.instant
    onOpen({ takenAtMs, skewMs: opened.at(-1)?.skewMs ?? 0, pauseMs, consistency })
    return await storeSnapshots(repository, guarded, disks, parents, keep)
  } finally {
    for (const one of opened) await one.close()
  }
}
