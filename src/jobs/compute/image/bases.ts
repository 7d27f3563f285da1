/**
 * The bases of a worker's pools: versions of images as read-only files that disks are overlays on.
 *
 *   1 restore the version into a draft beside it, every chunk compared with its manifest as it is written; synced
 *   2 take the right to write to it away, give it its name, sync the folder
 *
 * A crash before 2 leaves a draft, which the next making or the sweep removes: a base that has its name is whole. Many who need
 * one at once wait for one making.
 *
 * A base is removed by `remove`, and never while an overlay rests on it: an overlay is written inside `using`, which keeps the
 * base, and `remove` looks at the headers of all overlays while nobody can begin to use it. (A draft of an overlay counts only
 * inside `using`: one that a crash left never becomes a disk.) A pool belongs to one worker (its home's lock), so this process's
 * memory is all that the two must share.
 */
import { chmod, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, isHoldfastError, MIB } from '#base'
import { readQcow2 } from '#engine/block'
import { restoreToQcow2 } from '#engine/transfer'
import type { VersionRef } from '#domain'
import { makeFolderDurable, syncFolder } from '#runtime'
import { JobsError } from '../../errors.ts'
import { type RepositoryAccess, type RepositoryHost, withRepository } from '../../repository-access.ts'
import type { TaskContext } from '../../tasks.ts'
import { DRAFT_PREFIX, isThere } from '../disk-files.ts'
import { checkRoom, type PoolPlace } from '../pool-room.ts'
import { basesFolder, disksFolder } from './base-place.ts'

const TABLES_BYTES = 4 * MIB
const READ_ONLY = 0o444

export type BaseToMake = Readonly<{
  file: string
  pool: PoolPlace
  access: RepositoryAccess
  version: Pick<VersionRef, 'point' | 'disk'>
}>

type How = Pick<TaskContext, 'signal' | 'progress'>

/** One of a worker. */
export class Bases {
  readonly #host: RepositoryHost
  readonly #users = new Map<string, number>()
  readonly #making = new Map<string, Promise<void>>()
  readonly #removing = new Map<string, Promise<boolean>>()

  constructor(host: RepositoryHost) {
    this.#host = host
  }

  /** Runs `use` while the base is there; made first when it is not. @throws what making raises, and `use` */
  async using<T>(base: BaseToMake, how: How, use: () => Promise<T>): Promise<T> {
    const { file } = base
    for (let removal = this.#removing.get(file); removal !== undefined; removal = this.#removing.get(file))
      await removal.catch(() => {
        // Whoever removes hears of it; the base is looked at next.
      })
    this.#users.set(file, (this.#users.get(file) ?? 0) + 1)
    try {
      await this.#ensure(base, how)
      return await use()
    } finally {
      const left = (this.#users.get(file) ?? 1) - 1
      if (left === 0) this.#users.delete(file)
      else this.#users.set(file, left)
    }
  }

  /** Removes the base unless an overlay rests on it or is being made. Whether it is gone. */
  async remove(poolPath: string, name: string): Promise<boolean> {
    const file = join(basesFolder(poolPath), name)
    const running = this.#removing.get(file)
    if (running !== undefined) return running
    if (this.#users.has(file)) return false
    const removal = removeUnused(poolPath, file)
    this.#removing.set(file, removal)
    try {
      return await removal
    } finally {
      this.#removing.delete(file)
    }
  }

  async #ensure(base: BaseToMake, how: How): Promise<void> {
    for (;;) {
      if (await isThere(base.file)) return
      const others = this.#making.get(base.file)
      if (others === undefined) break
      // Theirs may have been cancelled: then it is ours to make.
      await others.catch(() => undefined)
      how.signal.throwIfAborted()
    }
    const mine = makeBase(base, this.#host, how)
    this.#making.set(base.file, mine)
    try {
      await mine
    } finally {
      this.#making.delete(base.file)
    }
  }
}

async function makeBase(base: BaseToMake, host: RepositoryHost, how: How): Promise<void> {
  const { file, pool, access, version } = base
  const draft = join(dirname(file), `${DRAFT_PREFIX}${basename(file)}`)
  await makeFolderDurable(dirname(file))
  await rm(draft, { force: true })
  try {
    await withRepository(access, host, async (repository, store) => {
      const reading = await repository.beginReading('make a base')
      try {
        const disk = repository.findPoint(version.point).disks.find(({ id }) => id === version.disk)
        if (disk === undefined)
          throw new JobsError('disk_not_there', `The point ${version.point} holds no disk ${version.disk}.`)
        await checkRoom(pool, disk.usedBytes + TABLES_BYTES)
        await restoreToQcow2(repository, disk, draft, { store, clock: host.clock, ...how })
      } finally {
        await reading?.end()
      }
    })
    await chmod(draft, READ_ONLY)
    await rename(draft, file)
    await syncFolder(dirname(file))
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/** Names of bases that disks of the pool give in their headers. @throws when one cannot be read: then the answer is not known */
export async function basesOfOverlays(poolPath: string): Promise<Set<string>> {
  const folder = disksFolder(poolPath)
  const found = new Set<string>()
  for (const name of await namesIn(folder)) {
    if (!name.endsWith('.qcow2') || name.startsWith(DRAFT_PREFIX)) continue
    const backing = await backingOrNothing(join(folder, name))
    if (backing !== undefined && dirname(backing) === basesFolder(poolPath)) found.add(basename(backing))
  }
  return found
}

/** What is no image rests on nothing; nor does a file that went meanwhile. */
async function backingOrNothing(path: string): Promise<string | undefined> {
  try {
    return (await readQcow2(path)).backingFile
  } catch (error) {
    if (isHoldfastError(error, 'image_format_mismatch', 'image_not_found')) return undefined
    throw error
  }
}

export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

async function removeUnused(poolPath: string, file: string): Promise<boolean> {
  const used = await basesOfOverlays(poolPath)
  if (used.has(basename(file))) return false
  await rm(file, { force: true })
  await syncFolder(dirname(file)).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error
  })
  return true
}
