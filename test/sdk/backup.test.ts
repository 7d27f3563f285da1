/** Protection by the official JavaScript SDK of backup: items, backups, jobs, points; what is shown fits the SDK's own description. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { RecoveryServicesClient } from '@azure/arm-recoveryservices'
import {
  type AzureIaaSComputeVMProtectedItem,
  type AzureIaaSVMJob,
  type IaasVMRecoveryPoint,
  type OperationStatusJobExtendedInfo,
  RecoveryServicesBackupClient,
} from '@azure/arm-recoveryservicesbackup'
import { MIB, must } from '#base'
import { Catalog } from '#catalog'
import { systemClock } from '#runtime'
import { insertSimulatedMachines } from '../rig/simulated-machine.ts'
import { all, refusal, SdkWorld } from './sdk-world.ts'

const GROUP = 'rg1'
const VAULT = 'v1'
const SIZE = 4 * MIB
const CONTAINER = `IaasVMContainer;iaasvmcontainerv2;${GROUP};vm1`
const ITEM = `VM;iaasvmcontainerv2;${GROUP};vm1`
const RUNNING: readonly unknown[] = ['InProgress', 'Cancelling']

test('protection by the SDK', async (t) => {
  await using world = await SdkWorld.make()
  const skip = await world.lacks('Microsoft.RecoveryServices/vaults')
  if (skip !== false) return t.skip(skip)
  const { record, clients, served } = world
  const { endpoint, subscriptionId } = record
  const scope = `${endpoint}/.default`
  const options = { endpoint, credentials: { scopes: [scope] }, credentialScopes: [scope] }
  const vaults = new RecoveryServicesClient(clients.credential, subscriptionId, options)
  const backup = new RecoveryServicesBackupClient(clients.credential, subscriptionId, options)
  await clients.resources.resourceGroups.createOrUpdate(GROUP, { location: 'eastus' })
  const group = `${world.subscription}/resourceGroups/${GROUP}`
  const file = join(served.folder, 'vm1.raw')
  await writeFile(file, randomBytes(SIZE))
  const catalog = await Catalog.open(join(served.home, 'catalog.sqlite'), systemClock)
  const disks = [{ file, sizeBytes: SIZE }]
  await insertSimulatedMachines(catalog, [{ group, subscription: subscriptionId, name: 'vm1', disks }])
  await catalog.close()
  const machineId = `${group}/providers/Microsoft.Compute/virtualMachines/vm1`

  const jobOf = async (operation: string) => {
    for (;;) {
      const [job] = await all(backup.backupJobs.list(VAULT, GROUP, { filter: `operation eq '${operation}'` }))
      if (job !== undefined && !RUNNING.includes(job.properties?.status)) return job
      await systemClock.sleep(100)
    }
  }

  await t.test('a vault, its default policy, a machine that can be protected', async () => {
    await vaults.vaults.createOrUpdate(GROUP, VAULT, {
      location: 'eastus',
      sku: { name: 'RS0', tier: 'Standard' },
      properties: { publicNetworkAccess: 'Enabled' },
    })
    const policy = await backup.protectionPolicies.get(VAULT, GROUP, 'DefaultPolicy')
    assert.equal(policy.properties?.backupManagementType, 'AzureIaasVM')
    const filter = "backupManagementType eq 'AzureIaasVM'"
    const found = await all(backup.backupProtectableItems.list(VAULT, GROUP, { filter }))
    assert.deepEqual(
      found.map(({ properties }) => properties?.friendlyName),
      ['vm1'],
    )
    await backup.protectionContainers.refresh(VAULT, GROUP, 'Azure')
  })

  await t.test('enabled, backed up; the job, its details, the point', async () => {
    const policyId = `${group}/providers/Microsoft.RecoveryServices/vaults/${VAULT}/backupPolicies/DefaultPolicy`
    await backup.protectedItems.createOrUpdate(VAULT, GROUP, 'Azure', CONTAINER, ITEM, {
      properties: { protectedItemType: 'Microsoft.Compute/virtualMachines', sourceResourceId: machineId, policyId },
    })
    const shown = await backup.protectedItems.get(VAULT, GROUP, 'Azure', CONTAINER, ITEM)
    const properties = shown.properties as AzureIaaSComputeVMProtectedItem
    assert.equal(properties.protectedItemType, 'Microsoft.Compute/virtualMachines')
    assert.equal(properties.protectionState, 'IRPending')
    const request = { properties: { objectType: 'IaasVMBackupRequest' } } as const
    await backup.backups.trigger(VAULT, GROUP, 'Azure', CONTAINER, ITEM, request)
    const again = await refusal(backup.backups.trigger(VAULT, GROUP, 'Azure', CONTAINER, ITEM, request))
    const job = await jobOf('Backup')
    if (again[0] !== undefined) assert.deepEqual(again, [409, 'UserErrorBackupOperationInProgress'])
    const details = await backup.jobDetails.get(VAULT, GROUP, must(job.name, 'It has a name'))
    const told = details.properties as AzureIaaSVMJob
    assert.deepEqual([told.jobType, told.status], ['AzureIaaSVMJob', 'Completed'])
    assert.deepEqual(
      told.extendedInfo?.tasksList?.map(({ taskId, status }) => [taskId, status]),
      [
        ['Take Snapshot', 'Completed'],
        ['Transfer data to vault', 'Completed'],
      ],
    )
    const points = await all(backup.recoveryPoints.list(VAULT, GROUP, 'Azure', CONTAINER, ITEM))
    const [point] = points
    assert.ok(point !== undefined && points.length === 1)
    const kept = point.properties as IaasVMRecoveryPoint
    assert.deepEqual([kept.objectType, kept.recoveryPointType], ['IaasVMRecoveryPoint', 'CrashConsistent'])
    assert.ok(kept.recoveryPointTime instanceof globalThis.Date)
    assert.ok((kept.recoveryPointTierDetails ?? []).some(({ type }) => type === 'InstantRP'))
    const one = await backup.recoveryPoints.get(
      VAULT,
      GROUP,
      'Azure',
      CONTAINER,
      ITEM,
      must(point.name, 'It has a name'),
    )
    assert.equal(one.name, point.name)
  })

  await t.test('the operation of a change is followed by its own URL and the vault’s', async () => {
    const seen: string[] = []
    await backup.protectedItems.createOrUpdate(
      VAULT,
      GROUP,
      'Azure',
      CONTAINER,
      ITEM,
      { properties: { protectedItemType: 'Microsoft.Compute/virtualMachines', policyId: '', protectionState: 'ProtectionStopped', sourceResourceId: machineId } }, // prettier-ignore
      { onResponse: (raw) => void seen.push(raw.headers.get('azure-asyncoperation') ?? '') },
    )
    const id = new URL(seen[0] ?? '').pathname.split('/').at(-1) ?? ''
    const byItem = await backup.protectedItemOperationStatuses.get(VAULT, GROUP, 'Azure', CONTAINER, ITEM, id)
    const byVault = await backup.backupOperationStatuses.get(VAULT, GROUP, id)
    assert.deepEqual([byItem.status, byVault.status], ['Succeeded', 'Succeeded'])
    assert.equal((byVault.properties as OperationStatusJobExtendedInfo).jobId, id)
  })

  await t.test('status from the machine’s side; deleted; listed as deleted', async () => {
    const status = await backup.backupStatus.get('eastus', { resourceType: 'VM', resourceId: machineId })
    assert.equal(status.protectionStatus, 'Protected')
    await backup.protectedItems.delete(VAULT, GROUP, 'Azure', CONTAINER, ITEM)
    const items = await all(backup.backupProtectedItems.list(VAULT, GROUP))
    const item = must(items[0], 'It is listed')
    assert.equal((item.properties as AzureIaaSComputeVMProtectedItem).isScheduledForDeferredDelete, true)
  })
})
