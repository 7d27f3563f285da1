/**
 * The job `create-disk`: bytes for a disk whose record stands already, in state Creating.
 *
 *   dies                           what goes on
 *   serve                          the job, attached to the worker's task
 *   the worker, while writing      the task begins again; its draft is removed
 *   the worker, after the name     the task finds the disk whole
 *   serve, before recording        the task's result is asked for again
 *
 * When it fails the record says Failed, and what was written is gone: it is never a disk.
 */
import { basename, dirname, join } from 'node:path'
import { rm } from 'node:fs/promises'
import { unreachable } from '#base'
import { type Catalog, type ChangeSource, findSetting, listPools } from '#catalog'
import type { VersionRef } from '#domain'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { recordOf, type RepositoryAccess, type RepositoryHost } from '../repository-access.ts'
import type { TaskRunner } from '../tasks.ts'
import { backingOf, changeDisk, findDisk, sizeProperties } from './disk-records.ts'
import { REMOVE_DISK_TASK } from './disk-tasks.ts'
import { type DiskFromImageInput, MAKE_DISK_FROM_IMAGE_TASK } from './image/make-disk-from-image.ts'
import { type MadeDisk, MAKE_DISK_TASK } from './make-disk.ts'
import type { DiskBytes, MakeDiskInput } from './make-disk-input.ts'
import type { PoolPlace } from './pool-room.ts'
import { regionRepository } from './region-repository.ts'
import { MAKE_UPLOAD_TASK } from './upload.ts'

export const CREATE_DISK_JOB = 'create-disk'

/** A worker is started again within seconds; a machine or a store may be away for longer. */
export const WORKER_RETRY = { attemptsMax: 12, delayMs: 500, delayMsMax: 60_000 }

export type ComputeParts = Readonly<{
  catalog: Catalog
  tasks: TaskRunner
  source: ChangeSource
  /** Of the home. */
  folder: string
  host: RepositoryHost
}>

/** What a disk is made from, in the words of the control plane. */
export type DiskOrigin =
  | Readonly<{ kind: 'empty' }>
  | Readonly<{ kind: 'upload'; uploadBytes: number }>
  | Readonly<{ kind: 'disk'; id: string }>
  | Readonly<{ kind: 'version'; version: VersionRef }>
  /** A version that an image names: the disk is an overlay on its base, which the record names. */
  | Readonly<{ kind: 'base'; version: VersionRef }>
  /** A file of the administrator's import folders. */
  | Readonly<{ kind: 'file'; path: string }>
  /** A blob of a storage account, and the account's folder. */
  | Readonly<{ kind: 'blob'; path: string; folder: string }>
  | Readonly<{ kind: 'url'; urlFile: string }>

/** Those that `make-disk` makes: files of their own. */
type MadeOrigin = Exclude<DiskOrigin, { kind: 'base' }>

export type CreateDiskInput = Readonly<{ id: string; sizeBytes: number | null; origin: DiskOrigin }>

function readInput(given: unknown): CreateDiskInput {
  const { id, origin } = recordOf(given, 'fields')
  recordOf(origin, 'origin')
  if (typeof id === 'string') return given as CreateDiskInput
  throw new JobsError('job_input_invalid', 'The job’s input has no valid id.')
}

/** A setting that is a JSON list of texts. */
export async function listSetting(catalog: Catalog, name: string, otherwise: readonly string[]): Promise<string[]> {
  const text = await findSetting(catalog, name)
  const list: unknown = text === undefined ? otherwise : JSON.parse(text)
  return Array.isArray(list) ? list.filter((one) => typeof one === 'string') : [...otherwise]
}

/** The pool that the disk's file lies in. @throws JobsError `region_without_pool` */
export async function poolOf(catalog: Catalog, region: string, file: string): Promise<PoolPlace> {
  const pools = await listPools(catalog, region)
  const found = pools.find(({ path }) => dirname(file) === join(path, 'disks'))
  if (found !== undefined) return { path: found.path, reserveBytes: found.reserveBytes }
  throw new JobsError('region_without_pool', `The region ${region} has no pool for ${basename(file)}.`, {
    facts: { region, file },
  })
}

