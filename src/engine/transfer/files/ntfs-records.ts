/**
 * The on-disk records of NTFS, as far as reading files needs them: boot sector, records with their fix-ups, attributes, runs
 * and index entries. (Layouts as in the NTFS documentation of the Linux-NTFS project.) All integers are little-endian.
 */
import { type DiskView, damaged, readU64 } from './disk-view.ts'

export type NtfsLayout = Readonly<{
  clusterBytes: number
  clusterCount: number
  recordBytes: number
  /** Byte offset of the first record of the master file table. */
  tableAt: number
}>

/** `count` clusters from `cluster` on; undefined: a hole. `start` is the cluster's number within the attribute. */
export type NtfsRun = Readonly<{ start: number; count: number; cluster: number | undefined }>

export type NtfsAttribute = Readonly<{
  type: number
  name: string
  isCompressed: boolean
  isEncrypted: boolean
  content:
    | Readonly<{ kind: 'resident'; value: Buffer }>
    | Readonly<{
        kind: 'runs'
        firstStart: number
        sizeBytes: number
        initializedBytes: number
        runs: readonly NtfsRun[]
      }>
}>

export type NtfsRecord = Readonly<{
  number: number
  sequence: number
  isFolder: boolean
  /** The record that this one only extends; 0: none. */
  baseRecord: number
  attributes: readonly NtfsAttribute[]
}>

export type IndexEntry = Readonly<{ record: number; sequence: number; name: string; isDosName: boolean }>

const FIXUP_BYTES = 512
const ATTRIBUTES_END = 0xffff_ffff
const ENTRY_LAST = 2
const NAMESPACE_DOS = 2

/** Sizes are clusters, or as a negative power of two bytes. */
function sizeOf(code: number, clusterBytes: number): number {
  return code < 128 ? code * clusterBytes : 2 ** (256 - code)
}

/** The layout of an NTFS boot sector; undefined when it is none. @throws `files_damaged` for impossible sizes. */
export async function readNtfsLayout(view: DiskView): Promise<NtfsLayout | undefined> {
  if (view.sizeBytes < 512) return undefined
  const sector = await view.read(0, 512)
  if (sector.toString('latin1', 3, 11) !== 'NTFS    ') return undefined
  const sectorBytes = sector.readUInt16LE(11)
  const clusterBytes = sizeOf(sector.readUInt8(13), sectorBytes)
  const recordBytes = sizeOf(sector.readUInt8(64), clusterBytes)
  const clusterCount = Math.floor((readU64(sector, 40) * sectorBytes) / clusterBytes)
  const isSane =
    sectorBytes >= 256 &&
    sectorBytes <= 4096 &&
    clusterBytes >= 512 &&
    clusterBytes <= 2 * 1024 * 1024 &&
    recordBytes >= 512 &&
    recordBytes <= 16_384 &&
    recordBytes % FIXUP_BYTES === 0
  if (!isSane) throw damaged('the sizes in the boot sector are impossible')
  if (clusterCount * clusterBytes > view.sizeBytes) throw damaged('the file system is larger than its partition')
  return { clusterBytes, clusterCount, recordBytes, tableAt: readU64(sector, 48) * clusterBytes }
}

/**
 * Puts back the last two bytes of every 512, which NTFS replaces by a mark when it writes a record. A mark that differs is a
 * record that was written only in part. Changes `record`.
 */
export function applyFixups(record: Buffer, magic: 'FILE' | 'INDX'): void {
  if (record.toString('latin1', 0, 4) !== magic) throw damaged(`a record is no ${magic} record`)
  const at = record.readUInt16LE(4)
  const count = record.readUInt16LE(6)
  if (count - 1 !== record.length / FIXUP_BYTES || at + count * 2 > record.length)
    throw damaged('a record has wrong fix-ups')
  const mark = record.readUInt16LE(at)
  for (let i = 1; i < count; i += 1) {
    const end = i * FIXUP_BYTES - 2
    if (record.readUInt16LE(end) !== mark) throw damaged('a record was written only in part')
    record.writeUInt16LE(record.readUInt16LE(at + i * 2), end)
  }
}

/** The parts of `bytes` that a record says are there. */
function part(bytes: Buffer, at: number, length: number): Buffer {
  if (at + length > bytes.length) throw damaged('a part of a record lies outside it', { at, length })
  return bytes.subarray(at, at + length)
}

