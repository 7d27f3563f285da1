/**
 * Finds the partitions of a disk: MBR with extended and logical ones, GPT from its first or second copy, both with
 * checksums. What the tables say is bounded and checked; a broken GPT is an error; a partition that does not fit
 * and a broken list of logical ones are left out with a note. (GPT: UEFI 2.10 section 5.3; MBR: section 5.2.1.)
 */
import { crc32 } from 'node:zlib'
import { isHoldfastError, toHex } from '#base'
import { type DiskView, damaged, readU64 } from './disk-view.ts'

export type Partition = Readonly<{
  /** As Linux numbers it (sda1 is 1); 0: the whole disk, which has no partition table. */
  number: number
  offsetBytes: number
  sizeBytes: number
  scheme: 'none' | 'mbr' | 'gpt' | 'lvm' | 'md'
  /** MBR: two hex digits. GPT: the type GUID. LVM: the segment's type. md: the level. Empty for the whole disk. */
  type: string
  name: string
}>
export type PartitionTable = Readonly<{ partitions: readonly Partition[]; notes: readonly string[] }>

const MBR_SECTOR_BYTES = 512
const GPT_SECTOR_BYTES = [512, 4096]
const GPT_TABLE_BYTES_MAX = 1024 * 1024
const LOGICAL_PARTITIONS_MAX = 128
const EXTENDED_TYPES = new Set([0x05, 0x0f, 0x85])

type MbrEntry = Readonly<{ type: number; firstSector: number; sectors: number }>

/** The four entries of a boot record; undefined when it is none. */
export function mbrEntries(sector: Buffer): MbrEntry[] | undefined {
  if (sector.readUInt16LE(510) !== 0xaa55) return undefined
  const entries: MbrEntry[] = []
  for (let at = 446; at < 510; at += 16) {
    const flag = sector.readUInt8(at)
    if (flag !== 0x00 && flag !== 0x80) return undefined
    const firstSector = sector.readUInt32LE(at + 8)
    entries.push({ type: sector.readUInt8(at + 4), firstSector, sectors: sector.readUInt32LE(at + 12) })
  }
  return entries
}

class PartitionList {
  readonly partitions: Partition[] = []
  readonly notes: string[] = []
  readonly #disk: DiskView

  constructor(disk: DiskView) {
    this.#disk = disk
  }

  add(partition: Partition): void {
    const { number, offsetBytes, sizeBytes } = partition
    if (sizeBytes > 0 && offsetBytes > 0 && offsetBytes + sizeBytes <= this.#disk.sizeBytes) {
      this.partitions.push(partition)
    } else this.notes.push(`Partition ${number} is left out: it does not lie inside the disk.`)
  }

  addMbr(number: number, entry: MbrEntry, baseSector: number): void {
    this.add({
      number,
      offsetBytes: (baseSector + entry.firstSector) * MBR_SECTOR_BYTES,
      sizeBytes: entry.sectors * MBR_SECTOR_BYTES,
      scheme: 'mbr',
      type: entry.type.toString(16).padStart(2, '0'),
      name: '',
    })
  }
}

/** Logical partitions form a linked list, each record relative to the extended partition's start. */
async function addLogical(disk: DiskView, list: PartitionList, extended: MbrEntry): Promise<void> {
  let recordSector = extended.firstSector
  const seen = new Set<number>()
  for (let number = 5; number < 5 + LOGICAL_PARTITIONS_MAX; number += 1) {
    if (seen.has(recordSector)) throw damaged('the list of logical partitions runs in a circle', { recordSector })
    seen.add(recordSector)
    const record = mbrEntries(await disk.read(recordSector * MBR_SECTOR_BYTES, MBR_SECTOR_BYTES))
    if (record === undefined) throw damaged('a logical partition has no boot record', { recordSector })
    const [own, next] = record
    if (own !== undefined && own.type !== 0 && own.sectors > 0) list.addMbr(number, own, recordSector)
    if (next === undefined || next.type === 0 || next.sectors === 0) return
    recordSector = extended.firstSector + next.firstSector
  }
  throw damaged('the list of logical partitions does not end', { entries: LOGICAL_PARTITIONS_MAX })
}

/** A broken list does not hide the partitions before the break. */
async function addLogicalOrNote(disk: DiskView, list: PartitionList, extended: MbrEntry): Promise<void> {
  try {
    await addLogical(disk, list, extended)
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged')) throw error
    list.notes.push(`Not all logical partitions could be found. ${error.message}`)
  }
}

