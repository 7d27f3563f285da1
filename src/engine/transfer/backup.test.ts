import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { KIB, ManualClock, MIB, SeededRandom } from '#base'
import { MemoryDevice } from '#engine/block'
import { MemoryStore, type PointRecord, Repository } from '#engine/repository'
import { backUp, type BackupDisk, type BackupInput } from './backup.ts'
import { restoreDisk } from './restore.ts'

const clock = new ManualClock()
const random = new SeededRandom(7)
const folders: string[] = []
after(async () => {
  for (const folder of folders) await rm(folder, { recursive: true })
})

const CHUNK = 64 * KIB
const credential = { kind: 'passphrase', passphrase: 'correct horse' } as const

async function freshRepository(): Promise<{ repository: Repository; store: MemoryStore }> {
  const cacheFolder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  folders.push(cacheFolder)
  const store = new MemoryStore({ name: 'test' })
  const environment = { clock, random, cacheFolder, writer: 'test' }
  const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
  await Repository.init(store, { credential, chunkSizeBytes: CHUNK, kdfCost }, environment)
  return { repository: await Repository.open(store, credential, environment), store }
}

/** Sectors that say where they belong: disk, sector, version. */
function stamp(bytes: Uint8Array, offset: number, length: number, version: number): void {
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

async function deviceOf(bytes: Uint8Array): Promise<MemoryDevice> {
  const device = new MemoryDevice(bytes.length)
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const part = bytes.subarray(at, Math.min(at + CHUNK, bytes.length))
    if (part.some((byte) => byte !== 0)) await device.write(at, part)
  }
  return device
}

async function backUpBytes(
  repository: Repository,
  store: MemoryStore,
  bytes: Uint8Array,
  changes: BackupDisk['changes'],
  parentPoint?: string,
): Promise<PointRecord> {
  const disk: BackupDisk = {
    id: 'd1',
    lun: 0,
    format: 'raw',
    sizeBytes: bytes.length,
    source: { opened: await deviceOf(bytes) },
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

async function assertRestores(
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

test('backUp() keeps a disk with holes, an odd size and a short last chunk, and restoreDisk() gives it back exactly', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(37 * MIB + 3 * 512)
  stamp(bytes, 0, 3 * MIB, 1)
  stamp(bytes, 20 * MIB + 512, 5 * MIB, 1)
  stamp(bytes, bytes.length - 1024, 1024, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  assert.equal(point.mode, 'full')
  await assertRestores(repository, store, point, bytes)
  await repository.close()
})

test('backUp() of changes reads only the changed ranges and shares the rest with its parent', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(40 * MIB)
  stamp(bytes, 0, 30 * MIB, 1)
  const first = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  stamp(bytes, 4096, 8192, 2)
  stamp(bytes, 17 * MIB, CHUNK, 2)
  bytes.fill(0, 25 * MIB, 26 * MIB)
  const dirty = [
    { offset: 4096, length: 8192 },
    { offset: 17 * MIB, length: CHUNK },
    { offset: 25 * MIB, length: MIB },
  ]
  const [parent] = first.disks
  assert(parent)
  const second = await backUpBytes(repository, store, bytes, { kind: 'since', dirty, parent }, first.id)
  assert.equal(second.mode, 'incremental')
  assert.equal(second.disks[0]?.readBytes, 8192 + CHUNK + MIB)
  assert.ok((second.disks[0]?.newBytes ?? 0) < 3 * CHUNK, 'two chunks and their nodes are new')
  await assertRestores(repository, store, second, bytes)
  await repository.close()
})

test('backUp() of a scan finds unchanged chunks by hash and stores only what differs', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(20 * MIB)
  stamp(bytes, 0, 20 * MIB, 1)
  await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  stamp(bytes, 5 * MIB, 512, 2)
  const second = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'bitmap_missing' })
  assert.equal(second.mode, 'scan')
  assert.equal(second.disks[0]?.reason, 'bitmap_missing')
  assert.equal(second.disks[0]?.readBytes, 20 * MIB)
  assert.ok((second.disks[0]?.newBytes ?? 0) <= CHUNK + 32 * KIB)
  await assertRestores(repository, store, second, bytes)
  await repository.close()
})

test('backUp() follows a disk that grew: its old short last chunk and its new tail', async () => {
  const { repository, store } = await freshRepository()
  const before = new Uint8Array(16 * MIB + 512)
  stamp(before, 0, before.length, 1)
  const first = await backUpBytes(repository, store, before, { kind: 'all', reason: 'first_backup' })
  const grown = new Uint8Array(70 * MIB)
  grown.set(before)
  stamp(grown, 60 * MIB, 4096, 2)
  const [parent] = first.disks
  assert(parent)
  const second = await backUpBytes(repository, store, grown, { kind: 'since', dirty: [], parent }, first.id)
  await assertRestores(repository, store, second, grown)
  await assertRestores(repository, store, first, before)
  await repository.close()
})

test('Points survive reopening with a cold cache, and a wrong passphrase opens nothing', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(9 * MIB)
  stamp(bytes, MIB, 4 * MIB, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const cacheFolder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  folders.push(cacheFolder)
  const environment = { clock, random, cacheFolder, writer: 'test' }
  const again = await Repository.open(store, credential, environment)
  assert.deepEqual(again.findPoint('latest'), point)
  await assertRestores(again, store, point, bytes)
  await assert.rejects(Repository.open(store, { kind: 'passphrase', passphrase: 'wrong' }, environment), {
    code: 'key_wrong',
  })
})
