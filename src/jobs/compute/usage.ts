/**
 * The job `measure-usage`: what each resource of a region uses, what of that is its own, and what deleting it would free.
 * The newest run that succeeded is what the API shows; a later run replaces it. Writes nothing but its own result.
 *
 *   snapshot, image   its versions in the region's repository, by their trees (engine/repository, measureUsage)
 *   disk              the blocks that its image takes in the pool, all its own
 *   disk on a base    the same, and what the base takes, which is its own for none; the base is freed with the last disk on it, if
 *                     its image is gone
 *
 * What an image of several disks frees is at least the sum of what each of them would free alone.
 *
 * One child job for RESOURCES_PER_TASK resources, whose result is what it measured, so that results stay within a job's bounds.
 */
import { stat } from 'node:fs/promises'
import { errnoOf, isHoldfastError } from '#base'
import { type Catalog, listResources } from '#catalog'
import type { DiskBacking, ImageBacking, SnapshotBacking } from '#domain'
import { measureUsage } from '#engine/repository'
import type { JobDefinition } from '../port.ts'
import { readRepositoryAccess, recordOf, type RepositoryHost, withRepository } from '../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../tasks.ts'
import { regionRepository, type RegionRepositoryParts } from './region-repository.ts'
import { RESOURCE_QUEUE } from '../resources/delete-group.ts'
import { DISK_TYPE } from './disk-records.ts'
import { IMAGE_TYPES } from './image/image-rows.ts'
import { DISK_RESTORE_POINT_TYPE } from './restore-point/restore-point-rows.ts'
import { SNAPSHOT_TYPE } from './snapshot-rows.ts'

export const MEASURE_USAGE_JOB = 'measure-usage'
export const MEASURE_SHARE_JOB = 'measure-usage-share'
export const MEASURE_USAGE_TASK = 'measure-usage'

/** Bytes. `freedBytes`: what the store gets back once prune has run. */
export type ResourceUsage = Readonly<{ id: string; usedBytes: number; ownBytes: number; freedBytes: number }>
type VersionUsage = Omit<ResourceUsage, 'id'>
export type MeasuredUsage = Readonly<{ measuredMs: number }>
export type MeasuredShare = Readonly<{ resources: readonly ResourceUsage[] }>

/** `others`: further versions of the same resource. */
type Version = Readonly<{ id: string; point: string; others?: readonly string[] }>
/** `base`: what it rests on, and whether something else needs that too. */
type Image = Readonly<{
  id: string
  file: string
  host?: string
  base?: Readonly<{ file: string; isShared: boolean }>
}>

const STAT_BLOCK_BYTES = 512
const VERSION_TYPES = [SNAPSHOT_TYPE, DISK_RESTORE_POINT_TYPE, ...IMAGE_TYPES]
/** About 250 bytes of result each. */
const RESOURCES_PER_TASK = 400

async function blockBytesOf(file: string): Promise<number> {
  return (await stat(file)).blocks * STAT_BLOCK_BYTES
}

async function usageOfImage({ id, file, base }: Image): Promise<ResourceUsage | undefined> {
  try {
    const own = await blockBytesOf(file)
    const below = base === undefined ? 0 : await blockBytesOf(base.file)
    const freed = base?.isShared === false ? own + below : own
    return { id, usedBytes: own + below, ownBytes: own, freedBytes: freed }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined // Deleted meanwhile.
    throw error
  }
}

/** Several versions of one resource together; nothing when the repository has none of them. */
function summed(id: string, usages: readonly VersionUsage[]): ResourceUsage[] {
  if (usages.length === 0) return []
  const sum = (of: (usage: VersionUsage) => number): number => usages.reduce((total, usage) => total + of(usage), 0)
  const usedBytes = sum((usage) => usage.usedBytes)
  const ownBytes = sum((usage) => usage.ownBytes)
  return [{ id, usedBytes, ownBytes, freedBytes: sum((usage) => usage.freedBytes) }]
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
    const ofVersions = versions.flatMap(({ id, point, others = [] }) =>
      summed(
        id,
        [point, ...others].flatMap((one) => measured.get(one) ?? []),
      ),
    )
    return [...ofVersions, ...known]
  }
}

type Parts = Readonly<{ catalog: Catalog; tasks: TaskRunner; repositories: RegionRepositoryParts; nowMs: () => number }>

/** Types whose bytes are versions in a repository, and which those are. */
async function versionsIn(catalog: Catalog, region: string): Promise<Version[]> {
  const rows = (await Promise.all(VERSION_TYPES.map((type) => listResources(catalog, { type })))).flat()
  return rows.flatMap(({ id, backing }) => {
    const { version } = backing as SnapshotBacking
    const { disks = [] } = backing as ImageBacking
    const all = [...(version === undefined ? [] : [version]), ...disks.map((disk) => disk.version)]
    const [point, ...others] = all.filter((one) => one.region === region).map((one) => one.point)
    return point === undefined ? [] : [{ id, point, ...(others.length > 0 && { others }) }]
  })
}

/** Files of bases that images name: the next disk of the image needs them. */
async function basesOfImages(catalog: Catalog): Promise<Set<string>> {
  const images = (await Promise.all(IMAGE_TYPES.map((type) => listResources(catalog, { type })))).flat()
  const versions = images.flatMap(({ backing }) => (backing as ImageBacking).disks ?? [])
  return new Set(versions.map(({ version }) => version.point))
}

async function contentsOf(catalog: Catalog, region: string) {
  const disks = await listResources(catalog, { type: DISK_TYPE })
  const kept = await basesOfImages(catalog)
  const counts = new Map<string, number>()
  for (const { backing } of disks) {
    const { base } = backing as Partial<DiskBacking>
    if (base !== undefined) counts.set(base.file, (counts.get(base.file) ?? 0) + 1)
  }
  const images = disks.flatMap(({ id, location, backing }): Image[] => {
    const { file, base, host } = backing as Partial<DiskBacking>
    if (location !== region || file === undefined) return []
    const image = { id, file, ...(host !== undefined && { host }) }
    if (base === undefined) return [image]
    const isShared = kept.has(base.version.point) || (counts.get(base.file) ?? 0) > 1
    return [{ ...image, base: { file: base.file, isShared } }]
  })
  return { versions: await versionsIn(catalog, region), images }
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
