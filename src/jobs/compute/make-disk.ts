/**
 * The worker's task `make-disk`: a new qcow2 of a region's pool, empty or with bytes from elsewhere.
 *
 *   1 write a draft beside it (`.making-<name>-<epoch>`), flushed and closed in order
 *   2 sync the draft's file
 *   3 give it its name, sync the folder
 *
 * A crash before 3 leaves a draft, which the next attempt or the sweep removes; after 3 the next attempt finds the disk and
 * is done, for no other job makes a disk of this name. So a disk that has its name is whole.
 */
import { realpath } from 'node:fs/promises'
import { basename, extname, isAbsolute, relative } from 'node:path'
import { MIB, unreachable } from '#base'
import {
  type BlockSource,
  createImage,
  exportImage,
  type ImageFormat,
  inspectImage,
  type InspectOptions,
  openQcow2Target,
  probeImageFormat,
} from '#engine/block'
import { restoreDisk } from '#engine/transfer'
import { JobsError } from '../errors.ts'
import { type RepositoryHost, withRepository } from '../repository-access.ts'
import type { TaskContext, TaskHandler } from '../tasks.ts'
import { copyDisk } from './copy-disk.ts'
import { isThere, throughDraft } from './disk-files.ts'
import { download } from './download.ts'
import { allowedBacking } from './image/base-place.ts'
import { openLinkedSource } from './linked-source.ts'
import { type DiskBytes, type MakeDiskInput, readMakeDiskInput } from './make-disk-input.ts'
import { checkRoom } from './pool-room.ts'
import { checkUpload } from './upload.ts'

export const MAKE_DISK_TASK = 'make-disk'
/** Tables of a new image and then some. */
const EMPTY_DISK_BYTES = 4 * MIB
const RAW_NAMES = new Set(['.raw', '.img'])

export type MadeDisk = Readonly<{ sizeBytes: number }>
type Making = Readonly<{ input: MakeDiskInput; draft: string; host: RepositoryHost; context: TaskContext }>

/** Runs on the worker. @throws JobsError, BlockError; there is no file of that name then */
export function makeDiskTask(host: RepositoryHost): TaskHandler {
  return async (given, context): Promise<MadeDisk> => {
    const input = readMakeDiskInput(given)
    const { file } = input
    if (await isThere(file))
      return { sizeBytes: (await inspectImage(file, 'qcow2', allowedBacking(file))).virtualSizeBytes }
    const sizeBytes = await throughDraft(file, context.key.epoch, (draft) => fill({ input, draft, host, context }))
    return { sizeBytes }
  }
}

async function fill(making: Making): Promise<number> {
  const { bytes, pool, sizeBytes } = making.input
  switch (bytes.kind) {
    case 'empty': {
      if (sizeBytes === undefined) throw new JobsError('job_input_invalid', 'An empty disk needs a size.')
      await checkRoom(pool, EMPTY_DISK_BYTES)
      await createImage(making.draft, 'qcow2', sizeBytes)
      return sizeBytes
    }
    case 'version':
      return fromVersion(making, bytes)
    case 'disk':
      return fromImage(making, bytes.path, bytes.format, allowedBacking(bytes.path))
    case 'image': {
      const path = await allowedPath(bytes.path, bytes.folders)
      return fromImage(making, path, await formatToImport(path, bytes.path))
    }
    case 'upload':
      await checkUpload(bytes.path, bytes.uploadBytes)
      return fromImage(making, bytes.path, 'vpc')
    case 'linked': {
      const source = await openLinkedSource(bytes, making.context.signal)
      try {
        return await copyInto(making, source)
      } finally {
        await source.close()
      }
    }
    case 'url': {
      const { signal, progress } = making.context
      const part = `${making.draft}.download`
      const name = await download(bytes, part, { pool, signal, progress })
      return fromImage(making, part, await formatToImport(part, name))
    }
    default:
      return unreachable(bytes)
  }
}

