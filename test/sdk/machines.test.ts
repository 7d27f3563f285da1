/** Machines by the official JavaScript SDK of compute: made, looked at, stopped, changed, deleted; what is shown can be sent back. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { must } from '#base'
import { hostOf, rememberAccelerator } from '../api/machine-api-world.ts'
import { all, refusal, SdkWorld } from './sdk-world.ts'

const GROUP = 'rg1'
const location = 'eastus'

test('machines by the SDK', async (t) => {
  await using world = await SdkWorld.make()
  const skip = await world.lacks('Microsoft.Compute/virtualMachines')
  if (skip !== false) return t.skip(skip)
  await rememberAccelerator(join(world.served.home, 'run', 'm'))
  const { resources, compute } = world.clients
  const { virtualMachines, disks } = compute
  await resources.resourceGroups.createOrUpdate(GROUP, { location })
  const disk = await disks.createOrUpdate(GROUP, 'os1', {
    location,
    diskSizeGB: 1,
    creationData: { createOption: 'Empty' },
  })
  const power = async (): Promise<string | undefined> => {
    const { statuses = [] } = await virtualMachines.instanceView(GROUP, 'm1')
    return statuses.find(({ code }) => code?.startsWith('PowerState/') === true)?.code
  }
  try {
    await t.test('made of a disk that is there; shown, listed', async () => {
      const made = await virtualMachines.createOrUpdate(GROUP, 'm1', {
        location,
        tags: { by: 'sdk' },
        hardwareProfile: { vmSize: 'Holdfast_1x64' },
        storageProfile: {
          osDisk: { createOption: 'Attach', osType: 'Linux', managedDisk: { id: must(disk.id, 'It has an id') } },
        },
      })
      assert.equal(made.provisioningState, 'Succeeded')
      assert.ok(made.vmId && made.timeCreated)
      assert.equal(await power(), 'PowerState/running')
      const expanded = await virtualMachines.get(GROUP, 'm1', { expand: 'instanceView' })
      assert.equal(expanded.instanceView?.vmAgent?.statuses?.[0]?.displayStatus, 'Not Ready')
      const names = (list: readonly { name?: string }[]): unknown[] => list.map(({ name }) => name)
      assert.deepEqual(names(await all(virtualMachines.list(GROUP))), ['m1'])
      assert.deepEqual(names(await all(virtualMachines.listAll())), ['m1'])
      assert.deepEqual(names(await all(virtualMachines.listByLocation(location))), ['m1'])
      assert.deepEqual(names(await all(virtualMachines.listByLocation('westus'))), [])
    })

    await t.test('what was shown may be sent back, with another disk', async () => {
      const shown = await virtualMachines.get(GROUP, 'm1')
      const again = await virtualMachines.createOrUpdate(GROUP, 'm1', shown)
      assert.equal(again.vmId, shown.vmId)
      const dataDisks = [{ lun: 3, createOption: 'Empty', diskSizeGB: 1, name: 'data3' }]
      const changed = await virtualMachines.update(GROUP, 'm1', {
        storageProfile: { ...shown.storageProfile, dataDisks },
      })
      assert.equal(changed.storageProfile?.dataDisks?.[0]?.name, 'data3')
      const data = must((await disks.get(GROUP, 'data3')).id, 'It was made')
      const profile = await virtualMachines.attachDetachDataDisks(GROUP, 'm1', {
        dataDisksToDetach: [{ diskId: data }],
      })
      assert.equal(profile?.dataDisks?.length, 0)
      assert.equal((await disks.get(GROUP, 'data3')).diskState, 'Unattached')
    })

    await t.test('stopped, deallocated, started, restarted, resized', async () => {
      await virtualMachines.powerOff(GROUP, 'm1', { skipShutdown: true })
      assert.equal(await power(), 'PowerState/stopped')
      await virtualMachines.update(GROUP, 'm1', { hardwareProfile: { vmSize: 'Holdfast_1x96' } })
      await virtualMachines.start(GROUP, 'm1')
      assert.equal(await power(), 'PowerState/running')
      await virtualMachines.powerOff(GROUP, 'm1', { skipShutdown: true })
      await virtualMachines.deallocate(GROUP, 'm1')
      assert.equal(await power(), 'PowerState/deallocated')
      const [status, code] = await refusal(virtualMachines.restart(GROUP, 'm1'))
      assert.deepEqual([status, code], [409, 'OperationNotAllowed'])
    })

    await t.test('logs, sizes, usages', async () => {
      const data = await virtualMachines.retrieveBootDiagnosticsData(GROUP, 'm1')
      assert.match(String(data.serialConsoleLogBlobUri), /^https:/)
      const sizes = await all(compute.virtualMachineSizes.list(location))
      assert.ok(sizes.some(({ name, numberOfCores }) => name === 'Standard_B2s' && numberOfCores === 2))
      assert.ok((await all(virtualMachines.listAvailableSizes(GROUP, 'm1'))).length > 50)
      assert.ok((await all(compute.usage.list(location))).some(({ name }) => name?.value === 'virtualMachines'))
      const skus = await all(compute.resourceSkus.list({ filter: `location eq '${location}'` }))
      assert.ok(skus.some(({ name }) => name === 'Standard_DS1_v2'))
    })

    await t.test('generalized it starts no more; deleted it leaves its disk', async () => {
      await virtualMachines.generalize(GROUP, 'm1')
      assert.deepEqual(await refusal(virtualMachines.start(GROUP, 'm1')), [409, 'OperationNotAllowed'])
      await virtualMachines.delete(GROUP, 'm1')
      assert.deepEqual(await refusal(virtualMachines.get(GROUP, 'm1')), [404, 'ResourceNotFound'])
      assert.equal((await disks.get(GROUP, 'os1')).diskState, 'Unattached')
    })
  } finally {
    const host = hostOf(world.served.home)
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
  }
  return undefined
})
