/**
 * Replays the log of XFS over the file system, in memory: what a mount would do to the disk (Linux,
 * fs/xfs/xfs_log_recover.c, xfs_buf_item_recover.c, xfs_inode_item_recover.c, xfs_icreate_item.c).
 *
 *   1. All records are read once for the buffers that were cancelled: their blocks may hold something else by now.
 *   2. They are read again, and each transaction is put over what is there: blocks and fresh inodes, then inodes. What is
 *      newer on the disk already (it carries the number of the log record that it came from) stays as it is.
 *
 * Only what reading files needs is replayed. What a mount would do after that (freeing, counting, sharing) does not show in
 * files, but for mappings that were under way: these, and records that do not fit, are stated in a note.
 */
import { isHoldfastError } from '#base'
import type { ByteReader, DiskView } from './disk-view.ts'
import { Overlay } from './overlay.ts'
import { replayInode } from './xfs-inode-item.ts'
import { blockOffset, INODE_MAGIC, type XfsSuperblock } from './xfs-layout.ts'
import { LOG_SECTOR, XfsLog } from './xfs-log.ts'
import { committed, type LogItem, type LogTransaction } from './xfs-log-items.ts'

const TYPE = {
  inode: 0x123b,
  buffer: 0x123c,
  freshInodes: 0x123f,
  mapIntent: 0x1244,
  mapDone: 0x1245,
  exchangeIntent: 0x1248,
  exchangeDone: 0x1249,
} as const
const BUFFER = { inodes: 1, cancel: 2, quota: 4 | 8 | 16, chunkBytes: 128, bytesMax: 128 * 1024 } as const
/** Kinds of buffers (bits 11 and up of the flags) that files are read from: unknown, tree, inodes, link, folder, superblock. */
const KINDS_READ = new Set([0, 4, 8, 9, 10, 11, 18])
/** Where in a block stands the log record that it came from, by its first four bytes (version 5). */
const LSN_AT: Readonly<Record<string, number>> = { BMA3: 32, XDB3: 16, XDD3: 16, XSLM: 48 }
/** More than any log that a kernel fills: what is put over the disk lies in memory. */
const REPLACED_BYTES_MAX = 512 * 1024 * 1024
const EXTERNAL_NOTE = 'Its log lies on another disk: changes of its last seconds may not be shown.'
const UNFINISHED_NOTE =
  'A change of where file data lies was under way and is shown as it was before: what a mount would show can differ.'

export type XfsReplay = Readonly<{ replayed?: ByteReader; notes: readonly string[] }>

class Replay {
  readonly overlay: Overlay
  readonly #superblock: XfsSuperblock
  readonly #cancelled = new Map<string, number>()
  readonly #intents = new Set<string>()
  #misfits = 0

  constructor(base: ByteReader, superblock: XfsSuperblock) {
    this.overlay = new Overlay(base, LOG_SECTOR)
    this.#superblock = superblock
  }

