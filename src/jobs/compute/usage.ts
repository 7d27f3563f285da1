/**
 * The job `measure-usage`: what each resource of a region uses, what of that is its own, and what deleting it would free.
 * The newest run that succeeded is what the API shows; a later run replaces it. Writes nothing but its own result.
 *
 *   snapshot          its version in the region's repository, by its tree (engine/repository, measureUsage)
 *   disk              the blocks that its image takes in the pool, all its own
 *
 * One child job for RESOURCES_PER_TASK resources, whose result is what it measured, so that results stay within a job's bounds.
 */
import { stat } from 'node:fs/promises'
import { errnoOf, isHoldfastError } from '#base'
import { type Catalog, listResources } from '#catalog'
import type { DiskBacking, SnapshotBacking } from '#domain'
import { measureUsage } from '#engine/repository'
import type { JobDefinition } from '../port.ts'
import { readRepositoryAccess, recordOf, type RepositoryHost, withRepository } from '../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../tasks.ts'
import { regionRepository, type RegionRepositoryParts } from './region-repository.ts'
import { RESOURCE_QUEUE } from '../resources/delete-group.ts'
import { DISK_TYPE } from './disk-records.ts'
import { SNAPSHOT_TYPE } from './snapshot-rows.ts'

export const MEASURE_USAGE_JOB = 'measure-usage'
export const MEASURE_SHARE_JOB = 'measure-usage-share'
export const MEASURE_USAGE_TASK = 'measure-usage'

/** Bytes. `freedBytes`: what the store gets back once prune has run. */
export type ResourceUsage = Readonly<{ id: string; usedBytes: number; ownBytes: number; freedBytes: number }>
export type MeasuredUsage = Readonly<{ measuredMs: number }>
export type MeasuredShare = Readonly<{ resources: readonly ResourceUsage[] }>

type Version = Readonly<{ id: string; point: string }>
type Image = Readonly<{ id: string; file: string; host?: string }>

const STAT_BLOCK_BYTES = 512
/** About 250 bytes of result each. */
const RESOURCES_PER_TASK = 400

async function usageOfImage({ id, file }: Image): Promise<ResourceUsage | undefined> {
  try {
    const { blocks } = await stat(file)
    const bytes = blocks * STAT_BLOCK_BYTES
    return { id, usedBytes: bytes, ownBytes: bytes, freedBytes: bytes }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined // Deleted meanwhile.
    throw error
  }
}

export function measureUsageTask(host: RepositoryHost): TaskHandler {
  return async (given, { signal }): Promise<readonly ResourceUsage[]> => {
    const input = recordOf(given, 'fields')
    const versions = input['versions'] as readonly Version[]
    const images = input['images'] as readonly Image[]
    const ofImages = await Promise.all(images.map(usageOfImage))
    const known = ofImages.filter((one) => one !== undefined)
    if (versions.length === 0) return known
    const measured = await withRepository(readRepositoryAccess(input), host, (repository) =>
      measureUsage(repository, signal),
    )
    const ofVersions = versions.flatMap(({ id, point }) => {
      const usage = measured.get(point)
      return usage === undefined ? [] : [{ id, ...usage }]
    })
    return [...ofVersions, ...known]
  }
}

type Parts = Readonly<{ catalog: Catalog; tasks: TaskRunner; repositories: RegionRepositoryParts; nowMs: () => number }>

async function contentsOf(catalog: Catalog, region: string) {
  const snapshots = await listResources(catalog, { type: SNAPSHOT_TYPE })
  const disks = await listResources(catalog, { type: DISK_TYPE })
  const versions = snapshots.flatMap(({ id, backing }): Version[] => {
    const { version } = backing as SnapshotBacking
    return version?.region === region ? [{ id, point: version.point }] : []
  })
  const images = disks.flatMap(({ id, location, backing }): Image[] => {
    const { file, host } = backing as Partial<DiskBacking>
    return location === region && file !== undefined ? [{ id, file, ...(host !== undefined && { host }) }] : []
  })
  return { versions, images }
}

function parts<T>(all: readonly T[]): readonly (readonly T[])[] {
  const count = Math.ceil(all.length / RESOURCES_PER_TASK)
  return Array.from({ length: count }, (_, i) => all.slice(i * RESOURCES_PER_TASK, (i + 1) * RESOURCES_PER_TASK))
}

/** `host`: whose images they are. */
type Share = Readonly<{ region: string; host?: string; versions: readonly Version[]; images: readonly Image[] }>

function sharesOf(region: string, versions: readonly Version[], images: readonly Image[]): Share[] {
  return [
    ...parts(versions).map((some) => ({ region, versions: some, images: [] })),
    ...Array.from(Map.groupBy(images, ({ host }) => host)).flatMap(([host, own]) =>
      parts(own).map((some) => ({ region, versions: [], images: some, ...(host !== undefined && { host }) })),
    ),
  ]
}

/** A child of `measure-usage`: keeps what it measured of some resources as its result. */
export function measureShareJob(given: Parts): JobDefinition<Share, MeasuredShare> {
  const { tasks, repositories } = given
  return {
    name: MEASURE_SHARE_JOB,
    version: 1,
    parse: (input) => recordOf(input, 'fields') as unknown as Share,
    run: async (job, { region, versions, images, host }) => {
      const resources = await job.step('measure', async (step) => {
        const access = versions.length === 0 ? {} : (await regionRepository(repositories, region)).access
        try {
          const measured = await tasks.run(step, MEASURE_USAGE_TASK, { ...access, versions, images }, host)
          return measured as readonly ResourceUsage[]
        } catch (error) {
          if (isHoldfastError(error, 'host_away', 'host_unknown')) return [] // Not known: not shown either.
          throw error
        }
      })
      return { resources }
    },
  }
}

export function measureUsageJob(given: Parts): JobDefinition<Readonly<{ region: string }>, MeasuredUsage> {
  const { catalog, nowMs } = given
  return {
    name: MEASURE_USAGE_JOB,
    version: 1,
    parse: (input) => ({ region: String(recordOf(input, 'fields')['region']) }),
    run: async (job, { region }) => {
      const count = await job.step('count', async () => {
        const { versions, images } = await contentsOf(catalog, region)
        return sharesOf(region, versions, images).length
      })
      for (let i = 0; i < count; i += 1) {
        // Looked up anew, not kept: a share's list would not fit beside all others in one job.
        const share = await job.step(`list ${i}`, async () => {
          const { versions, images } = await contentsOf(catalog, region)
          return sharesOf(region, versions, images)[i] ?? null
        })
        if (share !== null) await job.child(`measure ${i}`, MEASURE_SHARE_JOB, share, { queue: RESOURCE_QUEUE })
      }
      return { measuredMs: await job.step('time', nowMs) }
    },
  }
}
