import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MIB, must, SeededRandom } from '#base'
import type { BlockSource, Loan } from '#engine/block'
import { type MemoryStore, openStore, Repository } from '#engine/repository'
import { backUpBytes, CHUNK, credential, environmentOf, freshRepository, removeFolders, stamp } from './backup.rig.ts'
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

/** A disk with data, holes and an end that is no whole chunk. */
async function openStamped(
  cacheBytes: number,
): Promise<{ source: BlockSource; bytes: Uint8Array; store: MemoryStore; end: () => Promise<void> }> {
  const { repository, store } = await freshRepository()
  const bytes = new Uint8Array(12 * MIB + 512)
  stamp(bytes, 0, 3 * MIB, 1)
  stamp(bytes, 5 * MIB + 4096, 7 * MIB - 4096 + 512, 1)
  const point = await backUpBytes(repository, store, bytes, { kind: 'all', reason: 'first_backup' })
  const source = await openVersion(repository, must(point.disks[0], 'one disk'), { store, cacheBytes })
  const end = async (): Promise<void> => {
    await source.close()
    await repository.close()
  }
  return { source, bytes, store, end }
}

function assertLent(loan: Loan, expected: Uint8Array, what: string): void {
  assert.equal(Buffer.compare(Buffer.concat(loan.parts), expected), 0, what)
}

test('lend() gives the bytes of the point, of any offset and length, and they stay while others read and the cache turns over', async () => {
  const { source, bytes, end } = await openStamped(24 * CHUNK)
  const random = new SeededRandom(12)
  const loans: { loan: Loan; offset: number; length: number }[] = []
  const seen = { atOnce: 0, later: 0, refused: 0 }
  const check = ({ loan, offset, length }: { loan: Loan; offset: number; length: number }): void =>
    assertLent(loan, bytes.subarray(offset, offset + length), `loan of ${length} at ${offset}`)
  for (let i = 0; i < 600; i += 1) {
    const offset = random.below(bytes.length - 1)
    const length = Math.min(bytes.length - offset, 1 + random.below(random.pick([700, 5000, 4 * CHUNK])))
    const lent = source.lend?.(offset, length)
    if (lent === undefined) {
      seen.refused += 1
      const into = new Uint8Array(length)
      await source.read(offset, into)
      assert.equal(Buffer.compare(into, bytes.subarray(offset, offset + length)), 0)
    } else {
      if (lent instanceof Promise) seen.later += 1
      else seen.atOnce += 1
      const loan = { loan: await lent, offset, length }
      check(loan)
      loans.push(loan)
    }
    // Some are kept for long, so that now and then nothing more is lent.
    while (loans.length > 0 && random.chance(lent === undefined ? 0.9 : 0.4)) {
      const [given] = loans.splice(random.below(loans.length), 1)
      if (given === undefined) break
      check(given)
      given.loan.release()
    }
  }
  for (const loan of loans) {
    check(loan)
    loan.loan.release()
  }
  for (const [way, count] of Object.entries(seen)) assert.ok(count > 20, `${way}: ${count}`)
  await end()
})

test('lend() never holds more than half of the cache, so that whoever reads goes on; what is given back is lent again', async () => {
  const { source, bytes, end } = await openStamped(8 * CHUNK)
  const loans: Loan[] = []
  for (let chunk = 0; chunk < 8; chunk += 1) {
    const lent = await source.lend?.(chunk * CHUNK, CHUNK)
    if (lent !== undefined) loans.push(lent)
  }
  assert.equal(loans.length, 4)
  assert.equal(source.lend?.(0, 512), undefined)
  const into = new Uint8Array(bytes.length)
  await source.read(0, into)
  assert.equal(Buffer.compare(into, bytes), 0)
  loans.forEach((loan, i) => {
    assertLent(loan, bytes.subarray(i * CHUNK, (i + 1) * CHUNK), `loan ${i} after everything was read`)
    loan.release()
  })
  const again = await source.lend?.(4 * MIB - 100, 200)
  assertLent(must(again, 'Lent again'), bytes.subarray(4 * MIB - 100, 4 * MIB + 100), 'in a hole')
  again?.release()
  await end()
})

test('A damaged chunk fails the reads of it, lent or copied, and no others; nothing stays lent', async () => {
  const { source, bytes, store, end } = await openStamped(8 * CHUNK)
  const packs: string[] = []
  for await (const { key } of store.list('packs/')) packs.push(key)
  const at = CHUNK // inside of a chunk of the first pack, whatever its order
  const pack = must(packs[0], 'A pack')
  const original = await store.get(pack)
  const damaged = original.slice()
  damaged[at] = (damaged[at] ?? 0) ^ 1
  await store.delete(pack)
  await store.put(pack, [damaged])
  const failed: number[] = []
  for (let offset = 0; offset < bytes.length; offset += CHUNK) {
    const length = Math.min(CHUNK, bytes.length - offset)
    try {
      const loan = must(await source.lend?.(offset, length), 'Nothing is lent for long here')
      assertLent(loan, bytes.subarray(offset, offset + length), `chunk at ${offset}`)
      loan.release()
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'chunk_corrupt')
      failed.push(offset)
      await assert.rejects(source.read(offset, new Uint8Array(1)), { code: 'chunk_corrupt' })
    }
  }
  assert.equal(failed.length, 1, `failed at ${failed.join(', ')}`)
  await assert.rejects(source.read(0, new Uint8Array(bytes.length)), { code: 'chunk_corrupt' })
  await store.delete(pack)
  await store.put(pack, [original])
  const into = new Uint8Array(bytes.length)
  await source.read(0, into)
  assert.equal(Buffer.compare(into, bytes), 0, 'what is mended is read again')
  await end()
})

test('openVersion() with threads decodes into memory that they share with the reader', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  const { store: memory, repository: made } = await freshRepository()
  const bytes = new Uint8Array(6 * MIB)
  stamp(bytes, MIB, 4 * MIB + 512, 3)
  await backUpBytes(made, memory, bytes, { kind: 'all', reason: 'first_backup' })
  await made.close()
  const descriptor = { kind: 'folder', path: folder } as const
  const store = await openStore(descriptor, { create: true })
  for await (const { key } of memory.list('')) await store.put(key, [await memory.get(key)])
  const repository = await Repository.open(store, credential, await environmentOf())
  const point = must(repository.points()[0], 'One point')
  const source = await openVersion(repository, must(point.disks[0], 'one disk'), { store: descriptor, threads: 2 })
  const random = new SeededRandom(13)
  const check = async (): Promise<void> => {
    const offset = random.below(bytes.length - 1)
    const length = Math.min(bytes.length - offset, 1 + random.below(5 * CHUNK))
    const expected = bytes.subarray(offset, offset + length)
    const loan = await source.lend?.(offset, length)
    const into = new Uint8Array(length)
    if (loan === undefined) await source.read(offset, into)
    assertLent(loan ?? { parts: [into], release: () => {} }, expected, `${length} at ${offset}`)
    loan?.release()
  }
  try {
    await Promise.all(Array.from({ length: 100 }, check))
  } finally {
    await source.close()
  }
  await repository.close()
  await store.close()
  await rm(folder, { recursive: true })
})
