/** Every golden repository is opened, verified and restored by the program as it is now. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ManualClock, must, SeededRandom } from '#base'
import { MemoryDevice, stampedBytes } from '#engine/block'
import { type ContentHash, type Credential, FolderStore, type PointRecord, prune, Repository } from '#engine/repository'
import { backUp, restoreDisk, verifyWithKey, verifyWithoutKey } from '#engine/transfer'
import { goldenDumps } from '../../tools/format-dump.ts'
import { blockSum } from '../../tools/golden-disk.ts'

const HERE = new URL('.', import.meta.url).pathname
const folder = await mkdtemp(join(tmpdir(), 'holdfast-golden-'))
after(() => rm(folder, { recursive: true }))
const clock = new ManualClock()
const random = new SeededRandom(1)

async function sumsOf(
  repository: Repository,
  point: PointRecord,
  sumOf: (disk: MemoryDevice) => string | Promise<string>,
): Promise<Record<string, string>> {
  const sums: Record<string, string> = {}
  for (const disk of point.disks) {
    const target = new MemoryDevice(disk.virtualSizeBytes)
    await restoreDisk(repository, disk, { opened: target }, { store: repository.store, clock })
    sums[`disk ${disk.lun}`] = await sumOf(target)
  }
  const reader = await repository.chunkReader()
  for (const { name, chunks } of point.attachments) {
    const sum = createHash('sha256')
    for (const chunk of chunks) sum.update(await reader.read(Buffer.from(chunk, 'hex') as Uint8Array as ContentHash))
    sums[name] = sum.digest('hex')
  }
  return sums
}

const byteSum = (disk: MemoryDevice): string => createHash('sha256').update(disk.toBytes()).digest('hex')

/** By golden repository: how its disks are summed up, and what opens it. */
const GOLDENS: Readonly<
  Record<string, readonly [sumOf: (disk: MemoryDevice) => string | Promise<string>, ...Credential[]]>
> = {
  'format-1-draft': [byteSum, { kind: 'passphrase', passphrase: 'golden, and not secret' }],
  'format-1': [
    blockSum,
    { kind: 'passphrase', passphrase: 'golden, and not secret' },
    { kind: 'passphrase', passphrase: 'zwölf goldene Boxkämpfer'.normalize('NFD') },
    { kind: 'key-file', bytes: Buffer.from('golden key file: forty bytes, not secret') },
  ],
}

const goldens = (await readdir(HERE)).filter((name) => name.startsWith('format-'))

test('Every golden repository is opened by these tests', () => assert.deepEqual(goldens.sort(), Object.keys(GOLDENS).sort()))

for (const [golden, [sumOf, ...credentials]] of Object.entries(GOLDENS)) {
  test(`The golden repository ${golden} opens, verifies and gives back every point as it was`, async () => {
    const copy = join(folder, golden)
    await cp(join(HERE, golden, 'repository'), copy, { recursive: true })
    const store = await FolderStore.open(copy)
    const environment = { clock, random, cacheFolder: join(folder, 'cache'), writer: 'test' }
    for (const credential of credentials) await (await Repository.open(store, credential, environment)).index()
    const repository = await Repository.open(store, must(credentials[0], 'One at least'), environment)
    assert.deepEqual((await verifyWithKey(repository, { store })).damage, [])
    assert.deepEqual((await verifyWithoutKey(store, environment, { store })).damage, [])
    const expected = JSON.parse(await readFile(join(HERE, golden, 'sums.json'), 'utf8')) as unknown
    const found: Record<string, unknown> = {}
    for (const point of repository.points())
      found[must(point.notes[0], 'Golden points carry their names')] = await sumsOf(repository, point, sumOf)
    assert.deepEqual(found, expected)
    await repository.close()
  })
}

for (const [golden, [sumOf, credential]] of Object.entries(GOLDENS)) {
  test(`The golden repository ${golden} is backed up into and pruned as it is, and gives back all of it then`, async () => {
    const path = join(folder, `${golden}-written`)
    await cp(join(HERE, golden, 'repository'), path, { recursive: true })
    const config = await readFile(join(path, 'config'))
    const time = new ManualClock()
    const store = await FolderStore.open(path, { clock: time })
    const environment = { clock: time, random, cacheFolder: join(folder, 'written'), writer: 'test' }
    const repository = await Repository.open(store, must(credential, 'One at least'), environment)
    time.jumpTo(repository.log.state.time.observedMs + 2 * 3600_000)
    const device = MemoryDevice.from(stampedBytes({ disk: 40, version: 1 }, 0, 300_032))
    const source = { opened: device }
    const changes = { kind: 'all', reason: 'first_backup' } as const
    const disk = { id: 'late', lun: 0, format: 'raw', sizeBytes: device.sizeBytes, source, changes }
    await backUp(
      repository,
      { machine: 'late', takenAtMs: time.nowMs(), consistency: 'crash', notes: ['written'], disks: [disk] },
      { store, clock: time, random, writer: 'test' },
    )
    await prune(repository, { clock: time, random }, { wasteShareMax: 0 })
    const again = await Repository.open(store, must(credential, 'One at least'), environment)
    assert.deepEqual((await verifyWithKey(again, { store })).damage, [])
    assert.deepEqual((await verifyWithoutKey(store, environment, { store })).damage, [])
    const expected = JSON.parse(await readFile(join(HERE, golden, 'sums.json'), 'utf8')) as Record<string, unknown>
    expected['written'] = { 'disk 0': await sumOf(device) }
    const found: Record<string, unknown> = {}
    for (const point of again.points()) found[point.notes[0] ?? ''] = await sumsOf(again, point, sumOf)
    assert.deepEqual(found, expected)
    assert.deepEqual(await readFile(join(path, 'config')), config, 'a draft keeps its name')
  })
}

for (const [i, [document, dump]] of (await goldenDumps()).entries()) {
  test(`dump ${i}: docs/format/${document} shows the bytes of the golden repository as they are`, async () => {
    const text = await readFile(join(HERE, '../../docs/format', document), 'utf8')
    assert.ok(text.includes(`\`\`\`\n${dump}\n\`\`\`\n`), 'print the dumps with "script/node tools/format-dump.ts"')
  })
}
