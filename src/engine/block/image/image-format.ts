/** The image formats that Holdfast reads, by the names that QEMU gives them, and how to tell them apart by their bytes. */
import { open } from 'node:fs/promises'
import { fileShape } from '../device-size.ts'
import { BlockError } from '../errors.ts'
import { fileError } from '../file-errors.ts'

/** Every format that can be read. */
export const IMAGE_FORMATS = ['raw', 'qcow2', 'vhdx', 'vpc', 'vmdk'] as const
/** A format by QEMU's name; `vpc` is VHD. */
export type ImageFormat = (typeof IMAGE_FORMATS)[number]

/** Both ends of a file, as far as recognising and checking its format needs them. */
export type ImageEnds = Readonly<{ head: Buffer; tail: Buffer; sizeBytes: number }>

const HEAD_BYTES = 64 * 1024
export const TAIL_BYTES = 512

/** Reads up to `length` bytes at `offset`; shorter at the end of the file. @throws BlockError */
export async function readAt(path: string, offset: number, length: number): Promise<Buffer> {
  try {
    const file = await open(path, 'r')
    try {
      const buffer = Buffer.alloc(length)
      let done = 0
      for (let count = -1; count !== 0 && done < length; done += count) {
        count = (await file.read(buffer, done, length - done, offset + done)).bytesRead
      }
      return buffer.subarray(0, done)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw fileError('read', path, error)
  }
}

export async function readImageEnds(path: string): Promise<ImageEnds> {
  const { sizeBytes } = await fileShape(path)
  const head = await readAt(path, 0, HEAD_BYTES)
  const tail = await readAt(path, Math.max(0, sizeBytes - TAIL_BYTES), TAIL_BYTES)
  return { head, tail, sizeBytes }
}

/** The format that the bytes claim; `raw` when they claim none. */
export function formatOf(ends: ImageEnds): ImageFormat {
  const { head, tail } = ends
  if (head.length >= 8 && head.readUInt32BE(0) === 0x51_46_49_fb && head.readUInt32BE(4) >= 2) return 'qcow2'
  const start = head.subarray(0, 32).toString('latin1')
  if (start.startsWith('vhdxfile')) return 'vhdx'
  if (start.startsWith('KDMV') || start.startsWith('COWD') || start.startsWith('# Disk DescriptorFile')) return 'vmdk'
  if (start.startsWith('conectix') || tail.subarray(0, 8).toString('latin1') === 'conectix') return 'vpc'
  return 'raw'
}

/** Containers that are not read here; taking one for a raw disk would make a disk of its packaging. */
const FOREIGN: readonly (readonly [string, number, string])[] = [
  ['7f10dabe', 0x40, 'VirtualBox (VDI)'],
  ['51454400', 0, 'QED'],
  ['514649fb00000001', 0, 'qcow, version 1'],
  ['576974686f75', 0, 'Parallels'],
  ['1f8b08', 0, 'gzip'],
  ['fd377a585a00', 0, 'xz'],
  ['28b52ffd', 0, 'zstd'],
  ['425a68', 0, 'bzip2'],
  ['504b0304', 0, 'ZIP'],
]

function foreignFormat({ head, tail }: ImageEnds): string | undefined {
  if (tail.length === TAIL_BYTES && tail.toString('latin1', 0, 4) === 'koly') return 'DMG'
  const found = FOREIGN.find(([magic, at]) => head.toString('hex', at, at + magic.length / 2) === magic)
  return found?.[2]
}

/**
 * The format that the file's bytes claim. A guest can write any bytes to the start of its raw disk, so this is for files
 * that a person imports and confirms, never for the disk of a machine, whose format its description names.
 * @throws BlockError image_not_found, image_invalid (neither file nor device), image_format_unknown (a format or archive
 * that is not read here)
 */
export async function probeImageFormat(path: string): Promise<ImageFormat> {
  const ends = await readImageEnds(path)
  const foreign = foreignFormat(ends)
  if (foreign === undefined) return formatOf(ends)
  throw new BlockError('image_format_unknown', `${path} looks like ${foreign}, which is not read here.`, {
    facts: { path, looksLike: foreign },
    hint: 'Unpack it, or convert it with "qemu-img convert"; if it is the raw disk of a machine, name the format.',
  })
}
