/**
 * A small healthy repository, the same bytes at every run, and what a test asks of it or of a damaged copy: which points
 * can be restored, what verify says with and without the key, whether a backup still goes.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isHoldfastError, ManualClock, must, SeededRandom } from '#base'
import { MemoryDevice, stampedBytes } from '#engine/block'
import {
  type BlobStore,
  MemoryStore,
  type PointRecord,
  Repository,
  type RepositoryEnvironment,
} from '#engine/repository'
import {
  backUp,
  type BackupDisk,
  restoreDisk,
  type VerifyReport,
  verifyWithKey,
  verifyWithoutKey,
} from '#engine/transfer'

export const CREDENTIAL = { kind: 'passphrase', passphrase: 'correct horse' } as const
const CHUNK = 64 * 1024
const folders: string[] = []

export async function removeFolders(): Promise<void> {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
}

/** A process with caches of its own, empty ones unless `cacheFolder` is given. */
export async function environmentOf(
  seed: number,
  cacheFolder?: string,
  entriesMin = 256,
): Promise<RepositoryEnvironment> {
  const folder = cacheFolder ?? (await mkdtemp(join(tmpdir(), 'holdfast-injury-')))
  folders.push(folder)
  return {
    clock: new ManualClock(1_800_000_000_000),
    random: new SeededRandom(seed),
    cacheFolder: folder,
    writer: 'test',
    checkpoints: { entriesMin },
  }
}

type Versions = Readonly<Record<number, number>>
/** What each point holds, by note: (machine, chunk -> version). */
const CONTENTS: Readonly<Record<string, readonly [machine: string, versions: Versions]>> = {
  'a-full': ['a', { 0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1 }],
  'a-incremental': ['a', { 0: 1, 1: 2, 2: 1, 3: 1, 4: 1, 5: 2, 6: 1, 9: 2 }],
  'b-full': ['b', { 0: 5, 2: 5, 4: 5, 6: 5, 8: 5 }],
  'a-scan': ['a', { 0: 3, 1: 2, 9: 2 }],
}

export function bytesOf(note: string): Uint8Array {
  const [machine, versions] = must(CONTENTS[note], 'A known note')
  const bytes = new Uint8Array(12 * CHUNK)
  for (const [chunk, version] of Object.entries(versions)) {
    const offset = Number(chunk) * CHUNK
    bytes.set(stampedBytes({ disk: machine === 'a' ? 1 : 2, version }, offset, CHUNK), offset)
  }
  return bytes
}

/** Backs the content of `note` up; `since` is the parent of an incremental. */
export async function backUpNote(
  repository: Repository,
  environment: RepositoryEnvironment,
  note: string,
  since?: PointRecord,
): Promise<PointRecord> {
  const [machine] = must(CONTENTS[note], 'A known note')
  const bytes = bytesOf(note)
  const dirty = [1, 5, 7, 9].map((chunk) => ({ offset: chunk * CHUNK, length: CHUNK }))
  const changes: BackupDisk['changes'] =
    since === undefined
      ? { kind: 'all', reason: note.endsWith('full') ? 'first_backup' : 'bitmap_missing' }
      : { kind: 'since', dirty, parent: must(since.disks[0], 'One disk') }
  const source = { opened: MemoryDevice.from(bytes) }
  const disk: BackupDisk = { id: machine, lun: 0, format: 'raw', sizeBytes: bytes.length, source, changes }
  const { clock, random, writer } = environment
  const input = { machine, takenAtMs: clock.nowMs(), consistency: 'crash', notes: [note], disks: [disk] } as const
  return backUp(repository, since === undefined ? input : { ...input, parentPoint: since.id }, {
    store: repository.store,
    clock,
    random,
    writer,
    packBytesTarget: 3 * CHUNK,
  })
}

/** The healthy repository. Log: pins at odd numbers, points at 2 (a-full), 4 (a-incremental), 6 (b-full), 8 (a-scan). */
export async function healthyStore(seed = 1, entriesMin = 256): Promise<MemoryStore> {
  const store = new MemoryStore({ name: `healthy-${seed}` })
  const environment = await environmentOf(seed, undefined, entriesMin)
  const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
  await Repository.init(store, { credential: CREDENTIAL, chunkSizeBytes: CHUNK, kdfCost }, environment)
  const repository = await Repository.open(store, CREDENTIAL, environment)
  const full = await backUpNote(repository, environment, 'a-full')
  await backUpNote(repository, environment, 'a-incremental', full)
  await backUpNote(repository, environment, 'b-full')
  await backUpNote(repository, environment, 'a-scan')
  await repository.close()
  return store
}

export async function open(store: BlobStore, cacheFolder?: string): Promise<Repository> {
  return Repository.open(store, CREDENTIAL, await environmentOf(77, cacheFolder))
}

/** Each point's note with 'ok', or the code that restoring it fails with. Wrong bytes are an exception. */
export async function restoreAll(repository: Repository): Promise<Map<string, string>> {
  const outcomes = new Map<string, string>()
  const { clock } = await environmentOf(3)
  for (const { disks, notes } of repository.points()) {
    const [note = ''] = notes
    const [disk] = disks
    const target = new MemoryDevice(12 * CHUNK)
    try {
      await restoreDisk(repository, must(disk, 'One disk'), { opened: target }, { store: repository.store, clock })
      if (Buffer.compare(target.toBytes(), bytesOf(note)) !== 0) throw new Error(`${note} was restored to wrong bytes`)
      outcomes.set(note, 'ok')
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      outcomes.set(note, error.code)
    }
  }
  return outcomes
}

export async function verifyBoth(store: BlobStore): Promise<{ withKey: VerifyReport; without: VerifyReport }> {
  const environment = await environmentOf(4)
  return {
    withKey: await verifyWithKey(await open(store), { store }),
    without: await verifyWithoutKey(store, environment, { store }),
  }
}

/** The notes of the points with these ids, sorted. */
export function notesOf(repository: Repository, ids: readonly string[]): string[] {
  return repository
    .points()
    .filter(({ id }) => ids.includes(id))
    .map(({ notes }) => notes[0] ?? '')
    .sort()
}
