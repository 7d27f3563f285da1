/**
 * A DiskView is a part of a disk as the file system readers see it: bytes from a guest, of which nothing is trusted.
 *
 * Every access is checked against the view; what lies outside is `files_damaged`, never a read of something else. Small
 * reads go through a cache of pages, so that walking directories does not ask the disk for every record. Numbers from the
 * disk that do not fit 53 bits are damage as well: no disk is that large.
 */
import { assert, KIB } from '#base'
import { TransferError } from '../errors.ts'

const PAGE_BYTES = 64 * KIB
/** 16 MiB in all: the inode tables and directories that a browsing user is in. */
const PAGES_MAX = 256

export function damaged(what: string, facts: Readonly<Record<string, number | string>> = {}): TransferError {
  return new TransferError('files_damaged', `The disk's structures cannot be followed: ${what}.`, {
    facts,
    hint: 'Restore the whole disk and repair its file system there, or try an older recovery point.',
  })
}

/** A 64-bit little-endian number that must be a safe integer. */
export function readU64(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000
  if (!Number.isSafeInteger(value)) throw damaged('a number is larger than any disk', { at })
  return value
}

/** A 64-bit big-endian number that must be a safe integer. */
export function readU64BE(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
  if (!Number.isSafeInteger(value)) throw damaged('a number is larger than any disk', { at })
  return value
}

/** Bytes by offset: a disk, or a volume that is put together from parts of disks. */
export interface ByteReader {
  readonly sizeBytes: number
  /** Fills `into`. What is asked for lies inside. */
  read(offset: number, into: Uint8Array): Promise<void>
}

class PageCache {
  readonly #source: ByteReader
  readonly #pages = new Map<number, Promise<Buffer>>()

  constructor(source: ByteReader) {
    this.#source = source
  }

  page(number: number): Promise<Buffer> {
    const cached = this.#pages.get(number)
    if (cached !== undefined) {
      this.#pages.delete(number)
      this.#pages.set(number, cached)
      return cached
    }
    const loaded = this.#load(number)
    this.#pages.set(number, loaded)
    loaded.catch(() => this.#pages.delete(number)) // who asked gets the error; the next one asks the disk again
    const oldest = this.#pages.keys().next().value
    if (this.#pages.size > PAGES_MAX && oldest !== undefined) this.#pages.delete(oldest)
    return loaded
  }

  async #load(number: number): Promise<Buffer> {
    const offset = number * PAGE_BYTES
    const page = Buffer.alloc(Math.min(PAGE_BYTES, this.#source.sizeBytes - offset))
    await this.#source.read(offset, page)
    return page
  }
}

export class DiskView {
  readonly offsetBytes: number
  readonly sizeBytes: number
  readonly #source: ByteReader
  readonly #cache: PageCache

  private constructor(source: ByteReader, cache: PageCache, offsetBytes: number, sizeBytes: number) {
    assert(offsetBytes >= 0 && offsetBytes + sizeBytes <= source.sizeBytes, 'A view lies inside its disk')
    this.#source = source
    this.#cache = cache
    this.offsetBytes = offsetBytes
    this.sizeBytes = sizeBytes
  }

  static of(source: ByteReader): DiskView {
    return new DiskView(source, new PageCache(source), 0, source.sizeBytes)
  }

  /** A part of this view. @throws `files_damaged` when it does not lie inside. */
  slice(offset: number, length: number): DiskView {
    this.#check(offset, length)
    return new DiskView(this.#source, this.#cache, this.offsetBytes + offset, length)
  }

  /** Up to a few hundred KiB of structures, through the cache. @throws `files_damaged` outside the view. */
  async read(offset: number, length: number): Promise<Buffer> {
    this.#check(offset, length)
    const result = Buffer.alloc(length)
    for (let done = 0; done < length;) {
      const at = this.offsetBytes + offset + done
      const page = await this.#cache.page(Math.floor(at / PAGE_BYTES))
      const copied = page.copy(result, done, at % PAGE_BYTES)
      assert(copied > 0, 'A page that was asked for holds the byte that was asked for')
      done += copied
    }
    return result
  }

  /** File content, past the cache. @throws `files_damaged` outside the view. */
  async readContent(offset: number, length: number): Promise<Buffer> {
    this.#check(offset, length)
    const result = Buffer.alloc(length)
    await this.#source.read(this.offsetBytes + offset, result)
    return result
  }

  /** The view as something that volumes are built of. */
  get reader(): ByteReader {
    return { sizeBytes: this.sizeBytes, read: (offset, into) => this.readInto(offset, into) }
  }

  /** As `readContent`, into what the caller has. */
  async readInto(offset: number, into: Uint8Array): Promise<void> {
    this.#check(offset, into.length)
    await this.#source.read(this.offsetBytes + offset, into)
  }

  #check(offset: number, length: number): void {
    const isInside = Number.isSafeInteger(offset) && offset >= 0 && length >= 0 && offset + length <= this.sizeBytes
    if (!isInside) throw damaged('something is said to lie outside its partition', { offset, length })
  }
}
