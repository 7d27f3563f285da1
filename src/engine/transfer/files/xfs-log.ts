/**
 * Reads the log of XFS: a ring of sectors that each carry the cycle in which they were written, in records that each name the
 * oldest one still needed (Linux, fs/xfs/libxfs/xfs_log_format.h and fs/xfs/xfs_log_recover.c).
 *
 * The end of the log is where the cycle drops. Records before it were written out of order by up to 2 MiB; so the search
 * starts earlier and goes from record to record as long as each is whole: its sectors of its cycle, its checksum right.
 */
import { crc32c } from './crc32c.ts'
import { type DiskView, damaged } from './disk-view.ts'

export const LOG_SECTOR = 512
const MAGIC = 0xfeed_babe
const FORMAT_LITTLE_ENDIAN = 1
/** Records under way at once, 8 of 256 KiB, and one more. */
const WINDOW_SECTORS = 9 * 520
const CYCLES_PER_HEADER = 64
const HEADER_DATA_BYTES = CYCLES_PER_HEADER * LOG_SECTOR
const RECORD_BYTES_MAX = 256 * 1024
/** What of a header its checksum covers. */
const HEADER_BYTES = 328
const EXTENSION_BYTES = 260
const CRC_AT = 32
const UNMOUNT_FLAG = 0x20

export type LogRecord = Readonly<{
  /** First sector, and the one behind the last, as if the log went on without end. */
  sector: number
  end: number
  /** Cycle in the upper half, sector in the lower one. */
  lsn: bigint
  tailLsn: bigint
  operations: number
  /** What was logged, with the words that the cycle numbers stand over put back. */
  data: Buffer
}>

export class XfsLog {
  readonly #view: DiskView
  readonly #startBytes: number
  readonly #sectors: number
  readonly #checksCrc: boolean

  constructor(view: DiskView, startBytes: number, sizeBytes: number, checksCrc: boolean) {
    this.#view = view.slice(startBytes, sizeBytes)
    this.#startBytes = startBytes
    this.#sectors = sizeBytes / LOG_SECTOR
    this.#checksCrc = checksCrc
  }

  get startBytes(): number {
    return this.#startBytes
  }

