/**
 * A run: chunk locations sorted by id, immutable in one file, read by one pread a lookup. Part of the index cache, which
 * is rebuilt from packs at will; every page carries a checksum, so a bad disk under the cache is found, never believed.
 *
 *   page 0     magic "HFIDX001" · entries 8 · pages 4 · filter bytes 4
 *   pages      85 entries of 48 bytes · zeros 12 · CRC-32 of what stands before it 4        (4096 bytes each)
 *   fences     the first 8 bytes of the first id of every page, big-endian order · CRC-32 4
 *   filter     Bloom filter · CRC-32 4
 *
 * entry: id 32 · pack ordinal 4 · offset 4 · sealed bytes 4 · plain bytes (23 bits), codec (1), kind (2)   little-endian
 * Memory: 12 bits an entry for the filter and 8 bytes a page for the fences, 1.6 bytes an entry in all.
 */
import { openSync, readSync, closeSync, fstatSync, rmSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { replaceFile } from '#runtime'
import { type ChunkId, HASH_BYTES } from '../crypto.ts'
import { RepositoryError } from '../errors.ts'
import { CHUNK_KINDS, type ChunkKind } from '../pack-format.ts'
import { filterBytesFor, IdFilter } from './id-filter.ts'

export type ChunkLocation = Readonly<{
  pack: number
  offset: number
  sealedBytes: number
  plainBytes: number
  codec: number
  kind: ChunkKind
}>

export const ENTRY_BYTES = 48
const PAGE_BYTES = 4096
const ENTRIES_PER_PAGE = 85
const MAGIC = Buffer.from('HFIDX001')

export function writeIndexEntry(into: Buffer, at: number, id: ChunkId, location: ChunkLocation): void {
  into.set(id, at)
  into.writeUInt32LE(location.pack, at + 32)
  into.writeUInt32LE(location.offset, at + 36)
  into.writeUInt32LE(location.sealedBytes, at + 40)
  const packed = location.plainBytes | (location.codec << 23) | (CHUNK_KINDS.indexOf(location.kind) << 24)
  into.writeUInt32LE(packed >>> 0, at + 44)
}

export function readIndexEntry(from: Buffer, at: number): ChunkLocation {
  const packed = from.readUInt32LE(at + 44)
  return {
    pack: from.readUInt32LE(at + 32),
    offset: from.readUInt32LE(at + 36),
    sealedBytes: from.readUInt32LE(at + 40),
    plainBytes: packed & 0x7f_ffff,
    codec: (packed >>> 23) & 1,
    kind: CHUNK_KINDS[(packed >>> 24) & 3] ?? 'data',
  }
}

function withChecksum(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4)
  return bytes
}

const hasChecksum = (bytes: Buffer): boolean => bytes.readUInt32LE(bytes.length - 4) === crc32(bytes.subarray(0, -4))

/** Writes sorted entries (48 bytes each, ascending by id) as a run. */
export async function writeRun(path: string, sorted: Buffer): Promise<void> {
  const count = sorted.length / ENTRY_BYTES
  const pages = Math.ceil(count / ENTRIES_PER_PAGE)
  const parts: Buffer[] = []
  const fences = Buffer.alloc(pages * 8 + 4)
  const filterBits = Buffer.alloc(filterBytesFor(count) + 4)
  const filter = new IdFilter(filterBits.subarray(0, -4))
  for (let page = 0; page < pages; page += 1) {
    const bytes = Buffer.alloc(PAGE_BYTES)
    const start = page * ENTRIES_PER_PAGE * ENTRY_BYTES
    sorted.copy(bytes, 0, start, Math.min(start + ENTRIES_PER_PAGE * ENTRY_BYTES, sorted.length))
    sorted.copy(fences, page * 8, start, start + 8)
    parts.push(withChecksum(bytes))
  }
  for (let at = 0; at < sorted.length; at += ENTRY_BYTES)
    filter.add(sorted.subarray(at, at + HASH_BYTES) as Uint8Array as ChunkId)
  const head = Buffer.alloc(PAGE_BYTES)
  MAGIC.copy(head)
  head.writeBigUInt64LE(BigInt(count), 8)
  head.writeUInt32LE(pages, 16)
  head.writeUInt32LE(filterBits.length - 4, 20)
  await replaceFile(path, [withChecksum(head), Buffer.concat(parts), withChecksum(fences), withChecksum(filterBits)])
}

/** What another thread of this process needs to read the run: descriptors are shared by all threads. */
export type SharedRun = Readonly<{
  fd: number
  path: string
  count: number
  pages: number
  fences: SharedArrayBuffer
  filter: SharedArrayBuffer
}>

function readExactly(fd: number, position: number, length: number): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(length)
  return readSync(fd, bytes, 0, length, position) === length ? bytes : undefined
}

