/**
 * Reads the content of Btrfs files: inline, plain and packed extents, each sector against its checksum in the checksum tree
 * (or in the log's, which is newer). Where a file was written without checksums there is nothing to compare.
 */
import { TransferError } from '../errors.ts'
import type { BtrfsSuperblock } from './btrfs-layout.ts'
import { hasRightSum } from './btrfs-layout.ts'
import { extentSpan, type FileExtent, ITEM } from './btrfs-subvolume.ts'
import { type BtrfsItem, type BtrfsTrees, negativeObject, OBJECT_TOP } from './btrfs-tree.ts'
import { unpackExtent, UNPACKED_BYTES_MAX } from './btrfs-unpack.ts'
import { damaged, readU64 } from './disk-view.ts'
import { type FilePiece, PIECE_BYTES_MAX } from './file-tree.ts'

const TYPE = { inline: 0, regular: 1, setAside: 2 } as const
const SUMS_OBJECT = negativeObject(-10)

export class BtrfsData {
  readonly #trees: BtrfsTrees
  readonly #superblock: BtrfsSuperblock
  readonly #sumRoot: number | undefined
  readonly #loggedSums: readonly BtrfsItem[]

  constructor(
    trees: BtrfsTrees,
    superblock: BtrfsSuperblock,
    sumRoot: number | undefined,
    loggedSums: readonly BtrfsItem[],
  ) {
    this.#trees = trees
    this.#superblock = superblock
    this.#sumRoot = sumRoot
    this.#loggedSums = loggedSums
  }

  /** The bytes of an extent that lie before the end of the file; none for holes. */
  async *pieces(extent: FileExtent, sizeBytes: number, hasSums: boolean): AsyncGenerator<FilePiece> {
    const { data, start } = extent
    const span = extentSpan(extent, this.#superblock.sectorBytes)
    const [from, to] = [extent.from ?? span.from, Math.min(extent.to ?? span.to, sizeBytes)]
    const [packing, type] = [data.readUInt8(16), data.readUInt8(20)]
    if (data.readUInt8(17) !== 0 || data.readUInt16LE(18) !== 0) {
      throw new TransferError('files_unsupported', 'The file is encrypted or encoded inside the guest.')
    }
    if (from >= to || type === TYPE.setAside) return
    if (type === TYPE.inline) {
      const whole = this.#unpackInline(data, packing)
      const end = Math.min(to, start + whole.length)
      if (from < end) yield { offset: from, data: whole.subarray(from - start, end - start) }
      return
    }
    if (type !== TYPE.regular) throw damaged('an extent is of an unknown kind', { type })
    const [logical, storedBytes, inExtent] = [readU64(data, 21), readU64(data, 29), readU64(data, 37)]
    if (logical === 0) return
    if (packing !== 0) {
      const whole = await this.#unpacked(data, packing, logical, storedBytes, hasSums)
      if (inExtent + (to - start) > whole.length) throw damaged('a file has more of an extent than there is')
      yield { offset: from, data: whole.subarray(inExtent + from - start, inExtent + to - start) }
      return
    }
    if (inExtent + (to - start) > storedBytes) throw damaged('a file has more of an extent than there is')
    for (let offset = from; offset < to; offset += PIECE_BYTES_MAX) {
      const length = Math.min(PIECE_BYTES_MAX, to - offset)
      yield { offset, data: await this.#checked(logical + inExtent + offset - start, length, hasSums) }
    }
  }

  #unpackInline(data: Buffer, packing: number): Buffer {
    const content = data.subarray(21)
    if (packing === 0) return content
    return unpackExtent(packing, content, readU64(data, 8), this.#superblock.sectorBytes)
  }

  async #unpacked(
    data: Buffer,
    packing: number,
    logical: number,
    storedBytes: number,
    hasSums: boolean,
  ): Promise<Buffer> {
    if (storedBytes > UNPACKED_BYTES_MAX) throw damaged('packed data is said to be impossibly large', { storedBytes })
    const stored = await this.#checked(logical, storedBytes, hasSums)
    return unpackExtent(packing, stored, readU64(data, 8), this.#superblock.sectorBytes)
  }

  /** Whole sectors are read and compared, what was asked for is given. */
  async #checked(logical: number, length: number, hasSums: boolean): Promise<Buffer> {
    const { sectorBytes, sums } = this.#superblock
    const first = Math.floor(logical / sectorBytes) * sectorBytes
    const whole = Math.ceil((logical + length - first) / sectorBytes) * sectorBytes
    const expected = hasSums && sums !== 'unchecked' ? await this.#sumsOf(first, whole / sectorBytes) : []
    const isRight = (bytes: Buffer): boolean =>
      expected.every(
        (sum, i) => sum === undefined || hasRightSum(sums, bytes.subarray(i * sectorBytes, (i + 1) * sectorBytes), sum),
      )
    const bytes = await this.#trees.chunks.read(first, whole, isRight)
    return bytes.subarray(logical - first, logical - first + length)
  }

  /** The checksum of each of `count` sectors; undefined where there is none. */
  async #sumsOf(first: number, count: number): Promise<(Buffer | undefined)[]> {
    const { sectorBytes } = this.#superblock
    const found = Array.from<Buffer | undefined>({ length: count })
    const end = first + count * sectorBytes
    if (this.#sumRoot !== undefined) {
      const before = await this.#trees.lastUpTo(this.#sumRoot, sumKey(first))
      if (before !== undefined) this.#take(before, first, found)
      const others = this.#trees.items(this.#sumRoot, sumKey(first), sumKey(end - 1))
      for await (const item of others) this.#take(item, first, found)
    }
    for (const item of this.#loggedSums) this.#take(item, first, found)
    return found
  }

  #take({ key, data }: BtrfsItem, first: number, found: (Buffer | undefined)[]): void {
    const { sectorBytes, sumBytes } = this.#superblock
    const skipped = (first - key.offset) / sectorBytes
    const count = Math.floor(data.length / sumBytes)
    for (let i = Math.max(0, -skipped); i < found.length && i + skipped < count; i += 1) {
      const at = (i + skipped) * sumBytes
      if (Number.isInteger(at)) found[i] = data.subarray(at, at + sumBytes)
    }
  }
}

function sumKey(logical: number): Readonly<{ object: number; type: number; offset: number }> {
  return { object: SUMS_OBJECT, type: ITEM.sum, offset: Math.min(logical, OBJECT_TOP) }
}
