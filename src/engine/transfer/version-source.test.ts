import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { MIB, must, SeededRandom } from '#base'
import { backUpBytes, CHUNK, freshRepository, removeFolders, stamp } from './backup.rig.ts'
import { openVersion } from './version-source.ts'

after(removeFolders)

test('openVersion() gives the bytes of the point at any offset and length, concurrently, with a cache that is far too small', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(33 * MIB + 512)
  stamp(bytes, 0, 7 * MIB, 1)
  stamp(bytes, 20 * MIB + 4096, 9 * MIB, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const source = await openVersion(repository, must(point.disks[0], 'one disk'), { store, cacheBytes: 4 * CHUNK })
  const random = new SeededRandom(11)
  const reads = Array.from({ length: 200 }, async (_, i) => {
    const offset = random.below(bytes.length - 1)
    const length = Math.min(bytes.length - offset, 1 + random.below(i % 10 === 0 ? 3 * MIB : 70_000))
    const into = new Uint8Array(length)
    await source.read(offset, into)
    assert.equal(Buffer.compare(into, bytes.subarray(offset, offset + length)), 0, `read of ${length} at ${offset}`)
  })
  await Promise.all(reads)
  await source.close()
  await repository.close()
})

test('openVersion() tells holes from data, so that whoever copies from it skips what was never written', async () => {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(40 * MIB)
  stamp(bytes, 5 * CHUNK, CHUNK, 1)
  stamp(bytes, 33 * MIB, CHUNK, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const source = await openVersion(repository, must(point.disks[0], 'one disk'), { store })
  const data = (await source.extents(0, bytes.length)).filter(({ kind }) => kind === 'data')
  assert.deepEqual(
    data.map(({ offset, length }) => [offset, length]),
    [
      [5 * CHUNK, CHUNK],
      [33 * MIB, CHUNK],
    ],
  )
  await source.close()
  await repository.close()
})
