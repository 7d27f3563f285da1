/**
 * Jobs on disks that exist: growing, adopting, deleting. Their records announce them (Updating, Creating, Deleting); a growth
 * or deletion that fails leaves the disk as it was and usable, an adoption that fails leaves nothing.
 */
import { join } from 'node:path'
import { isHoldfastError } from '#base'
import { deleteResource, findResource, listAllPools, listResources, type ResourceRecord } from '#catalog'
import { type DiskBacking, type DiskGrant, isRefusal, whyNotDelete } from '#domain'
import { JobsError } from '../errors.ts'
import type { JobContext, JobDefinition, StepContext } from '../port.ts'
import { recordOf } from '../repository-access.ts'
import { type ComputeParts, listSetting, WORKER_RETRY } from './create-disk.ts'
import {
  backingOf,
  changeDisk,
  diskStateOf,
  DISK_TYPE,
  findDisk,
  propertiesOf,
  sizeProperties,
} from './disk-records.ts'
import { releaseBase } from './image/sweep-bases.ts'
import {
  GROW_DISK_TASK,
  INSPECT_DISK_TASK,
  type InspectedDisk,
  REMOVE_DISK_TASK,
  SWEEP_POOL_TASK,
} from './disk-tasks.ts'

export const GROW_DISK_JOB = 'grow-disk'
export const ADOPT_DISK_JOB = 'adopt-disk'
export const DELETE_DISK_JOB = 'delete-disk'
export const SWEEP_POOLS_JOB = 'sweep-pools'

const SNAPSHOT_TYPE = 'Microsoft.Compute/snapshots'
const WAIT_MS_MAX = 30_000

export type GrowDiskInput = Readonly<{ id: string; sizeBytes: number }>
export type AdoptDiskInput = Readonly<{
  id: string
  path: string
  format: 'qcow2' | 'raw' | null
  machine: Readonly<{ qmp: string }> | null
}>
type IdInput = Readonly<{ id: string }>

function checkInput(given: unknown): void {
  const { id } = recordOf(given, 'fields')
  if (typeof id === 'string') return
  throw new JobsError('job_input_invalid', 'The job’s input has no valid id.')
}

export function growDiskJob(parts: ComputeParts): JobDefinition<GrowDiskInput, null> {
  const { catalog, tasks, source } = parts
  return {
    name: GROW_DISK_JOB,
    version: 1,
    parse: (given) => {
      checkInput(given)
      return given as GrowDiskInput
    },
    run: async (job, { id, sizeBytes }) => {
      job.cleanup('leave it as it was', async () => {
        await catalog.write((trx) => changeDisk(trx, id, { state: 'Succeeded' }, source))
      })
      await job.step(
        'grow',
        async (step) => {
          const { file, format, machine, host } = backingOf(await findDisk(catalog, id))
          const qmp = machine === undefined ? {} : { qmp: machine.qmp }
          await tasks.run(step, GROW_DISK_TASK, { file, format, sizeBytes, ...qmp }, host)
        },
        { retry: WORKER_RETRY },
      )
      await job.step('record', async () => {
        const change = { state: 'Succeeded', properties: sizeProperties(sizeBytes) }
        await catalog.write((trx) => changeDisk(trx, id, change, source))
      })
      return null
    },
  }
}

async function checkNotAdopted(parts: ComputeParts, id: string, path: string): Promise<void> {
  const disks = await listResources(parts.catalog, { type: DISK_TYPE })
  const isSame = ({ file, host }: DiskBacking): boolean => file === path && host === undefined
  const other = disks.find((disk) => disk.key !== id.toLowerCase() && isSame(backingOf(disk)))
  if (other === undefined) return
  throw new JobsError('import_refused', `${path} is the disk ${other.id} already.`, { facts: { path, disk: other.id } })
}

export function adoptDiskJob(parts: ComputeParts): JobDefinition<AdoptDiskInput, null> {
  const { catalog, tasks, source } = parts
  return {
    name: ADOPT_DISK_JOB,
    version: 1,
    parse: (given) => {
      checkInput(given)
      return given as AdoptDiskInput
    },
    run: async (job, { id, path, format, machine }) => {
      job.cleanup('forget it', async () => {
        await catalog.write((trx) => deleteResource(trx, id))
      })
      const folders = await job.step('read the settings', () => listSetting(catalog, 'adopt-folders', []))
      const found = await job.step(
        'look at it',
        async (step) =>
          (await tasks.run(step, INSPECT_DISK_TASK, {
            path,
            format,
            folders,
            ...(machine !== null && { qmp: machine.qmp }),
          })) as InspectedDisk,
        { retry: WORKER_RETRY },
      )
      await job.step('record', async () => {
        await checkNotAdopted(parts, id, found.path)
        const change = {
          state: 'Succeeded',
          properties: sizeProperties(found.sizeBytes),
          backing: { file: found.path, format: found.format },
        }
        await catalog.write((trx) => changeDisk(trx, id, change, source))
      })
      return null
    },
  }
}

/** Snapshots of the disk that are not durable without it. */
async function snapshotsAtWork(parts: ComputeParts, disk: ResourceRecord): Promise<string[]> {
  const snapshots = await listResources(parts.catalog, { type: SNAPSHOT_TYPE })
  return snapshots
    .filter((snapshot) => {
      const { creationData, completionPercent } = propertiesOf(snapshot)
      const { sourceResourceId } = (creationData ?? {}) as Readonly<Record<string, unknown>>
      const isOfDisk = typeof sourceResourceId === 'string' && sourceResourceId.toLowerCase() === disk.key
      const isAtWork = snapshot.state === 'Creating' || snapshot.state === 'Updating'
      return (
        isOfDisk &&
        (isAtWork ||
          (typeof completionPercent === 'number' && completionPercent < 100 && snapshot.state === 'Succeeded'))
      )
    })
    .map(({ id }) => id)
}

