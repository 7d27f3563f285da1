/**
 * The task `take-snapshots`: versions of disks at one instant, in the repository of their region. It says by the milestone
 * `instant-open` that the instant is open; from then on a request for it may be answered.
 *
 *   the task ends or its worker dies         what the step does with it
 *   before the instant is open               an error of the request; after a death it begins again, nothing was promised
 *   with the instant open                    `snapshot_instant_lost`: never a later instant
 *   with some or all points committed        all: they are given; some: `snapshot_instant_lost`, the job forgets them
 */
import { join } from 'node:path'
import { HoldfastError, isHoldfastError, messageOf } from '#base'
import { type ConsistencyLevel, recoverInstants } from '#engine/hypervisor'
import type { PointRecord, Repository, StoreDescriptor } from '#engine/repository'
import {
  type DiskToKeep,
  holdsGeneration,
  type ImageToTake,
  type MachineToTake,
  madeBefore,
  type OpenInstantFacts,
  takeSnapshots,
} from '#engine/transfer'
import { JobsError } from '../errors.ts'
import { inputInvalid, readTaskAccess, recordOf, type TaskAccess, withRepository } from '../repository-access.ts'
import type { TaskContext, TaskHandler } from '../tasks.ts'
import type { BackupTaskHost } from '../backup.ts'

export const TAKE_SNAPSHOTS_TASK = 'take-snapshots'
export const INSTANT_OPEN = 'instant-open'

export type TakeSnapshotsInput = TaskAccess &
  Readonly<{
    sources: readonly (MachineToTake | ImageToTake)[]
    disks: readonly DiskToKeep[]
    consistency: ConsistencyLevel
    strict: boolean
    /** How long an instant of another task on the same machine is waited for. */
    waitMs: number
  }>

export type TakenVersion = Readonly<{
  diskId: string
  point: string
  takenAt: string
  sizeBytes: number
  usedBytes: number
  readBytes: number
  storedBytes: number
  mode: string
}>
export type TakeSnapshotsOutput = Readonly<{ versions: readonly TakenVersion[] }>

/** What the milestone says. */
export type InstantFacts = OpenInstantFacts

/** By which note a job's points are known. */
export function madeByNote(jobId: string): string {
  return `Made by job ${jobId}.`
}

/** The shape was made by a job of ours; what came from outside in it was checked there. */
function readInput(given: unknown): TakeSnapshotsInput {
  const input = recordOf(given, 'fields')
  const { sources, disks } = input
  if (!Array.isArray(sources) || !Array.isArray(disks) || disks.length === 0) throw inputInvalid('disks')
  return { ...(input as unknown as TakeSnapshotsInput), ...readTaskAccess(input) }
}

export function versionOf(point: PointRecord, { diskId }: Pick<DiskToKeep, 'diskId'>): TakenVersion {
  const [disk] = point.disks
  if (disk === undefined) throw inputInvalid('disk of the point')
  const { virtualSizeBytes, usedBytes, readBytes, storedBytes, mode } = disk
  const { id, takenAt } = point
  return { diskId, point: id, takenAt, sizeBytes: virtualSizeBytes, usedBytes, readBytes, storedBytes, mode }
}

function lost(message: string, cause?: unknown): JobsError {
  return new JobsError('snapshot_instant_lost', `The instant of the snapshot was lost: ${message}`, {
    hint: 'Delete the failed snapshot and take a new one.',
    cause,
  })
}

/** An error of the request: it is answered, not tried again behind the caller's back. */
function final(error: unknown): unknown {
  if (!isHoldfastError(error) || isHoldfastError(error, 'worker_lost', 'cancelled')) return error
  const { code, message, facts, hint } = error
  return new HoldfastError(code, message, { facts, hint, cause: error })
}

function withBase(disk: DiskToKeep, sources: TakeSnapshotsInput['sources']): DiskToKeep {
  const all = sources.flatMap((source) => (source.kind === 'machine' ? source.disks : [source]))
  const base = all.find(({ diskId }) => diskId === disk.diskId)?.base
  return base === undefined ? disk : { ...disk, base }
}

async function take(
  repository: Repository,
  input: TakeSnapshotsInput,
  context: TaskContext,
  host: BackupTaskHost,
  store: StoreDescriptor,
): Promise<PointRecord[]> {
  const { clock, random, stateFolder, writer } = host
  const { signal, progress } = context
  const madeBy = madeByNote(context.key.job)
  const journalFolder = join(stateFolder, 'instants', repository.config.id)
  await recoverAll(repository, journalFolder, host)
  await repository.log.refresh()
  const made = input.disks.map(({ history }) => madeBefore(repository, history, madeBy))
  if (made.every((point) => point !== undefined)) return made
  if (context.reached.has(INSTANT_OPEN)) throw lost('the worker that held it died.')
  const { sources, consistency, strict, waitMs } = input
  const disks = input.disks.map((disk) => withBase(disk, sources))
  const scratchFolder = join(stateFolder, 'scratch')
  const instantHost = { clock, random, journalFolder, scratchFolder, watchdog: 'start', own: stateFolder } as const
  const options = { host: instantHost, consistency, strict, waitMs, signal }
  let isOpen = false
  const onOpen = (facts: InstantFacts): void => {
    isOpen = true
    context.milestone(INSTANT_OPEN, facts)
  }
  try {
    const keep = { store, clock, random, writer, signal, progress, madeBy }
    return await takeSnapshots(repository, { sources, disks, options }, onOpen, keep)
  } catch (error) {
    throw isOpen ? lost(messageOf(error), error) : final(error)
  }
}

async function recoverAll(repository: Repository, journalFolder: string, host: BackupTaskHost): Promise<void> {
  const recovered = await recoverInstants({
    clock: host.clock,
    journalFolder,
    isCommitted: (_tracker, generation) => holdsGeneration(repository, generation),
  })
  for (const { id, outcome, error } of recovered)
    if (outcome === 'failed') host.warn({ instant: id, error: error?.message }, 'an instant of an earlier run is open')
}

/** Runs on the worker. */
export function takeSnapshotsTask(host: BackupTaskHost): TaskHandler {
  return async (given, context): Promise<TakeSnapshotsOutput> => {
    const input = readInput(given)
    return withRepository(input, host, async (repository, store) => {
      const points = await take(repository, input, context, host, store)
      const versions = input.disks.map((disk, i) => {
        const point = points[i]
        if (point === undefined) throw inputInvalid('points')
        return versionOf(point, disk)
      })
      return { versions }
    })
  }
}
