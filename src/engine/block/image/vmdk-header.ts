/**
 * Reads what of a VMDK must be known before QEMU opens it (VMware, "Virtual Disk Format 5.0"): its size, and every other
 * file that its descriptor names. A descriptor is text that names files freely, so only names that the caller allows pass.
 */
import { bufferOf } from '../nbd/wire.ts'
import { checkVirtualSize, invalidImage } from './image-errors.ts'
import { readAt } from './image-format.ts'

export type VmdkHeader = Readonly<{
  virtualSizeBytes: number
  /** Files that hold the data, when the image does not hold it itself. */
  extentFiles: readonly string[]
  /** The parent that the descriptor hints at, of a delta disk. */
  parent: string | undefined
}>

const SECTOR_BYTES = 512
const DESCRIPTOR_BYTES_MAX = 1024 * 1024
const HEADER_BYTES = 79
const QEMU_DESCRIPTOR_AT = 512
const QEMU_DESCRIPTOR_BYTES = 20 * 512
const NO_PARENT = 'ffffffff'

/** @throws BlockError image_invalid, image_too_large */
export async function readVmdkHeader(path: string, head: Uint8Array): Promise<VmdkHeader> {
  const buffer = bufferOf(head)
  const magic = buffer.toString('latin1', 0, 4)
  if (magic === 'COWD') throw invalidImage(path, 'is an ESX 3 sparse extent, which needs its descriptor.')
  if (magic !== 'KDMV') return fromDescriptor(path, await readText(path, 0, DESCRIPTOR_BYTES_MAX))
  if (buffer.length < HEADER_BYTES) throw invalidImage(path, 'ends inside its VMDK header.')
  const capacityBytes = Number(buffer.readBigUInt64LE(12)) * SECTOR_BYTES
  const descriptorAt = Number(buffer.readBigUInt64LE(28)) * SECTOR_BYTES
  const descriptorBytes = Number(buffer.readBigUInt64LE(36)) * SECTOR_BYTES
  if (descriptorBytes > DESCRIPTOR_BYTES_MAX || !Number.isSafeInteger(descriptorAt)) {
    throw invalidImage(path, 'has an impossible VMDK descriptor.', { descriptorAt, descriptorBytes })
  }
  checkVirtualSize(path, capacityBytes)
  if (descriptorAt === 0) {
    if (capacityBytes === 0) throw invalidImage(path, 'describes no disk.')
    return { virtualSizeBytes: capacityBytes, extentFiles: [], parent: undefined }
  }
  const described = fromDescriptor(path, await readText(path, descriptorAt, descriptorBytes))
  // QEMU looks for a parent at this fixed place, wherever the header says that the descriptor is (block/vmdk.c).
  const { parent } = fromDescriptor(path, await readText(path, QEMU_DESCRIPTOR_AT, QEMU_DESCRIPTOR_BYTES))
  // QEMU follows the extents of an embedded descriptor only when the header has no capacity (block/vmdk.c).
  return capacityBytes === 0
    ? described
    : { virtualSizeBytes: capacityBytes, extentFiles: [], parent: described.parent ?? parent }
}

async function readText(path: string, offset: number, length: number): Promise<string> {
  const bytes = await readAt(path, offset, length)
  const end = bytes.indexOf(0)
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end)
}

function fromDescriptor(path: string, text: string): VmdkHeader {
  const extentFiles: string[] = []
  let sectors = 0
  for (const line of text.split(/\r?\n/)) {
    const extent = /^\s*(?:RW|RDONLY|NOACCESS)\s+(\d+)\s+\S+(?:\s+"([^"]*)")?/.exec(line)
    if (extent === null) continue
    sectors += Number(extent[1])
    if (extent[2] !== undefined) extentFiles.push(extent[2])
  }
  const value = (key: string): string | undefined =>
    new RegExp(`^\\s*${key}\\s*=\\s*"?([^"\\r\\n]*)"?`, 'm').exec(text)?.[1]?.trim()
  const parentCid = value('parentCID') ?? NO_PARENT
  const hint = value('parentFileNameHint')
  const parent = parentCid.toLowerCase() === NO_PARENT && hint === undefined ? undefined : (hint ?? 'an unnamed parent')
  const virtualSizeBytes = sectors * SECTOR_BYTES
  checkVirtualSize(path, virtualSizeBytes)
  return { virtualSizeBytes, extentFiles, parent }
}
