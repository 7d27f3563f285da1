/** Vaults and backup policies by unmodified `az`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

const VAULTS = 'Microsoft.RecoveryServices/vaults'

type Vault = Readonly<{
  name: string
  location: string
  properties: {
    provisioningState: string
    securitySettings: { softDeleteSettings: { softDeleteState: string; softDeleteRetentionPeriodInDays: number } }
  }
}>
type Policy = Readonly<{
  name: string
  properties: {
    policyType: string
    timeZone: string
    schedulePolicy: Record<string, unknown>
    retentionPolicy: { dailySchedule: { retentionDuration: { count: number } } }
  }
}>

test('az: vaults and policies', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az } = world
  const flow = world.flows(t)
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const vault = ['-g', 'rg1', '-v', 'v1']

  await flow(
    'backup vault create, show, list; created again it stays',
    async () => {
      const made = await az.run<Vault>('backup', 'vault', 'create', '-g', 'rg1', '-n', 'v1', '-l', 'eastus')
      assert.deepEqual([made.name, made.properties.provisioningState], ['v1', 'Succeeded'])
      assert.equal((await az.run<Vault>('backup', 'vault', 'show', '-g', 'rg1', '-n', 'v1')).location, 'eastus')
      assert.equal((await az.run<Vault[]>('backup', 'vault', 'list', '-g', 'rg1')).length, 1)
      const again = await az.run<Vault>(
        'backup',
        'vault',
        'create',
        '-g',
        'rg1',
        '-n',
        'v1',
        '-l',
        'eastus',
        '--tags',
        'a=b',
      )
      assert.equal(again.name, 'v1')
    },
    VAULTS,
  )

  await flow(
    'backup-properties show and set: redundancy, soft delete',
    async () => {
      const named = ['-g', 'rg1', '-n', 'v1']
      const set = (...more: string[]) => az.run('backup', 'vault', 'backup-properties', 'set', ...named, ...more)
      await set('--backup-storage-redundancy', 'LocallyRedundant')
      await set('--soft-delete-feature-state', 'AlwaysOn', '--soft-delete-duration', '30')
      type Shown = readonly Readonly<{ properties: Record<string, unknown> }>[]
      const [storage, config] = (
        await az.run<Shown>('backup', 'vault', 'backup-properties', 'show', ...named)
      ).toSorted((a, b) => Object.keys(a.properties).length - Object.keys(b.properties).length)
      const all = { ...storage?.properties, ...config?.properties }
      assert.equal(all['storageType'], 'LocallyRedundant')
      assert.equal(String(all['softDeleteFeatureState']).toLowerCase(), 'alwayson')
      assert.equal(all['softDeleteRetentionPeriodInDays'], 30)
    },
    VAULTS,
  )

  await flow(
    'policy list, get-default-for-vm, create, set, show, delete',
    async () => {
      const policies = await az.run<Policy[]>('backup', 'policy', 'list', ...vault)
      assert.deepEqual(policies.map(({ name }) => name).sort(), ['DefaultPolicy', 'EnhancedPolicy'])
      const standard = await az.run<Policy>('backup', 'policy', 'get-default-for-vm', ...vault)
      standard.properties.retentionPolicy.dailySchedule.retentionDuration.count = 14
      // As text: az runs in a tree of its own and sees no file of ours.
      const text = JSON.stringify({ ...standard, name: 'p12' })
      const create = ['-n', 'p12', '--policy', text, '--backup-management-type', 'AzureIaasVM']
      const made = await az.run<Policy>('backup', 'policy', 'create', ...vault, ...create)
      assert.equal(made.properties.retentionPolicy.dailySchedule.retentionDuration.count, 14)
      made.properties.retentionPolicy.dailySchedule.retentionDuration.count = 21
      await az.run('backup', 'policy', 'set', ...vault, '-n', 'p12', '--policy', JSON.stringify(made))
      const shown = await az.run<Policy>('backup', 'policy', 'show', ...vault, '-n', 'p12')
      assert.equal(shown.properties.retentionPolicy.dailySchedule.retentionDuration.count, 21)
      await az.run('backup', 'policy', 'delete', ...vault, '-n', 'p12')
      const left = await az.run<Policy[]>('backup', 'policy', 'list', ...vault)
      assert.equal(left.length, 2)
    },
    VAULTS,
  )

  await flow(
    'backup vault delete; deleted again it is no error',
    async () => {
      await az.run('backup', 'vault', 'delete', '-g', 'rg1', '-n', 'v1', '--yes')
      assert.deepEqual(await az.run<Vault[]>('backup', 'vault', 'list', '-g', 'rg1'), [])
    },
    VAULTS,
  )
})