  get notes(): string[] {
    const notes: string[] = []
    if (this.#intents.size > 0) notes.push(UNFINISHED_NOTE)
    if (this.#misfits > 0)
      notes.push(
        `${this.#misfits} records of its log could not be replayed: some files may be shown as they were before.`,
      )
    return notes
  }

  /** First pass. */
  noteCancelled({ items }: LogTransaction): void {
    for (const item of items) {
      const buffer = bufferOf(item)
      if (buffer === undefined || (buffer.flags & BUFFER.cancel) === 0) continue
      const key = keyOf(buffer)
      this.#cancelled.set(key, (this.#cancelled.get(key) ?? 0) + 1)
    }
  }

  /** Second pass. Inodes come after the blocks that they lie in; cancellations last. */
  async apply({ items, lsn }: LogTransaction): Promise<void> {
    for (const item of items) {
      if (item.type === TYPE.freshInodes) await this.#orMisfit(() => this.#freshInodes(item))
      else if (item.type === TYPE.buffer) await this.#orMisfit(() => this.#buffer(item, lsn))
    }
    for (const item of items) {
      if (item.type === TYPE.inode) await this.#orMisfit(() => this.#inode(item, lsn))
      this.#followIntents(item)
    }
    for (const item of items) {
      const buffer = bufferOf(item)
      if (buffer === undefined || (buffer.flags & BUFFER.cancel) === 0) continue
      const left = (this.#cancelled.get(keyOf(buffer)) ?? 1) - 1
      if (left > 0) this.#cancelled.set(keyOf(buffer), left)
      else this.#cancelled.delete(keyOf(buffer))
    }
  }

  async #orMisfit(work: () => Promise<boolean>): Promise<void> {
    try {
      if (!(await work())) this.#misfits += 1
    } catch (error) {
      // A record too short for what it says it is, or a place outside of the file system.
      if (!(error instanceof RangeError) && !isHoldfastError(error, 'files_damaged')) throw error
      this.#misfits += 1
    }
  }

  #followIntents({ type, regions }: LogItem): void {
    const [description] = regions
    if (description === undefined || description.length < 16) return
    const id = `${description.readBigUInt64LE(8)}`
    if (type === TYPE.mapIntent) this.#intents.add(`map ${id}`)
    if (type === TYPE.mapDone) this.#intents.delete(`map ${id}`)
    if (type === TYPE.exchangeIntent) this.#intents.add(`exchange ${id}`)
    if (type === TYPE.exchangeDone) this.#intents.delete(`exchange ${id}`)
  }

  async #buffer(item: LogItem, lsn: bigint): Promise<boolean> {
    const buffer = bufferOf(item)
    if (buffer === undefined) return false
    // Of buffers of inodes only the list of unlinked ones is replayed, and nobody reads that here.
    if ((buffer.flags & (BUFFER.cancel | BUFFER.inodes | BUFFER.quota)) !== 0) return true
    if (!KINDS_READ.has(buffer.flags >>> 11) || this.#cancelled.has(keyOf(buffer))) return true
    if (buffer.bytes.length === 0 || buffer.bytes.length > BUFFER.bytesMax) return false
    await this.#readInto(buffer.offset, buffer.bytes)
    if (this.#isNewer(buffer.bytes, lsn)) return true
    if (!patch(buffer.bytes, item)) return false
    this.#write(buffer.offset, buffer.bytes)
    return true
  }

  #isNewer(bytes: Buffer, lsn: bigint): boolean {
    const at = this.#superblock.version === 5 ? LSN_AT[bytes.toString('latin1', 0, 4)] : undefined
    if (at === undefined) return false
    const own = bytes.readBigUInt64BE(at)
    return own !== 0n && own !== 0xffff_ffff_ffff_ffffn && own >= lsn
  }

  /** Inodes that were made in one go are not logged one by one. */
  async #freshInodes({ regions }: LogItem): Promise<boolean> {
    const [item] = regions
    if (item === undefined) return false
    const [group, inGroup] = [item.readUInt32BE(4), item.readUInt32BE(8)]
    const [count, inodeBytes, blocks, generation] = [12, 16, 20, 24].map((at) => item.readUInt32BE(at))
    const superblock = this.#superblock
    if (count === undefined || blocks === undefined || inodeBytes !== superblock.inodeBytes) return false
    if (count * inodeBytes > blocks * superblock.blockBytes || count > 4096) return false
    const first = group * 2 ** superblock.groupBlockLog + inGroup
    const offset = blockOffset(superblock, first, blocks)
    if (this.#isAllCancelled(offset, blocks * superblock.blockBytes)) return true
    const bytes = Buffer.alloc(count * inodeBytes)
    for (let i = 0; i < count; i += 1) {
      const number = first * 2 ** superblock.inodesPerBlockLog + i
      writeFree(bytes.subarray(i * inodeBytes, (i + 1) * inodeBytes), number, generation ?? 0, superblock)
    }
    this.#write(offset, bytes)
    return true
  }

  #isAllCancelled(offset: number, length: number): boolean {
    let cancelled = 0
    for (const key of this.#cancelled.keys()) {
      const [at = 0, bytes = 0] = key.split(':').map(Number)
      if (at >= offset && at + bytes <= offset + length) cancelled += bytes
    }
    return cancelled >= length
  }

  async #inode(item: LogItem, lsn: bigint): Promise<boolean> {
    const [description] = item.regions
    if (description === undefined) return false
    // Kernels of 32 bits leave no gap before the inode's number.
    const shift = description.length === 52 ? -4 : 0
    const offset = Number(description.readBigInt64LE(40 + shift)) * LOG_SECTOR
    const [sectors, inBuffer] = [description.readInt32LE(48 + shift), description.readInt32LE(52 + shift)]
    if (this.#cancelled.has(keyOf({ offset, length: sectors * LOG_SECTOR }))) return true
    const record = Buffer.alloc(this.#superblock.inodeBytes)
    const at = offset + inBuffer
    await this.#readInto(at, record)
    if (record.readUInt16BE(0) !== INODE_MAGIC) return false
    if (!replayInode(record, item.regions, description.readUInt32LE(4), lsn)) return false
    // An inode may be smaller than a sector of the overlay.
    const start = Math.floor(at / LOG_SECTOR) * LOG_SECTOR
    const whole = Buffer.alloc(Math.ceil((at + record.length - start) / LOG_SECTOR) * LOG_SECTOR)
    await this.#readInto(start, whole)
    record.copy(whole, at - start)
    this.#write(start, whole)
    return true
  }

  async #readInto(offset: number, bytes: Buffer): Promise<void> {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + bytes.length > this.overlay.sizeBytes)
      throw new RangeError('outside of the file system')
    await this.overlay.read(offset, bytes)
  }

