/**
 * The job `create-image`: versions for an image whose row stands already, in the state Creating. Disks that can be read now are
 * taken together at one instant; versions that are there are named once more (nothing is copied in a region); files are read into
 * the repository. The image then rests on nothing that it was made of.
 *
 *   dies                                what goes on
 *   serve, or the worker                the job; what was committed is found by the job's note
 *   the worker, with the instant open   it is taken anew: an image promises no moment. What was committed before is given up
 *   for good                            versions are given up, the row is Failed
 */
import { join } from 'node:path'
import { isHoldfastError } from '#base'
import { type Catalog, type ChangeSource, listPools, updateResource } from '#catalog'
import type { ImageDisk, ImageLun, VersionRef } from '#domain'
import type { ImageToTake, MachineToTake } from '#engine/transfer'
import { JobsError } from '../../errors.ts'
import type { JobContext, JobDefinition } from '../../port.ts'
import { recordOf, type RepositoryAccess } from '../../repository-access.ts'
import type { TaskRunner } from '../../tasks.ts'
import { listSetting, WORKER_RETRY } from '../create-disk.ts'
import { regionRepository, type RegionRepositoryParts } from '../region-repository.ts'
import { TAKE_SNAPSHOTS_TASK, type TakenVersion, type TakeSnapshotsOutput } from '../take-snapshots.ts'
import { COPY_VERSION_TASK, FORGET_VERSIONS_TASK } from '../version-tasks.ts'
import { IMPORT_VERSION_TASK } from './import-version.ts'
import { finishImage } from './image-rows.ts'

export const CREATE_IMAGE_JOB = 'create-image'

/** What one disk of the image is made of. */
export type ImageOrigin =
  /** Read in its place; `sources` of the input say how. */
  | Readonly<{ kind: 'disk'; diskId: string }>
  | Readonly<{ kind: 'version'; version: VersionRef }>
  /** A file in one of the folders; `name` as who brought it calls it. */
  | Readonly<{ kind: 'file'; path: string; folders: readonly string[]; name: string }>
  /** A file of the administrator's import folders. */
  | Readonly<{ kind: 'import'; path: string }>

export type CreateImageInput = Readonly<{
  id: string
  region: string
  disks: readonly Readonly<{ lun: ImageLun; from: ImageOrigin }>[]
  sources: readonly (MachineToTake | ImageToTake)[]
}>

export type ImageJobParts = Readonly<{
  /** Of the home. */
  folder: string
  catalog: Catalog
  tasks: TaskRunner
  source: ChangeSource
  repositories: RegionRepositoryParts
}>

const INSTANTS_MAX = 4
const INSTANT_WAIT_MS = 600_000

type Step = Readonly<{ job: JobContext; parts: ImageJobParts; input: CreateImageInput; access: RepositoryAccess }>

/** Each disk of an image has a history of its own, so that it is kept and given up by itself. */
function historyOf(job: JobContext, lun: ImageLun): string {
  return `image-${job.jobId}-${lun}`
}

async function takeTogether({ job, parts, input, access }: Step): Promise<ReadonlyMap<string, TakenVersion>> {
  const { sources } = input
  const disks = input.disks.flatMap(({ lun, from }) =>
    from.kind === 'disk' ? [{ diskId: from.diskId, history: historyOf(job, lun), incremental: false }] : [],
  )
  if (disks.length === 0) return new Map()
  const wanted = { ...access, sources, disks, consistency: 'crash', strict: false, waitMs: INSTANT_WAIT_MS }
  for (let turn = 1; ; turn += 1) {
    try {
      const { versions } = await job.step(
        `take ${turn}`,
        async (step) => (await parts.tasks.run(step, TAKE_SNAPSHOTS_TASK, wanted)) as TakeSnapshotsOutput,
        { retry: WORKER_RETRY },
      )
      return new Map(versions.map((version) => [version.diskId, version]))
    } catch (error) {
      if (!isHoldfastError(error, 'snapshot_instant_lost') || turn === INSTANTS_MAX) throw error
      await job.step(`give up ${turn}`, (step) => forgetAll(step, parts, access, job.jobId), { retry: WORKER_RETRY })
    }
  }
}

