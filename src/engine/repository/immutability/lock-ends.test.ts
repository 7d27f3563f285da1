import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openLog, PACK } from '../log/log.rig.ts'
import { packKeyOf } from '../pack-format.ts'
import { MemoryStore } from '../stores/memory-store.ts'
import { LockEnds } from './lock-ends.ts'

const EVERY = 4

test('What was locked is still known behind a checkpoint, and not where the log became another', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-lock-ends-'))
  try {
    const store = new MemoryStore()
    const log = await openLog(store, { entriesMin: EVERY })
    await log.append(() => ({ fields: { packs: [PACK('a')] } }))
    const key = packKeyOf(PACK('a').name)
    const first = await LockEnds.open(folder, 'here', log)
    for (const one of ['config', 'log/000000000001', key]) first.note(one, 50)
    await first.save(log)
    for (let i = 0; i < 2 * EVERY; i += 1) await log.append(() => ({ fields: {} }))
    const later = await openLog(store, { entriesMin: EVERY })
    assert.ok(later.from > 1 && later.hashOf(1) === undefined, 'the entry was not read')
    const again = await LockEnds.open(folder, 'here', later)
    for (const one of ['config', 'log/000000000001', key]) assert.ok(again.isLocked(one, 50), one)
    assert.deepEqual(later.damage, [])
    const other = await openLog(new MemoryStore(), { seed: 2 })
    for (let i = 0; i < 3; i += 1) await other.append(() => ({ fields: {} }))
    for (const [place, its] of [
      ['here', other],
      ['there', later],
    ] as const)
      assert.equal((await LockEnds.open(folder, place, its)).isLocked('config', 50), false)
    assert.deepEqual(other.damage, [])
  } finally {
    await rm(folder, { recursive: true })
  }
})
