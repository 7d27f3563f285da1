/**
 * The worker's smaller tasks on disks: growing one, removing one, looking at one that is to be adopted, and sweeping pools of
 * what crashes left. Each may be begun again at any time: what is done is done.
 */
import { readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Clock, errnoOf, isHoldfastError } from '#base'
import { growImage, inspectImage, probeImageFormat } from '#engine/block'
import { describeRunningDisk, growRunningDisk } from '#engine/hypervisor'
import { syncFolder } from '#runtime'
import { JobsError } from '../errors.ts'
import { absolutePathOf, inputInvalid, recordOf } from '../repository-access.ts'
import type { TaskHandler } from '../tasks.ts'
import { DRAFT_PREFIX, removeDrafts } from './disk-files.ts'
import { allowedBacking } from './image/base-place.ts'
import { allowedPath } from './make-disk.ts'
import { sizeOf } from './make-disk-input.ts'

export const GROW_DISK_TASK = 'grow-disk'
export const REMOVE_DISK_TASK = 'remove-disk'
export const INSPECT_DISK_TASK = 'inspect-disk'
export const SWEEP_POOL_TASK = 'sweep-pool'

/** Old enough that no task which still runs can have made it. */
const SWEEP_AGE_MS = 24 * 3600 * 1000

function formatOf(value: unknown): 'qcow2' | 'raw' {
  if (value === 'qcow2' || value === 'raw') return value
  throw inputInvalid('format')
}

/** {file, format, sizeBytes, qmp?} → null. With `qmp`, by the QEMU that has the disk. */
export function growDiskTask(clock: Clock): TaskHandler {
  return async (given) => {
    const input = recordOf(given, 'fields')
    const file = absolutePathOf(input['file'], 'file')
    const sizeBytes = sizeOf(input['sizeBytes'], 'sizeBytes')
    const { qmp } = input
    const format = formatOf(input['format'])
    if (typeof qmp !== 'string') await growAtRest(file, format, sizeBytes)
    else await growUnderMachine(clock, { file, format, sizeBytes, qmp: absolutePathOf(qmp, 'qmp') })
    return null
  }
}

type Grown = Readonly<{ file: string; format: 'qcow2' | 'raw'; sizeBytes: number; qmp: string }>

/** By its QEMU; at rest when that does not run: should another one have the image, its lock says so. */
async function growUnderMachine(clock: Clock, { file, format, sizeBytes, qmp }: Grown): Promise<void> {
  try {
    await growRunningDisk(clock, qmp, file, sizeBytes)
  } catch (error) {
    if (!isHoldfastError(error, 'qmp_unreachable')) throw error
    await growAtRest(file, format, sizeBytes)
  }
}

/** The same size is done already: the task may have come so far before. */
async function growAtRest(file: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<void> {
  const { virtualSizeBytes } = await inspectImage(file, format, allowedBacking(file))
  if (virtualSizeBytes > sizeBytes)
    throw new JobsError('disk_not_shrunk', `${file} is larger than it is to become.`, {
      facts: { file, beforeBytes: virtualSizeBytes, afterBytes: sizeBytes },
    })
  if (virtualSizeBytes < sizeBytes) await growImage(file, format, sizeBytes)
}

/** {files} → null. A disk that a program has open is not removed (`image_in_use`). */
export function removeDiskTask(): TaskHandler {
  return async (given) => {
    const { files } = recordOf(given, 'fields')
    if (!Array.isArray(files)) throw inputInvalid('files')
    for (const one of files) {
      const file = absolutePathOf(one, 'file')
      await checkUnused(file)
      await rm(file, { force: true })
      await syncFolder(dirname(file)).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOENT') throw error
      })
      if (file.endsWith('.qcow2')) await removeDrafts(file).catch(ignoreMissing)
    }
    return null
  }
}

function ignoreMissing(error: unknown): void {
  if (errnoOf(error) !== 'ENOENT') throw error
}

async function checkUnused(file: string): Promise<void> {
  if (!file.endsWith('.qcow2')) return
  try {
    await inspectImage(file, 'qcow2', allowedBacking(file))
  } catch (error) {
    if (isHoldfastError(error, 'image_in_use')) throw error
    // Gone already, or damaged: there is nothing to keep either way.
  }
}

export type InspectedDisk = Readonly<{ path: string; format: 'qcow2' | 'raw'; sizeBytes: number }>

/** {path, format?, folders, qmp?} → what it is; with `qmp`, as its QEMU says. @throws `import_refused`; `image_backing_refused` for an overlay */
export function inspectDiskTask(clock: Clock): TaskHandler {
  return async (given): Promise<InspectedDisk> => {
    const input = recordOf(given, 'fields')
    const { folders } = input
    if (!Array.isArray(folders)) throw inputInvalid('folders')
    const path = await allowedPath(absolutePathOf(input['path'], 'path'), folders as string[])
    const { qmp } = input
    if (typeof qmp === 'string') return describeRunning(clock, absolutePathOf(qmp, 'qmp'), path)
    const said = input['format'] ?? undefined
    const format = said === undefined ? await probeImageFormat(path) : formatOf(said)
    checkFormat(path, format)
    const { virtualSizeBytes } = await inspectImage(path, format)
    return { path, format, sizeBytes: virtualSizeBytes }
  }
}

function checkFormat(path: string, format: string): asserts format is 'qcow2' | 'raw' {
  if (format === 'qcow2' || format === 'raw') return
  throw new JobsError('import_refused', `${path} is ${format}; only qcow2 and raw disks are used in place.`, {
    facts: { path, format },
    hint: 'Import it instead: that makes a disk of it.',
  })
}

/** QEMU holds the image, so it says what the disk is. */
async function describeRunning(clock: Clock, qmp: string, path: string): Promise<InspectedDisk> {
  const { format, sizeBytes, hasBacking } = await describeRunningDisk(clock, qmp, path)
  checkFormat(path, format)
  if (!hasBacking) return { path, format, sizeBytes }
  throw new JobsError('import_refused', `${path} is an overlay of another image.`, { facts: { path } })
}

/** {folder, keep: names} → how many were removed. Takes drafts, and disks that nobody names, once they are a day old. */
export function sweepPoolTask(clock: Clock): TaskHandler {
  return async (given) => {
    const input = recordOf(given, 'fields')
    const folder = absolutePathOf(input['folder'], 'folder')
    const { keep } = input
    if (!Array.isArray(keep)) throw inputInvalid('keep')
    const kept = new Set(keep)
    let removed = 0
    for (const name of await readdir(folder).catch(() => [] as string[])) {
      const isOurs = name.startsWith(DRAFT_PREFIX) || /^[0-9a-f-]{36}\.(qcow2|upload)$/.test(name)
      if (!isOurs || kept.has(name)) continue
      const path = join(folder, name)
      const { mtimeMs } = await stat(path)
      if (clock.nowMs() - mtimeMs < SWEEP_AGE_MS) continue
      await checkUnused(path)
      await rm(path, { force: true })
      removed += 1
    }
    return removed
  }
}