  /** The records that a mount would replay, oldest first, as positions; empty: the file system was unmounted. */
  async pending(): Promise<Readonly<{ first: number; end: number }> | undefined> {
    const last = await this.#lastRecord()
    if (last === undefined) return undefined
    if (last.operations === 1 && isUnmount(last)) return undefined
    const tailSector = Number(last.tailLsn & 0xffff_ffffn)
    if (tailSector >= this.#sectors)
      throw damaged('the log of the file system begins outside of itself', { tailSector })
    // The tail lies behind by less than a turn of the ring.
    const position = last.sector % this.#sectors
    const behind = (position - tailSector + this.#sectors) % this.#sectors
    return { first: last.sector - behind, end: last.end }
  }

  /** @throws `files_damaged` when one of the records is not whole */
  async *records(first: number, end: number): AsyncGenerator<LogRecord> {
    for (let sector = first; sector < end;) {
      const record = await this.#record(sector)
      if (record === undefined) throw damaged('a record of the log is broken', { sector: sector % this.#sectors })
      yield record
      sector = record.end
    }
  }

  async #read(sector: number, count: number): Promise<Buffer> {
    const position = ((sector % this.#sectors) + this.#sectors) % this.#sectors
    const first = Math.min(count, this.#sectors - position)
    const head = await this.#view.readContent(position * LOG_SECTOR, first * LOG_SECTOR)
    if (first === count) return head
    return Buffer.concat([head, await this.#view.readContent(0, (count - first) * LOG_SECTOR)])
  }

  async #cycleAt(sector: number): Promise<number> {
    return cycleOf(await this.#view.read(sector * LOG_SECTOR, LOG_SECTOR))
  }

  /** The first sector, from `low` on, for which a test holds that holds for all behind it. */
  async #firstWhere(low: number, high: number, test: (cycle: number) => boolean): Promise<number> {
    let [from, to] = [low, high]
    while (from < to) {
      const middle = Math.floor((from + to) / 2)
      if (test(await this.#cycleAt(middle))) to = middle
      else from = middle + 1
    }
    return from
  }

  /** About where the log ends, and how many sectors before it belong to it. */
  async #roughEnd(): Promise<Readonly<{ end: number; written: number }> | undefined> {
    const [first, last] = [await this.#cycleAt(0), await this.#cycleAt(this.#sectors - 1)]
    if (first === 0) return undefined
    if (last === 0) {
      const end = await this.#firstWhere(1, this.#sectors - 1, (cycle) => cycle === 0)
      return { end, written: end }
    }
    if (first === last) return { end: this.#sectors, written: this.#sectors }
    return { end: await this.#firstWhere(1, this.#sectors - 1, (cycle) => cycle === last), written: this.#sectors }
  }

  async #lastRecord(): Promise<LogRecord | undefined> {
    const rough = await this.#roughEnd()
    if (rough === undefined) return undefined
    const window = Math.min(WINDOW_SECTORS, rough.written)
    const bytes = await this.#read(rough.end - window + this.#sectors, window)
    // Positions count from two turns earlier on, so that none is negative.
    const base = rough.end - window + 2 * this.#sectors
    for (let i = 0; i < window; i += 1) {
      if (bytes.readUInt32BE(i * LOG_SECTOR) !== MAGIC) continue
      let last = await this.#record(base + i)
      if (last === undefined) continue
      for (let next = await this.#record(last.end); next !== undefined; next = await this.#record(last.end)) {
        // A ring that is full to the last sector must not be walked in circles.
        if (next.lsn <= last.lsn) break
        last = next
      }
      return last
    }
    throw damaged('the log of the file system has no end')
  }

  /** The record that begins at a sector; undefined when none does that is whole. */
  async #record(sector: number): Promise<LogRecord | undefined> {
    const position = sector % this.#sectors
    const head = await this.#read(position, 1)
    if (head.readUInt32BE(0) !== MAGIC || head.readUInt32BE(20) !== position) return undefined
    const [cycle, version, length] = [head.readUInt32BE(4), head.readUInt32BE(8), head.readUInt32BE(12)]
    if (head.readUInt32BE(16) !== cycle || length > RECORD_BYTES_MAX || length === 0) return undefined
    if (head.readUInt32BE(300) !== FORMAT_LITTLE_ENDIAN) return undefined
    const headers = headerSectors(version, head.readUInt32BE(320), length)
    const dataSectors = Math.ceil(length / LOG_SECTOR)
    if (headers + dataSectors > this.#sectors) return undefined
    const bytes = await this.#read(position, headers + dataSectors)
    const [header, data] = [bytes.subarray(0, headers * LOG_SECTOR), bytes.subarray(headers * LOG_SECTOR)]
    for (let i = 1; i < headers + dataSectors; i += 1) {
      const expected = position + i >= this.#sectors ? nextCycle(cycle) : cycle
      if (bytes.readUInt32BE(i * LOG_SECTOR) !== expected) return undefined
    }
    if (!this.#hasRightSum(header, data, length)) return undefined
    putWordsBack(header, data)
    return {
      sector,
      end: sector + headers + dataSectors,
      lsn: head.readBigUInt64BE(16),
      tailLsn: head.readBigUInt64BE(24),
      operations: head.readUInt32BE(40),
      data: data.subarray(0, length),
    }
  }

  /** Version 4 need not have a checksum. */
  #hasRightSum(header: Buffer, data: Buffer, length: number): boolean {
    const expected = header.readUInt32LE(CRC_AT)
    if (!this.#checksCrc || expected === 0) return true
    const summed = Buffer.from(header.subarray(0, HEADER_BYTES))
    summed.writeUInt32LE(0, CRC_AT)
    const parts: Uint8Array[] = [summed]
    const extensions = Math.ceil(length / HEADER_DATA_BYTES)
    for (let i = 1; i < extensions; i += 1) {
      parts.push(header.subarray(i * LOG_SECTOR, i * LOG_SECTOR + EXTENSION_BYTES))
    }
    parts.push(data.subarray(0, length))
    if (crc32c(Buffer.concat(parts)) === expected) return true
    // Kernels of 32 bits count four bytes less of the header.
    parts[0] = summed.subarray(0, HEADER_BYTES - 4)
    return crc32c(Buffer.concat(parts)) === expected
  }
}

function nextCycle(cycle: number): number {
  const next = (cycle + 1) % 2 ** 32
  return next === MAGIC ? next + 1 : next
}

function cycleOf(sector: Buffer): number {
  const word = sector.readUInt32BE(0)
  return word === MAGIC ? sector.readUInt32BE(4) : word
}

/** Records of version 2 have a header for each 32 KiB that they may hold; mkfs writes one that says less than it holds. */
function headerSectors(version: number, recordBytes: number, length: number): number {
  if ((version & 2) === 0) return 1
  return Math.min(Math.max(1, Math.ceil(Math.max(recordBytes, length) / HEADER_DATA_BYTES)), 8)
}

function putWordsBack(header: Buffer, data: Buffer): void {
  for (let i = 0; i * LOG_SECTOR < data.length; i += 1) {
    const [extension, place] = [Math.floor(i / CYCLES_PER_HEADER), i % CYCLES_PER_HEADER]
    const at = extension === 0 ? 44 + place * 4 : extension * LOG_SECTOR + 4 + place * 4
    if (at + 4 <= header.length) header.copy(data, i * LOG_SECTOR, at, at + 4)
  }
}

function isUnmount({ data }: LogRecord): boolean {
  return data.length >= 12 && (data.readUInt8(9) & UNMOUNT_FLAG) !== 0
}
