/**
 * Replays the journal of ext3 and ext4 (jbd2) over the file system, in memory: what a mount would do to the disk (Linux,
 * fs/jbd2/recovery.c; Documentation/filesystems/ext4/journal.rst). All integers of the journal are big-endian.
 *
 *   1. From the first transaction on, as long as each is whole: blocks of it carry its number, and their checksums hold.
 *   2. Blocks that a later transaction revoked may hold something else by now, and are passed over.
 *   3. Every other block is put over its place, by a note of where it stands in the journal, not by its bytes.
 *
 * The journal is a guest's. Bounded: its length, its pieces, the blocks that it replaces and those that it revokes.
 *
 * Fast commits, which name changes instead of blocks, are not replayed; that they are there is said in a note.
 */
import { isHoldfastError } from '#base'
import { crc32cUpdate } from './crc32c.ts'
import { type ByteReader, type DiskView, damaged } from './disk-view.ts'
import { Overlay } from './overlay.ts'

/** Where the journal's blocks lie on the disk; each is one block of the file system. */
export type JournalRun = Readonly<{ fileBlock: number; diskBlock: number; count: number }>
export type ExtReplay = Readonly<{ replayed?: ByteReader; notes: readonly string[] }>

const MAGIC = 0xc03b_3998
const BLOCK = { descriptor: 1, commit: 2, superV1: 3, superV2: 4, revoke: 5 } as const
const FEATURE = { revoke: 1, wide: 2, asyncCommit: 4, sumsV2: 8, sumsV3: 16, fastCommit: 32 } as const
const TAG = { escaped: 1, sameUuid: 2, last: 8 } as const
const HEADER_BYTES = 12
const SUM_BYTES = 4
const ESCAPED_HEAD = Buffer.from([0xc0, 0x3b, 0x39, 0x98])
const FAST_COMMIT_HEAD = 10
const BLOCKS_REPLACED_MAX = 4 * 1024 * 1024
const BLOCKS_REVOKED_MAX = 4 * 1024 * 1024
/** mke2fs makes none that is longer. */
const JOURNAL_BLOCKS_MAX = 10_240_000
/** A journal of 1 GiB of which no two blocks lie together. */
const PLACES_MAX = 262_144
const FAST_COMMIT_NOTE =
  'Its journal holds fast commits, which are not replayed: changes of its last seconds may not be shown.'

type Tag = Readonly<{ block: number; isEscaped: boolean; sum: number }>
type JournalSuper = Readonly<{
  first: number
  blockCount: number
  sequence: number
  /** First block of the first transaction; 0: nothing is to be replayed. */
  start: number
  features: number
  seed: number
  fastBlocks: number
}>

function parseSuper(bytes: Buffer, blockBytes: number): JournalSuper {
  const kind = bytes.readUInt32BE(4)
  const isSuper = bytes.readUInt32BE(0) === MAGIC && (kind === BLOCK.superV1 || kind === BLOCK.superV2)
  if (!isSuper || bytes.readUInt32BE(12) !== blockBytes) throw damaged('the journal does not begin as one')
  const features = kind === BLOCK.superV2 ? bytes.readUInt32BE(40) : 0
  const fastBlocks = (features & FEATURE.fastCommit) === 0 ? 0 : bytes.readUInt32BE(0x54) || 256
  return {
    first: bytes.readUInt32BE(20),
    blockCount: bytes.readUInt32BE(16),
    sequence: bytes.readUInt32BE(24),
    start: bytes.readUInt32BE(28),
    features,
    seed: crc32cUpdate(0xffff_ffff, bytes.subarray(48, 64)),
    fastBlocks,
  }
}

