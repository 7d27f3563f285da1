/** What the tests of immutability share: a repository on a store that can lock, this host's clock and the true time. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ManualClock, SeededRandom } from '#base'
import { type BlockSource, MemoryDevice, stampedBytes } from '#engine/block'
import {
  type BlobStore,
  DAY_MS,
  FolderStore,
  MemoryStore,
  type PointRecord,
  prune,
  type PruneReport,
  Repository,
} from '#engine/repository'
import { backUp, type BackupDisk } from './backup.ts'
import { restoreDisk } from './restore.ts'

const CHUNK = 64 * 1024
const CHUNKS = 12
export const CREDENTIAL = { kind: 'passphrase', passphrase: 'correct horse' } as const
const COST = { memoryKib: 8, passes: 1, parallelism: 1 }

/** server: locks are kept by a server with a clock of its own. host: by this host's. folder: likewise, on a real one. */
export type Kind = 'server' | 'host' | 'folder'
export const KINDS: readonly Kind[] = ['server', 'host', 'folder']

const folders: string[] = []
export async function removeFolders(): Promise<void> {
  for (const folder of folders) await rm(folder, { recursive: true })
}
/** Caches are synced at every save: a folder in memory is as good for them, where there is one. */
async function newFolder(parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()): Promise<string> {
  const folder = await mkdtemp(join(parent, 'holdfast-locks-'))
  folders.push(folder)
  return folder
}

type Clocks = Readonly<{ host: ManualClock; server: ManualClock }>

async function storeOf(kind: Kind, { host, server }: Clocks): Promise<BlobStore> {
  if (kind === 'folder') return FolderStore.open(await newFolder(tmpdir()), { clock: host })
  return kind === 'server' ? new MemoryStore({ clock: server }) : new MemoryStore({ clock: host, clockOf: 'host' })
}

/** A disk whose chunks carry these versions; the others are zeros. */
export function contentOf(versions: Readonly<Record<number, number>>): Uint8Array {
  const bytes = new Uint8Array(CHUNKS * CHUNK)
  for (const [chunk, version] of Object.entries(versions)) {
    const offset = Number(chunk) * CHUNK
    bytes.set(stampedBytes({ disk: 1, version }, offset, CHUNK), offset)
  }
  return bytes
}

export type BackupWish = Readonly<{
  lockDays?: number
  expiresInDays?: number
  parent?: PointRecord
  changed?: number[]
  /** Happens once, when the disk is first read. */
  meanwhile?: () => Promise<unknown>
}>

function sourceOf(content: Uint8Array, meanwhile: () => Promise<unknown> = async () => {}): BlockSource {
  const device = MemoryDevice.from(content)
  let done: Promise<unknown> | undefined
  const read = async (offset: number, into: Uint8Array): Promise<void> => {
    done ??= meanwhile()
    await done
    await device.read(offset, into)
  }
  return {
    sizeBytes: device.sizeBytes,
    parallelism: device.parallelism,
    extents: (offset, length) => device.extents(offset, length),
    close: () => device.close(),
    read,
  }
}

export class LockLab {
  /** What this host believes; a test makes it jump. */
  readonly host = new ManualClock()
  /** The true time, which a store's server knows. */
  readonly server = new ManualClock()
  readonly random = new SeededRandom(3)

  static async make(kind: Kind): Promise<{ lab: LockLab; repository: Repository; store: BlobStore }> {
    const lab = new LockLab()
    const store = await storeOf(kind, lab)
    const environment = await lab.#environment()
    await Repository.init(store, { credential: CREDENTIAL, chunkSizeBytes: CHUNK, kdfCost: COST }, environment)
    return { lab, store, repository: await Repository.open(store, CREDENTIAL, environment) }
  }

  /** As another user, or one whose cache is lost, opens it. */
  async open(store: BlobStore): Promise<Repository> {
    return Repository.open(store, CREDENTIAL, await this.#environment())
  }

  async #environment() {
    return { clock: this.host, random: this.random, cacheFolder: await newFolder(), writer: 'test' }
  }

  /** Time passes, for everyone. */
  pass(days: number): void {
    this.host.advance(days * DAY_MS)
    this.server.advance(days * DAY_MS)
  }

  /** Time passes as where something is written every day. */
  async live(repository: Repository, days: number): Promise<void> {
    for (let day = 0; day < days; day += 1) {
      this.pass(1)
      await repository.log.append(() => ({ fields: {} }))
    }
  }

  /** Backs the disk up; an incremental when `parent` is given, of the `changed` chunks. In packs of three chunks. */
  async backUp(repository: Repository, content: Uint8Array, wish: BackupWish = {}): Promise<PointRecord> {
    const { parent, changed = [], lockDays, expiresInDays } = wish
    const changes: BackupDisk['changes'] =
      parent?.disks[0] === undefined
        ? { kind: 'all', reason: 'test' }
        : {
            kind: 'since',
            dirty: changed.map((chunk) => ({ offset: chunk * CHUNK, length: CHUNK })),
            parent: parent.disks[0],
          }
    const source = { opened: sourceOf(content, wish.meanwhile) }
    const disk: BackupDisk = { id: 'd', lun: 0, format: 'raw', sizeBytes: content.length, source, changes }
    const { store } = repository
    const input = {
      machine: 'm',
      takenAtMs: this.host.nowMs(),
      consistency: 'crash',
      notes: [],
      disks: [disk],
      ...(parent === undefined ? {} : { parentPoint: parent.id }),
      ...(lockDays === undefined ? {} : { lockMs: lockDays * DAY_MS }),
      ...(expiresInDays === undefined ? {} : { expiresAtMs: this.host.nowMs() + expiresInDays * DAY_MS }),
    } as const
    const options = { store, clock: this.host, random: this.random, writer: 'test', packBytesTarget: 3 * CHUNK }
    return backUp(repository, input, options)
  }

  prune(repository: Repository): Promise<PruneReport> {
    return prune(repository, { clock: this.host, random: this.random }, { wasteShareMax: 0 })
  }

  async assertRestores(repository: Repository, point: PointRecord, expected: Uint8Array): Promise<void> {
    const [disk] = point.disks
    assert(disk)
    const target = new MemoryDevice(disk.virtualSizeBytes)
    await restoreDisk(repository, disk, { opened: target }, { store: repository.store, clock: this.host })
    assert.equal(Buffer.compare(target.toBytes(), expected), 0, 'what is restored is what was backed up')
  }
}

/** All keys that the store refuses to delete; those that it does not are gone after this. */
export async function deleteEverything(store: BlobStore): Promise<{ held: string[]; gone: string[] }> {
  const [held, gone, keys]: [string[], string[], string[]] = [[], [], []]
  for await (const { key } of store.list('')) keys.push(key)
  for (const key of keys) {
    const deleted = await store.delete(key).then(
      () => true,
      () => false,
    )
    ;(deleted ? gone : held).push(key)
  }
  return { held, gone }
}
