/**
 * Says what an image file is, after checking that it is what it is said to be and depends on nothing that the caller did
 * not allow. Our own parsers read the header before QEMU opens the file; what QEMU then says must agree with them.
 *
 * An image that changes between inspection and use is the caller's to prevent: import copies it to a private folder first.
 */
import { SECTOR_BYTES } from '#base'
import { fileShape } from '../device-size.ts'
import { BlockError } from '../errors.ts'
import { backingRefused, checkVirtualSize, invalidImage } from './image-errors.ts'
import { formatOf, type ImageFormat, IMAGE_FORMATS, readImageEnds } from './image-format.ts'
import { type Qcow2Header, readQcow2Header } from './qcow2-header.ts'
import { jsonName, type OpenableImage, runQemuImg } from './qemu-img.ts'
import { resolveReference } from './reference-policy.ts'
import { readVhdFooter } from './vhd-footer.ts'
import { readVhdxHeader } from './vhdx-header.ts'
import { readVmdkHeader } from './vmdk-header.ts'

/** An image that was inspected and may be opened. */
export type ImageInfo = Readonly<{
  path: string
  format: ImageFormat
  virtualSizeBytes: number
  /** Bytes that the file occupies in its file system; a block device occupies its size. */
  allocatedBytes: number
  isBlockDevice: boolean
  /** The disk's bytes lie in the file from offset 0 on, in order: raw, and fixed VHD. */
  isFlat: boolean
  /** qcow2: was not closed cleanly; its reference counts need a repair before it is written to. */
  isDirty: boolean
  /** The image that this one is an overlay of, inspected alike. */
  backing: ImageInfo | undefined
}>

/** What an image may depend on. */
export type InspectOptions = Readonly<{
  /** Folders in which backing and extent files may lie; without them an image that needs one is refused. */
  allowBackingIn?: readonly string[]
  signal?: AbortSignal
}>

/** Overlays upon overlays; QEMU takes more, but nobody should. */
const BACKING_DEPTH_MAX = 64

type OwnReading = Readonly<{
  virtualSizeBytes: number
  isFlat?: boolean
  isDirty?: boolean
  backing?: ImageInfo | undefined
}>

/**
 * @param format what the image is to be; see `probeImageFormat` for a guess to confirm.
 * @throws BlockError image_not_found, image_format_mismatch, image_invalid, image_backing_refused, image_encrypted,
 * image_too_large, image_in_use
 */
export async function inspectImage(
  path: string,
  format: ImageFormat,
  options: InspectOptions = {},
): Promise<ImageInfo> {
  return await inspectAt(path, format, options, 0)
}

/**
 * What a qcow2 image's own header says, without asking QEMU: for images that Holdfast wrote. The backing file's name is not
 * judged. @throws BlockError image_not_found, image_format_mismatch (no qcow2), image_invalid
 */
export async function readQcow2(path: string): Promise<Qcow2Header> {
  const { head, sizeBytes } = await readImageEnds(path)
  return readQcow2Header(path, head, sizeBytes)
}

async function inspectAt(
  path: string,
  format: ImageFormat,
  options: InspectOptions,
  depth: number,
): Promise<ImageInfo> {
  if (depth > BACKING_DEPTH_MAX) throw invalidImage(path, 'is the end of a chain of overlays that is too long.')
  const shape = await fileShape(path)
  const isBlockDevice = shape.kind === 'block-device'
  const own = await readOwn(path, format, options, depth)
  const info: ImageInfo = {
    path,
    format,
    virtualSizeBytes: own.virtualSizeBytes,
    allocatedBytes: shape.allocatedBytes,
    isBlockDevice,
    isFlat: own.isFlat ?? false,
    isDirty: own.isDirty ?? false,
    backing: own.backing,
  }
  if (!info.isFlat) await compareWithQemu(info, options)
  return info
}

async function readOwn(path: string, format: ImageFormat, options: InspectOptions, depth: number): Promise<OwnReading> {
  const ends = await readImageEnds(path)
  if (format === 'raw') {
    const virtualSizeBytes = Math.ceil(ends.sizeBytes / SECTOR_BYTES) * SECTOR_BYTES
    checkVirtualSize(path, virtualSizeBytes)
    return { virtualSizeBytes, isFlat: true }
  }
  const claims = formatOf(ends)
  if (claims !== format) {
    throw new BlockError('image_format_mismatch', `${path} is said to be ${format}, but its bytes are ${claims}.`, {
      facts: { path, format, claims },
    })
  }
  if (format === 'qcow2') return await judgeQcow2(path, ends.head, ends.sizeBytes, options, depth)
  if (format === 'vhdx') return await readVhdxHeader(path)
  if (format === 'vmdk') return await readVmdk(path, ends.head, options)
  const footer = readVhdFooter(path, ends.tail)
  if (footer.kind === 'fixed' && footer.virtualSizeBytes > ends.sizeBytes - ends.tail.length) {
    throw invalidImage(path, 'is shorter than its VHD footer says.', { sizeBytes: footer.virtualSizeBytes })
  }
  return { virtualSizeBytes: footer.virtualSizeBytes, isFlat: footer.kind === 'fixed' }
}

async function judgeQcow2(
  path: string,
  head: Buffer,
  fileBytes: number,
  options: InspectOptions,
  depth: number,
): Promise<OwnReading> {
  const header = readQcow2Header(path, head, fileBytes)
  if (header.dataFile !== undefined) throw backingRefused(path, header.dataFile, 'it keeps its data there')
  const { virtualSizeBytes, isDirty } = header
  if (header.isCorrupt) throw invalidImage(path, 'is marked as corrupt.', { virtualSizeBytes })
  if (header.backingFile === undefined) return { virtualSizeBytes, isDirty }
  const other = await resolveReference(path, header.backingFile, options.allowBackingIn)
  const format = IMAGE_FORMATS.find((known) => known === header.backingFormat)
  if (format === undefined) throw backingRefused(path, header.backingFile, 'the format of that file is not named')
  return { virtualSizeBytes, isDirty, backing: await inspectAt(other, format, options, depth + 1) }
}

async function readVmdk(path: string, head: Buffer, options: InspectOptions): Promise<OwnReading> {
  const header = await readVmdkHeader(path, head)
  if (header.parent !== undefined) throw backingRefused(path, header.parent, 'it is a delta disk')
  for (const file of header.extentFiles) await resolveReference(path, file, options.allowBackingIn)
  return { virtualSizeBytes: header.virtualSizeBytes }
}

/** What QEMU opens an inspected image by. */
export function openable(info: ImageInfo): OpenableImage {
  const { path, format, isBlockDevice } = info
  // A guest can write what looks like a VHD header to the start of its disk, and QEMU would believe it.
  if (info.isFlat && format === 'vpc') return { path, format: 'raw', isBlockDevice, sizeBytes: info.virtualSizeBytes }
  return { path, format, isBlockDevice, keepsBacking: info.backing !== undefined }
}

async function compareWithQemu(info: ImageInfo, options: InspectOptions): Promise<void> {
  const { signal } = options
  const output = await runQemuImg(info.path, ['info', '--output=json', jsonName(openable(info))], {
    ...(signal && { signal }),
  })
  const said: unknown = JSON.parse(output.toString('utf8'))
  const size = typeof said === 'object' && said !== null && 'virtual-size' in said ? said['virtual-size'] : undefined
  if (size === info.virtualSizeBytes) return
  throw invalidImage(info.path, 'is read differently by QEMU than its header says.', {
    headerBytes: info.virtualSizeBytes,
    qemuBytes: typeof size === 'number' ? size : -1,
  })
}
