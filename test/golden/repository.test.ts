/** Every golden repository is opened, verified and restored by the program as it is now. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ManualClock, must, SeededRandom } from '#base'
import { MemoryDevice } from '#engine/block'
import { type ContentHash, FolderStore, type PointRecord, Repository } from '#engine/repository'
import { restoreDisk, verifyWithKey, verifyWithoutKey } from '#engine/transfer'
import { dumpGoldenCheckpoint, dumpGoldenEntry, dumpGoldenPack } from '../../tools/format-dump.ts'

const HERE = new URL('.', import.meta.url).pathname
const folder = await mkdtemp(join(tmpdir(), 'holdfast-golden-'))
after(() => rm(folder, { recursive: true }))
const clock = new ManualClock()
const random = new SeededRandom(1)

async function sumsOf(repository: Repository, point: PointRecord): Promise<Record<string, string>> {
  const sums: Record<string, string> = {}
  for (const disk of point.disks) {
    const target = new MemoryDevice(disk.virtualSizeBytes)
    await restoreDisk(repository, disk, { opened: target }, { store: repository.store, clock })
    sums[`disk ${disk.lun}`] = createHash('sha256').update(target.toBytes()).digest('hex')
  }
  const reader = await repository.chunkReader()
  for (const { name, chunks } of point.attachments) {
    const sum = createHash('sha256')
    for (const chunk of chunks) sum.update(await reader.read(Buffer.from(chunk, 'hex') as Uint8Array as ContentHash))
    sums[name] = sum.digest('hex')
  }
  return sums
}

const goldens = (await readdir(HERE)).filter((name) => name.startsWith('format-'))

test('There is a golden repository', () => assert.ok(goldens.length > 0))

for (const golden of goldens) {
  test(`The golden repository ${golden} opens, verifies and gives back every point as it was`, async () => {
    const copy = join(folder, golden)
    await cp(join(HERE, golden, 'repository'), copy, { recursive: true })
    const store = await FolderStore.open(copy)
    const environment = { clock, random, cacheFolder: join(folder, 'cache'), writer: 'test' }
    const credential = { kind: 'passphrase', passphrase: 'golden, and not secret' } as const
    const repository = await Repository.open(store, credential, environment)
    assert.deepEqual((await verifyWithKey(repository, { store })).damage, [])
    assert.deepEqual((await verifyWithoutKey(store, environment, { store })).damage, [])
    const expected = JSON.parse(await readFile(join(HERE, golden, 'sums.json'), 'utf8')) as unknown
    const found: Record<string, unknown> = {}
    for (const point of repository.points())
      found[must(point.notes[0], 'Golden points carry their names')] = await sumsOf(repository, point)
    assert.deepEqual(found, expected)
    await repository.close()
  })
}

for (const [document, dump] of [
  ['pack.md', dumpGoldenPack()],
  ['log.md', dumpGoldenEntry()],
  ['checkpoint.md', dumpGoldenCheckpoint()],
] as const) {
  test(`docs/format/${document} shows the bytes of the golden repository as they are`, async () => {
    const text = await readFile(join(HERE, '../../docs/format', document), 'utf8')
    assert.ok(text.includes(`\`\`\`\n${dump}\n\`\`\`\n`), 'print the dumps with "script/node tools/format-dump.ts"')
  })
}
