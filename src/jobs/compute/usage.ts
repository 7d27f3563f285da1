/**
 * The job `measure-usage`: what each resource of a region uses, what of that is its own, and what deleting it would free.
 * The newest run that succeeded is what the API shows; a later run replaces it. Writes nothing but its own result.
 *
 *   snapshot          its version in the region's repository, by its tree (engine/repository, measureUsage)
 *   disk              the blocks that its image takes in the pool, all its own
 *
 * One task a region, at most RESOURCES_PER_TASK resources each, so that a result stays within a job's bounds.
 */
import { stat } from 'node:fs/promises'
import { errnoOf } from '#base'
import { type Catalog, listResources, listStores } from '#catalog'
import type { DiskBacking, SnapshotBacking } from '#domain'
import { measureUsage } from '#engine/repository'
import type { JobDefinition } from '../port.ts'
import { readRepositoryAccess, recordOf, type RepositoryHost, withRepository } from '../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../tasks.ts'
import { regionRepository, type RegionRepositoryParts } from './region-repository.ts'
import { DISK_TYPE, SNAPSHOT_TYPE } from './snapshot-rows.ts'

export const MEASURE_USAGE_JOB = 'measure-usage'
export const MEASURE_USAGE_TASK = 'measure-usage'

/** Bytes. `freedBytes`: what the store gets back once prune has run. */
export type ResourceUsage = Readonly<{ id: string; usedBytes: number; ownBytes: number; freedBytes: number }>
export type MeasuredUsage = Readonly<{ measuredMs: number; resources: readonly ResourceUsage[] }>

type Version = Readonly<{ id: string; point: string }>
type Image = Readonly<{ id: string; file: string }>

const STAT_BLOCK_BYTES = 512
/** About 250 bytes of result each. */
const RESOURCES_PER_TASK = 600

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
    const { file } = backing as Partial<DiskBacking>
    return location === region && file !== undefined ? [{ id, file }] : []
  })
  return { versions, images }
}

function parts<T>(all: readonly T[]): readonly (readonly T[])[] {
  const count = Math.ceil(all.length / RESOURCES_PER_TASK)
  return Array.from({ length: count }, (_, i) => all.slice(i * RESOURCES_PER_TASK, (i + 1) * RESOURCES_PER_TASK))
}

export function measureUsageJob(given: Parts): JobDefinition<Readonly<{ region: string }>, MeasuredUsage> {
  const { catalog, tasks, repositories, nowMs } = given
  return {
    name: MEASURE_USAGE_JOB,
    version: 1,
    parse: (input) => ({ region: String(recordOf(input, 'fields')['region']) }),
    run: async (job, { region }) => {
      const found = await job.step('list', async () => {
        const { versions, images } = await contentsOf(catalog, region)
        const stores = await listStores(catalog, region)
        return { versions, images, hasRepository: stores.some(({ repositoryId }) => repositoryId !== undefined) }
      })
      const versions = found.hasRepository ? found.versions : []
      const shares = [
        ...parts(versions).map((some) => ({ versions: some, images: [] as readonly Image[] })),
        ...parts(found.images).map((some) => ({ versions: [] as readonly Version[], images: some })),
      ]
      const resources: ResourceUsage[] = []
      for (const [i, share] of shares.entries()) {
        const some = await job.step(`measure ${i}`, async (step) => {
          const access = share.versions.length === 0 ? {} : (await regionRepository(repositories, region)).access
          return (await tasks.run(step, MEASURE_USAGE_TASK, { ...access, ...share })) as readonly ResourceUsage[]
        })
        resources.push(...some)
      }
      return { measuredMs: await job.step('time', nowMs), resources }
    },
  }
}
