import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock, must } from '#base'
import { DAY_MS, openStore, prune, Repository } from '#engine/repository'
import { COPY_CATALOG_JOB, MIRROR_VAULT_JOB, SET_IMMUTABILITY_JOB } from '#jobs'
import { systemClock } from '#runtime'
import { VAULT, VaultWorld } from './vault-world.ts'

const LOCKED = { immutability: { state: 'Locked', days: 30 } } as const

async function keysOf(folder: string): Promise<string[]> {
  const store = await openStore(folder)
  const keys: string[] = []
  for await (const { key } of store.list('')) keys.push(key)
  await store.close()
  return keys
}

test('With a locked vault nothing removes a point before its time: no forget, no prune, no clock, no deletion of the vault, on neither side', async () => {
  const world = await VaultWorld.make(LOCKED)
  try {
    const set = await world.run(SET_IMMUTABILITY_JOB, { vault: VAULT })
    assert.equal(set.status, 'succeeded', set.error?.message)
    const point = await world.addPoint(1, { lockMs: 90 * DAY_MS })
    const other = await world.addPoint(2)
    await world.run(COPY_CATALOG_JOB, { vault: VAULT })
    const mirrored = await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    assert.equal(mirrored.status, 'succeeded', mirrored.error?.message)
    for (const folder of [world.vaultFolder, world.mirrorFolder]) {
      const store = await openStore(folder)
      const isMark = (key: string): boolean => key === 'mirror' || key.startsWith('checkpoints/')
      const held = (await keysOf(folder)).filter((key) => /^(config|keys\/|packs\/)/.test(key) && !isMark(key))
      assert.ok(held.length > 3)
      for (const key of held) await assert.rejects(store.delete(key), { code: 'blob_locked' }, key)
      await store.close()
    }
    await world.withVault(world.vaultFolder, async (repository) => {
      for (const { id } of [point, other]) await assert.rejects(repository.forget([id]), { code: 'point_locked' })
      for (const policy of [
        { state: 'disabled', days: 0 },
        { state: 'unlocked', days: 30 },
        { state: 'locked', days: 29 },
      ] as const)
        await assert.rejects(repository.immutability.setPolicy(policy), { code: 'immutability_locked' })
      const report = await prune(repository, world.host)
      assert.equal(report.deleted, 0)
    })
    await wrongClock(world, point.id)
    await world.withVault(world.vaultFolder, async (repository) => {
      for (const { id } of [point, other]) await world.assertRestores(repository, id)
    })
    await world.withVault(world.mirrorFolder, async (mirror) => {
      for (const { id } of [point, other]) await world.assertRestores(mirror, id)
    })
  } finally {
    await world.close()
  }
})

/** As a host whose clock says that a hundred years have passed. */
async function wrongClock(world: VaultWorld, id: string): Promise<void> {
  const clock = new ManualClock(systemClock.nowMs() + 36_500 * DAY_MS)
  const store = await openStore(world.vaultFolder)
  const repository = await Repository.open(store, { kind: 'key-file', bytes: world.key }, { ...world.host, clock })
  try {
    await assert.rejects(repository.forget([id]), { code: 'point_locked' })
    await assert.rejects(prune(repository, { ...world.host, clock }), { code: 'clock_doubted' })
    assert.ok(must(repository.log.state.lockedUntilMs(id), 'It is locked') > systemClock.nowMs())
  } finally {
    await repository.close()
  }
}

test('An unlocked vault may be taken back, and what was locked stays locked; a locked one may not', async () => {
  const world = await VaultWorld.make({ immutability: { state: 'Unlocked', days: 3 } })
  try {
    await world.run(SET_IMMUTABILITY_JOB, { vault: VAULT })
    const point = await world.addPoint(1)
    await world.withVault(world.vaultFolder, async (repository) => {
      assert.deepEqual(repository.log.state.immutability, { state: 'unlocked', days: 3 })
      await repository.immutability.setPolicy({ state: 'disabled', days: 0 })
      await assert.rejects(repository.forget([point.id]), { code: 'point_locked' })
    })
  } finally {
    await world.close()
  }
})
