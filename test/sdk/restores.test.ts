/** Restores by the official JavaScript SDK of backup: disks of a point, its files by a script; what is refused is refused by its code. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { RecoveryServicesClient } from '@azure/arm-recoveryservices'
import {
  type IaasVMRestoreRequest,
  type OperationStatusProvisionILRExtendedInfo,
  RecoveryServicesBackupClient,
} from '@azure/arm-recoveryservicesbackup'
import { MIB, must } from '#base'
import { Catalog, findResource } from '#catalog'
import { checkCommand, systemClock } from '#runtime'
import { insertSimulatedMachines } from '../rig/simulated-machine.ts'
import { all, refusal, SdkWorld } from './sdk-world.ts'

const GROUP = 'rg1'
const VAULT = 'v1'
const SIZE = 4 * MIB
const CONTAINER = `IaasVMContainer;iaasvmcontainerv2;${GROUP};vm1`
const ITEM = `VM;iaasvmcontainerv2;${GROUP};vm1`
const RUNNING: readonly unknown[] = ['InProgress', 'Cancelling']

test('restores by the SDK', async (t) => {
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
  const bytes = randomBytes(SIZE)
  await writeFile(file, bytes)
  const catalog = await Catalog.open(join(served.home, 'catalog.sqlite'), systemClock)
  const disks = [{ file, sizeBytes: SIZE }]
  await insertSimulatedMachines(catalog, [{ group, subscription: subscriptionId, name: 'vm1', disks }])
  const machineId = `${group}/providers/Microsoft.Compute/virtualMachines/vm1`
  const jobOf = async (operation: string) => {
    for (;;) {
      const [job] = await all(backup.backupJobs.list(VAULT, GROUP, { filter: `operation eq '${operation}'` }))
      if (job !== undefined && !RUNNING.includes(job.properties?.status)) return job
      await systemClock.sleep(100)
    }
  }
  await vaults.vaults.createOrUpdate(GROUP, VAULT, {
    location: 'eastus',
    sku: { name: 'RS0', tier: 'Standard' },
    properties: { publicNetworkAccess: 'Enabled' },
  })
  const policyId = `${group}/providers/Microsoft.RecoveryServices/vaults/${VAULT}/backupPolicies/DefaultPolicy`
  await backup.protectedItems.createOrUpdate(VAULT, GROUP, 'Azure', CONTAINER, ITEM, {
    properties: { protectedItemType: 'Microsoft.Compute/virtualMachines', sourceResourceId: machineId, policyId },
  })
  await backup.backups.trigger(VAULT, GROUP, 'Azure', CONTAINER, ITEM, {
    properties: { objectType: 'IaasVMBackupRequest' },
  })
  await jobOf('Backup')
  const [found] = await all(backup.recoveryPoints.list(VAULT, GROUP, 'Azure', CONTAINER, ITEM))
  const point = must(found?.name, 'There is a point')
  const properties: IaasVMRestoreRequest = {
    objectType: 'IaasVMRestoreRequest',
    recoveryPointId: point,
    recoveryType: 'RestoreDisks',
    sourceResourceId: machineId,
    targetResourceGroupId: group,
    region: 'eastus',
    createNewCloudService: false,
  }

  await t.test('disks of a point', async () => {
    await backup.restores.beginTriggerAndWait(VAULT, GROUP, 'Azure', CONTAINER, ITEM, point, { properties })
    const job = await jobOf('Restore')
    assert.equal(job.properties?.status, 'Completed')
    const [disk] = (await all(clients.compute.disks.listByResourceGroup(GROUP))).filter(({ name }) =>
      name?.startsWith('vm1-osdisk-'),
    )
    const { backing } = must(await findResource(catalog, must(disk?.id, 'There is the disk')), 'It is there')
    const raw = join(served.folder, 'out.raw')
    await checkCommand('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', String(backing['file']), raw])
    assert.ok((await readFile(raw)).equals(bytes), 'the bytes of the point')
  })

  await t.test('what cannot be is refused', async () => {
    const wrong: IaasVMRestoreRequest = { ...properties, recoveryType: 'OriginalLocation' }
    const why = await refusal(
      backup.restores.beginTriggerAndWait(VAULT, GROUP, 'Azure', CONTAINER, ITEM, point, { properties: wrong }),
    )
    assert.deepEqual(why, [400, 'NotSupported'])
  })

  await t.test('files by a script, until it is revoked', async () => {
    const seen: string[] = []
    await backup.itemLevelRecoveryConnections.provision(
      VAULT,
      GROUP,
      'Azure',
      CONTAINER,
      ITEM,
      point,
      { properties: { objectType: 'IaasVMILRRegistrationRequest', recoveryPointId: point } },
      { onResponse: (raw) => void seen.push(raw.headers.get('azure-asyncoperation') ?? '') },
    )
    const id = new URL(seen[0] ?? '').pathname.split('/').at(-1) ?? ''
    const status = await backup.backupOperationStatuses.get(VAULT, GROUP, id)
    const told = status.properties as OperationStatusProvisionILRExtendedInfo
    assert.equal(told.recoveryTarget?.clientScripts?.[0]?.osType, 'Linux')
    await backup.itemLevelRecoveryConnections.revoke(VAULT, GROUP, 'Azure', CONTAINER, ITEM, point)
  })
  await catalog.close()
})