async function forgetAll(
  step: Parameters<TaskRunner['run']>[0],
  { tasks }: ImageJobParts,
  access: RepositoryAccess,
  madeBy: string,
): Promise<void> {
  await tasks.run(step, FORGET_VERSIONS_TASK, { ...access, madeBy })
}

async function poolIn(catalog: Catalog, region: string) {
  const [pool] = await listPools(catalog, region)
  if (pool === undefined) throw new JobsError('region_without_pool', `The region ${region} has no pool.`)
  return { path: pool.path, reserveBytes: pool.reserveBytes }
}

type FileOrigin = Exclude<ImageOrigin, { kind: 'disk' | 'version' }>

async function fileOf({ catalog, folder }: ImageJobParts, from: FileOrigin) {
  if (from.kind === 'file') return { path: from.path, folders: from.folders, name: from.name }
  const folders = await listSetting(catalog, 'import-folders', [join(folder, 'import')])
  return { path: from.path, folders, name: from.path }
}

async function makeOne(given: Step, lun: ImageLun, from: ImageOrigin): Promise<TakenVersion | undefined> {
  const { job, parts, input, access } = given
  const history = historyOf(job, lun)
  if (from.kind === 'disk') return undefined
  if (from.kind === 'version') {
    const { version } = from
    const wanted = { from: access, to: access, point: version.point, diskId: version.disk, history, as: String(lun) }
    return job.step(
      `name ${lun}`,
      async (step) => (await parts.tasks.run(step, COPY_VERSION_TASK, wanted)) as TakenVersion,
      { retry: WORKER_RETRY },
    )
  }
  return job.step(
    `read ${lun}`,
    async (step) => {
      const pool = await poolIn(parts.catalog, input.region)
      const file = await fileOf(parts, from)
      const wanted = { ...access, ...file, pool, diskId: `${job.jobId}-${lun}`, history }
      return (await parts.tasks.run(step, IMPORT_VERSION_TASK, wanted)) as TakenVersion
    },
    { retry: WORKER_RETRY },
  )
}

function imageDisk(region: string, lun: ImageLun, { point, diskId, sizeBytes, usedBytes }: TakenVersion): ImageDisk {
  return { lun, version: { region, point, disk: diskId }, sizeBytes, usedBytes }
}

async function makeAll(given: Step): Promise<ImageDisk[]> {
  const { input } = given
  const taken = await takeTogether(given)
  const made: ImageDisk[] = []
  for (const { lun, from } of input.disks) {
    const version = from.kind === 'disk' ? taken.get(from.diskId) : await makeOne(given, lun, from)
    if (version === undefined) throw new JobsError('job_input_invalid', `Nothing was made of the disk ${lun}.`)
    made.push(imageDisk(input.region, lun, version))
  }
  return made
}

export function createImageJob(parts: ImageJobParts): JobDefinition<CreateImageInput, null> {
  const { catalog, source, repositories } = parts
  return {
    name: CREATE_IMAGE_JOB,
    version: 1,
    parse: (given) => recordOf(given, 'fields') as unknown as CreateImageInput,
    run: async (job, input) => {
      job.cleanup('say that it failed', async () => {
        await catalog.write((trx) => updateResource(trx, input.id, { state: 'Failed' }, source))
      })
      const { access } = await job.step('repository', () => regionRepository(repositories, input.region))
      job.cleanup('give up what was made', (step) => forgetAll(step, parts, access, job.jobId), {
        retry: WORKER_RETRY,
      })
      const disks = await makeAll({ job, parts, input, access })
      await job.step('record', () => catalog.write((trx) => finishImage(trx, input.id, disks, source)))
      return null
    },
  }
}
