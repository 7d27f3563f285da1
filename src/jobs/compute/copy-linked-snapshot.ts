/**
 * The job `copy-linked-snapshot`: a snapshot of a linked server becomes one of a region of this one. Its row stands before it, in
 * the state Creating; the bytes go from that server's worker to this one's, and none through a process that answers requests
 * here.
 *
 *   1 what is written of it is fetched into an image of the region's pool (`copying-<job>.qcow2`), whole or not at all
 *   2 the image becomes a version of the region's repository
 *   3 the row is finished, the image goes
 *
 * serve dies: the next one goes on. The worker dies in 1: the next begins again; in 2: the copy fails, as a snapshot does.
 * The other server is lost: it is tried again for hours, then the copy has Failed and says why.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errorShapeOf, isHoldfastError } from '#base'
import { findLink, findResource, listPools } from '#catalog'
import { snapshotHistory } from '#domain'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { recordOf } from '../repository-access.ts'
import { WORKER_RETRY } from './create-disk.ts'
import type { SnapshotJobParts } from './create-snapshots.ts'
import { REMOVE_DISK_TASK } from './disk-tasks.ts'
import { MAKE_DISK_TASK } from './make-disk.ts'
import type { MakeDiskInput } from './make-disk-input.ts'
import { regionRepository } from './region-repository.ts'
import { dropSnapshot, failSnapshot, finishSnapshot } from './snapshot-rows.ts'
import { TAKE_SNAPSHOTS_TASK, type TakeSnapshotsInput, type TakeSnapshotsOutput } from './take-snapshots.ts'
import { FORGET_VERSIONS_TASK } from './version-tasks.ts'

export const COPY_LINKED_SNAPSHOT_JOB = 'copy-linked-snapshot'

/** A server that is away for a night does not end a copy. */
const LINK_RETRY = { attemptsMax: 60, delayMs: 1000, delayMsMax: 15 * 60_000 }

export type CopyLinkedSnapshotInput = Readonly<{
  id: string
  region: string
  incremental: boolean
  /** Identity of the disk whose bytes it shows, at the other server. */
  diskId: string
  /** Subscription of the linked server. */
  owner: string
  /** The file that holds the signed path to the bytes there; removed when the job ends. */
  pathFile: string
  /** The instant that the source shows, in ISO 8601. */
  timeCreated: string
}>

type Plan = Pick<MakeDiskInput, 'file' | 'pool'>

async function planOf({ catalog }: SnapshotJobParts, region: string, jobId: string): Promise<Plan> {
  const [pool] = await listPools(catalog, region)
  if (pool === undefined)
    throw new JobsError('region_without_pool', `The region ${region} has no pool to fetch a snapshot into.`, {
      facts: { region },
    })
  const { path, reserveBytes } = pool
  return { file: join(path, 'disks', `copying-${jobId}.qcow2`), pool: { path, reserveBytes } }
}

/** What is to be fetched, from where the server is now. */
async function fetchOf(
  { catalog }: SnapshotJobParts,
  { owner, pathFile }: CopyLinkedSnapshotInput,
  plan: Plan,
): Promise<MakeDiskInput> {
  const link = await findLink(catalog, owner)
  if (link === undefined)
    throw new JobsError('disk_not_there', 'The server of the source is not linked any more.', { facts: { owner } })
  const { endpoint, authority } = link
  return { ...plan, sizeBytes: undefined, bytes: { kind: 'linked', endpoint, authority, pathFile } }
}

export function copyLinkedSnapshotJob(parts: SnapshotJobParts): JobDefinition<CopyLinkedSnapshotInput, null> {
  const { catalog, tasks, source, repositories } = parts
  return {
    name: COPY_LINKED_SNAPSHOT_JOB,
    version: 1,
    parse: (given) => recordOf(given, 'fields') as unknown as CopyLinkedSnapshotInput,
    run: async (job, input) => {
      const { id, region, incremental, diskId, pathFile, timeCreated } = input
      let failure: unknown
      job.cleanup('settle', async () => {
        const { code, message, hint } = errorShapeOf(failure, 'job_failed')
        const reason = { errorCode: code, errorMessage: hint === undefined ? message : `${message} ${hint}` }
        await catalog.write((trx) =>
          isHoldfastError(failure, 'cancelled') ? dropSnapshot(trx, id) : failSnapshot(trx, id, reason, source),
        )
        await rm(pathFile, { force: true })
      })
      try {
        const planned = await job.step('plan', () => planOf(parts, region, job.jobId))
        job.cleanup('give up the image', async (step) => {
          await tasks.run(step, REMOVE_DISK_TASK, { files: [planned.file] })
        })
        await job.step('fetch', async (step) => tasks.run(step, MAKE_DISK_TASK, await fetchOf(parts, input, planned)), {
          retry: LINK_RETRY,
        })
        const { access } = await job.step('repository', () => regionRepository(repositories, region))
        job.cleanup('give up the version', async (step) => {
          await tasks.run(step, FORGET_VERSIONS_TASK, { ...access, madeBy: job.jobId })
        })
        const history = snapshotHistory(diskId, incremental)
        const wanted: TakeSnapshotsInput = {
          ...access,
          sources: [{ kind: 'image', name: diskId, diskId, path: planned.file, format: 'qcow2' }],
          // Nothing will follow on this image, so nothing is tracked in it.
          disks: [{ diskId, history, incremental: false }],
          consistency: 'crash',
          strict: false,
          waitMs: 0,
        }
        const taken = await job.step(
          'store',
          async (step) => (await tasks.run(step, TAKE_SNAPSHOTS_TASK, wanted)) as TakeSnapshotsOutput,
          { retry: WORKER_RETRY },
        )
        await job.step('record', async () => {
          const [version] = taken.versions
          if (version === undefined || (await findResource(catalog, id)) === undefined) return
          const more = { timeCreated }
          await catalog.write((trx) => finishSnapshot(trx, { id, region, version, more }, source))
        })
        await job.step('tidy', async (step) => {
          await tasks.run(step, REMOVE_DISK_TASK, { files: [planned.file] })
          await rm(pathFile, { force: true })
        })
        return null
      } catch (error) {
        failure = error
        throw error
      }
    },
  }
}