async function bytesOf(parts: ComputeParts, origin: MadeOrigin): Promise<DiskBytes> {
  const { catalog, folder } = parts
  switch (origin.kind) {
    case 'empty':
    case 'upload':
      return { kind: 'empty' }
    case 'disk': {
      const { file, format } = backingOf(await findDisk(catalog, origin.id))
      return { kind: 'disk', path: file, format }
    }
    case 'version': {
      const { point, disk } = origin.version
      return { kind: 'version', access: await versionAccess(parts, origin.version), point, disk }
    }
    case 'file': {
      const folders = await listSetting(catalog, 'import-folders', [join(folder, 'import')])
      return { kind: 'image', path: origin.path, folders }
    }
    case 'blob':
      return { kind: 'image', path: origin.path, folders: [origin.folder] }
    case 'url':
      return { kind: 'url', urlFile: origin.urlFile, hosts: await listSetting(catalog, 'import-hosts', []) }
    default:
      return unreachable(origin)
  }
}

async function versionAccess({ folder, ...parts }: ComputeParts, { region }: VersionRef): Promise<RepositoryAccess> {
  return (await regionRepository({ ...parts, keysFolder: join(folder, 'keys') }, region)).access
}

async function planOverlay(parts: ComputeParts, input: CreateDiskInput): Promise<DiskFromImageInput> {
  const record = await findDisk(parts.catalog, input.id)
  const { file, base } = backingOf(record)
  if (base === undefined) throw new JobsError('job_input_invalid', `The record of ${input.id} names no base.`)
  const pool = await poolOf(parts.catalog, record.location ?? '', file)
  const access = await versionAccess(parts, base.version)
  return { file, pool, sizeBytes: input.sizeBytes ?? undefined, base, access }
}

async function plan(parts: ComputeParts, input: CreateDiskInput, origin: MadeOrigin): Promise<MakeDiskInput> {
  const record = await findDisk(parts.catalog, input.id)
  const { file } = backingOf(record)
  const pool = await poolOf(parts.catalog, record.location ?? '', file)
  return { file, pool, sizeBytes: input.sizeBytes ?? undefined, bytes: await bytesOf(parts, origin) }
}

export function createDiskJob(parts: ComputeParts): JobDefinition<CreateDiskInput, null> {
  const { catalog, tasks, source } = parts
  return {
    name: CREATE_DISK_JOB,
    version: 1,
    parse: readInput,
    run: async (job, input) => {
      const { id, origin } = input
      job.cleanup('say that it failed', async () => {
        await catalog.write((trx) => changeDisk(trx, id, { state: 'Failed' }, source))
        if (origin.kind === 'url') await rm(origin.urlFile, { force: true })
      })
      const planned =
        origin.kind === 'base'
          ? await job.step('plan the overlay', () => planOverlay(parts, input))
          : await job.step('plan', () => plan(parts, input, origin))
      const task = origin.kind === 'base' ? MAKE_DISK_FROM_IMAGE_TASK : MAKE_DISK_TASK
      const upload = `${planned.file.replace(/\.qcow2$/, '')}.upload`
      job.cleanup('give up', async (step) => {
        await tasks.run(step, REMOVE_DISK_TASK, {
          files: [planned.file, ...(origin.kind === 'upload' ? [upload] : [])],
        })
      })
      const made =
        origin.kind === 'upload'
          ? await job.step(
              'make the upload',
              async (step) => {
                await tasks.run(step, MAKE_UPLOAD_TASK, { path: upload, uploadBytes: origin.uploadBytes })
                return { sizeBytes: input.sizeBytes ?? 0 }
              },
              { retry: WORKER_RETRY },
            )
          : await job.step('make', async (step) => (await tasks.run(step, task, planned)) as MadeDisk, {
              retry: WORKER_RETRY,
            })
      await job.step('record', async () => {
        const isUpload = origin.kind === 'upload'
        const isManaged = typeof (await findDisk(catalog, id)).body['managedBy'] === 'string'
        const diskState = isUpload ? 'ReadyToUpload' : isManaged ? 'Reserved' : 'Unattached'
        const properties = { ...sizeProperties(made.sizeBytes), diskState }
        const backing = isUpload ? { upload } : {}
        await catalog.write((trx) => changeDisk(trx, id, { state: 'Succeeded', properties, backing }, source))
        if (origin.kind === 'url') await rm(origin.urlFile, { force: true })
      })
      return null
    },
  }
}
