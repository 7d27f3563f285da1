import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { KIB, MIB, must, SeededRandom } from '#base'
import type { ByteRange } from '#engine/block'
import { contentHash, type DiskRecord, isDelta, type Repository } from '#engine/repository'
import { backUpBytes, CHUNK, freshRepository, removeFolders, stamp } from './backup.rig.ts'
import { sampleChunks, sampleCount } from './guard-sample.ts'

after(removeFolders)

/** The tree has chunks 0 to 199 and the short last one. */
const TREE_CHUNKS = 200
const SIZE = 20 * MIB + 1536
const LAST = Math.floor(SIZE / CHUNK)
/** What two cycles of small writes lie over: chunks of the tree, one that it has as a hole, and the last one. */
const OVERLAID = [3, 4, 7, 150, 199, 260, LAST]

async function versionWithDeltas(): Promise<{ repository: Repository; disk: DiskRecord; bytes: Uint8Array }> {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(SIZE)
  stamp(bytes, 0, TREE_CHUNKS * CHUNK, 1)
  stamp(bytes, LAST * CHUNK, 1536, 1)
  let point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  for (const version of [2, 3]) {
    const dirty = OVERLAID.map((chunk): ByteRange => ({ offset: chunk * CHUNK + 512 * version, length: 512 }))
    const inside = dirty.map(({ offset }) => ({ offset: Math.min(offset, SIZE - 512), length: 512 }))
    for (const { offset, length } of inside) stamp(bytes, offset, length, version)
    bytes.fill(0, 4 * CHUNK + 8 * KIB, 4 * CHUNK + 12 * KIB)
    const zeroed = { offset: 4 * CHUNK + 8 * KIB, length: 4 * KIB }
    const changed = [...inside, zeroed].sort((a, b) => a.offset - b.offset)
    const parent = must(point.disks[0], 'One disk')
    point = await backUpBytes(repository, store, bytes, { kind: 'since', dirty: changed, parent }, point.id)
  }
  const disk = must(point.disks[0], 'One disk')
  assert.ok(isDelta(disk.root) && disk.root.delta === 2)
  return { repository, disk, bytes }
}

test('sampleChunks() names chunks by what the version holds, those under delta nodes too, and has looked at all in the end', async () => {
  const { repository, disk, bytes } = await versionWithDeltas()
  const reader = await repository.chunkReader()
  const seen = new Set<number>()
  const random = new SeededRandom(4)
  for (let turn = 0; turn < 260; turn += 1) {
    const sample = await sampleChunks((content) => reader.read(content), disk, [], { turn, random })
    assert.ok(sample.length > 0 && sample.length <= sampleCount(disk) + 1)
    for (const { chunk, content } of sample) {
      const expected = contentHash(bytes.subarray(chunk * CHUNK, (chunk + 1) * CHUNK))
      assert.equal(Buffer.compare(content, expected), 0, `chunk ${chunk} in turn ${turn}`)
      seen.add(chunk)
    }
  }
  for (const chunk of OVERLAID) assert.ok(seen.has(chunk), `chunk ${chunk} was looked at`)
  for (let chunk = 0; chunk < TREE_CHUNKS; chunk += 1) assert.ok(seen.has(chunk), `chunk ${chunk} was looked at`)
})

test('sampleChunks() leaves out what is dirty, under delta nodes and beside them', async () => {
  const { repository, disk } = await versionWithDeltas()
  const reader = await repository.chunkReader()
  const dirty = [{ offset: 0, length: 160 * CHUNK }]
  for (let turn = 0; turn < 60; turn += 1) {
    const choice = { turn, random: new SeededRandom(turn) }
    for (const { chunk } of await sampleChunks((content) => reader.read(content), disk, dirty, choice))
      assert.ok(chunk >= 160, `chunk ${chunk} in turn ${turn}`)
  }
})
