/**
 * Reads what of a VHDX must be known before QEMU opens it ([MS-VHDX] 2.2 and 2.6): the virtual size, and whether it has a
 * parent, which QEMU 7.2 would ignore silently. All numbers are little-endian.
 */
import { checkVirtualSize, backingRefused, invalidImage } from './image-errors.ts'
import { readAt } from './image-format.ts'

export type VhdxHeader = Readonly<{ virtualSizeBytes: number }>

const REGION_TABLES_AT = [192 * 1024, 256 * 1024]
const REGION_TABLE_BYTES = 64 * 1024
const METADATA_TABLE_BYTES = 64 * 1024
const ENTRY_BYTES = 32
const REGION_ENTRIES_MAX = 2047
/** GUIDs as they lie in the file: the first three fields little-endian. */
const METADATA_REGION = guid('8B7CA206-4790-4B9A-B8FE-575F050F886E')
const FILE_PARAMETERS = guid('CAA16737-FA36-4D43-B3B6-33F0AA44E76B')
const VIRTUAL_DISK_SIZE = guid('2FA54224-CD1B-4876-B211-5DBED83BF4B8')
const HAS_PARENT = 2

function guid(text: string): string {
  const [a = '', b = '', c = '', d = '', e = ''] = text.toLowerCase().split('-')
  const swap = (hex: string): string => (hex.match(/../g) ?? []).reverse().join('')
  return swap(a) + swap(b) + swap(c) + d + e
}

/** @throws BlockError image_invalid, image_backing_refused, image_too_large */
export async function readVhdxHeader(path: string): Promise<VhdxHeader> {
  const metadataAt = await findMetadata(path)
  const table = await readAt(path, metadataAt, METADATA_TABLE_BYTES)
  if (table.length < METADATA_TABLE_BYTES || table.toString('latin1', 0, 8) !== 'metadata') {
    throw invalidImage(path, 'has no VHDX metadata where it should be.')
  }
  const entries = table.readUInt16LE(10)
  if (entries > REGION_ENTRIES_MAX) throw invalidImage(path, 'has an impossible number of VHDX metadata items.')
  const item = async (name: string, length: number): Promise<Buffer> => {
    for (let at = ENTRY_BYTES; at <= entries * ENTRY_BYTES; at += ENTRY_BYTES) {
      if (table.toString('hex', at, at + 16) !== name) continue
      const bytes = await readAt(path, metadataAt + table.readUInt32LE(at + 16), length)
      if (bytes.length === length) return bytes
    }
    throw invalidImage(path, 'lacks a VHDX metadata item that every disk has.')
  }
  const parameters = await item(FILE_PARAMETERS, 8)
  if ((parameters.readUInt32LE(4) & HAS_PARENT) !== 0) {
    throw backingRefused(path, 'its parent', 'it is a differencing disk')
  }
  const size = await item(VIRTUAL_DISK_SIZE, 8)
  const virtualSizeBytes = Number(size.readBigUInt64LE(0))
  checkVirtualSize(path, virtualSizeBytes)
  return { virtualSizeBytes }
}

async function findMetadata(path: string): Promise<number> {
  for (const tableAt of REGION_TABLES_AT) {
    const table = await readAt(path, tableAt, REGION_TABLE_BYTES)
    if (table.length < REGION_TABLE_BYTES || table.toString('latin1', 0, 4) !== 'regi') continue
    const entries = Math.min(table.readUInt32LE(8), REGION_ENTRIES_MAX)
    for (let at = 16; at < 16 + entries * ENTRY_BYTES; at += ENTRY_BYTES) {
      if (at + ENTRY_BYTES > table.length) break
      if (table.toString('hex', at, at + 16) === METADATA_REGION) return Number(table.readBigUInt64LE(at + 16))
    }
  }
  throw invalidImage(path, 'has no readable VHDX region table.')
}
