/** Vaults and backup policies by the JavaScript SDKs: pollers followed, models read back as they were written. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProtectionPolicyResource } from '@azure/arm-recoveryservicesbackup'
import { all, refusal, SdkWorld } from './sdk-world.ts'

const GROUP = 'rg1'
const location = 'eastus'
const at = new globalThis.Date('2026-11-22T22:00:00Z')
const lasts = (count: number, durationType: string) => ({
  retentionTimes: [at],
  retentionDuration: { count, durationType },
})

const POLICY: ProtectionPolicyResource = {
  properties: {
    backupManagementType: 'AzureIaasVM',
    policyType: 'V1',
    timeZone: 'Pacific Standard Time',
    instantRpRetentionRangeInDays: 3,
    schedulePolicy: {
      schedulePolicyType: 'SimpleSchedulePolicy',
      scheduleRunFrequency: 'Daily',
      scheduleRunTimes: [at],
    },
    retentionPolicy: {
      retentionPolicyType: 'LongTermRetentionPolicy',
      dailySchedule: lasts(30, 'Days'),
      weeklySchedule: { daysOfTheWeek: ['Sunday'], ...lasts(12, 'Weeks') },
      monthlySchedule: {
        retentionScheduleFormatType: 'Daily',
        retentionScheduleDaily: { daysOfTheMonth: [{ date: 1, isLast: false }] },
        ...lasts(12, 'Months'),
      },
      yearlySchedule: {
        retentionScheduleFormatType: 'Weekly',
        monthsOfYear: ['January'],
        retentionScheduleWeekly: { daysOfTheWeek: ['Sunday'], weeksOfTheMonth: ['Last'] },
        ...lasts(5, 'Years'),
      },
    },
  },
}

test('SDK: vaults and policies', async (t) => {
  await using world = await SdkWorld.make()
  const skip = await world.lacks('Microsoft.RecoveryServices/vaults')
  if (skip !== false) return t.test('vaults', { skip }, () => {})
  const { resources, recovery, backup } = world.clients
  const { vaults } = recovery
  await resources.resourceGroups.createOrUpdate(GROUP, { location })

  await t.test('a vault is made, shown, listed, changed', async () => {
    const made = await vaults.createOrUpdate(GROUP, 'v1', { location, sku: { name: 'Standard' }, tags: { by: 'sdk' } })
    assert.deepEqual([made.name, made.properties?.provisioningState, made.tags], ['v1', 'Succeeded', { by: 'sdk' }])
    assert.equal(made.properties?.securitySettings?.softDeleteSettings?.softDeleteRetentionPeriodInDays, 14)
    assert.deepEqual(
      (await all(vaults.listByResourceGroup(GROUP))).map(({ name }) => name),
      ['v1'],
    )
    assert.deepEqual(
      (await all(vaults.listBySubscriptionId())).map(({ name }) => name),
      ['v1'],
    )
    const settings = { softDeleteSettings: { softDeleteState: 'AlwaysON', softDeleteRetentionPeriodInDays: 30 } }
    const changed = await vaults.update(GROUP, 'v1', { properties: { securitySettings: settings } })
    assert.equal(changed.properties?.securitySettings?.softDeleteSettings?.softDeleteState, 'AlwaysON')
    const again = await vaults.createOrUpdate(GROUP, 'v1', await vaults.get(GROUP, 'v1'))
    assert.equal(again.id, made.id, 'what was shown may be sent back')
    assert.deepEqual(await refusal(vaults.get(GROUP, 'v9')), [404, 'ResourceNotFound'])
    const name = await recovery.recoveryServices.checkNameAvailability(GROUP, location, {
      name: 'v1',
      type: 'Microsoft.RecoveryServices/Vaults',
    })
    assert.equal(name.nameAvailable, false)
    assert.ok((await all(recovery.usages.listByVaults(GROUP, 'v1'))).length > 0)
    assert.ok((await all(recovery.operations.list())).length > 10)
  })

  await t.test('its configuration is read and changed by the SDK of backup', async () => {
    const config = await backup.backupResourceVaultConfigs.get('v1', GROUP)
    assert.equal(config.properties?.softDeleteFeatureState, 'AlwaysON')
    const refused = backup.backupResourceVaultConfigs.update('v1', GROUP, {
      properties: { softDeleteFeatureState: 'Disabled' },
    })
    assert.deepEqual(await refusal(refused), [409, 'OperationNotAllowed'])
    await backup.backupResourceStorageConfigsNonCRR.patch('v1', GROUP, {
      properties: { storageType: 'LocallyRedundant' },
    })
    const storage = await backup.backupResourceStorageConfigsNonCRR.get('v1', GROUP)
    assert.equal(storage.properties?.storageType, 'LocallyRedundant')
    const encryption = await backup.backupResourceEncryptionConfigs.get('v1', GROUP)
    assert.equal(encryption.properties?.encryptionAtRestType, 'MicrosoftManaged')
    assert.deepEqual(await all(backup.resourceGuardProxies.list('v1', GROUP)), [])
  })

  await t.test('policies are made, read back as they were written, listed, deleted', async () => {
    const made = await backup.protectionPolicies.createOrUpdate('v1', GROUP, 'gfs', POLICY)
    const properties = made.properties as Readonly<Record<string, unknown>> | undefined
    const wanted = POLICY.properties as unknown as Readonly<Record<string, object>>
    assert.deepEqual(properties?.['schedulePolicy'], { ...wanted['schedulePolicy'], scheduleWeeklyFrequency: 0 })
    assert.deepEqual(properties['retentionPolicy'], wanted['retentionPolicy'])
    const again = await backup.protectionPolicies.createOrUpdate('v1', GROUP, 'gfs', made)
    assert.deepEqual(again, made)
    const names = (
      await all(backup.backupPolicies.list('v1', GROUP, { filter: "backupManagementType eq 'AzureIaasVM'" }))
    ).map(({ name }) => name)
    assert.deepEqual(names, ['DefaultPolicy', 'EnhancedPolicy', 'gfs'])
    await backup.protectionPolicies.beginDeleteAndWait('v1', GROUP, 'gfs')
    assert.deepEqual(await refusal(backup.protectionPolicies.get('v1', GROUP, 'gfs')), [404, 'ResourceNotFound'])
  })

  await t.test('a vault that holds nothing is deleted', async () => {
    await vaults.delete(GROUP, 'v1')
    assert.deepEqual(await refusal(vaults.get(GROUP, 'v1')), [404, 'ResourceNotFound'])
    assert.deepEqual(await all(recovery.deletedVaults.listBySubscriptionId(location)), [])
  })
})