async function readMbr(disk: DiskView, entries: readonly MbrEntry[]): Promise<PartitionTable> {
  const list = new PartitionList(disk)
  for (const [index, entry] of entries.entries()) {
    if (entry.type === 0 || entry.sectors === 0) continue
    if (EXTENDED_TYPES.has(entry.type)) await addLogicalOrNote(disk, list, entry)
    else list.addMbr(index + 1, entry, 0)
  }
  return list
}

function guidAt(bytes: Buffer, at: number): string {
  const hex = (from: number, to: number): string => bytes.toString('hex', at + from, at + to)
  const little = (from: number, to: number): string => toHex(bytes.subarray(at + from, at + to).toReversed())
  return `${little(0, 4)}-${little(4, 6)}-${little(6, 8)}-${hex(8, 10)}-${hex(10, 16)}`
}

type GptHeader = Readonly<{ entriesAt: number; entryCount: number; entryBytes: number; entriesCrc: number }>

/** The header at `at` if its magic, checksum and sizes hold. */
async function gptHeader(disk: DiskView, at: number, sectorBytes: number): Promise<GptHeader | undefined> {
  if (at < 0 || at + sectorBytes > disk.sizeBytes) return undefined
  const sector = await disk.read(at, sectorBytes)
  if (sector.toString('latin1', 0, 8) !== 'EFI PART') return undefined
  const headerBytes = sector.readUInt32LE(12)
  if (headerBytes < 92 || headerBytes > sectorBytes) return undefined
  const crc = sector.readUInt32LE(16)
  sector.writeUInt32LE(0, 16)
  if (crc32(sector.subarray(0, headerBytes)) !== crc) return undefined
  const header = {
    entriesAt: readU64(sector, 72) * sectorBytes,
    entryCount: sector.readUInt32LE(80),
    entryBytes: sector.readUInt32LE(84),
    entriesCrc: sector.readUInt32LE(88),
  }
  const isSane = header.entryBytes >= 128 && header.entryCount * header.entryBytes <= GPT_TABLE_BYTES_MAX
  return isSane ? header : undefined
}

async function gptEntries(disk: DiskView, header: GptHeader): Promise<Buffer | undefined> {
  const length = header.entryCount * header.entryBytes
  if (header.entriesAt + length > disk.sizeBytes) return undefined
  const entries = await disk.read(header.entriesAt, length)
  return crc32(entries) === header.entriesCrc ? entries : undefined
}

function listGpt(disk: DiskView, header: GptHeader, entries: Buffer, sectorBytes: number): PartitionList {
  const list = new PartitionList(disk)
  for (let i = 0; i < header.entryCount; i += 1) {
    const entry = entries.subarray(i * header.entryBytes, (i + 1) * header.entryBytes)
    if (entry.subarray(0, 16).every((byte) => byte === 0)) continue
    const first = readU64(entry, 32)
    const last = readU64(entry, 40)
    list.add({
      number: i + 1,
      offsetBytes: first * sectorBytes,
      sizeBytes: (last - first + 1) * sectorBytes,
      scheme: 'gpt',
      type: guidAt(entry, 0),
      name: entry.toString('utf16le', 56, 128).replace(/\0.*$/s, ''),
    })
  }
  return list
}

async function readGpt(disk: DiskView, sectorBytes: number): Promise<PartitionTable | undefined> {
  for (const copy of ['first', 'second'] as const) {
    const at = copy === 'first' ? sectorBytes : disk.sizeBytes - sectorBytes
    const header = await gptHeader(disk, at, sectorBytes)
    const entries = header === undefined ? undefined : await gptEntries(disk, header)
    if (header === undefined || entries === undefined) continue
    const list = listGpt(disk, header, entries, sectorBytes)
    if (copy === 'second')
      list.notes.push('The first copy of the partition table is damaged; its second copy was used.')
    return list
  }
  return undefined
}

/** The disk's partitions; undefined when it has no partition table. @throws `files_damaged` when a table cannot be followed. */
export async function readPartitions(disk: DiskView): Promise<PartitionTable | undefined> {
  if (disk.sizeBytes < 2 * MBR_SECTOR_BYTES) return undefined
  for (const sectorBytes of GPT_SECTOR_BYTES) {
    const table = await readGpt(disk, sectorBytes)
    if (table !== undefined) return table
  }
  const entries = mbrEntries(await disk.read(0, MBR_SECTOR_BYTES))
  if (entries === undefined || entries.every((entry) => entry.type === 0)) return undefined
  if (entries.some((entry) => entry.type === 0xee)) throw damaged('both copies of the GPT partition table are damaged')
  return readMbr(disk, entries)
}
