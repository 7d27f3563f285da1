/** What the tests of this part share: a repository in memory, disks whose sectors say where they belong. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KIB, ManualClock, SeededRandom } from '#base'
import { type BlockSource, MemoryDevice } from '#engine/block'
import { MemoryStore, type PointRecord, Repository, type RepositoryEnvironment } from '#engine/repository'
import { backUp, type BackupDisk, type BackupInput } from './backup.ts'
import { restoreDisk } from './restore.ts'

export const clock = new ManualClock()
export const random = new SeededRandom(7)
const folders: string[] = []
export async function removeFolders(): Promise<void> {
  for (const folder of folders) await rm(folder, { recursive: true })
}

export const CHUNK = 64 * KIB
export const credential = { kind: 'passphrase', passphrase: 'correct horse' } as const

export const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }

export type Rig = Readonly<{
  repository: Repository
  store: MemoryStore
  reopen: (passphrase?: string) => Promise<Repository>
}>

export async function environmentOf(): Promise<RepositoryEnvironment> {
  const cacheFolder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  folders.push(cacheFolder)
  return { clock, random, cacheFolder, writer: 'test' }
}

export async function freshRepository(): Promise<Rig> {
  const environment = await environmentOf()
  const store = new MemoryStore({ name: 'test' })
  await Repository.init(store, { credential, chunkSizeBytes: CHUNK, kdfCost }, environment)
  const reopen = async (passphrase: string = credential.passphrase): Promise<Repository> =>
    Repository.open(store, { kind: 'passphrase', passphrase }, await environmentOf())
  return { repository: await Repository.open(store, credential, environment), store, reopen }
}

/** Sectors that say where they belong: disk, sector, version. */
export function stamp(bytes: Uint8Array, offset: number, length: number, version: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  for (let at = offset; at < offset + length; at += 512) {
    for (let word = 0; word < 512; word += 16) {
      view.setUint32(at + word, 0xd15c0000)
      view.setUint32(at + word + 4, at / 512)
      view.setUint32(at + word + 8, version)
      view.setUint32(at + word + 12, Math.imul(at + word, 2654435761) ^ version)
    }
  }
}

export async function deviceOf(bytes: Uint8Array): Promise<MemoryDevice> {
  const device = new MemoryDevice(bytes.length)
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const part = bytes.subarray(at, Math.min(at + CHUNK, bytes.length))
    if (part.some((byte) => byte !== 0)) await device.write(at, part)
  }
  return device
}

/** The device, with something that happens before every read: a colleague at work, a long stop. */
function withPause(device: MemoryDevice, beforeRead: () => Promise<void> = async () => {}): BlockSource {
  return {
    sizeBytes: device.sizeBytes,
    parallelism: device.parallelism,
    extents: (offset, length) => device.extents(offset, length),
    close: () => device.close(),
    read: async (offset, into) => {
      await beforeRead()
      await device.read(offset, into)
    },
  }
}

export async function backUpBytes(
  repository: Repository,
  store: MemoryStore,
  bytes: Uint8Array,
  changes: BackupDisk['changes'],
  parentPoint?: string,
  beforeRead?: () => Promise<void>,
): Promise<PointRecord> {
  const disk: BackupDisk = {
    id: 'd1',
    lun: 0,
    format: 'raw',
    sizeBytes: bytes.length,
    source: { opened: withPause(await deviceOf(bytes), beforeRead) },
    changes,
  }
  const input: BackupInput = {
    machine: 'm',
    takenAtMs: clock.nowMs(),
    consistency: 'crash',
    notes: [],
    disks: [disk],
    ...(parentPoint === undefined ? {} : { parentPoint }),
  }
  return backUp(repository, input, { store, clock, random, writer: 'test' })
}

export async function assertRestores(
  repository: Repository,
  store: MemoryStore,
  point: PointRecord,
  expected: Uint8Array,
): Promise<void> {
  const [disk] = point.disks
  assert(disk)
  const target = new MemoryDevice(disk.virtualSizeBytes)
  await restoreDisk(repository, disk, { opened: target }, { store, clock })
  const restored = new Uint8Array(disk.virtualSizeBytes)
  await target.read(0, restored)
  assert.equal(Buffer.compare(restored, expected), 0, 'the restored disk equals what was backed up')
}
