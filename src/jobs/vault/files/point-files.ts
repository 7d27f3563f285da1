/**
 * The worker's side of files of recovery points: points whose disks are open as file systems, opened at the first request of a key
 * and kept a while after the last one. What is open holds a pin of the repository, so that prune takes nothing of it.
 */
import type { BlockSource } from '#engine/block'
import type { PointRecord, Repository, StoreDescriptor } from '#engine/repository'
import { openVersion } from '#engine/transfer'
import { isHoldfastError, MIB } from '#base'
import { JobsError } from '../../errors.ts'
import { inputInvalid, type RepositoryHost, withRepository } from '../../repository-access.ts'
import type { PointPlace } from '../point-source.ts'
import type { FilesOf } from './file-service.ts'
import { openVolumes, type Volumes } from './volumes.ts'

const CACHE_BYTES = 64 * MIB
const OPEN_MAX = 8
const IDLE_MS = 60_000
const PIN_EVERY_MS = 60_000

type Opened = Readonly<{ volumes: Volumes; close: () => Promise<void> }>
type Entry = { readonly opened: Promise<Opened>; users: number; idle: NodeJS.Timeout | undefined; isOver: boolean }

export class PointFiles {
  readonly #host: RepositoryHost
  readonly #entries = new Map<string, Entry>()

  constructor(host: RepositoryHost) {
    this.#host = host
  }

  /** Gives the point's volumes to `use`; they stay open meanwhile. @throws JobsError, RepositoryError, TransferError */
  async with<T>(of: FilesOf, use: (volumes: Volumes) => Promise<T>): Promise<T> {
    const entry = this.#entries.get(of.key) ?? this.#open(of)
    entry.users += 1
    clearTimeout(entry.idle)
    try {
      return await use((await entry.opened).volumes)
    } finally {
      entry.users -= 1
      if (entry.users === 0) this.#rest(of.key, entry)
    }
  }

  async release(key: string): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    entry.isOver = true
    if (entry.users === 0) await closeEntry(entry)
  }

  async closeAll(): Promise<void> {
    for (const key of Array.from(this.#entries.keys())) await this.release(key)
  }

  #open(of: FilesOf): Entry {
    if (this.#entries.size >= OPEN_MAX)
      throw new JobsError('reads_too_many', `Files of ${OPEN_MAX} recovery points are being read already.`, {
        retry: 'later',
      })
    const opened = openPoint(of, this.#host)
    const entry: Entry = { opened, users: 0, idle: undefined, isOver: false }
    this.#entries.set(of.key, entry)
    opened.catch(() => {
      // Whoever asks hears of it; the next one opens anew.
      if (this.#entries.get(of.key) === entry) this.#entries.delete(of.key)
    })
    return entry
  }

  #rest(key: string, entry: Entry): void {
    if (entry.isOver) return void closeEntry(entry)
    entry.idle = setTimeout(() => {
      if (entry.users > 0 || this.#entries.get(key) !== entry) return
      this.#entries.delete(key)
      void closeEntry(entry)
    }, IDLE_MS).unref()
  }
}

/** Nothing is written by reading: a failure to close loses nothing. */
async function closeEntry(entry: Entry): Promise<void> {
  clearTimeout(entry.idle)
  await entry.opened
    .then(
      (opened) => opened.close(),
      () => undefined,
    )
    .catch(() => undefined)
}

async function openDisks(
  repository: Repository,
  store: StoreDescriptor,
  point: PointRecord,
  of: FilesOf,
): Promise<Map<string, BlockSource>> {
  const sources = new Map<string, BlockSource>()
  const cacheBytes = Math.max(4 * MIB, Math.floor(CACHE_BYTES / Math.max(1, of.disks.length)))
  try {
    for (const { id, name } of of.disks) {
      const disk = point.disks.find((one) => one.id === id)
      if (disk === undefined) throw new JobsError('disk_not_there', `The point ${point.id} holds no disk ${id}.`)
      sources.set(name, await openVersion(repository, disk, { store, cacheBytes, threads: 1 }))
    }
    return sources
  } catch (error) {
    for (const source of sources.values()) await source.close()
    throw error
  }
}

/** At the first of its places that can be opened. @throws the first one's error when none can */
async function openPoint(of: FilesOf, host: RepositoryHost): Promise<Opened> {
  let first: unknown = inputInvalid('places')
  for (const [at, place] of of.places.entries()) {
    try {
      return await openAt(place, of, host)
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      if (at === 0) first = error
    }
  }
  throw first
}

/** The repository stays open, with its pin, until it is closed. */
function openAt(place: PointPlace, of: FilesOf, host: RepositoryHost): Promise<Opened> {
  const ready = Promise.withResolvers<Opened>()
  const closing = Promise.withResolvers<void>()
  const over = withRepository(place.access, host, async (repository, store) => {
    const reading = await repository.beginReading('files of a recovery point')
    const renew = setInterval(() => {
      // Tried again at the next time; a pin holds for much longer than that.
      reading?.keepAlive().catch(() => undefined)
    }, PIN_EVERY_MS).unref()
    try {
      const sources = await openDisks(repository, store, repository.findPoint(place.point), of)
      try {
        const volumes = await openVolumes(sources)
        const close = async (): Promise<void> => {
          closing.resolve()
          await over
        }
        ready.resolve({ volumes, close })
        await closing.promise
      } finally {
        for (const source of sources.values()) await source.close()
      }
    } finally {
      clearInterval(renew)
      await reading?.end()
    }
  })
  over.catch((error: unknown) => ready.reject(error))
  return ready.promise
}