/** The path with every link resolved, if that lies in one of the folders. @throws JobsError `import_refused` */
export async function allowedPath(path: string, folders: readonly string[]): Promise<string> {
  const found = await realpath(path).catch((cause: unknown) => {
    throw new JobsError('disk_not_there', `There is no file ${path}.`, { facts: { path }, cause })
  })
  for (const folder of folders) {
    const root = await realpath(folder).catch(() => undefined)
    const inside = root === undefined ? '..' : relative(root, found)
    if (inside !== '' && inside !== '..' && !inside.startsWith('../') && !isAbsolute(inside)) return found
  }
  throw new JobsError('import_refused', `${path} lies outside the folders that are allowed.`, {
    facts: { path, folders },
    hint: 'Put it into the import folder, or have the administrator allow its folder.',
  })
}

/** What the bytes say; a file that says nothing is a raw disk only if its name says so: a broken VHD is none. */
export async function formatToImport(path: string, name: string): Promise<ImageFormat> {
  const format = await probeImageFormat(path)
  if (format !== 'raw' || RAW_NAMES.has(extname(name).toLowerCase())) return format
  throw new JobsError('import_refused', `${basename(name)} is no image of a format that is read here.`, {
    facts: { name: basename(name) },
    hint: 'VHD, VHDX, VMDK and qcow2 are; a raw disk must be named .raw or .img.',
  })
}

async function fromImage(
  making: Making,
  path: string,
  format: ImageFormat,
  allowed: Pick<InspectOptions, 'allowBackingIn'> = {},
): Promise<number> {
  const { signal } = making.context
  const served = await exportImage(path, format, { signal, connections: 2, ...allowed })
  try {
    return await copyInto(making, served.client)
  } finally {
    await served.close()
  }
}

function sizeFor(wantedBytes: number | undefined, sourceBytes: number): number {
  const size = wantedBytes ?? sourceBytes
  if (size >= sourceBytes) return size
  throw new JobsError('disk_not_shrunk', 'The disk would be smaller than what it is to be made from.', {
    facts: { wantedBytes: size, sourceBytes },
  })
}

async function copyInto({ input, draft, context }: Making, source: BlockSource): Promise<number> {
  const { signal, progress } = context
  const sizeBytes = sizeFor(input.sizeBytes, source.sizeBytes)
  const target = await openQcow2Target(draft, sizeBytes, { signal, connections: 2 })
  try {
    await copyDisk(source, target, { pool: input.pool, signal, progress, task: 'Copying the disk' })
  } catch (error) {
    await target.close().catch(() => {
      // The draft is given up anyway.
    })
    throw error
  }
  await target.close()
  return sizeBytes
}

async function fromVersion(making: Making, bytes: DiskBytes & { kind: 'version' }): Promise<number> {
  const { input, draft, host, context } = making
  const { signal, progress } = context
  return withRepository(bytes.access, host, async (repository, store) => {
    const reading = await repository.beginReading('make a disk')
    try {
      const disk = repository.findPoint(bytes.point).disks.find(({ id }) => id === bytes.disk)
      if (disk === undefined)
        throw new JobsError('disk_not_there', `The point ${bytes.point} holds no disk ${bytes.disk}.`)
      const sizeBytes = sizeFor(input.sizeBytes, disk.virtualSizeBytes)
      await checkRoom(input.pool, disk.usedBytes + EMPTY_DISK_BYTES)
      const target = await openQcow2Target(draft, sizeBytes, { signal })
      const { socketPath, exportName } = target
      try {
        const where = { kind: 'nbd' as const, socketPath, exportName }
        await restoreDisk(repository, disk, where, { store, clock: host.clock, signal, progress })
      } catch (error) {
        await target.close().catch(() => {
          // The draft is given up anyway.
        })
        throw error
      }
      await target.close()
      return sizeBytes
    } finally {
      await reading?.end()
    }
  })
}
