/**
 * Disks and versions that are open for reading by URL: opened at the first read of a key, kept a while after the last one,
 * closed at once when the access is revoked. Reading an image holds QEMU's lock, so a machine cannot start on it meanwhile.
 */
import { Buffer } from 'node:buffer'
import { type BlockSource, exportImage, makeFixedVhdFooter } from '#engine/block'
import { openVersion } from '#engine/transfer'
import { MIB } from '#base'
import { JobsError } from '../errors.ts'
import { type RepositoryHost, withRepository } from '../repository-access.ts'
import type { ByteSource } from './bytes.ts'
import { allowedBacking } from './image/base-place.ts'

/** Memory of one open version; ranges of a download come mostly in order. */
const CACHE_BYTES = 32 * MIB
const OPEN_MAX = 24
const IDLE_MS = 15_000

export type OpenSource = Readonly<{ source: BlockSource; footer: Uint8Array; close: () => Promise<void> }>
type Entry = { readonly opened: Promise<OpenSource>; users: number; idle: NodeJS.Timeout | undefined; isOver: boolean }

export class OpenSources {
  readonly #host: RepositoryHost
  readonly #entries = new Map<string, Entry>()

  constructor(host: RepositoryHost) {
    this.#host = host
  }

  /** Gives the source to `use`; it stays open meanwhile. @throws JobsError, BlockError, RepositoryError */
  async with<T>(wanted: ByteSource, use: (opened: OpenSource) => Promise<T>): Promise<T> {
    const entry = this.#entries.get(wanted.key) ?? this.#open(wanted)
    entry.users += 1
    clearTimeout(entry.idle)
    try {
      return await use(await entry.opened)
    } finally {
      entry.users -= 1
      if (entry.users === 0) this.#rest(wanted.key, entry)
    }
  }

  /** Closes what is open for the key once its reads have ended. */
  async release(key: string): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    entry.isOver = true
    if (entry.users === 0) await close(entry)
  }

  async closeAll(): Promise<void> {
    for (const key of Array.from(this.#entries.keys())) await this.release(key)
  }

  #open(wanted: ByteSource): Entry {
    if (this.#entries.size >= OPEN_MAX)
      throw new JobsError('reads_too_many', `${OPEN_MAX} disks are being read by URL already.`, { retry: 'later' })
    const opened = open(wanted, this.#host)
    const entry: Entry = { opened, users: 0, idle: undefined, isOver: false }
    this.#entries.set(wanted.key, entry)
    opened.catch(() => {
      // Whoever reads hears of it; the next one opens anew.
      if (this.#entries.get(wanted.key) === entry) this.#entries.delete(wanted.key)
    })
    return entry
  }

  #rest(key: string, entry: Entry): void {
    if (entry.isOver) return void close(entry)
    entry.idle = setTimeout(() => {
      if (entry.users > 0 || this.#entries.get(key) !== entry) return
      this.#entries.delete(key)
      void close(entry)
    }, IDLE_MS).unref()
  }
}

/** Nothing is written by reading: a failure to close loses nothing. */
async function close(entry: Entry): Promise<void> {
  clearTimeout(entry.idle)
  await entry.opened
    .then(
      (opened) => opened.close(),
      () => undefined,
    )
    .catch(() => undefined)
}

async function open(wanted: ByteSource, host: RepositoryHost): Promise<OpenSource> {
  const { vhd, sizeBytes, bytes } = wanted
  const footer = makeFixedVhdFooter(sizeBytes, Buffer.from(vhd.id.replaceAll('-', ''), 'hex'), vhd.createdMs)
  const opened = bytes.kind === 'disk' ? await openDisk(bytes) : await openPointDisk(bytes, host)
  if (opened.source.sizeBytes === sizeBytes) return { ...opened, footer }
  await opened.close()
  throw new JobsError('disk_not_there', 'The disk has another size than its record says.', {
    facts: { sizeBytes, foundBytes: opened.source.sizeBytes },
  })
}

type Opened = Omit<OpenSource, 'footer'>

async function openDisk(bytes: ByteSource['bytes'] & { kind: 'disk' }): Promise<Opened> {
  const { client, close } = await exportImage(bytes.path, bytes.format, {
    connections: 2,
    ...allowedBacking(bytes.path),
  })
  return { source: client, close }
}

/** The repository stays open, with its pin, until the source is closed. */
function openPointDisk(bytes: ByteSource['bytes'] & { kind: 'version' }, host: RepositoryHost): Promise<Opened> {
  const ready = Promise.withResolvers<Opened>()
  const closing = Promise.withResolvers<void>()
  const over = withRepository(bytes.access, host, async (repository, store) => {
    const reading = await repository.beginReading('reading by URL')
    try {
      const disk = repository.findPoint(bytes.point).disks.find(({ id }) => id === bytes.disk)
      if (disk === undefined)
        throw new JobsError('disk_not_there', `The point ${bytes.point} holds no disk ${bytes.disk}.`)
      const source = await openVersion(repository, disk, { store, cacheBytes: CACHE_BYTES })
      const close = async (): Promise<void> => {
        closing.resolve()
        await over
      }
      ready.resolve({ source, close })
      await closing.promise
      await source.close()
    } finally {
      await reading?.end()
    }
  })
  over.catch((error: unknown) => ready.reject(error))
  return ready.promise
}