  #write(offset: number, bytes: Buffer): void {
    if (offset % LOG_SECTOR !== 0 || offset + bytes.length > this.overlay.sizeBytes)
      throw new RangeError('outside of the file system')
    this.overlay.write(offset, bytes)
  }
}

type LoggedBuffer = Readonly<{ flags: number; offset: number; length: number; bytes: Buffer }>

function keyOf({ offset, length }: Readonly<{ offset: number; length: number }>): string {
  return `${offset}:${length}`
}

function bufferOf({ type, regions }: LogItem): LoggedBuffer | undefined {
  const [description] = regions
  if (type !== TYPE.buffer || description === undefined || description.length < 20) return undefined
  const length = description.readUInt16LE(6) * LOG_SECTOR
  const offset = Number(description.readBigInt64LE(8)) * LOG_SECTOR
  const flags = description.readUInt16LE(4)
  return { flags, offset, length, bytes: Buffer.alloc(Math.min(length, BUFFER.bytesMax + 1)) }
}

/** Each run of set bits says which 128 bytes of the buffer the next region holds. */
function patch(bytes: Buffer, { regions }: LogItem): boolean {
  const [description, ...data] = regions
  if (description === undefined) return false
  const words = description.readUInt32LE(16)
  if (20 + words * 4 > description.length) return false
  const isSet = (bit: number): boolean =>
    bit < words * 32 && ((description.readUInt32LE(20 + Math.floor(bit / 32) * 4) >>> (bit % 32)) & 1) === 1
  let bit = 0
  for (const region of data) {
    while (bit < words * 32 && !isSet(bit)) bit += 1
    if (!isSet(bit)) return false
    let count = 0
    while (isSet(bit + count) && count * BUFFER.chunkBytes < region.length) count += 1
    const at = bit * BUFFER.chunkBytes
    const length = Math.min(count * BUFFER.chunkBytes, region.length)
    if (at + length > bytes.length) return false
    region.copy(bytes, at, 0, length)
    bit += count
  }
  return true
}

function writeFree(record: Buffer, number: number, generation: number, superblock: XfsSuperblock): void {
  record.writeUInt16BE(INODE_MAGIC, 0)
  record.writeUInt8(superblock.version === 5 ? 3 : 2, 4)
  record.writeUInt32BE(generation, 92)
  record.writeUInt32BE(0xffff_ffff, 96)
  if (superblock.version === 4) return
  record.writeBigUInt64BE(BigInt(number), 152)
  superblock.metaUuid.copy(record, 160)
}

async function replay(view: DiskView, superblock: XfsSuperblock): Promise<XfsReplay> {
  const { logStart, logBlocks, blockBytes, version } = superblock
  if (logStart === 0) return { notes: [EXTERNAL_NOTE] }
  const log = new XfsLog(view, blockOffset(superblock, logStart, logBlocks), logBlocks * blockBytes, version === 5)
  const pending = await log.pending()
  if (pending === undefined) return { notes: [] }
  const work = new Replay(view.reader, superblock)
  for await (const one of committed(log.records(pending.first, pending.end))) work.noteCancelled(one)
  for await (const one of committed(log.records(pending.first, pending.end))) {
    await work.apply(one)
    if (work.overlay.replacedUnits * LOG_SECTOR > REPLACED_BYTES_MAX)
      return { notes: ['Its log is too large to be replayed here: changes of its last seconds are not shown.'] }
  }
  return { replayed: work.overlay, notes: work.notes }
}

/** What a mount would see; a log that cannot be followed is a note, and the file system is shown without it. */
export async function replayXfsLog(view: DiskView, superblock: XfsSuperblock): Promise<XfsReplay> {
  try {
    return await replay(view, superblock)
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged')) throw error
    return { notes: [`Its log cannot be replayed, so changes of its last seconds are not shown. ${error.message}`] }
  }
}
