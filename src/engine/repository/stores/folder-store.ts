/**
 * Objects as files in a folder; a key is the file's path in it. Promises, beyond the contract:
 *   - An object is written under `.tmp-*`, synced, linked to its name (create-once, also between processes), and the
 *     folder synced. A crash leaves at most a `.tmp-*` file: no reader sees it, `sweep` removes it when it is old.
 *   - The folder that was opened is the only one that is used: should it be unmounted, calls fail; nothing is created in
 *     the mount point underneath, and no object is reported missing for it.
 *   - Symbolic links inside are not followed: a listing that meets one fails rather than pass over objects.
 *
 * Any number of threads and processes may use one folder. Limits: what another process deletes may still be read by range
 * where it is open; needs hard links; locks (folder-locks.ts) bind this program, not whoever owns the folder, nor root;
 * durability is what fsync of the file system and its disk give.
 */
import { hash } from 'node:crypto'
import { close, constants, fstat, open, read, type Stats } from 'node:fs'
import { lstat, mkdir, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Clock, errnoOf } from '#base'
import { createFileOnce, replaceFile, syncFolder, systemClock } from '#runtime'
import type { BlobInfo, BlobKey, BlobStore, StoreReserve } from '../blob-store.ts'
import { StoreError } from '../errors.ts'
import { blobLocked, blobNotFound, checkKey, checkPrefix, checkRange, checkSize } from './blob-rules.ts'
import { folderError, folderGone, type FolderUse } from './folder-errors.ts'
import { fileServerTime, FolderLocks } from './folder-locks.ts'
import { makeFolderReserve, releaseFolderReserve } from './folder-reserve.ts'
import { listFolder, sweepFolder } from './folder-walk.ts'
import { type OpenFile, OpenFiles } from './open-files.ts'

/** A `.tmp-*` file as old as this belongs to no living writer: an object takes minutes at most. */
export const SWEEP_AGE_MS_MIN = 24 * 60 * 60 * 1000

/** Packs that are read by range at one time; each costs a file descriptor while the store is open. */
const OPEN_FILES_MAX = 32

const [openFile, statFile, readFile, closeFile] = [promisify(open), promisify(fstat), promisify(read), promisify(close)]

export type FolderStoreOptions = Readonly<{
  /** Create the folder (not its parent) when it is missing. */
  create?: boolean
  /** What locks are held against. Default: the host's. */
  clock?: Clock
}>

export class FolderStore implements BlobStore {
  readonly location: string
  readonly capabilities = { lock: 'program' } as const
  readonly reserve: StoreReserve = {
    make: (sizeBytes) => this.#onFolder(() => makeFolderReserve(this.location, sizeBytes)),
    release: () => this.#onFolder(() => releaseFolderReserve(this.location)),
  }
  readonly #identity: string
  readonly #locks: FolderLocks
  readonly #clock: Clock
  readonly #durableFolders = new Set<string>()
  readonly #files = new OpenFiles(OPEN_FILES_MAX)

  private constructor(path: string, identity: string, clock: Clock) {
    this.location = path
    this.#identity = identity
    this.#clock = clock
    this.#locks = new FolderLocks(path)
  }

  /** @throws StoreError `store_location_invalid` when there is no such folder */
  static async open(path: string, options: FolderStoreOptions = {}): Promise<FolderStore> {
    const location = resolve(path)
    if (options.create === true) await createFolder(location)
    const found = await statFolder(location)
    return new FolderStore(location, identityOf(found), options.clock ?? systemClock)
  }

