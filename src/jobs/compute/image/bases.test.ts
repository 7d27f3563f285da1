import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { CHUNK_BYTES_DEFAULT, MIB } from '#base'
import { createQcow2Overlay, MemoryDevice, stampedBytes } from '#engine/block'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { backUp } from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import type { RepositoryAccess } from '../../repository-access.ts'
import { baseOf } from './base-place.ts'
import { Bases, basesOfOverlays, type BaseToMake } from './bases.ts'

const SIZE = 3 * MIB
const how = { signal: new AbortController().signal, progress: () => undefined }

let folder = ''
let access: RepositoryAccess
const host = { clock: systemClock, random: systemRandom, cacheFolder: '', writer: 'test' }
const content = stampedBytes({ disk: 7, version: 1 }, 0, SIZE)
const version = { region: 'here', point: '', disk: 'disk-7' }

async function makeVersion(): Promise<string> {
  const path = join(folder, 'key')
  await writeFile(path, systemRandom.bytes(32))
  access = { store: join(folder, 'store'), credential: { kind: 'key-file', path } }
  const descriptor = parseStoreLocation(access.store)
  const store = await openStore(descriptor, { create: true })
  const credential = { kind: 'key-file' as const, bytes: await readFile(path) }
  const hosted = { ...host, cacheFolder: join(folder, 'cache') }
  await Repository.init(store, { credential, chunkSizeBytes: CHUNK_BYTES_DEFAULT }, hosted)
  const repository = await Repository.open(store, credential, hosted)
  const opened = new MemoryDevice(SIZE)
  await opened.write(0, content)
  const changes = { kind: 'all' as const, reason: 'first_backup' }
  const disk = { id: version.disk, lun: 0, format: 'raw', sizeBytes: SIZE, source: { opened }, changes }
  const input = { machine: 'm', takenAtMs: 0, consistency: 'crash' as const, notes: [], disks: [disk] }
  const { id } = await backUp(repository, input, { store, ...hosted })
  await repository.close()
  return id
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-bases-'))
  Object.assign(host, { cacheFolder: join(folder, 'cache') })
  Object.assign(version, { point: await makeVersion() })
})
after(() => rm(folder, { recursive: true, force: true }))

let pools = 0
async function pool(): Promise<Readonly<{ path: string; base: BaseToMake; bases: Bases; name: string }>> {
  const path = join(folder, `pool-${(pools += 1)}`)
  for (const part of ['disks', 'bases']) await mkdir(join(path, part), { recursive: true })
  const { file } = baseOf(path, version)
  const base = { file, pool: { path, reserveBytes: 0 }, access, version }
  return { path, base, bases: new Bases(host), name: file.slice(file.lastIndexOf('/') + 1) }
}

async function bytesOf(image: string): Promise<Buffer> {
  await checkCommand('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, `${image}.raw`])
  const bytes = await readFile(`${image}.raw`)
  await rm(`${image}.raw`)
  return bytes
}

test('using() makes a base once for all who need it at once, whole and read-only', async () => {
  const { path, base, bases, name } = await pool()
  await writeFile(join(path, 'bases', `.making-${name}`), 'left by a crash')
  const seen = new Set<number>()
  const look = async (): Promise<void> => void seen.add((await stat(base.file)).ino)
  await Promise.all(Array.from({ length: 8 }, () => bases.using(base, how, look)))
  assert.equal(seen.size, 1, 'one file')
  assert.deepEqual(await readdir(join(path, 'bases')), [name], 'and no draft')
  assert.equal((await stat(base.file)).mode & 0o777, 0o444)
  assert.ok(content.equals(await bytesOf(base.file)))
})

test('using() makes it when who began was cancelled, and fails alone when it cannot be made', async () => {
  const { base, bases } = await pool()
  const gone = new AbortController()
  const first = bases.using(base, { ...how, signal: gone.signal }, () => Promise.resolve('first'))
  const second = bases.using(base, how, () => Promise.resolve('second'))
  gone.abort(new Error('cancelled'))
  const [one, other] = await Promise.allSettled([first, second])
  assert.ok(one.status === 'rejected' || one.value === 'first', 'it may have been made before')
  assert.deepEqual(other, { status: 'fulfilled', value: 'second' })
  const none = { ...base, file: `${base.file.slice(0, -6)}x.qcow2`, version: { ...version, disk: 'none' } }
  await assert.rejects(
    bases.using(none, how, () => Promise.resolve()),
    { code: 'disk_not_there' },
  )
})

test('remove() takes no base that is being used or that an overlay names, and takes it afterwards', async () => {
  const { path, base, bases, name } = await pool()
  const overlay = join(path, 'disks', 'a.qcow2')
  await bases.using(base, how, async () => {
    assert.equal(await bases.remove(path, name), false, 'while it is being used')
    await createQcow2Overlay(overlay, SIZE, { path: base.file, format: 'qcow2' })
  })
  assert.deepEqual(await basesOfOverlays(path), new Set([name]))
  assert.equal(await bases.remove(path, name), false, 'while an overlay names it')
  assert.ok(content.equals(await bytesOf(overlay)))
  await rm(overlay)
  assert.equal(await bases.remove(path, name), true)
  await assert.rejects(stat(base.file), { code: 'ENOENT' })
  assert.equal(await bases.remove(path, name), true, 'doing it again is as good')
})

test('removing and using at once never leave an overlay without its base', async () => {
  const { path, base, bases, name } = await pool()
  for (let round = 0; round < 20; round += 1) {
    const overlay = join(path, 'disks', `r${round}.qcow2`)
    const make = bases.using(base, how, () => createQcow2Overlay(overlay, SIZE, { path: base.file, format: 'qcow2' }))
    const removals = [bases.remove(path, name), Promise.resolve().then(() => bases.remove(path, name))]
    await Promise.all([make, ...removals])
    assert.ok((await stat(base.file)).isFile(), `round ${round}`)
    await rm(overlay)
    if (round % 2 === 0) assert.equal(await bases.remove(path, name), true)
  }
})

test('remove() removes nothing while a disk of the pool cannot be read', async () => {
  const { path, base, bases, name } = await pool()
  await bases.using(base, how, () => Promise.resolve())
  const broken = join(path, 'disks', 'b.qcow2')
  await createQcow2Overlay(broken, SIZE, { path: base.file, format: 'qcow2' })
  const bytes = await readFile(broken)
  bytes.writeUInt32BE(99, 20) // An impossible cluster size.
  await writeFile(broken, bytes)
  await assert.rejects(bases.remove(path, name), { code: 'image_invalid' })
  assert.ok((await stat(base.file)).isFile())
})
