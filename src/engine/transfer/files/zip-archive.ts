/**
 * A zip archive of what lies below a path, as it is read (PKWARE APPNOTE 6.3.10): deflated, with data descriptors, since sizes and
 * checksums are known afterwards only; ZIP64 where a file or the archive needs it. Names are UTF-8; Unix modes are in the
 * attributes, so that links stay links where the unpacking program knows them.
 *
 * What was left out stands in a last file, LEFT-OUT.txt. A file that cannot be read to its end ends the stream with the error.
 */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { crc32, createDeflateRaw } from 'node:zlib'
import type { Skipped } from './extract.ts'
import type { FileEntry, FileTree } from './file-tree.ts'
import { leftOutText, LEFT_OUT_NAME } from './left-out.ts'
import { walkTree } from './walk-tree.ts'

const MAX_32 = 0xffff_ffff
const MAX_16 = 0xffff
const UTF8_AND_DESCRIPTOR = 0x0808
const DEFLATED = 8
const MADE_BY_UNIX = 0x0300 + 45
const VERSION_ZIP64 = 45
const DEFLATE_LEVEL = 1
const FILE_TYPE = { file: 0o100_000, folder: 0o040_000, link: 0o120_000 } as const

type Kind = keyof typeof FILE_TYPE
type Kept = Readonly<{
  name: Buffer
  mode: number
  isFolder: boolean
  time: number
  crc: number
  packed: number
  size: number
  at: number
}>

/** As MS-DOS has it: from 1980 on, every other second. */
function dosTime(ms: number): number {
  const date = new globalThis.Date(Number.isFinite(ms) ? ms : 0)
  const year = date.getUTCFullYear()
  if (year < 1980 || year > 2107) return 0x0021_0000
  const day = ((year - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate()
  const time = (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1)
  return day * 0x1_0000 + time
}

function localHeader(name: Buffer, time: number): Buffer {
  const block = Buffer.alloc(30 + 20)
  block.writeUInt32LE(0x0403_4b50, 0)
  block.writeUInt16LE(VERSION_ZIP64, 4)
  block.writeUInt16LE(UTF8_AND_DESCRIPTOR, 6)
  block.writeUInt16LE(DEFLATED, 8)
  block.writeUInt32LE(time, 10)
  // Sizes stand in the descriptor; this extra field says that they have 64 bits there.
  block.writeUInt32LE(MAX_32, 18)
  block.writeUInt32LE(MAX_32, 22)
  block.writeUInt16LE(name.length, 26)
  block.writeUInt16LE(20, 28)
  block.writeUInt16LE(1, 30)
  block.writeUInt16LE(16, 32)
  return Buffer.concat([block.subarray(0, 30), name, block.subarray(30)])
}

function descriptor({ crc, packed, size }: Pick<Kept, 'crc' | 'packed' | 'size'>): Buffer {
  const block = Buffer.alloc(24)
  block.writeUInt32LE(0x0807_4b50, 0)
  block.writeUInt32LE(crc, 4)
  block.writeBigUInt64LE(BigInt(packed), 8)
  block.writeBigUInt64LE(BigInt(size), 16)
  return block
}

function centralHeader({ name, mode, isFolder, time, crc, packed, size, at }: Kept): Buffer {
  const block = Buffer.alloc(46)
  block.writeUInt32LE(0x0201_4b50, 0)
  block.writeUInt16LE(MADE_BY_UNIX, 4)
  block.writeUInt16LE(VERSION_ZIP64, 6)
  block.writeUInt16LE(UTF8_AND_DESCRIPTOR, 8)
  block.writeUInt16LE(DEFLATED, 10)
  block.writeUInt32LE(time, 12)
  block.writeUInt32LE(crc, 16)
  block.writeUInt32LE(MAX_32, 20)
  block.writeUInt32LE(MAX_32, 24)
  block.writeUInt16LE(name.length, 28)
  block.writeUInt16LE(28, 30)
  block.writeUInt32LE(mode * 0x1_0000 + (isFolder ? 0x10 : 0), 38)
  block.writeUInt32LE(MAX_32, 42)
  const extra = Buffer.alloc(28)
  extra.writeUInt16LE(1, 0)
  extra.writeUInt16LE(24, 2)
  extra.writeBigUInt64LE(BigInt(size), 4)
  extra.writeBigUInt64LE(BigInt(packed), 12)
  extra.writeBigUInt64LE(BigInt(at), 20)
  return Buffer.concat([block, name, extra])
}

function endOf(count: number, from: number, length: number): Buffer {
  const end64 = Buffer.alloc(56)
  end64.writeUInt32LE(0x0606_4b50, 0)
  end64.writeBigUInt64LE(44n, 4)
  end64.writeUInt16LE(MADE_BY_UNIX, 12)
  end64.writeUInt16LE(VERSION_ZIP64, 14)
  end64.writeBigUInt64LE(BigInt(count), 24)
  end64.writeBigUInt64LE(BigInt(count), 32)
  end64.writeBigUInt64LE(BigInt(length), 40)
  end64.writeBigUInt64LE(BigInt(from), 48)
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x0706_4b50, 0)
  locator.writeBigUInt64LE(BigInt(from + length), 8)
  locator.writeUInt32LE(1, 16)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x0605_4b50, 0)
  end.writeUInt16LE(Math.min(count, MAX_16), 8)
  end.writeUInt16LE(Math.min(count, MAX_16), 10)
  end.writeUInt32LE(Math.min(length, MAX_32), 12)
  end.writeUInt32LE(Math.min(from, MAX_32), 16)
  return Buffer.concat([end64, locator, end])
}

