/**
 * A disk in a file whose points have delta nodes, in a repository in a folder, and a model of what every point must give
 * back. Work on it happens in threads (the descriptor of the store) or inline (the store opened).
 */
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KIB, must } from '#base'
import { alignRanges, type ByteRange, identityMap, stampedBytes } from '#engine/block'
import { type BlobStore, type DiskRecord, FolderStore, isZero, type PointRecord, Repository } from '#engine/repository'
import { backUp } from '#engine/transfer'
import { systemClock, systemRandom } from '#runtime'

const credential = { kind: 'passphrase', passphrase: 'a test' } as const
const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
export const CHUNK_BYTES = 64 * KIB
const GRANULE_BYTES = 4 * KIB

/** `filled`: chunks that anything but zeros was ever written to. */
export type Version = Readonly<{ point: PointRecord; disk: DiskRecord; bytes: Buffer; filled: ReadonlySet<number> }>

export class DeltaDisk {
  readonly folder: string
  readonly storePath: string
  readonly opened: BlobStore
  readonly repository: Repository
  readonly versions: Version[] = []
  #bytes: Buffer
  readonly #filled = new Set<number>()
  #dirty: ByteRange[] = []
  #stamp = 0

  private constructor(folder: string, opened: BlobStore, repository: Repository, sizeBytes: number) {
    this.folder = folder
    this.storePath = join(folder, 'store')
    this.opened = opened
    this.repository = repository
    this.#bytes = Buffer.alloc(sizeBytes)
  }

  static async make(sizeBytes: number): Promise<DeltaDisk> {
    const folder = await mkdtemp(join(tmpdir(), 'hf-delta-'))
    const path = join(folder, 'store')
    await mkdir(path)
    const store = await FolderStore.open(path)
    return new DeltaDisk(folder, store, await freshRepository(store, join(folder, 'cache')), sizeBytes)
  }

  /** Another repository, for points to be copied to. */
  emptyCopy(store: BlobStore): Promise<Repository> {
    return freshRepository(store, join(this.folder, 'cache-of-copy'))
  }

  /** The way of threads to the store. */
  get descriptor(): Readonly<{ kind: 'folder'; path: string }> {
    return { kind: 'folder', path: this.storePath }
  }

  get sizeBytes(): number {
    return this.#bytes.length
  }

  async remove(): Promise<void> {
    await this.repository.close()
    await rm(this.folder, { recursive: true, force: true })
  }

  write(offset: number, length: number): void {
    this.#stamp += 1
    stampedBytes({ disk: 0, version: this.#stamp }, offset, length).copy(this.#bytes, offset)
    for (let chunk = Math.floor(offset / CHUNK_BYTES); chunk * CHUNK_BYTES < offset + length; chunk += 1)
      this.#filled.add(chunk)
    this.#dirty.push({ offset, length })
  }

  zero(offset: number, length: number): void {
    this.#bytes.fill(0, offset, offset + length)
    this.#dirty.push({ offset, length })
  }

  /** Whatever the disk holds now is given from outside, such as by a file system. */
  replace(bytes: Buffer): void {
    for (let offset = 0; offset < bytes.length; offset += GRANULE_BYTES) {
      const now = bytes.subarray(offset, offset + GRANULE_BYTES)
      if (now.equals(this.#bytes.subarray(offset, offset + now.length))) continue
      this.#filled.add(Math.floor(offset / CHUNK_BYTES))
      this.#dirty.push({ offset, length: now.length })
    }
    this.#bytes = Buffer.from(bytes)
  }

  grow(byBytes: number): void {
    this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(byBytes)])
  }

  async backUp(): Promise<Version> {
    const path = join(this.folder, 'disk.raw')
    await writeSparse(path, this.#bytes)
    const sizeBytes = this.#bytes.length
    const last = this.versions.at(-1)
    const dirty = alignRanges(
      this.#dirty.sort((a, b) => a.offset - b.offset),
      GRANULE_BYTES,
      sizeBytes,
    )
    const changes =
      last === undefined
        ? ({ kind: 'all', reason: 'first_backup' } as const)
        : ({ kind: 'since', dirty, parent: last.disk } as const)
    const source = { kind: 'file', path, sizeBytes, map: identityMap(sizeBytes) } as const
    const point = await backUp(
      this.repository,
      {
        machine: 'm',
        takenAtMs: systemClock.nowMs(),
        consistency: 'crash',
        notes: [],
        disks: [{ id: 'd1', lun: 0, format: 'raw', sizeBytes, source, changes }],
        ...(last === undefined ? {} : { parentPoint: last.point.id }),
      },
      { store: this.descriptor, clock: systemClock, random: systemRandom, writer: 'test' },
    )
    this.#dirty = []
    const version = {
      point,
      disk: must(point.disks[0], 'One disk'),
      bytes: Buffer.from(this.#bytes),
      filled: new Set(this.#filled),
    }
    this.versions.push(version)
    return version
  }
}

async function freshRepository(store: BlobStore, cacheFolder: string): Promise<Repository> {
  const environment = { clock: systemClock, random: systemRandom, cacheFolder, writer: 'test' }
  await Repository.init(store, { credential, chunkSizeBytes: CHUNK_BYTES, kdfCost }, environment)
  return Repository.open(store, credential, environment)
}

/** Zeros are holes, chunk by chunk. */
export async function writeSparse(path: string, bytes: Buffer): Promise<void> {
  await writeFile(path, '')
  const file = await open(path, 'r+')
  try {
    await file.truncate(bytes.length)
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const part = bytes.subarray(at, at + CHUNK_BYTES)
      if (!isZero(part)) await file.write(part, 0, part.length, at)
    }
  } finally {
    await file.close()
  }
}