function toShared(bytes: Buffer): SharedArrayBuffer {
  const shared = new SharedArrayBuffer(bytes.length)
  new Uint8Array(shared).set(bytes)
  return shared
}

/** Opens a run; undefined when the file is missing, cut or damaged: the cache is then rebuilt. */
export function openRun(path: string): SharedRun | undefined {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch {
    return undefined // The cache is never trusted to be there.
  }
  const run = readRunHead(fd, path)
  if (run === undefined) closeSync(fd)
  return run
}

function readRunHead(fd: number, path: string): SharedRun | undefined {
  const head = readExactly(fd, 0, PAGE_BYTES)
  if (head === undefined || !MAGIC.equals(head.subarray(0, 8)) || !hasChecksum(head)) return undefined
  const count = Number(head.readBigUInt64LE(8))
  const pages = head.readUInt32LE(16)
  const fencesAt = (pages + 1) * PAGE_BYTES
  const filterAt = fencesAt + pages * 8 + 4
  const filterLength = head.readUInt32LE(20)
  if (fstatSync(fd).size !== filterAt + filterLength + 4) return undefined
  const fences = readExactly(fd, fencesAt, pages * 8 + 4)
  const filter = readExactly(fd, filterAt, filterLength + 4)
  if (fences === undefined || filter === undefined || !hasChecksum(fences) || !hasChecksum(filter)) return undefined
  if (count > pages * ENTRIES_PER_PAGE || count <= (pages - 1) * ENTRIES_PER_PAGE) return undefined
  return { fd, path, count, pages, fences: toShared(fences.subarray(0, -4)), filter: toShared(filter.subarray(0, -4)) }
}

export function indexDamaged(path: string): RepositoryError {
  return new RepositoryError('index_damaged', 'A file of the index cache is damaged.', {
    facts: { path },
    retry: 'now',
    hint: 'Run it once more: the cache is then built anew from the repository. If it happens again, check that disk.',
  })
}

export class RunReader {
  readonly run: SharedRun
  readonly #filter: IdFilter
  readonly #fences: Buffer
  readonly #page = Buffer.allocUnsafe(PAGE_BYTES)
  #pageLoaded = -1

  constructor(run: SharedRun) {
    this.run = run
    this.#filter = new IdFilter(new Uint8Array(run.filter))
    this.#fences = Buffer.from(run.fences)
  }

  /** All locations under `id`, in this run. @throws index_damaged when the file is damaged under us */
  find(id: ChunkId): ChunkLocation[] {
    if (!this.#filter.mayHave(id)) return []
    const found: ChunkLocation[] = []
    for (let page = this.#pageBefore(id); page < this.run.pages; page += 1) {
      this.#load(page)
      let past = false
      for (let i = this.#firstAtLeast(page, id); i < this.#entriesOf(page); i += 1) {
        past = this.#page.compare(id, 0, HASH_BYTES, i * ENTRY_BYTES, i * ENTRY_BYTES + HASH_BYTES) !== 0
        if (past) break
        found.push(readIndexEntry(this.#page, i * ENTRY_BYTES))
      }
      if (past) break
    }
    return found
  }

  /** Every entry in order, as raw 48-byte views that are valid until the next step. */
  *entries(): Generator<Buffer> {
    for (let page = 0; page < this.run.pages; page += 1) {
      this.#load(page)
      for (let i = 0; i < this.#entriesOf(page); i += 1)
        yield this.#page.subarray(i * ENTRY_BYTES, (i + 1) * ENTRY_BYTES)
    }
  }

  close(): void {
    closeSync(this.run.fd)
  }

  #entriesOf(page: number): number {
    return Math.min(ENTRIES_PER_PAGE, this.run.count - page * ENTRIES_PER_PAGE)
  }

  #load(page: number): void {
    if (this.#pageLoaded === page) return
    this.#pageLoaded = -1
    const read = readSync(this.run.fd, this.#page, 0, PAGE_BYTES, (page + 1) * PAGE_BYTES)
    if (read !== PAGE_BYTES || !hasChecksum(this.#page)) {
      // Without its file the cache is not accepted by the next open, which builds it anew from the packs.
      rmSync(this.run.path, { force: true })
      throw indexDamaged(this.run.path)
    }
    this.#pageLoaded = page
  }

  /** The last page whose first id is below `id` (equal ids may begin there), or the first page. */
  #pageBefore(id: ChunkId): number {
    let low = 0
    let high = this.run.pages
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#fences.compare(id, 0, 8, middle * 8, middle * 8 + 8) < 0) low = middle + 1
      else high = middle
    }
    return Math.max(0, low - 1)
  }

  #firstAtLeast(page: number, id: ChunkId): number {
    let low = 0
    let high = this.#entriesOf(page)
    while (low < high) {
      const middle = (low + high) >>> 1
      const at = middle * ENTRY_BYTES
      if (this.#page.compare(id, 0, HASH_BYTES, at, at + HASH_BYTES) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
