/**
 * The job `create-disk`: bytes for a disk whose record stands already, in state Creating.
 *
 *   dies                           what goes on
 *   serve                          the job, attached to the worker's task
 *   the worker, while writing      the task begins again; its draft is removed
 *   the worker, after the name     the task finds the disk whole
 *   serve, before recording        the task's result is asked for again
 *
 * A disk of a host elsewhere is made there, by that host's worker; while the host is away the step waits for it.
 *
 * When it fails the record says Failed, and what was written is gone: it is never a disk.
 */
import { basename, dirname, join } from 'node:path'
import { rm } from 'node:fs/promises'
import { isHoldfastError, unreachable } from '#base'
import { type Catalog, type ChangeSource, findSetting, listAllPools } from '#catalog'
import type { DiskBacking, VersionRef } from '#domain'
import { JobsError } from '../errors.ts'
import type { JobDefinition, StepContext } from '../port.ts'
import { recordOf, type RepositoryAccess, type RepositoryHost } from '../repository-access.ts'
import { HOST_WAIT, type TaskRunner } from '../tasks.ts'
import { checkUrl } from './download.ts'
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
export const WORKER_RETRY = { attemptsMax: 12, delayMs: 500, delayMsMax: 60_000, ...HOST_WAIT }

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

function importHosts(catalog: Catalog): Promise<string[]> {
  return listSetting(catalog, 'import-hosts', [])
}

/** Whether a disk may be imported from there, as far as the URL itself says. @throws JobsError `import_refused` */
export async function checkImportUrl(catalog: Catalog, url: string): Promise<void> {
  checkUrl(url, await importHosts(catalog))
}

/** The pool that the disk's file lies in. @throws JobsError `region_without_pool` */
export async function poolOf(
  catalog: Catalog,
  region: string,
  { file, host }: Pick<DiskBacking, 'file' | 'host'>,
): Promise<PoolPlace> {
  const pools = await listAllPools(catalog, region)
  const isOfHost = (name: string | undefined): boolean =>
    (name === undefined ? undefined : `${region}/${name}`) === host
  const found = pools.find((pool) => dirname(file) === join(pool.path, 'disks') && isOfHost(pool.host))
  if (found !== undefined) return { path: found.path, reserveBytes: found.reserveBytes }
  throw new JobsError('region_without_pool', `The region ${region} has no pool for ${basename(file)}.`, {
    facts: { region, file },
  })
}

/** Files of the server are not on another host. @throws JobsError `disk_elsewhere` */
function checkHere({ kind }: DiskOrigin, host: string | undefined): void {
  if (host === undefined) return
  throw new JobsError('disk_elsewhere', `A disk of the host ${host} is not made from a ${kind} of the server.`, {
    facts: { host, kind },
    hint: 'Upload it (createOption Upload), or make a snapshot of a disk here and the disk from that.',
  })
}

async function bytesOf(parts: ComputeParts, origin: MadeOrigin, host: string | undefined): Promise<DiskBytes> {
  const { catalog, folder } = parts
  switch (origin.kind) {
    case 'empty':
    case 'upload':
      return { kind: 'empty' }
    case 'disk': {
      const { file, format, host: there } = backingOf(await findDisk(catalog, origin.id))
      if (there !== host)
        throw new JobsError('disk_elsewhere', `The disk ${origin.id} lies on another host.`, {
          facts: { disk: origin.id, host: there ?? 'local', wanted: host ?? 'local' },
          hint: 'Take a snapshot of it, and make the disk from that.',
        })
      return { kind: 'disk', path: file, format }
    }
    case 'version': {
      const { point, disk } = origin.version
      return { kind: 'version', access: await versionAccess(parts, origin.version, host), point, disk }
    }
    case 'file': {
      checkHere(origin, host)
      const folders = await listSetting(catalog, 'import-folders', [join(folder, 'import')])
      return { kind: 'image', path: origin.path, folders }
    }
    case 'blob':
      checkHere(origin, host)
      return { kind: 'image', path: origin.path, folders: [origin.folder] }
    case 'url':
      checkHere(origin, host)
      return { kind: 'url', urlFile: origin.urlFile, hosts: await importHosts(catalog) }
    default:
      return unreachable(origin)
  }
}

async function versionAccess(
  { folder, ...parts }: ComputeParts,
  { region }: VersionRef,
  host: string | undefined,
): Promise<RepositoryAccess> {
  return (await regionRepository({ ...parts, keysFolder: join(folder, 'keys') }, region, host)).access
}

type OnHost = Readonly<{ host?: string }>

async function planOverlay(parts: ComputeParts, input: CreateDiskInput): Promise<DiskFromImageInput & OnHost> {
  const record = await findDisk(parts.catalog, input.id)
  const backing = backingOf(record)
  const { file, base, host } = backing
  if (base === undefined) throw new JobsError('job_input_invalid', `The record of ${input.id} names no base.`)
  const pool = await poolOf(parts.catalog, record.location ?? '', backing)
  const access = await versionAccess(parts, base.version, host)
  return { file, pool, sizeBytes: input.sizeBytes ?? undefined, base, access, ...(host !== undefined && { host }) }
}

/** `host`: where it is made. */
export type PlannedDisk = MakeDiskInput & OnHost

async function plan(parts: ComputeParts, input: CreateDiskInput, origin: MadeOrigin): Promise<PlannedDisk> {
  const record = await findDisk(parts.catalog, input.id)
  const backing = backingOf(record)
  const { file, host } = backing
  const pool = await poolOf(parts.catalog, record.location ?? '', backing)
  const bytes = await bytesOf(parts, origin, host)
  return { file, pool, sizeBytes: input.sizeBytes ?? undefined, bytes, ...(host !== undefined && { host }) }
}

/** What a crash or a failure left is removed; by the sweep, when the host is away. */
export async function removeFiles(
  tasks: TaskRunner,
  step: StepContext,
  files: readonly string[],
  host: string | undefined,
): Promise<void> {
  try {
    await tasks.run(step, REMOVE_DISK_TASK, { files }, host)
  } catch (error) {
    if (!isHoldfastError(error, 'host_away', 'host_unknown')) throw error
  }
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
      const { host, ...wanted } = planned
      const task = origin.kind === 'base' ? MAKE_DISK_FROM_IMAGE_TASK : MAKE_DISK_TASK
      const upload = `${planned.file.replace(/\.qcow2$/, '')}.upload`
      job.cleanup('give up', async (step) => {
        await removeFiles(tasks, step, [planned.file, ...(origin.kind === 'upload' ? [upload] : [])], host)
      })
      const made =
        origin.kind === 'upload'
          ? await job.step(
              'make the upload',
              async (step) => {
                const { uploadBytes } = origin
                await tasks.run(step, MAKE_UPLOAD_TASK, { path: upload, uploadBytes }, host)
                return { sizeBytes: input.sizeBytes ?? 0 }
              },
              { retry: WORKER_RETRY },
            )
          : await job.step('make', async (step) => (await tasks.run(step, task, wanted, host)) as MadeDisk, {
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