  async put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    checkKey(key)
    return this.#guard('write', key, async () => {
      await this.#checkIdentity()
      if ((await this.#sizeOf(key)) !== undefined) return this.#existing(key)
      await this.#makeFolders(key)
      const outcome = await this.#create(key, parts)
      return outcome === 'exists' ? this.#existing(key) : outcome
    })
  }

  async get(key: BlobKey, memory?: Uint8Array): Promise<Uint8Array> {
    checkKey(key)
    return this.#guard('read', key, async () => {
      const { fd, sizeBytes } = await this.#openFile(key)
      try {
        checkSize(key, sizeBytes, this.location)
        return await readExactly(fd, key, 0, sizeBytes, memory)
      } finally {
        await closeFile(fd)
      }
    })
  }

  async getRange(key: BlobKey, offsetBytes: number, lengthBytes: number, memory?: Uint8Array): Promise<Uint8Array> {
    checkKey(key)
    return this.#guard('read', key, () =>
      this.#files.use(
        key,
        () => this.#openFile(key),
        async ({ fd, sizeBytes }) => {
          checkRange(key, offsetBytes, lengthBytes, sizeBytes)
          return readExactly(fd, key, offsetBytes, lengthBytes, memory)
        },
      ),
    )
  }

  async head(key: BlobKey): Promise<number | undefined> {
    checkKey(key)
    return this.#guard('read', key, async () => {
      const sizeBytes = await this.#sizeOf(key)
      if (sizeBytes === undefined) await this.#checkIdentity()
      return sizeBytes
    })
  }

  async *list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo> {
    checkPrefix(prefix)
    try {
      await this.#checkIdentity()
      yield* listFolder(this.location, prefix, after)
      await this.#checkIdentity()
    } catch (cause) {
      throw folderError(cause, 'read', this.location, prefix)
    }
  }

  async delete(key: BlobKey): Promise<void> {
    checkKey(key)
    const path = this.#pathOf(key)
    await this.#guard('write', key, async () => {
      await this.#checkIdentity()
      const untilMs = await this.#locks.untilMs(key, this.#clock.nowMs())
      if (untilMs !== undefined) throw blobLocked(key, this.location, untilMs)
      await this.#files.forget(key)
      try {
        await unlink(path)
      } catch (error) {
        if (isAbsent(error)) return
        throw error
      }
      await syncFolder(dirname(path))
      await this.#locks.forget(key)
    })
  }

  async lock(key: BlobKey, untilMs: number): Promise<void> {
    checkKey(key)
    await this.#guard('write', key, async () => {
      await this.#checkIdentity()
      if ((await this.#sizeOf(key)) !== undefined) await this.#locks.add(key, untilMs)
      if ((await this.#sizeOf(key)) === undefined) throw blobNotFound(key, this.location)
    })
  }

  async mend(key: BlobKey, bytes: Uint8Array, sha256: string): Promise<boolean> {
    if (hash('sha256', bytes) !== sha256 || hash('sha256', await this.get(key)) === sha256) return false
    return this.#guard('write', key, async () => {
      await this.#checkIdentity()
      await replaceFile(this.#pathOf(key), [bytes])
      await this.#files.forget(key)
      return true
    })
  }

  /** Where the folder lies on a file server: its clock, by a fresh file. */
  timeMs(): Promise<number | undefined> {
    return this.#guard('read', undefined, () => fileServerTime(this.location))
  }

  close(): Promise<void> {
    return this.#files.close()
  }

  /** Removes what dead writers left: `.tmp-*` files not modified for `ageMsMin`. Gives their number. */
  async sweep(clock: Clock, ageMsMin = SWEEP_AGE_MS_MIN): Promise<number> {
    return this.#onFolder(() => sweepFolder(this.location, clock.nowMs() - ageMsMin))
  }

  #onFolder<T>(work: () => Promise<T>): Promise<T> {
    return this.#guard('write', undefined, async () => {
      await this.#checkIdentity()
      return work()
    })
  }

  #pathOf(key: BlobKey): string {
    return join(this.location, key)
  }

  /** Another writer's object: its bytes were synced before it got its name; the name is made durable here. */
  async #existing(key: BlobKey): Promise<'exists'> {
    if ((await this.#sizeOf(key)) === undefined) throw keyIsFolder(key, this.location)
    await this.#makeFolders(key)
    await syncFolder(dirname(this.#pathOf(key)))
    return 'exists'
  }

  async #create(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'> {
    try {
      return await createFileOnce(this.#pathOf(key), parts)
    } catch (error) {
      if (errnoOf(error) === 'ENOTDIR') throw keyIsFolder(key, this.location)
      if (errnoOf(error) === 'ENOENT') {
        this.#durableFolders.clear()
        await this.#checkIdentity()
      }
      throw error
    }
  }

  /** Every folder above the object exists and is durable, whoever made it; once per folder and store. */
  async #makeFolders(key: BlobKey): Promise<void> {
    let folder = this.location
    for (const segment of key.split('/').slice(0, -1)) {
      const parent = folder
      folder = join(parent, segment)
      if (this.#durableFolders.has(folder)) continue
      await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOTDIR') throw keyIsFolder(key, this.location)
        if (errnoOf(error) !== 'EEXIST') throw error
      })
      await syncFolder(parent)
      this.#durableFolders.add(folder)
    }
  }

  async #sizeOf(key: BlobKey): Promise<number | undefined> {
    try {
      const found = await lstat(this.#pathOf(key))
      return found.isFile() ? found.size : undefined
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  async #openFile(key: BlobKey): Promise<OpenFile> {
    let fd: number
    try {
      fd = await openFile(this.#pathOf(key), constants.O_RDONLY | constants.O_NOFOLLOW)
    } catch (error) {
      if (!isAbsent(error)) throw error
      await this.#checkIdentity()
      throw blobNotFound(key, this.location)
    }
    const found = await statFile(fd)
    if (found.isFile()) return { fd, sizeBytes: found.size }
    await closeFile(fd)
    throw blobNotFound(key, this.location)
  }

  /** Tells "the object is absent" from "the folder is": asked before writes, and whenever something was not found. */
  async #checkIdentity(): Promise<void> {
    const found = await stat(this.location).catch((cause: unknown) => {
      throw folderGone(this.location, cause)
    })
    if (identityOf(found) !== this.#identity) throw folderGone(this.location)
  }

  async #guard<T>(use: FolderUse, key: BlobKey | undefined, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (cause) {
      throw folderError(cause, use, this.location, key)
    }
  }
}

