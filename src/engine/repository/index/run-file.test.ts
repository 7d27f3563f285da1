import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { must, SeededRandom } from '#base'
import type { ChunkId } from '../crypto.ts'
import { filterBytesFor, IdFilter } from './id-filter.ts'
import { freshFolder, randomLocation, removeFolders, sortedEntries } from './index-cache.rig.ts'
import { type ChunkLocation, openRun, RunReader, writeRun } from './run-file.ts'

after(removeFolders)
const random = new SeededRandom(21)
const randomId = (): ChunkId => random.bytes(32) as ChunkId

async function runOf(
  list: readonly (readonly [ChunkId, ChunkLocation])[],
): Promise<{ path: string; reader: RunReader }> {
  const path = join(await freshFolder(), 'run-0000000000000000.idx')
  await writeRun(path, sortedEntries(list))
  return { path, reader: new RunReader(must(openRun(path), 'A run that was just written opens')) }
}

test('A run gives every location of every id it was given, and none of others', async () => {
  for (const count of [0, 1, 84, 85, 86, 1000]) {
    const list: [ChunkId, ChunkLocation][] = []
    for (let i = 0; i < count; i += 1) list.push([randomId(), randomLocation(random)])
    const [twin] = list
    // One id with more copies than a page holds: its locations go on over page borders.
    if (twin !== undefined) for (let i = 0; i < 100; i += 1) list.push([twin[0], randomLocation(random)])
    const { reader } = await runOf(list)
    for (const [id] of list) {
      const expected = list.filter(([other]) => Buffer.compare(other, id) === 0).map(([, location]) => location)
      const byPlace = (a: ChunkLocation, b: ChunkLocation): number => a.offset - b.offset
      assert.deepEqual(reader.find(id).sort(byPlace), expected.sort(byPlace))
    }
    for (let i = 0; i < 200; i += 1) assert.deepEqual(reader.find(randomId()), [])
    assert.equal([...reader.entries()].length, list.length)
    reader.close()
  }
})

test('openRun() of a missing, cut or changed head, fence or filter is undefined', async () => {
  const { path, reader } = await runOf(Array.from({ length: 200 }, () => [randomId(), randomLocation(random)]))
  reader.close()
  const bytes = await readFile(path)
  assert.equal(openRun(`${path}.none`), undefined)
  for (const length of [0, 1, 4095, 4096, bytes.length - 1]) {
    await writeFile(path, bytes.subarray(0, length))
    assert.equal(openRun(path), undefined)
  }
  for (const at of [0, 9, 16, 20, 4095, 4 * 4096 + 1, bytes.length - 5, bytes.length - 1]) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    await writeFile(path, changed)
    assert.equal(openRun(path), undefined, `byte ${at}`)
  }
})

test('A damaged page of a run is an error that says to run again, and the file is out of the way then', async () => {
  const id = randomId()
  const { path, reader } = await runOf([[id, randomLocation(random)]])
  const bytes = await readFile(path)
  bytes[4096 + 40] = (bytes[4096 + 40] ?? 0) ^ 1
  await writeFile(path, bytes)
  assert.throws(() => reader.find(id), { code: 'index_damaged', retry: 'now' })
  assert.ok(!existsSync(path))
  reader.close()
})

test('IdFilter knows every id that was added and mistakes less than 2 % of others', () => {
  for (const count of [1, 10, 10_000]) {
    const filter = new IdFilter(new Uint8Array(filterBytesFor(count)))
    const ids = Array.from({ length: count }, randomId)
    for (const id of ids) filter.add(id)
    assert.ok(ids.every((id) => filter.mayHave(id)))
    const mistaken = Array.from({ length: 5000 }, randomId).filter((id) => filter.mayHave(id)).length
    assert.ok(mistaken < 100, `${mistaken} of 5000`)
  }
})
