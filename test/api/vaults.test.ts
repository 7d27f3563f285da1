/** Vaults as az and the SDKs manage them: made, configured, deleted, kept as deleted ones, brought back. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { changeProtectedItem, findResource, listAlerts, listProtectedItems, updateResource } from '#catalog'
import { vaultBackingOf, vaultRepository } from '#jobs'
import { systemClock } from '#runtime'
import { type Answer, followed } from './api-world.ts'
import { failed, type Failure, type Vault, VaultsWorld, VERSION } from './vaults-world.ts'

type Config = { properties: Record<string, unknown> }
type Deleted = { name: string; id: string; properties: { vaultId: string; purgeAt: string; vaultDeletionTime: string } }

test('Vaults are made with a repository and a key of their own, and shown as Azure shows them', async (t) => {
  await using world = await VaultsWorld.make()
  const { ask } = world

  await t.test('in a paired region GeoRedundant, elsewhere LocallyRedundant, with soft delete', async () => {
    const vault = await world.make('v1', {}, 'here')
    assert.equal(vault.properties.provisioningState, 'Succeeded')
    assert.deepEqual(vault.properties.redundancySettings, {
      standardTierStorageRedundancy: 'GeoRedundant',
      crossRegionRestore: 'Disabled',
    })
    assert.deepEqual(vault.properties.securitySettings.softDeleteSettings, {
      softDeleteState: 'Enabled',
      softDeleteRetentionPeriodInDays: 14,
      enhancedSecurityState: 'Enabled',
    })
    const { uid, mirror, location } = await world.backing('v1')
    assert.equal(location, join(world.api.home.folder, 'store-here', 'vaults', uid))
    assert.deepEqual(mirror, { region: 'there', location: join(world.api.home.folder, 'store-there', 'vaults', uid) })
    const { repositoryId } = await vaultRepository(world.parts, world.id('v1'))
    assert.match(repositoryId, /^[0-9a-f]{32}$/)
    const alone = await world.make('v2', {}, 'alone')
    assert.equal(alone.properties.redundancySettings['standardTierStorageRedundancy'], 'LocallyRedundant')
    assert.equal((await world.backing('v2')).mirror, undefined)
  })

  await t.test('with the policies that a new vault has, which are no resources of their own', async () => {
    const policies = await ask<{ value: { name: string }[] }>('GET', `${world.id('v1')}/backupPolicies?${VERSION}`)
    assert.deepEqual(policies.body.value.map(({ name }) => name).sort(), ['DefaultPolicy', 'EnhancedPolicy'])
    const all = await ask<{ value: { type: string }[] }>('GET', `${world.group}/resources?${VERSION}`)
    assert.deepEqual([...new Set(all.body.value.map(({ type }) => type))], ['Microsoft.RecoveryServices/vaults'])
  })

  await t.test('once: the same PUT again is a 200 and changes no promise', async () => {
    const body = { location: 'here', sku: { name: 'Standard' }, properties: {}, tags: { a: 'b' } }
    const before = await world.backing('v1')
    const again = await ask<Vault>('PUT', `${world.id('v1')}?${VERSION}`, body)
    assert.equal(again.status, 200)
    assert.deepEqual(again.body.tags, { a: 'b' })
    assert.deepEqual(await world.backing('v1'), before)
    const moved = await ask('PUT', `${world.id('v1')}?${VERSION}`, { ...body, location: 'there' })
    assert.equal(failed(moved).code, 'PropertyChangeNotAllowed')
  })

  await t.test('and are found by group and subscription, and refused by name where they are none', async () => {
    const list = await ask<{ value: Vault[] }>(
      'GET',
      `${world.api.subscription}/providers/Microsoft.RecoveryServices/vaults?${VERSION}`,
    )
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['v1', 'v2'],
    )
    const absent = await ask('GET', `${world.id('v9')}?${VERSION}`)
    assert.equal(absent.status, 404)
    assert.match(failed(absent).message, /'Microsoft\.RecoveryServices\/vaults\/v9' was not found/)
    const bad = await ask('PUT', `${world.id('9v')}?${VERSION}`, { location: 'here' })
    assert.equal(failed(bad).code, 'InvalidResourceName')
    const key = { encryption: { keyVaultProperties: { keyUri: 'https://x' } } }
    const encrypted = await ask('PUT', `${world.id('v3')}?${VERSION}`, { location: 'here', properties: key })
    assert.equal(failed(encrypted).code, 'UnsupportedField')
    const nowhere = await ask('PUT', `${world.id('v3')}?${VERSION}`, { location: 'atlantis' })
    assert.equal(nowhere.status, 400)
    assert.equal(await findResource(world.api.catalog, world.id('v3')), undefined)
  })
})

test('A vault’s promises are changed from either side, and those that are for good are kept', async (t) => {
  await using world = await VaultsWorld.make()
  const { ask } = world
  const path = (below: string): string => `${world.id('v1')}${below}?${VERSION}`
  const config = '/backupconfig/vaultconfig'
  const storage = '/backupstorageconfig/vaultstorageconfig'
  await world.make('v1')

  await t.test('redundancy by the storage configuration, until an item was protected', async () => {
    const patched = await ask('PATCH', path(storage), { properties: { storageType: 'LocallyRedundant' } })
    assert.deepEqual([patched.status, patched.text], [204, ''])
    assert.equal((await world.backing('v1')).mirror, undefined)
    const put = await ask<Config>('PUT', path(storage), {
      properties: { storageModelType: 'GeoRedundant', crossRegionRestoreFlag: true },
    })
    assert.equal(put.status, 200)
    assert.equal(put.body.properties['crossRegionRestoreFlag'], true)
    assert.equal((await world.backing('v1')).mirror?.region, 'there')
    const off = await ask('PATCH', path(storage), { properties: { crossRegionRestoreFlag: false } })
    assert.match(failed(off).message, /cannot be turned off/)
    await world.make('v2', { redundancySettings: { standardTierStorageRedundancy: 'LocallyRedundant' } })
    await world.protect('v2', 'web')
    const late = await ask('PATCH', `${world.id('v2')}${storage}?${VERSION}`, {
      properties: { storageType: 'GeoRedundant' },
    })
    assert.equal(failed(late).code, 'OperationNotAllowed')
    const shown = await ask<Config>('GET', `${world.id('v2')}${storage}?${VERSION}`)
    assert.equal(shown.body.properties['storageTypeState'], 'Locked')
  })

  await t.test(
    'ZoneRedundant only where the store declares failure domains, GeoRedundant only in a paired region',
    async () => {
      const zone = { redundancySettings: { standardTierStorageRedundancy: 'ZoneRedundant' } }
      const refused = await ask('PUT', `${world.id('v3')}?${VERSION}`, { location: 'here', properties: zone })
      assert.match(failed(refused).message, /failure domains/)
      assert.equal(await findResource(world.api.catalog, world.id('v3')), undefined)
      const made = await world.make('v3', zone, 'alone')
      assert.equal(made.properties.redundancySettings['standardTierStorageRedundancy'], 'ZoneRedundant')
      const geo = { redundancySettings: { standardTierStorageRedundancy: 'GeoRedundant' } }
      const unpaired = await ask('PUT', `${world.id('v4')}?${VERSION}`, { location: 'alone', properties: geo })
      assert.match(failed(unpaired).message, /paired/)
    },
  )

  await t.test('soft delete from 14 to 180 days, disabled by old clients only, AlwaysON for good', async () => {
    const soft = (more: object) => ({ properties: { enhancedSecurityState: 'Enabled', ...more } })
    const disabled = await ask('PATCH', path(config), soft({ softDeleteFeatureState: 'Disabled' }))
    assert.equal(failed(disabled).code, 'OperationNotAllowed')
    const old = `${world.id('v1')}${config}?api-version=2023-06-01`
    const allowed = await ask<Config>('PATCH', old, soft({ softDeleteFeatureState: 'Disabled' }))
    assert.equal(allowed.body.properties['softDeleteFeatureState'], 'Disabled')
    assert.equal((await listAlerts(world.api.catalog, { kind: 'SoftDeleteChanged' })).length, 1)
    const short = await ask('PATCH', path(config), soft({ softDeleteRetentionPeriodInDays: 7 }))
    assert.match(failed(short).message, /14 to 180/)
    const always = await ask<Config>(
      'PUT',
      path(config),
      soft({ softDeleteFeatureState: 'AlwaysON', softDeleteRetentionPeriodInDays: 30 }),
    )
    assert.equal(always.body.properties['isSoftDeleteFeatureStateEditable'], false)
    const back = await ask('PATCH', old, soft({ softDeleteFeatureState: 'Disabled' }))
    assert.match(failed(back).message, /stays so/)
    const vault = await ask<Vault>('GET', path(''))
    assert.equal(vault.body.properties.securitySettings.softDeleteSettings.softDeleteRetentionPeriodInDays, 30)
  })

  await t.test('immutability by the vault, Locked for good', async () => {
    const patch = (settings: object): Promise<Answer<Vault>> =>
      ask<Vault>('PATCH', path(''), { properties: { securitySettings: { immutabilitySettings: settings } } })
    const configuration = { type: 'TimeBased', durationInDays: 30 }
    const unlocked = await patch({ state: 'Unlocked', configuration })
    assert.deepEqual(unlocked.body.properties.securitySettings.immutabilitySettings, {
      state: 'Unlocked',
      configuration,
    })
    assert.equal((await patch({ state: 'Disabled' })).status, 200)
    assert.equal((await patch({ state: 'Locked' })).body.properties.secureScore, 'Maximum')
    for (const state of ['Unlocked', 'Disabled']) assert.match(failed(await patch({ state })).message, /stays so/)
    const less = await patch({ state: 'Locked', configuration: { type: 'TimeBased' } })
    assert.equal(failed(less).code, 'InvalidParameter')
  })

  await t.test('what else belongs to a vault is there: encryption, guards, extended information, usages', async () => {
    const encryption = await ask<Config>('GET', path('/backupEncryptionConfigs/backupResourceEncryptionConfig'))
    assert.equal(encryption.body.properties['encryptionAtRestType'], 'MicrosoftManaged')
    const own = { properties: { encryptionAtRestType: 'CustomerManaged', keyUri: 'https://x' } }
    const refused = await ask('PUT', path('/backupEncryptionConfigs/backupResourceEncryptionConfig'), own)
    assert.equal(failed(refused).code, 'NotSupported')
    assert.deepEqual((await ask('GET', path('/backupResourceGuardProxies'))).body, { value: [] })
    assert.deepEqual((await ask('GET', path('/replicationUsages'))).body, { value: [] })
    const extended = await ask<Config>('PUT', path('/extendedInformation/vaultExtendedInfo'), {
      properties: { integrityKey: 'abc', algorithm: 'None' },
    })
    assert.equal(extended.body.properties['integrityKey'], 'abc')
    type Usages = { value: { name: { value: string }; currentValue: number }[] }
    const usages = await ask<Usages>('GET', `${world.id('v2')}/usages?${VERSION}`)
    assert.deepEqual(usages.body.value.map(({ name, currentValue }) => [name.value, currentValue]).slice(0, 2), [
      ['ProtectedItemsCount', 1],
      ['BackupPoliciesCount', 2],
    ])
    const filter = encodeURIComponent("type eq 'BackupProtectedItemCountSummary'")
    const summary = await ask<Usages>('GET', `${world.id('v2')}/backupUsageSummaries?${VERSION}&$filter=${filter}`)
    assert.equal(summary.body.value[0]?.currentValue, 1)
    const names = `${world.group}/providers/Microsoft.RecoveryServices/locations/here/checkNameAvailability?${VERSION}`
    const check = (name: string) =>
      ask<{ nameAvailable: boolean }>('POST', names, { type: 'Microsoft.RecoveryServices/Vaults', name })
    assert.deepEqual([(await check('v1')).body.nameAvailable, (await check('v77')).body.nameAvailable], [false, true])
    const operations = await ask<{ value: { name: string }[] }>(
      'GET',
      `/providers/Microsoft.RecoveryServices/operations?${VERSION}`,
    )
    assert.ok(operations.body.value.some(({ name }) => name === 'Microsoft.RecoveryServices/vaults/write'))
  })
})

test('Deleting a vault loses nothing that is still kept', async (t) => {
  await using world = await VaultsWorld.make()
  const { ask } = world
  const list = `${world.api.subscription}/providers/Microsoft.RecoveryServices/locations/here/deletedVaults`

  await t.test('one that protects a machine is refused in the words that az looks for', async () => {
    await world.make('v1')
    await world.protect('v1', 'web')
    const refused = await world.delete('v1')
    assert.equal(refused.status, 409)
    assert.match(failed(refused).message, /existing resources within the vault/)
    assert.equal(
      (await ask<Vault>('GET', `${world.id('v1')}?${VERSION}`)).body.properties.provisioningState,
      'Succeeded',
    )
    const group = await ask('DELETE', `${world.group}?${VERSION}`)
    const end = await followed<Failure>(ask, group)
    assert.equal(end.status, 409)
    assert.match(end.body.error.message, /existing resources within the vault/)
  })

  await t.test('one with soft-deleted items only is kept as a deleted vault; its name is free', async () => {
    const nowMs = systemClock.nowMs()
    const [item = assert.fail()] = await listProtectedItems(world.api.catalog, {
      vaultKey: world.id('v1').toLowerCase(),
    })
    const soft = { softDeletedMs: nowMs, purgeAtMs: nowMs + 20 * 86_400_000 }
    await world.api.catalog.write((trx) => changeProtectedItem(trx, item.key, soft, nowMs))
    const { uid, location } = await world.backing('v1')
    assert.equal((await world.delete('v1')).body.status, 'Succeeded')
    assert.equal((await ask('GET', `${world.id('v1')}?${VERSION}`)).status, 404)
    const deleted = await ask<{ value: Deleted[] }>('GET', `${list}?${VERSION}`)
    assert.equal(deleted.body.value[0]?.properties.vaultId, world.id('v1'))
    assert.equal(deleted.body.value[0].name, uid)
    assert.equal(Date.parse(deleted.body.value[0].properties.purgeAt), soft.purgeAtMs) // oxlint-disable-line no-restricted-globals -- reads a time of the answer
    assert.ok(existsSync(join(location, 'config')))
    const namesake = await world.make('v1')
    assert.equal(namesake.properties.provisioningState, 'Succeeded')
    assert.notEqual((await world.backing('v1')).uid, uid)
    const taken = await ask('POST', `${list}/${uid}/undelete?${VERSION}`, {})
    assert.match(failed(taken).message, /Another vault has the name/)
    assert.equal((await world.delete('v1')).body.status, 'Succeeded')
    const back = await ask<Vault>('POST', `${list}/${uid}/undelete?${VERSION}`, {
      properties: { recoveryResourceGroupId: world.group },
    })
    assert.equal(back.status, 200, back.text)
    assert.equal(back.body.id, world.id('v1'))
    assert.equal((await world.backing('v1')).location, location)
    const items = await listProtectedItems(world.api.catalog, { vaultKey: world.id('v1').toLowerCase() })
    assert.deepEqual(
      items.map(({ id }) => id),
      [item.id],
    )
    assert.equal((await ask('GET', `${world.id('v1')}/backupPolicies/DefaultPolicy?${VERSION}`)).status, 200)
    await vaultRepository(world.parts, world.id('v1'))
  })

  await t.test('an immutable one is not even kept as a deleted one', async () => {
    const immutable = { properties: { securitySettings: { immutabilitySettings: { state: 'Unlocked' } } } }
    assert.equal((await ask('PATCH', `${world.id('v1')}?${VERSION}`, immutable)).status, 200)
    assert.match(failed(await world.delete('v1')).message, /existing resources within the vault.*immutable/)
    const off = { properties: { securitySettings: { immutabilitySettings: { state: 'Disabled' } } } }
    assert.equal((await ask('PATCH', `${world.id('v1')}?${VERSION}`, off)).status, 200)
  })

  await t.test('a deleted vault whose time is over goes with its repository, key and records', async () => {
    const { uid, location } = await world.backing('v1')
    assert.equal((await world.delete('v1')).body.status, 'Succeeded')
    const id = `${list}/${uid}`
    const row = (await findResource(world.api.catalog, id)) ?? assert.fail()
    const backing = vaultBackingOf(row)
    const over = { ...backing, deleted: { ...(backing.deleted ?? assert.fail()), purgeAtMs: 1 } }
    await world.api.catalog.write((trx) =>
      updateResource(trx, id, { backing: over }, { nowMs: () => 1, newEtag: () => 'e' }),
    )
    const job = await world.api.jobs.start('purge-vaults', null, { queue: 'resource' })
    assert.equal((await world.api.jobs.wait(job)).status, 'succeeded')
    assert.ok(!existsSync(location))
    assert.deepEqual(
      (await readdir(join(world.api.home.folder, 'keys'))).filter((name) => name.includes(uid)),
      [],
    )
    assert.equal(await findResource(world.api.catalog, id), undefined)
    assert.deepEqual((await ask<{ value: [] }>('GET', `${list}?${VERSION}`)).body.value, [])
  })

  await t.test('an empty one goes with its repository; old clients are answered when it is gone', async () => {
    await world.make('v5')
    const { location, uid } = await world.backing('v5')
    const gone = await ask('DELETE', `${world.id('v5')}?api-version=2022-10-01`)
    assert.equal(gone.status, 200)
    assert.ok(!existsSync(location))
    assert.ok(!existsSync(join(world.api.home.folder, 'keys', `vault-${uid}.key`)))
    assert.equal((await ask('DELETE', `${world.id('v5')}?${VERSION}`)).status, 204)
  })
})