/** ENOTDIR: a segment of the key is a file, so nothing can lie below it. ELOOP: a symbolic link, which is no object. */
function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')
}

function keyIsFolder(key: BlobKey, location: string): StoreError {
  return new StoreError('blob_key_invalid', `In ${location}, ${key} is a folder of other objects or lies below one.`, {
    facts: { location, key },
  })
}

function identityOf(found: Stats): string {
  return `${found.dev}:${found.ino}`
}

async function createFolder(location: string): Promise<void> {
  try {
    await mkdir(location, { mode: 0o700 })
    await syncFolder(dirname(location))
  } catch (cause) {
    if (errnoOf(cause) === 'EEXIST') return
    if (errnoOf(cause) === 'ENOENT') throw noFolder(dirname(location), cause)
    throw folderError(cause, 'write', location)
  }
}

async function statFolder(location: string): Promise<Stats> {
  try {
    const found = await stat(location)
    if (found.isDirectory()) return found
  } catch (cause) {
    if (isAbsent(cause)) throw noFolder(location, cause)
    throw folderError(cause, 'read', location)
  }
  throw new StoreError('store_location_invalid', `${location} is not a folder.`, { facts: { location } })
}

function noFolder(location: string, cause: unknown): StoreError {
  return new StoreError('store_location_invalid', `There is no folder ${location}.`, {
    facts: { location },
    hint: 'Check the path; if it lies on another disk, see that it is mounted.',
    cause,
  })
}

async function readExactly(
  fd: number,
  key: BlobKey,
  offset: number,
  length: number,
  memory?: Uint8Array,
): Promise<Uint8Array> {
  const fits = memory !== undefined && memory.length >= length
  const buffer = fits ? memory : new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await readFile(fd, buffer, filled, length - filled, offset + filled)
    if (bytesRead === 0) checkRange(key, offset, length, offset + filled) // it shrank under us: not our doing
    filled += bytesRead
  }
  return buffer.subarray(0, length)
}
