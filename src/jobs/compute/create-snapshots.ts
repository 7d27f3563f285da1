/**
 * The jobs `create-snapshots` (of one disk, or of several at one instant; also the disks of a restore point) and
 * `copy-snapshot`. Their rows are there before them, in the state Creating; the job brings all of them to Succeeded, or none.
 *
 *   dies                            what is left                    what goes on
 *   serve                           the worker's task               the next serve attaches to it
 *   the worker, no instant open     nothing                         the task begins again
 *   the worker, instant open        the milestone                   the job fails with `snapshot_instant_lost`; its points
 *                                                                   are given up, its rows are Failed and say why
 *   the worker, points committed    the points, by the job's note   the task gives them
 *
 * A job that fails before its instant was open leaves no row: the request is answered with the error instead.
 */
import { errorShapeOf, isHoldfastError } from '#base'
import { type Catalog, type ChangeSource, findResource } from '#catalog'
import { snapshotHistory, type VersionRef } from '#domain'
import type { ConsistencyLevel } from '#engine/hypervisor'
import type { ImageToTake, MachineToTake } from '#engine/transfer'
import { JobsError } from '../errors.ts'
import type { JobContext, JobDefinition, StepContext } from '../port.ts'
import { recordOf } from '../repository-access.ts'
import { HOST_WAIT, type TaskRunner } from '../tasks.ts'
import { milestoneFacts } from './milestone-facts.ts'
import { regionRepository, type RegionRepositoryParts } from './region-repository.ts'
import { dropRestorePoint, failRestorePoint, finishRestorePoint } from './restore-point/restore-point-rows.ts'
import { dropSnapshot, failSnapshot, finishSnapshot } from './snapshot-rows.ts'
import {
  INSTANT_OPEN,
  type InstantFacts,
  TAKE_SNAPSHOTS_TASK,
  type TakenVersion,
  type TakeSnapshotsInput,
  type TakeSnapshotsOutput,
} from './take-snapshots.ts'
import { COPY_VERSION_TASK, type CopyVersionInput, FORGET_VERSIONS_TASK } from './version-tasks.ts'

export const CREATE_SNAPSHOTS_JOB = 'create-snapshots'
export const COPY_SNAPSHOT_JOB = 'copy-snapshot'
export const SNAPSHOT_QUEUE = 'snapshot'

export type SnapshotJobParts = Readonly<{
  catalog: Catalog
  tasks: TaskRunner
  source: ChangeSource
  repositories: RegionRepositoryParts
}>

export type CreateSnapshotsInput = Readonly<{
  region: string
  /** The host elsewhere whose disks they are, as `region/name`. */
  host?: string
  /** One per disk: the row, and the identity of the disk. */
  snapshots: readonly Readonly<{ id: string; diskId: string }>[]
  sources: readonly (MachineToTake | ImageToTake)[]
  incremental: boolean
  consistency: ConsistencyLevel
  strict: boolean
  waitMs: number
  /** Stands in each snapshot of the group. */
  group?: string
  /** Id of the restore point whose disks these are: its row goes with theirs. */
  restorePoint?: string
}>
export type CreateSnapshotsOutput = InstantFacts & Readonly<{ snapshots: readonly Readonly<{ id: string }>[] }>

export type CopySnapshotInput = Readonly<{ id: string; region: string; version: VersionRef; incremental: boolean }>

/** A worker is started again within seconds. Errors of a request say that they are final. */
const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 10_000 }

type End = { error: unknown }

/** Settles the rows when the job does not succeed. `end.error` is known, for a workflow is replayed to where it failed. */
function settleWhenNotDone(
  job: JobContext,
  parts: SnapshotJobParts,
  { rows, restorePoint }: Readonly<{ rows: readonly string[]; restorePoint?: string | undefined }>,
  wasAnswered: () => Promise<boolean>,
  end: End,
): void {
  job.cleanup('settle', async () => {
    const stays = (await wasAnswered()) && !isHoldfastError(end.error, 'cancelled')
    const { code, message, hint } = errorShapeOf(end.error, 'job_failed')
    const errorMessage = hint === undefined ? message : `${message} ${hint}`
    const errorCode = code === 'snapshot_instant_lost' ? 'SnapshotInstantLost' : code
    await parts.catalog.write(async (trx) => {
      for (const id of rows)
        if (stays) await failSnapshot(trx, id, { errorCode, errorMessage }, parts.source)
        else await dropSnapshot(trx, id)
      if (restorePoint === undefined) return
      if (stays) await failRestorePoint(trx, restorePoint, { errorCode, errorMessage }, parts.source)
      else await dropRestorePoint(trx, restorePoint)
    })
  })
}

async function remembering<T>(end: End, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    end.error = error
    throw error
  }
}

