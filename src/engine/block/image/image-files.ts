/** Makes image files: new ones, conversions, and targets that a disk is restored into. Never replaces a file. */
import { access, constants, open, unlink } from 'node:fs/promises'
import { assert, type Clock, errnoOf, type Random, SECTOR_BYTES } from '#base'
import { systemClock, systemRandom } from '#runtime'
import type { BlockTarget } from '../device.ts'
import { BlockError } from '../errors.ts'
import { fileError } from '../file-errors.ts'
import { createRawTarget } from '../raw-target.ts'
import { checkVirtualSize } from './image-errors.ts'
import type { ImageFormat } from './image-format.ts'
import { inspectImage, type InspectOptions, openable } from './inspect-image.ts'
import { jsonName, runQemuImg } from './qemu-img.ts'
import { type ServedImage, serveImage, type StorageDaemonOptions } from './storage-daemon.ts'
import { makeFixedVhdFooter } from './vhd-footer.ts'

/** A conversion may run for hours; it is the caller's signal that ends it. */
const CONVERT_TIMEOUT_MS = 24 * 3600 * 1000
const CONVERT_CPU_SECONDS_MAX = 24 * 3600

/** How a new image is made. */
export type CreateImageOptions = Readonly<{
  /** The image that the new one is an overlay of (qcow2 only): a path as QEMU is to follow it. */
  backing?: Readonly<{ path: string; format: ImageFormat }>
}>

/**
 * Creates an empty image of `sizeBytes` (a multiple of 512). @throws BlockError target_exists, target_full.
 * A crash leaves an incomplete file; the caller names it so that it can tell.
 */
export async function createImage(
  path: string,
  format: 'raw' | 'qcow2',
  sizeBytes: number,
  options: CreateImageOptions = {},
): Promise<void> {
  assert(sizeBytes % SECTOR_BYTES === 0 && sizeBytes >= 0, 'A disk has whole sectors')
  checkVirtualSize(path, sizeBytes)
  await reserve(path)
  const backing = options.backing === undefined ? [] : ['-b', options.backing.path, '-F', options.backing.format]
  try {
    await runQemuImg(path, ['create', '-q', '-f', format, ...backing, '--', path, String(sizeBytes)])
  } catch (error) {
    await unlink(path)
    throw error
  }
}

/** `compress` is for qcow2 only. */
export type ConvertImageOptions = InspectOptions & Readonly<{ compress?: boolean }>

/**
 * Copies the disk of one image into a new image of another format; the source is inspected first. A VHD is made fixed and
 * keeps the exact size. @throws BlockError as `inspectImage`, target_exists, target_full
 */
export async function convertImage(
  from: Readonly<{ path: string; format: ImageFormat }>,
  to: Readonly<{ path: string; format: ImageFormat }>,
  options: ConvertImageOptions = {},
): Promise<void> {
  const source = await inspectImage(from.path, from.format, options)
  await reserve(to.path)
  const vhd = to.format === 'vpc' ? ['-o', 'subformat=fixed,force_size=on'] : []
  const compress = options.compress === true ? ['-c'] : []
  const limits = { timeoutMs: CONVERT_TIMEOUT_MS, cpuSecondsMax: CONVERT_CPU_SECONDS_MAX }
  const { signal } = options
  try {
    const args = ['convert', '-O', to.format, ...vhd, ...compress, '--', jsonName(openable(source)), to.path]
    await runQemuImg(to.path, args, { ...limits, ...(signal && { signal }) })
  } catch (error) {
    await unlink(to.path)
    throw error
  }
}

/** Serves an image read-only over NBD, for what `mapImage` calls indirect. @throws BlockError as `inspectImage` */
export async function exportImage(
  path: string,
  format: ImageFormat,
  options: InspectOptions & StorageDaemonOptions = {},
): Promise<ServedImage> {
  const info = await inspectImage(path, format, options)
  return await serveImage(openable(info), { ...options, writable: false })
}

/**
 * Opens an image that holds a disk, to change it where it is; nobody else can read or write it until `close`. Its
 * persistent bitmaps record what is written. An image that lies on others is refused.
 * @throws BlockError as `inspectImage`, target_read_only
 */
export async function openImageInPlace(
  path: string,
  format: 'raw' | 'qcow2',
  options: Readonly<{ signal?: AbortSignal }> = {},
): Promise<ServedImage> {
  const info = await inspectImage(path, format, options)
  try {
    await access(path, constants.W_OK)
  } catch (cause) {
    throw new BlockError('target_read_only', `${path} cannot be written to.`, {
      facts: { path, errno: errnoOf(cause) },
      hint: 'Nothing was written. Check the rights of the file and how its file system is mounted.',
      cause,
    })
  }
  return await serveImage(openable(info), { ...options, writable: true })
}

/** Makes the image's disk larger; what is added reads as zeros. @throws BlockError image_in_use, target_full */
export async function growImage(path: string, format: 'raw' | 'qcow2', sizeBytes: number): Promise<void> {
  assert(sizeBytes % SECTOR_BYTES === 0, 'A disk has whole sectors')
  checkVirtualSize(path, sizeBytes)
  await runQemuImg(path, ['resize', '-q', '-f', format, '--', path, String(sizeBytes)])
}

/** A qcow2 image under construction; see `openQcow2Target`. */
export type Qcow2Target = BlockTarget &
  Readonly<{
    /** Where other threads may write to the same image: by an NBD client of their own. */
    socketPath: string
    exportName: string
  }>

/**
 * Creates a qcow2 image and opens it for writing through a storage daemon. close() flushes, ends the daemon, and fails if
 * the image was not closed in order. A crash leaves an image that may be incomplete, never one that reads as complete by
 * its name: the caller renames it when close() has succeeded. @throws BlockError target_exists, target_full
 */
export async function openQcow2Target(
  path: string,
  sizeBytes: number,
  options: Omit<StorageDaemonOptions, 'writable'> = {},
): Promise<Qcow2Target> {
  await createImage(path, 'qcow2', sizeBytes)
  let served: ServedImage
  try {
    served = await serveImage({ path, format: 'qcow2' }, { ...options, writable: true })
  } catch (error) {
    await unlink(path)
    throw error
  }
  const { client, socketPath, exportName } = served
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    try {
      await client.flush()
    } catch (error) {
      await served.close()
      throw error
    }
    await served.close()
  }
  return {
    sizeBytes,
    socketPath,
    exportName,
    write: (offset, data, signal) => client.write(offset, data, signal),
    writeZeroes: (offset, length, signal) => client.writeZeroes(offset, length, signal),
    flush: () => client.flush(),
    close: () => (closing ??= close()),
  }
}

/**
 * Creates a fixed VHD: the raw disk and a 512-byte footer, of exactly `sizeBytes` (a multiple of 512; Azure wants whole
 * MiB). It is sparse until written. @throws BlockError target_exists, target_full
 */
export async function createVhdTarget(
  path: string,
  sizeBytes: number,
  options: Readonly<{ clock?: Clock; random?: Random }> = {},
): Promise<BlockTarget> {
  const nowMs = (options.clock ?? systemClock).nowMs()
  const footer = makeFixedVhdFooter(sizeBytes, (options.random ?? systemRandom).bytes(16), nowMs)
  return await createRawTarget(path, sizeBytes, { tail: footer })
}

/** Takes the name, so that qemu-img cannot overwrite somebody's file. */
async function reserve(path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o600)).close()
  } catch (error) {
    throw fileError('create', path, error)
  }
}
