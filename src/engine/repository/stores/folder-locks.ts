/**
 * Locks of a folder store: empty marker files `.locks/<end, Unix ms, 15 digits>/<key>`. An object is locked until the
 * latest end that has a marker of its key. Markers are only ever added while they last, so of any number of processes that
 * lock at once none shortens another's; and ends are few, since the repository rounds them to 30 days.
 *
 * A lock is durable when `add` resolves. A crash leaves a marker more or less, which costs space at most. What this cannot
 * do: hold off whoever may write to the folder by other means. Copies of the folder keep their locks if `.locks` is copied.
 */
import { lstat, open, readdir, statfs, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, toHex } from '#base'
import { makeFolderDurable, syncFolder, systemRandom } from '#runtime'
import type { BlobKey } from '../blob-store.ts'

const FOLDER = '.locks'
const END = /^\d{15}$/

export class FolderLocks {
  readonly #root: string

  constructor(location: string) {
    this.#root = join(location, FOLDER)
  }

  /** Until when the object is locked, if it is at `nowMs`. */
  async untilMs(key: BlobKey, nowMs: number): Promise<number | undefined> {
    const ends = await this.#ends()
    for (const end of ends.filter((one) => Number(one) > nowMs).toReversed())
      if (await exists(join(this.#root, end, key))) return Number(end)
    return undefined
  }

  async add(key: BlobKey, untilMs: number): Promise<void> {
    const path = join(this.#root, String(Math.ceil(untilMs)).padStart(15, '0'), key)
    await makeFolderDurable(dirname(path))
    try {
      const marker = await open(path, 'wx', 0o600)
      try {
        await marker.sync()
      } finally {
        await marker.close()
      }
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
    }
    await syncFolder(dirname(path)) // also for a marker that another process has made and not yet synced
  }

  /** Removes the markers of an object that is gone. */
  async forget(key: BlobKey): Promise<void> {
    for (const end of await this.#ends()) {
      await unlink(join(this.#root, end, key)).catch((error: unknown) => {
        if (!isAbsent(error)) throw error
      })
    }
  }

  /** Ascending. A `.locks` that cannot be read is an error and not an absence of locks. */
  async #ends(): Promise<string[]> {
    try {
      return (await readdir(this.#root)).filter((name) => END.test(name)).sort()
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return []
      throw error
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (isAbsent(error)) return false
    throw error
  }
}

const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')

/** File systems whose server, not this host, dates new files: NFS, SMB, CIFS, SMB2 (statfs(2), linux/magic.h). */
const DATED_BY_A_SERVER: ReadonlySet<number> = new Set([0x6969, 0x517b, 0xff534d42, 0xfe534d42])

/** The clock of the file server that holds `folder`; undefined where that is this host, or cannot be written. */
export async function fileServerTime(
  folder: string,
  datedByServer: ReadonlySet<number> = DATED_BY_A_SERVER,
): Promise<number | undefined> {
  if (!datedByServer.has((await statfs(folder)).type)) return undefined
  const path = join(folder, `.tmp-${toHex(systemRandom.bytes(8))}`)
  const file = await open(path, 'wx', 0o600)
  try {
    return Math.floor((await file.stat()).mtimeMs)
  } finally {
    await file.close()
    await unlink(path)
  }
}
