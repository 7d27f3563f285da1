/**
 * Finds an LVM physical volume and the text that its volume group wrote on it (lvm2, lib/format_text/layout.h and
 * lib/label/label.h): the label in one of the first four sectors, the areas that it names, and the newest text in each.
 * Checksums are compared; a label with a wrong one is none.
 */
import { crc32 } from 'node:zlib'
import { type DiskView, damaged, readU64 } from './disk-view.ts'

export type PhysicalVolume = Readonly<{
  /** 32 characters, without the dashes of the text. */
  id: string
  view: DiskView
  /** The text of the volume group; undefined when this disk holds none or only damaged copies. */
  text?: string
}>

const SECTOR_BYTES = 512
const LABEL_SECTORS = 4
const AREAS_MAX = 16
const AREA_HEADER_BYTES = 512
/** A text of thousands of volumes; LVM's own areas have 1 MiB unless more was asked for. */
const TEXT_BYTES_MAX = 4 * 1024 * 1024
const INITIAL_CRC = 0xf597a6cf

/** LVM's checksum: CRC-32 from a start of its own, not inverted at either end. */
export function lvmCrc(bytes: Buffer): number {
  return ~crc32(bytes, ~INITIAL_CRC >>> 0) >>> 0
}

/** Pairs of offset and size that end with a zero pair. */
function areasAt(sector: Buffer, at: number): Readonly<{ areas: readonly [number, number][]; end: number }> {
  const areas: [number, number][] = []
  for (let place = at; place + 16 <= sector.length && areas.length < AREAS_MAX; place += 16) {
    const [offset, size] = [readU64(sector, place), readU64(sector, place + 8)]
    if (offset === 0) return { areas, end: place + 16 }
    areas.push([offset, size])
  }
  throw damaged('the list of areas of an LVM disk does not end')
}

/** The text in one metadata area, which is a ring behind its header. */
async function textIn(view: DiskView, start: number): Promise<string | undefined> {
  if (start + AREA_HEADER_BYTES > view.sizeBytes) return undefined
  const header = await view.read(start, AREA_HEADER_BYTES)
  if (lvmCrc(header.subarray(4)) !== header.readUInt32LE(0)) return undefined
  const areaBytes = readU64(header, 32)
  const [offset, size] = [readU64(header, 40), readU64(header, 48)]
  const isSane =
    readU64(header, 24) === start && offset >= AREA_HEADER_BYTES && offset < areaBytes && size <= TEXT_BYTES_MAX
  if (!isSane || size === 0 || size > areaBytes - AREA_HEADER_BYTES) return undefined
  const first = Math.min(size, areaBytes - offset)
  // Past the cache, which would keep it for as long as the disk is open.
  const parts = [await view.readContent(start + offset, first)]
  if (first < size) parts.push(await view.readContent(start + AREA_HEADER_BYTES, size - first))
  const text = Buffer.concat(parts)
  return lvmCrc(text) === header.readUInt32LE(56) ? withoutEnd(text) : undefined
}

/** Zeros may stand behind the text. */
function withoutEnd(bytes: Buffer): string {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end -= 1
  return bytes.toString('utf8', 0, end)
}

async function labelOf(view: DiskView): Promise<Readonly<{ sector: Buffer; at: number }> | undefined> {
  if (view.sizeBytes < LABEL_SECTORS * SECTOR_BYTES) return undefined
  for (let number = 0; number < LABEL_SECTORS; number += 1) {
    const sector = await view.read(number * SECTOR_BYTES, SECTOR_BYTES)
    if (sector.toString('latin1', 0, 8) !== 'LABELONE' || sector.toString('latin1', 24, 32) !== 'LVM2 001') continue
    if (lvmCrc(sector.subarray(20)) !== sector.readUInt32LE(16)) continue
    const at = sector.readUInt32LE(20)
    if (at >= 32 && at + 40 < SECTOR_BYTES) return { sector, at }
  }
  return undefined
}

/** The physical volume that `view` is; undefined when it is none. @throws `files_damaged` */
export async function readPhysicalVolume(view: DiskView): Promise<PhysicalVolume | undefined> {
  const label = await labelOf(view)
  if (label === undefined) return undefined
  const { sector, at } = label
  const id = sector.toString('latin1', at, at + 32)
  const data = areasAt(sector, at + 40)
  const metadata = areasAt(sector, data.end)
  let newest: string | undefined
  for (const [offset] of metadata.areas) {
    const text = await textIn(view, offset)
    if (text !== undefined && (newest === undefined || sequenceIn(text) > sequenceIn(newest))) newest = text
  }
  return newest === undefined ? { id, view } : { id, view, text: newest }
}

/** The number of a text among those of its group; the whole is parsed for the chosen one only. */
export function sequenceIn(text: string): number {
  return Number(/^[ \t]*seqno[ \t]*=[ \t]*(\d{1,15})[ \t]*$/m.exec(text)?.[1] ?? -1)
}