function parseRuns(bytes: Buffer, firstStart: number): NtfsRun[] {
  const runs: NtfsRun[] = []
  let start = firstStart
  let cluster = 0
  for (let at = 0; at < bytes.length && bytes.readUInt8(at) !== 0;) {
    const countBytes = bytes.readUInt8(at) & 15
    const offsetBytes = bytes.readUInt8(at) >>> 4
    if (countBytes < 1 || countBytes > 6 || offsetBytes > 6) throw damaged('a list of runs is broken')
    const count = part(bytes, at + 1, countBytes).readUIntLE(0, countBytes)
    const isHole = offsetBytes === 0
    if (!isHole) cluster += part(bytes, at + 1 + countBytes, offsetBytes).readIntLE(0, offsetBytes)
    if (count === 0 || cluster < 0) throw damaged('a list of runs is broken')
    runs.push({ start, count, cluster: isHole ? undefined : cluster })
    start += count
    at += 1 + countBytes + offsetBytes
  }
  return runs
}

function parseAttribute(bytes: Buffer): NtfsAttribute {
  const flags = bytes.readUInt16LE(12)
  const common = {
    type: bytes.readUInt32LE(0),
    name: part(bytes, bytes.readUInt16LE(10), bytes.readUInt8(9) * 2).toString('utf16le'),
    isCompressed: (flags & 0xff) !== 0,
    isEncrypted: (flags & 0x4000) !== 0,
  }
  if (bytes.readUInt8(8) === 0) {
    const value = part(bytes, bytes.readUInt16LE(20), bytes.readUInt32LE(16))
    return { ...common, content: { kind: 'resident', value } }
  }
  if (bytes.length < 64) throw damaged('an attribute is too short')
  const firstStart = readU64(bytes, 16)
  const runs = parseRuns(bytes.subarray(Math.min(bytes.readUInt16LE(32), bytes.length)), firstStart)
  const sizes = firstStart === 0 ? { sizeBytes: readU64(bytes, 48), initializedBytes: readU64(bytes, 56) } : NO_SIZES
  return { ...common, content: { kind: 'runs', firstStart, ...sizes, runs } }
}

/** Only the first part of an attribute that is in several parts says how large it is. */
const NO_SIZES = { sizeBytes: 0, initializedBytes: 0 }

/** A record of the master file table as it was read. Changes `bytes` (fix-ups). @throws `files_damaged`. */
export function parseRecord(number: number, bytes: Buffer): NtfsRecord {
  applyFixups(bytes, 'FILE')
  const flags = bytes.readUInt16LE(22)
  if ((flags & 1) === 0) throw damaged('a record is said to be in use and is not', { record: number })
  const attributes: NtfsAttribute[] = []
  for (let at = bytes.readUInt16LE(20); at + 24 <= bytes.length;) {
    if (bytes.readUInt32LE(at) === ATTRIBUTES_END) break
    const length = bytes.readUInt32LE(at + 4)
    if (length < 24 || length % 8 !== 0) throw damaged('an attribute has an impossible length', { record: number })
    attributes.push(parseAttribute(part(bytes, at, length)))
    at += length
  }
  return {
    number,
    sequence: bytes.readUInt16LE(16),
    isFolder: (flags & 2) !== 0,
    baseRecord: bytes.readUIntLE(32, 6),
    attributes,
  }
}

/** The entries of a node of a folder's index. `node` begins with the node's header. */
export function* indexEntries(node: Buffer): Generator<IndexEntry> {
  const end = Math.min(node.readUInt32LE(4), node.length)
  for (let at = node.readUInt32LE(0); at + 16 <= end;) {
    const length = node.readUInt16LE(at + 8)
    if ((node.readUInt16LE(at + 12) & ENTRY_LAST) !== 0) return
    if (length < 16 + 66 || at + length > end) throw damaged('an entry of a folder is broken', { at, length })
    const key = node.subarray(at + 16, at + length)
    yield {
      record: node.readUIntLE(at, 6),
      sequence: node.readUInt16LE(at + 6),
      name: part(key, 66, key.readUInt8(64) * 2).toString('utf16le'),
      isDosName: key.readUInt8(65) === NAMESPACE_DOS,
    }
    at += length
  }
}