type Sums = { crc: number; size: number; packed: number }

async function* counted(bytes: AsyncIterable<Buffer> | Iterable<Buffer>, sums: Sums): AsyncGenerator<Buffer> {
  for await (const piece of bytes) {
    sums.crc = crc32(piece, sums.crc)
    sums.size += piece.length
    yield piece
  }
}

/** The bytes deflated; `sums` grows as they pass. */
async function* deflated(bytes: AsyncIterable<Buffer> | Iterable<Buffer>, sums: Sums): AsyncGenerator<Buffer> {
  const packer = createDeflateRaw({ level: DEFLATE_LEVEL })
  const feeding = pipeline(Readable.from(counted(bytes, sums)), packer)
  // Whoever reads the packer hears of it there.
  feeding.catch(() => undefined)
  for await (const piece of packer as AsyncIterable<Buffer>) {
    sums.packed += piece.length
    yield piece
  }
  await feeding
}

type ToPack = Readonly<{
  name: string
  kind: Kind
  entry: Pick<FileEntry, 'mode' | 'modifiedMs'>
  bytes: AsyncIterable<Buffer> | Iterable<Buffer>
}>

class ZipWriter {
  readonly #kept: Kept[] = []
  #at = 0

  async *add({ name, kind, entry, bytes }: ToPack): AsyncGenerator<Buffer> {
    const at = this.#at
    const isFolder = kind === 'folder'
    const text = Buffer.from(isFolder ? `${name}/` : name)
    const time = dosTime(entry.modifiedMs)
    yield this.#count(localHeader(text, time))
    const sums: Sums = { crc: 0, size: 0, packed: 0 }
    for await (const piece of deflated(bytes, sums)) yield this.#count(piece)
    yield this.#count(descriptor(sums))
    this.#kept.push({ name: text, mode: FILE_TYPE[kind] | (entry.mode & 0o7777), isFolder, time, ...sums, at })
  }

  *end(): Generator<Buffer> {
    const from = this.#at
    for (const kept of this.#kept) yield this.#count(centralHeader(kept))
    yield endOf(this.#kept.length, from, this.#at - from)
  }

  #count(piece: Buffer): Buffer {
    this.#at += piece.length
    return piece
  }
}

/** The archive's bytes. @throws TransferError; whoever writes them out then has no whole archive */
export async function* zipArchive(tree: FileTree, path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const zip = new ZipWriter()
  const skipped: Skipped[] = []
  for await (const { path: at, name, entry } of walkTree(tree, path, skipped, signal)) {
    const kind = entry.kind as Kind
    const bytes =
      kind === 'file' ? tree.readFile(at) : kind === 'link' ? [Buffer.from(entry.linkTarget ?? '')] : ([] as Buffer[])
    yield* zip.add({ name, kind, entry, bytes })
  }
  if (skipped.length > 0) {
    const bytes = [leftOutText(skipped)]
    yield* zip.add({ name: LEFT_OUT_NAME, kind: 'file', entry: { mode: 0o600, modifiedMs: 0 }, bytes })
  }
  yield* zip.end()
}
