/**
 * One disk into one image file. It is written under a temporary name in the same folder, made durable, and only then
 * given its own; a file with the final name is whole. What fails or is cancelled takes its temporary file along; a crash
 * leaves `.holdfast-*.partial`, which may be deleted.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { must, type ProgressSink, toHex } from '#base'
import type { RestoreOptions } from '#engine/transfer'
import type { DiskRecord } from '#engine/repository'
import type { OpenRepository } from './open.ts'
import { giveName, type RestoredFile } from './target-folder.ts'

export const RESTORE_FORMATS = ['raw', 'qcow2', 'vhd', 'vhdx', 'vmdk'] as const
export type RestoreFormat = (typeof RESTORE_FORMATS)[number]

export type RestoreHow = Readonly<{
  format: RestoreFormat
  threads?: number
  progress: ProgressSink
  signal: AbortSignal
}>

/** @throws target_exists, target_full, chunk_missing, chunk_corrupt, cancelled */
export async function restoreToFile(
  opened: OpenRepository,
  disk: DiskRecord,
  place: Readonly<{ folder: string; name: string }>,
  how: RestoreHow,
): Promise<RestoredFile> {
  const { systemRandom } = await import('#runtime')
  const temporary = join(place.folder, `.holdfast-${toHex(systemRandom.bytes(6))}-${place.name}.partial`)
  const final = join(place.folder, place.name)
  try {
    await WRITE[how.format](opened, disk, temporary, how)
    how.signal.throwIfAborted()
    await giveName(temporary, final)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  return { path: final, sizeBytes: disk.virtualSizeBytes, lun: disk.lun }
}

type Write = (opened: OpenRepository, disk: DiskRecord, path: string, how: RestoreHow) => Promise<void>

const WRITE: Readonly<Record<RestoreFormat, Write>> = {
  raw: writeRaw,
  qcow2: writeQcow2,
  vhd: writeVhd,
  vhdx: (opened, disk, path, how) => writeConverted(opened, disk, path, how, 'vhdx'),
  vmdk: (opened, disk, path, how) => writeConverted(opened, disk, path, how, 'vmdk'),
}

async function restoreOptions({ descriptor }: OpenRepository, how: RestoreHow): Promise<RestoreOptions> {
  const { systemClock } = await import('#runtime')
  const { threads, progress, signal } = how
  return { store: descriptor, clock: systemClock, progress, signal, ...(threads === undefined ? {} : { threads }) }
}

async function fill(opened: OpenRepository, disk: DiskRecord, path: string, how: RestoreHow): Promise<void> {
  const { restoreDisk } = await import('#engine/transfer')
  await restoreDisk(opened.repository, disk, { kind: 'raw', path }, await restoreOptions(opened, how))
}

async function writeRaw(opened: OpenRepository, disk: DiskRecord, path: string, how: RestoreHow): Promise<void> {
  const { createRawTarget } = await import('#engine/block')
  await (await createRawTarget(path, disk.virtualSizeBytes)).close()
  await fill(opened, disk, path, how)
}

/** A fixed VHD is the raw disk and a footer, which is there already when the disk is filled in. */
async function writeVhd(opened: OpenRepository, disk: DiskRecord, path: string, how: RestoreHow): Promise<void> {
  const { createVhdTarget } = await import('#engine/block')
  await (await createVhdTarget(path, disk.virtualSizeBytes)).close()
  await fill(opened, disk, path, how)
}

async function writeQcow2(opened: OpenRepository, disk: DiskRecord, path: string, how: RestoreHow): Promise<void> {
  const { restoreToQcow2 } = await import('#engine/transfer')
  await restoreToQcow2(opened.repository, disk, path, await restoreOptions(opened, how))
}

/** Formats that only qemu-img writes: by way of a raw file beside it, so twice the space is needed for a while. */
async function writeConverted(
  opened: OpenRepository,
  disk: DiskRecord,
  path: string,
  how: RestoreHow,
  format: 'vhdx' | 'vmdk',
): Promise<void> {
  const { convertImage } = await import('#engine/block')
  const raw = must(/^(.*)\.partial$/.exec(path)?.[1], 'A temporary name ends so') + '.raw.partial'
  try {
    await writeRaw(opened, disk, raw, how)
    await convertImage({ path: raw, format: 'raw' }, { path, format }, { signal: how.signal })
  } finally {
    await rm(raw, { force: true })
  }
}