/** Waits until no snapshot needs the disk any more: what was accepted is not undone by a deletion that came after it. */
export async function waitForSnapshots(job: JobContext, parts: ComputeParts, id: string, label = ''): Promise<void> {
  for (let round = 0; ; round += 1) {
    const left = await job.step(`look for snapshots ${label}${round}`, async () => {
      const disk = await findResource(parts.catalog, id)
      return disk === undefined ? [] : snapshotsAtWork(parts, disk)
    })
    if (left.length === 0) return
    await job.sleep(`wait for snapshots ${label}${round}`, Math.min(WAIT_MS_MAX, 500 * 2 ** Math.min(round, 10)))
  }
}

function openGrant(grant: DiskGrant | undefined, nowMs: number): boolean {
  return grant !== undefined && grant.expiresMs > nowMs
}

/** `base`: what it rests on, which goes too when nothing else does. */
type FilesOfDisk = Readonly<{ files: readonly string[]; base: string | null }>

/** Files that go with the disk; an adopted one stays. @throws JobsError when the disk may not go */
async function filesToRemove(parts: ComputeParts, id: string): Promise<FilesOfDisk | null> {
  const record = await findResource(parts.catalog, id)
  if (record === undefined) return null
  const { file, pool, upload, grant, base } = backingOf(record)
  const state = diskStateOf(record)
  const closed = state === 'ActiveSAS' && !openGrant(grant, parts.source.nowMs())
  const { managedBy } = record.body
  const why = whyNotDelete(closed ? 'Unattached' : state, typeof managedBy === 'string' ? managedBy : undefined)
  if (isRefusal(why)) throw new JobsError('disk_in_demand', `The disk ${id} cannot be deleted. ${why.message}`)
  const files = [...(pool === undefined ? [] : [file]), ...(upload === undefined ? [] : [upload])]
  return { files, base: base?.file ?? null }
}

/** Also what `delete-group` starts: done when there is no such disk. */
export function deleteDiskJob(parts: ComputeParts): JobDefinition<IdInput, null> {
  const { catalog, tasks, source } = parts
  return {
    name: DELETE_DISK_JOB,
    version: 1,
    parse: (given) => {
      checkInput(given)
      return given as IdInput
    },
    run: async (job, { id }) => {
      job.cleanup('keep it', async () => {
        const { stateBefore } = (await findResource(catalog, id))?.backing ?? {}
        const state = typeof stateBefore === 'string' ? { state: stateBefore } : {}
        await catalog.write((trx) => changeDisk(trx, id, { ...state, backing: { stateBefore: undefined } }, source))
      })
      await waitForSnapshots(job, parts, id)
      const found = await job.step('plan files', () => filesToRemove(parts, id))
      if (found === null) return null
      const { files, base } = found
      if (files.length > 0)
        await job.step(
          'remove the files',
          async (step) => {
            const record = await findResource(catalog, id)
            const host = record === undefined ? undefined : backingOf(record).host
            await tasks.run(step, REMOVE_DISK_TASK, { files }, host).catch((error: unknown) => {
              // The host was given up as lost, and what lay there with it.
              if (!isHoldfastError(error, 'host_unknown')) throw error
            })
          },
          { retry: WORKER_RETRY },
        )
      await job.step('forget it', () => catalog.write((trx) => deleteResource(trx, id)))
      if (base !== null) await releaseBase(job, parts, { file: base }, 'release its base')
      return null
    },
  }
}

/** A pool whose host is away is swept another night. */
async function sweep(
  tasks: ComputeParts['tasks'],
  step: StepContext,
  input: Readonly<{ folder: string; keep: readonly string[] }>,
  host: string | undefined,
): Promise<number> {
  try {
    return (await tasks.run(step, SWEEP_POOL_TASK, input, host)) as number
  } catch (error) {
    if (isHoldfastError(error, 'host_away', 'host_unknown')) return 0
    throw error
  }
}

/** Removes what crashes left in the pools: files of ours that no disk names. Gives their number. */
export function sweepPoolsJob(parts: ComputeParts): JobDefinition<unknown, number> {
  const { catalog, tasks } = parts
  return {
    name: SWEEP_POOLS_JOB,
    version: 1,
    run: async (job) => {
      const pools = await job.step('list the pools', async () =>
        (await listAllPools(catalog)).map(({ region, host, path }) => ({
          folder: join(path, 'disks'),
          ...(host !== undefined && { host: `${region}/${host}` }),
        })),
      )
      let removed = 0
      for (const { folder, host } of pools)
        removed += await job.step(`sweep ${host === undefined ? '' : `${host}:`}${folder}`, async (step) => {
          // Read in the same step: what is created later is younger than what is swept.
          const disks = await listResources(catalog, { type: DISK_TYPE })
          const keep = disks.flatMap((disk) => {
            const { file, upload } = backingOf(disk)
            return [file, upload].flatMap((path) => (path === undefined ? [] : [path.slice(path.lastIndexOf('/') + 1)]))
          })
          return sweep(tasks, step, { folder, keep }, host)
        })
      return removed
    },
  }
}