function bigEndian(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

class Journal {
  readonly overlay: Overlay
  readonly #view: DiskView
  readonly #blockBytes: number
  readonly #blockCount: number
  readonly #places: readonly JournalRun[]
  readonly #super: JournalSuper
  readonly #revoked = new Map<number, number>()

  constructor(view: DiskView, blockBytes: number, blockCount: number, places: readonly JournalRun[], head: Buffer) {
    this.#view = view
    this.#blockBytes = blockBytes
    this.#blockCount = blockCount
    this.#places = places
    this.#super = parseSuper(head, blockBytes)
    this.overlay = new Overlay(view.reader, blockBytes)
    const { first, start } = this.#super
    if (this.#super.blockCount > JOURNAL_BLOCKS_MAX) throw damaged('the journal is impossibly long')
    if (first < 1 || first >= this.#end || (start !== 0 && (start < first || start >= this.#end)))
      throw damaged('the journal begins outside of itself', { first, start })
  }

  get #end(): number {
    return this.#super.blockCount - this.#super.fastBlocks
  }

  get hasWork(): boolean {
    return this.#super.start !== 0
  }

  /**
   * Three passes over the transactions that are whole, as what a later one that is not revoked must not count.
   * @returns whether fast commits follow the last one
   */
  async replay(): Promise<boolean> {
    const whole = await this.#walk(Number.POSITIVE_INFINITY)
    await this.#walk(whole, (block, sequence) => this.#noteRevoked(block, sequence))
    await this.#walk(whole, undefined, (tags, at, sequence) => {
      for (const [i, tag] of tags.entries()) this.#replace(tag, this.#wrap(at + i), sequence)
      if (this.overlay.replacedUnits > BLOCKS_REPLACED_MAX) throw damaged('the journal holds too much')
    })
    return this.#hasFastCommits((this.#super.sequence + whole) >>> 0)
  }

  /** They stand behind the ring, and belong to the transaction that did not end. */
  async #hasFastCommits(sequence: number): Promise<boolean> {
    const at = this.#end + 1
    if (this.#super.fastBlocks === 0 || at >= this.#super.blockCount) return false
    const bytes = await this.#block(at)
    return bytes.readUInt16LE(0) === FAST_COMMIT_HEAD && bytes.readUInt32LE(8) === sequence
  }

  /**
   * Goes through the transactions, and ends where one is not whole.
   * @param most no more than so many
   * @returns how many are whole
   */
  async #walk(
    most: number,
    onRevoke?: (block: Buffer, sequence: number) => void,
    onTags?: (tags: readonly Tag[], firstAt: number, sequence: number) => void,
  ): Promise<number> {
    let [at, sequence, whole, steps] = [this.#super.start, this.#super.sequence, 0, 0]
    while (steps < this.#super.blockCount && whole < most) {
      const block = await this.#block(at)
      if (block.readUInt32BE(0) !== MAGIC || block.readUInt32BE(8) !== sequence) return whole
      const kind = block.readUInt32BE(4)
      let taken = 1
      if (kind === BLOCK.descriptor) {
        if (!this.#hasTailSum(block)) return whole
        const tags = this.#tagsIn(block)
        if (most === Number.POSITIVE_INFINITY && !(await this.#haveSums(tags, at + 1, sequence))) return whole
        onTags?.(tags, at + 1, sequence)
        taken += tags.length
      } else if (kind === BLOCK.revoke) {
        if (!this.#hasTailSum(block)) return whole
        onRevoke?.(block, sequence)
      } else if (kind === BLOCK.commit) {
        if (!this.#hasCommitSum(block)) return whole
        whole += 1
        sequence = (sequence + 1) >>> 0
      } else return whole
      at = this.#wrap(at + taken)
      steps += taken
    }
    return whole
  }

  #wrap(at: number): number {
    const { first } = this.#super
    return at < this.#end ? at : first + ((at - first) % (this.#end - first))
  }

  #offsetOf(journalBlock: number): number {
    let [low, high] = [0, this.#places.length]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if ((this.#places[middle]?.fileBlock ?? 0) <= journalBlock) low = middle + 1
      else high = middle
    }
    const run = this.#places[low - 1]
    if (run === undefined || journalBlock >= run.fileBlock + run.count)
      throw damaged('the journal has a hole', { journalBlock })
    return (run.diskBlock + journalBlock - run.fileBlock) * this.#blockBytes
  }

  #block(journalBlock: number): Promise<Buffer> {
    return this.#view.readContent(this.#offsetOf(journalBlock), this.#blockBytes)
  }

  get #hasSums(): boolean {
    return (this.#super.features & (FEATURE.sumsV2 | FEATURE.sumsV3)) !== 0
  }

  #hasTailSum(block: Buffer): boolean {
    if (!this.#hasSums) return true
    const summed = Buffer.from(block)
    summed.writeUInt32BE(0, block.length - SUM_BYTES)
    return crc32cUpdate(this.#super.seed, summed) === block.readUInt32BE(block.length - SUM_BYTES)
  }

  #hasCommitSum(block: Buffer): boolean {
    if (!this.#hasSums) return true
    const summed = Buffer.from(block)
    summed.writeUInt32BE(0, 16)
    return crc32cUpdate(this.#super.seed, summed) === block.readUInt32BE(16)
  }

  #tagBytes(): number {
    const { features } = this.#super
    if ((features & FEATURE.sumsV3) !== 0) return 16
    const base = (features & FEATURE.sumsV2) !== 0 ? 14 : 12
    return (features & FEATURE.wide) !== 0 ? base : base - 4
  }

  #tagsIn(block: Buffer): Tag[] {
    const { features } = this.#super
    const [isV3, isWide] = [(features & FEATURE.sumsV3) !== 0, (features & FEATURE.wide) !== 0]
    const end = block.length - (this.#hasSums ? SUM_BYTES : 0)
    const tags: Tag[] = []
    for (let at = HEADER_BYTES; at + this.#tagBytes() <= end;) {
      const flags = isV3 ? block.readUInt32BE(at + 4) : block.readUInt16BE(at + 6)
      const high = isWide ? block.readUInt32BE(at + 8) : 0
      const sum = isV3 ? block.readUInt32BE(at + 12) : block.readUInt16BE(at + 4)
      const number = block.readUInt32BE(at) + high * 0x1_0000_0000
      if (number >= this.#blockCount) throw damaged('the journal leads out of its file system', { block: number })
      tags.push({ block: number, isEscaped: (flags & TAG.escaped) !== 0, sum })
      if ((flags & TAG.last) !== 0) break
      at += this.#tagBytes() + ((flags & TAG.sameUuid) !== 0 ? 0 : 16)
    }
    return tags
  }

  /** A commit that was written before its blocks (journal_async_commit) is whole only if these are. */
  async #haveSums(tags: readonly Tag[], at: number, sequence: number): Promise<boolean> {
    const { features, seed } = this.#super
    if (!this.#hasSums || (features & FEATURE.asyncCommit) === 0) return true
    for (const [i, tag] of tags.entries()) {
      const block = await this.#block(this.#wrap(at + i))
      const sum = crc32cUpdate(crc32cUpdate(seed, bigEndian(sequence)), block)
      if (((features & FEATURE.sumsV3) !== 0 ? sum : sum & 0xffff) !== tag.sum) return false
    }
    return true
  }

  #noteRevoked(block: Buffer, sequence: number): void {
    const width = (this.#super.features & FEATURE.wide) !== 0 ? 8 : 4
    const end = Math.min(block.readUInt32BE(12), block.length - (this.#hasSums ? SUM_BYTES : 0))
    for (let at = 16; at + width <= end; at += width) {
      const high = width === 8 ? block.readUInt32BE(at) : 0
      this.#revoked.set(high * 0x1_0000_0000 + block.readUInt32BE(at + width - 4), sequence)
    }
    if (this.#revoked.size > BLOCKS_REVOKED_MAX) throw damaged('the journal revokes too much')
  }

  #replace({ block, isEscaped }: Tag, journalBlock: number, sequence: number): void {
    const revoked = this.#revoked.get(block)
    // Numbers of transactions wrap: what counts is which of two near ones comes first.
    if (revoked !== undefined && ((revoked - sequence) | 0) >= 0) return
    const offset = this.#offsetOf(journalBlock)
    this.overlay.replace(block, isEscaped ? { offset, head: ESCAPED_HEAD } : { offset })
  }
}

/** The pieces of the journal, ascending. */
async function placesOf(runs: AsyncIterable<JournalRun>): Promise<JournalRun[]> {
  const places: JournalRun[] = []
  for await (const run of runs) {
    const before = places.at(-1)
    if (before !== undefined && run.fileBlock < before.fileBlock + before.count)
      throw damaged('the pieces of the journal do not ascend')
    if (places.length === PLACES_MAX) throw damaged('the journal lies in too many pieces')
    places.push(run)
  }
  return places
}

/**
 * What a mount would see; a journal that cannot be followed is a note, and the file system is shown without it.
 * @param runs where the journal lies; it may be in many pieces
 */
export async function replayExtJournal(
  view: DiskView,
  blockBytes: number,
  blockCount: number,
  runs: AsyncIterable<JournalRun>,
): Promise<ExtReplay> {
  try {
    const places = await placesOf(runs)
    const [first] = places
    if (first === undefined || first.fileBlock !== 0) throw damaged('the file system has no journal')
    const head = await view.read(first.diskBlock * blockBytes, 1024)
    const journal = new Journal(view, blockBytes, blockCount, places, head)
    if (!journal.hasWork) return { notes: [] }
    const hasFastCommits = await journal.replay()
    return { replayed: journal.overlay, notes: hasFastCommits ? [FAST_COMMIT_NOTE] : [] }
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged')) throw error
    return { notes: [`Its journal cannot be replayed, so changes of its last seconds are not shown. ${error.message}`] }
  }
}
