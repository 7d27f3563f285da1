import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { cp, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { must, SeededRandom } from '#base'
import {
  Catalog,
  changeVaultPoint,
  findResource,
  findSetting,
  listProtectedItems,
  listRegions,
  listVaultPoints,
} from '#catalog'
import { FaultyStore, Mirror, openStore } from '#engine/repository'
import {
  CATALOG_HISTORY,
  COPY_CATALOG_JOB,
  MIRROR_VAULT_JOB,
  vaultBackingOf,
  vaultKeyPath,
  vaultRepository,
} from '#jobs'
import { openHome, recover } from '#server'
import { systemClock, systemRandom } from '#runtime'
import { ITEM, SUBSCRIPTION, TENANT, UID, VAULT, VaultWorld } from './vault-world.ts'

const source = { clock: systemClock, random: systemRandom }

const HOUR_MS = 3_600_000

async function softDelete(world: VaultWorld, pointId: string, purgeAtMs: number): Promise<void> {
  const [point] = await listVaultPoints(world.catalog, { itemKey: ITEM.toLowerCase(), pointId })
  const { itemKey, name } = must(point, 'The point is on record')
  const softDeletedMs = systemClock.nowMs()
  await world.catalog.write((trx) => changeVaultPoint(trx, itemKey, name, { softDeletedMs, purgeAtMs }))
}

/** The key is kept elsewhere; then the first region's home and store are gone. */
async function loseFirstRegion(world: VaultWorld): Promise<string> {
  const key = join(world.folder, 'safe.key')
  await writeFile(key, world.key)
  await rename(world.east, join(world.folder, 'gone-east'))
  await rename(world.home, join(world.folder, 'gone-home'))
  return key
}

test('The first region is lost in mid-backup and mid-mirroring: all that was mirrored is restored from the second alone', async () => {
  const world = await VaultWorld.make()
  try {
    const [one, two] = [await world.addPoint(1), await world.addPoint(2)]
    const untold = await world.addPoint(6, { isUntold: true })
    const unknown = await world.addPoint(7, { isUntold: true, isUnrecorded: true })
    await softDelete(world, two.id, systemClock.nowMs() + HOUR_MS)
    assert.equal((await world.run(COPY_CATALOG_JOB, { vault: VAULT })).status, 'succeeded')
    const three = await world.addPoint(3)
    assert.equal((await world.run(MIRROR_VAULT_JOB, { vault: VAULT })).status, 'succeeded')
    // Another backup lands and is not on record yet; the mirroring of it dies in its first writes.
    const four = await world.addPoint(4, { isUnrecorded: true })
    await world.withVault(world.vaultFolder, async (repository) => {
      const target = new FaultyStore(await openStore(world.mirrorFolder))
      target.crashAfter(1, new SeededRandom(1))
      const mirror = await Mirror.open({ ...world.host, source: repository.store, target, repository })
      await assert.rejects(mirror.pass(), { code: 'store_unavailable' })
    })
    const shown = (await world.points()).filter(({ mirroredMs }) => mirroredMs !== undefined)
    assert.deepEqual(shown.map(({ pointId }) => pointId).sort(), [one.id, two.id, untold.id, three.id].sort())
    await world.engine.stop()
    const key = await loseFirstRegion(world)
    const fresh = openHome(join(world.folder, 'new-home'))
    const wish = { from: [world.west], keyFiles: [key], promote: false }
    const recovered = await recover(fresh, wish, source)
    assert.deepEqual(
      recovered.vaults.map(({ uid, location, isMirror, promoted }) => [uid, location, isMirror, promoted]),
      [[UID, world.mirrorFolder, true, false]],
    )
    assert.ok(recovered.catalogOf !== undefined)
    assert.equal(recovered.notes.length, 1, 'the catalog knows the other point that does not say whose it is')
    assert.match(recovered.notes.join(), new RegExp(`${unknown.id} .* says not whose it is`))
    assert.deepEqual(recovered.home.identity, { tenantId: TENANT, subscriptionId: SUBSCRIPTION })
    const catalog = await Catalog.open(fresh.catalog, systemClock)
    try {
      const vault = must(await findResource(catalog, VAULT), 'The vault is there')
      assert.deepEqual([vaultBackingOf(vault).location, vaultBackingOf(vault).mirror], [world.mirrorFolder, undefined])
      assert.ok((await findResource(catalog, `${VAULT}/backupPolicies/DefaultPolicy`)) !== undefined)
      assert.ok((await listRegions(catalog)).some(({ name }) => name === 'east'))
      const [item] = await listProtectedItems(catalog, { vaultKey: vault.key })
      assert.deepEqual([item?.id, item?.state, item?.nextDueMs], [ITEM, 'ProtectionStopped', undefined])
      const points = await listVaultPoints(catalog, { vaultKey: vault.key })
      const ids = new Set(points.map(({ pointId }) => pointId))
      for (const { pointId } of shown) assert.ok(ids.has(pointId), 'nothing that was shown as mirrored is missing')
      assert.ok(!ids.has(four.id) || points.length === 5)
      const deleted = points.find(({ pointId }) => pointId === two.id)
      assert.ok(deleted?.softDeletedMs !== undefined)
      const hours = ((deleted.purgeAtMs ?? 0) - systemClock.nowMs()) / HOUR_MS
      assert.ok(hours > 13 * 24, 'what was deleted is not purged before somebody has looked')
      const parts = { catalog, keysFolder: join(fresh.folder, 'keys'), host: world.host }
      const { access } = await vaultRepository(parts, VAULT)
      assert.equal(access.store, world.mirrorFolder)
      await world.withVault(access.store, async (repository) => {
        for (const { pointId } of points) await world.assertRestores(repository, pointId)
        await assert.rejects(repository.beginSession('a backup'), { code: 'repository_is_mirror' })
      })
    } finally {
      await catalog.close()
    }
  } finally {
    await world.close()
  }
})

test('Without any copy of the catalog vault, item and points come from the points themselves; with --promote they may be backed up again', async () => {
  const world = await VaultWorld.make()
  try {
    const [one, two] = [await world.addPoint(1), await world.addPoint(2)]
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    const names = (await world.points()).map(({ name }) => name)
    await world.engine.stop()
    const key = await loseFirstRegion(world)
    const fresh = openHome(join(world.folder, 'new-home'))
    const recovered = await recover(fresh, { from: [world.west], keyFiles: [key], promote: true }, source)
    assert.deepEqual([recovered.catalogOf, recovered.vaults[0]?.promoted], [undefined, true])
    assert.deepEqual(recovered.records, { vaults: 1, policies: 0, items: 1, points: 2, jobs: 0, fromPoints: 2 })
    const catalog = await Catalog.open(fresh.catalog, systemClock)
    try {
      assert.equal(await findSetting(catalog, 'subscription'), SUBSCRIPTION)
      const points = await listVaultPoints(catalog, { vaultKey: VAULT.toLowerCase() })
      assert.deepEqual(points.map(({ pointId }) => pointId).sort(), [one.id, two.id].sort())
      assert.deepEqual(points.map(({ name }) => name).sort(), names.sort())
      await world.withVault(world.mirrorFolder, async (repository) => {
        await repository.forget([one.id])
        await world.assertRestores(repository, two.id)
      })
    } finally {
      await catalog.close()
    }
    await assert.rejects(recover(fresh, { from: [world.west], keyFiles: [key], promote: true }, source), {
      code: 'home_not_empty',
    })
  } finally {
    await world.close()
  }
})

test('recover() finds the vault and its mirror as one, and refuses a key that opens nothing and a place without vaults', async () => {
  const world = await VaultWorld.make()
  try {
    await world.addPoint(1)
    await world.run(COPY_CATALOG_JOB, { vault: VAULT })
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    await world.engine.stop()
    const key = vaultKeyPath(join(world.home, 'keys'), UID)
    const wrong = join(world.folder, 'wrong.key')
    await writeFile(wrong, Buffer.alloc(32, 3))
    const fresh = openHome(join(world.folder, 'new-home'))
    for (const wish of [
      { from: [world.west], keyFiles: [wrong], promote: false },
      { from: [join(world.folder, 'home')], keyFiles: [key], promote: false },
    ])
      await assert.rejects(recover(fresh, wish, source), { code: 'nothing_to_recover' })
    const copied = join(world.folder, 'copied')
    await cp(world.east, copied, { recursive: true })
    const twins = { from: [world.east, copied], keyFiles: [key], promote: false }
    await assert.rejects(recover(fresh, twins, source), { code: 'recover_ambiguous' })
    assert.ok(!existsSync(fresh.catalog), 'nothing was made')
    // The mirror has a copy of the catalog that the vault has no more.
    await world.withVault(world.vaultFolder, (repository) =>
      repository.forget(repository.points().flatMap(({ id, machine }) => (machine === CATALOG_HISTORY ? [id] : []))),
    )
    const wish = { from: [world.east, world.west], keyFiles: [wrong, key], promote: false }
    const { vaults, catalogOf } = await recover(fresh, wish, source)
    assert.ok(catalogOf !== undefined)
    assert.deepEqual(
      vaults.map(({ location, isMirror }) => [location, isMirror]),
      [[world.vaultFolder, false]],
    )
    const catalog = await Catalog.open(fresh.catalog, systemClock)
    try {
      const vault = must(await findResource(catalog, VAULT), 'The vault is there')
      assert.deepEqual(vaultBackingOf(vault).mirror, { region: 'west', location: world.mirrorFolder })
    } finally {
      await catalog.close()
    }
  } finally {
    await rm(join(world.folder, 'new-home'), { recursive: true, force: true })
    await world.close()
  }
})