/**
 * The instant is when the request is accepted: a host that is away has none, and is not waited for. With the instant open it is:
 * then the request was answered, and the host alone knows what became of it.
 */
async function take(
  tasks: TaskRunner,
  step: StepContext,
  wanted: TakeSnapshotsInput,
  host: string | undefined,
): Promise<TakeSnapshotsOutput> {
  try {
    return (await tasks.run(step, TAKE_SNAPSHOTS_TASK, wanted, host)) as TakeSnapshotsOutput
  } catch (error) {
    if (!isHoldfastError(error, 'host_away') || step.reached.includes(INSTANT_OPEN)) throw error
    throw new JobsError('snapshot_host_away', `${error.message} No instant can be taken of its disks.`, {
      facts: error.facts,
      hint: error.hint,
      cause: error,
    })
  }
}

export function createSnapshotsJob(
  parts: SnapshotJobParts,
): JobDefinition<CreateSnapshotsInput, CreateSnapshotsOutput> {
  const { catalog, tasks, source, repositories } = parts
  return {
    name: CREATE_SNAPSHOTS_JOB,
    version: 1,
    parse: (given) => recordOf(given, 'fields') as unknown as CreateSnapshotsInput,
    run: (job, input) => {
      const { region, snapshots, incremental } = input
      const end: End = { error: undefined }
      const isOpen = async (): Promise<boolean> =>
        (await milestoneFacts(catalog, job.jobId, INSTANT_OPEN)) !== undefined
      job.cleanup(
        'give up points',
        async (step) => {
          if (!(await isOpen())) return
          const { access } = await regionRepository(repositories, region)
          await tasks.run(step, FORGET_VERSIONS_TASK, { ...access, madeBy: job.jobId })
        },
        { retry: WORKER_RETRY },
      )
      settleWhenNotDone(
        job,
        parts,
        { rows: snapshots.map(({ id }) => id), restorePoint: input.restorePoint },
        isOpen,
        end,
      )
      return remembering(end, async () => {
        const { access } = await job.step('repository', () => regionRepository(repositories, region, input.host))
        const wanted: TakeSnapshotsInput = {
          ...access,
          sources: input.sources,
          disks: snapshots.map(({ diskId }) => ({
            diskId,
            history: snapshotHistory(diskId, incremental),
            incremental,
          })),
          consistency: input.consistency,
          strict: input.strict,
          waitMs: input.waitMs,
        }
        const taken = await job.step('take', (step) => take(tasks, step, wanted, input.host), {
          retry: { ...WORKER_RETRY, ...HOST_WAIT },
        })
        return job.step('record', async () => {
          const facts = (await milestoneFacts(catalog, job.jobId, INSTANT_OPEN)) as unknown as InstantFacts
          const { takenAtMs, skewMs, pauseMs, consistency } = facts
          const more =
            input.group === undefined
              ? {}
              : { consistencyGroup: { name: input.group, operation: job.jobId, skewMs, pauseMs, consistency } }
          await catalog.write(async (trx) => {
            for (const [i, { id }] of snapshots.entries()) {
              const version = taken.versions[i]
              if (version !== undefined) await finishSnapshot(trx, { id, region, version, more }, source)
            }
            if (input.restorePoint !== undefined) await finishRestorePoint(trx, input.restorePoint, facts, source)
          })
          return { takenAtMs, skewMs, pauseMs, consistency, snapshots: snapshots.map(({ id }) => ({ id })) }
        })
      })
    },
  }
}

export function copySnapshotJob(parts: SnapshotJobParts): JobDefinition<CopySnapshotInput, null> {
  const { catalog, tasks, source, repositories } = parts
  return {
    name: COPY_SNAPSHOT_JOB,
    version: 1,
    parse: (given) => recordOf(given, 'fields') as unknown as CopySnapshotInput,
    run: (job, { id, region, version, incremental }) => {
      const end: End = { error: undefined }
      settleWhenNotDone(job, parts, { rows: [id] }, () => Promise.resolve(true), end)
      return remembering(end, async () => {
        const from = await job.step('source', () => regionRepository(repositories, version.region))
        const to = await job.step('repository', () => regionRepository(repositories, region))
        const wanted: CopyVersionInput = {
          from: from.access,
          to: to.access,
          point: version.point,
          diskId: version.disk,
          history: snapshotHistory(version.disk, incremental),
        }
        const made = await job.step(
          'copy',
          async (step) => (await tasks.run(step, COPY_VERSION_TASK, wanted)) as TakenVersion,
          { retry: WORKER_RETRY },
        )
        await job.step('record', async () => {
          if ((await findResource(catalog, id)) === undefined) return
          await catalog.write((trx) => finishSnapshot(trx, { id, region, version: made }, source))
        })
        return null
      })
    },
  }
}
