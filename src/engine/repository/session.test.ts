import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { KIB, ManualClock, SeededRandom } from '#base'
import type { PointRecord } from './point.ts'
import { Repository } from './repository.ts'
import { MemoryStore } from './stores/memory-store.ts'

const credential = { kind: 'passphrase', passphrase: 'correct horse' } as const
const HOUR_MS = 60 * 60_000

const record = (id: string): PointRecord => ({
  schema: 1,
  id,
  machine: 'web1',
  takenAt: '',
  consistency: 'crash',
  notes: [],
  mode: 'full',
  disks: [],
  attachments: [],
  writer: 'w',
})
const pack = (digit: string): { name: string; lengthBytes: number } => ({ name: digit.repeat(64), lengthBytes: 10 })

test('a backup that stood still while others pruned what it had stored, and the log forgot it, stores that again and loses nothing', async () => {
  const cacheFolder = await mkdtemp(join(tmpdir(), 'hf-session-'))
  try {
    const clock = new ManualClock()
    const store = new MemoryStore({ name: 'test' })
    const environmentOf = (writer: string) => ({
      clock,
      random: new SeededRandom(writer.length),
      cacheFolder: join(cacheFolder, writer),
      writer,
    })
    const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
    await Repository.init(store, { credential, chunkSizeBytes: 64 * KIB, kdfCost }, environmentOf('first'))
    const slow = await Repository.open(store, credential, environmentOf('slow'))
    const pruner = await Repository.open(store, credential, environmentOf('pruner'))

    const session = await slow.beginSession('backup of web1')
    const [stored, later] = [pack('a'), pack('b')] // nobody has named `stored` in the log yet: to a prune it is a stray
    clock.advance(2 * HOUR_MS)
    await pruner.log.append(() => ({ fields: { tombstones: [stored.name] } }))
    const deleted = await pruner.log.append(() => ({ fields: { deletions: [stored.name] } }))
    await pruner.log.append(() => ({ fields: { compact: deleted } }))

    await session.keepAlive()
    await slow.log.refresh()
    assert.equal(slow.log.state.isDeleted(stored.name), false, 'the log remembers nothing of it')
    assert.equal(session.isRemembered(slow.log.state), false)
    const commit = (packs: (typeof stored)[]) =>
      session.commit([{ record: record('1'.repeat(32)), packs, reliesOn: [] }])
    await assert.rejects(commit([stored, later]), { code: 'packs_deleted' })

    clock.advance(2 * HOUR_MS)
    await session.keepAlive()
    await assert.rejects(commit([stored]), { code: 'packs_deleted' }, 'a second pin makes it no younger either')

    await session.beginAgain()
    await commit([later])
    assert.deepEqual(
      slow.points().map(({ id }) => id),
      ['1'.repeat(32)],
    )
    await slow.close()
  } finally {
    await rm(cacheFolder, { recursive: true })
  }
})
