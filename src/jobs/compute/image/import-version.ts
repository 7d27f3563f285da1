/**
 * The worker's task `import-version`: an image file (VHD of any kind, VHDX, VMDK, qcow2, raw by name) as a version in a region's
 * repository. The file is somebody's upload: what it refers to is never followed, and a format that can refer to other files is
 * first copied to a private file, so that what was inspected is what is read.
 *
 * Doing it again finds the version that was committed, by the job's note. A crash leaves the copy, which the sweep removes.
 */
import { constants } from 'node:fs'
import { copyFile, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { exportImage, type ImageFormat, probeImageFormat } from '#engine/block'
import type { PointRecord, Repository, StoreDescriptor } from '#engine/repository'
import { backUp, madeBefore } from '#engine/transfer'
import { makeFolderDurable } from '#runtime'
import {
  absolutePathOf,
  inputInvalid,
  readRepositoryAccess,
  recordOf,
  type RepositoryAccess,
  type RepositoryHost,
  withRepository,
} from '../../repository-access.ts'
import type { TaskContext, TaskHandler } from '../../tasks.ts'
import { DRAFT_PREFIX } from '../disk-files.ts'
import { allowedPath, formatToImport } from '../make-disk.ts'
import { readPool } from '../make-disk-input.ts'
import { checkRoom, type PoolPlace } from '../pool-room.ts'
import { madeByNote, type TakenVersion, versionOf } from '../take-snapshots.ts'
import { disksFolder } from './base-place.ts'

export const IMPORT_VERSION_TASK = 'import-version'

export type ImportVersionInput = RepositoryAccess &
  Readonly<{
    path: string
    /** In one of which the file must lie, with every link resolved. */
    folders: readonly string[]
    /** How the file is called by who brought it: a raw disk says by its name that it is one. */
    name?: string
    /** Where a private copy has room. */
    pool: PoolPlace
    diskId: string
    history: string
  }>

/** Formats whose header can name other files. */
const REFERRING: readonly ImageFormat[] = ['qcow2', 'vmdk']

function textOf(value: unknown, what: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw inputInvalid(what)
}

function readInput(given: unknown): ImportVersionInput {
  const input = recordOf(given, 'fields')
  const { folders, name } = input
  if (!Array.isArray(folders)) throw inputInvalid('folders')
  return {
    ...readRepositoryAccess(input),
    path: absolutePathOf(input['path'], 'path'),
    folders: folders.map((folder) => absolutePathOf(folder, 'folder')),
    ...(typeof name === 'string' && { name }),
    pool: readPool(input['pool']),
    diskId: textOf(input['diskId'], 'diskId'),
    history: textOf(input['history'], 'history'),
  }
}

/** Gives the file, or a private copy of it that is removed afterwards. */
async function withFile<T>(
  { path, pool }: ImportVersionInput,
  found: string,
  job: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  if (!REFERRING.includes(await probeImageFormat(found))) return use(found)
  const folder = disksFolder(pool.path)
  await makeFolderDurable(folder)
  const copy = join(folder, `${DRAFT_PREFIX}import-${job}-${basename(path)}`.slice(0, 200))
  await checkRoom(pool, (await stat(found)).size)
  try {
    await copyFile(found, copy, constants.COPYFILE_FICLONE)
    return await use(copy)
  } finally {
    await rm(copy, { force: true })
  }
}

async function store(
  repository: Repository,
  input: ImportVersionInput,
  image: Readonly<{ path: string; format: ImageFormat; descriptor: StoreDescriptor }>,
  context: TaskContext,
  host: RepositoryHost,
): Promise<PointRecord> {
  const { signal, progress, key } = context
  const { path, format, descriptor } = image
  const { clock, random, writer } = host
  const served = await exportImage(path, format, { signal, connections: 1 })
  try {
    const { socketPath, exportName, client } = served
    const disk = {
      id: input.diskId,
      lun: 0,
      format,
      sizeBytes: client.sizeBytes,
      source: { kind: 'nbd' as const, socketPath, exportName },
      changes: { kind: 'all' as const, reason: 'first_backup' },
    }
    const point = { machine: input.history, takenAtMs: clock.nowMs(), consistency: 'crash' as const, disks: [disk] }
    const notes = [madeByNote(key.job)]
    return await backUp(repository, { ...point, notes }, { store: descriptor, clock, random, writer, signal, progress })
  } finally {
    await served.close()
  }
}

/** Runs on the worker. @throws JobsError `import_refused`, `disk_not_there`, BlockError, and what the repository raises */
export function importVersionTask(host: RepositoryHost): TaskHandler {
  return async (given, context): Promise<TakenVersion> => {
    const input = readInput(given)
    return withRepository(input, host, async (repository, descriptor) => {
      await repository.log.refresh()
      const before = madeBefore(repository, input.history, madeByNote(context.key.job))
      if (before !== undefined) return versionOf(before, input)
      const found = await allowedPath(input.path, input.folders)
      return withFile(input, found, context.key.job, async (path) => {
        const format = await formatToImport(path, input.name ?? input.path)
        return versionOf(await store(repository, input, { path, format, descriptor }, context, host), input)
      })
    })
  }
}
