/** Images and restore points by the newest JavaScript SDK, its pollers and its shapes. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Image } from '@azure/arm-compute'
import { must } from '#base'
import { KNOWN_DISK } from '../az/disk-views.ts'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { assertVhd, uploadVhd } from '../rig/signed-vhd.ts'
import { FaceClient } from '../api/face-client.ts'
import { all, refusal, SdkWorld } from './sdk-world.ts'

const GROUP = 'rg1'
const location = 'eastus'
const READ = { access: 'Read', durationInSeconds: 600 } as const

test('SDK: images and restore points', async (t) => {
  await using world = await SdkWorld.make()
  const { resources, compute } = world.clients
  const { disks, images, restorePointCollections, restorePoints, diskRestorePoint } = compute
  await resources.resourceGroups.createOrUpdate(GROUP, { location })
  const url = ({ accessSAS }: Readonly<{ accessSAS?: string }>): string => must(accessSAS, 'A granted access has a URL')
  const idOf = ({ id }: Readonly<{ id?: string }>): string => must(id, 'It has an id')
  const creationData = { createOption: 'Upload', uploadSizeBytes: KNOWN_DISK.sizeBytes + 512 }
  await disks.createOrUpdate(GROUP, 'up', { location, creationData })
  const write = { access: 'Write', durationInSeconds: 600 }
  await uploadVhd(url(await disks.grantAccess(GROUP, 'up', write)), world.ca, KNOWN_DISK)
  await disks.revokeAccess(GROUP, 'up')

  await t.test('an image is made, shown, listed, tagged, and sent back as it was shown', async () => {
    const managedDisk = { id: idOf(await disks.get(GROUP, 'up')) }
    const wanted: Image = {
      location,
      hyperVGeneration: 'V1',
      storageProfile: { osDisk: { osType: 'Linux', osState: 'Generalized', managedDisk }, dataDisks: [] },
    }
    const made = await images.createOrUpdate(GROUP, 'img', wanted)
    assert.deepEqual([made.name, made.provisioningState, made.hyperVGeneration], ['img', 'Succeeded', 'V1'])
    assert.deepEqual((await images.update(GROUP, 'img', { tags: { by: 'me' } })).tags, { by: 'me' })
    const again = await images.createOrUpdate(GROUP, 'img', await images.get(GROUP, 'img'))
    assert.equal(again.id, made.id)
    assert.deepEqual(
      (await all(images.list())).map(({ name }) => name),
      ['img'],
    )
    assert.deepEqual(
      (await all(images.listByResourceGroup(GROUP))).map(({ name }) => name),
      ['img'],
    )
  })

  await t.test('a disk from it has its bytes, also when image and source are gone', async () => {
    const id = idOf(await images.get(GROUP, 'img'))
    const made = await disks.createOrUpdate(GROUP, 'over', {
      location,
      creationData: { createOption: 'FromImage', imageReference: { id } },
    })
    assert.equal(made.diskSizeBytes, KNOWN_DISK.sizeBytes)
    await images.delete(GROUP, 'img')
    await disks.delete(GROUP, 'up')
    assert.deepEqual(await refusal(images.get(GROUP, 'img')), [404, 'ResourceNotFound'])
    await assertVhd(url(await disks.grantAccess(GROUP, 'over', READ)), world.ca, KNOWN_DISK, KNOWN_DISK.sizeBytes)
    await disks.revokeAccess(GROUP, 'over')
  })

  await t.test('platform images are bare lists', async () => {
    assert.deepEqual(await compute.virtualMachineImages.listPublishers(location), [])
    const get = compute.virtualMachineImages.get(location, 'Holdfast', 'micro', 'gen1', '1.0.0')
    assert.deepEqual(await refusal(get), [404, 'PlatformImageNotFound'])
  })

  await t.test('restore points of a machine', async () => {
    const machine = await BlankMachine.create([{}, {}])
    try {
      const client = new FaceClient(world.served.home)
      const vm = `${world.subscription}/resourceGroups/${GROUP}/providers/Microsoft.Compute/virtualMachines/m1`
      const adopted = await client.ask('POST', `${vm}/adopt?api-version=2024-07-01`, {
        location,
        qmp: join(machine.folder, 'instant.qmp'),
      })
      await client.followed(adopted)
      const collection = await restorePointCollections.createOrUpdate(GROUP, 'c1', { location, source: { id: vm } })
      assert.equal(collection.source?.id, vm)
      const point = await restorePoints.create(GROUP, 'c1', 'p1', {})
      assert.deepEqual([point.provisioningState, point.consistencyMode], ['Succeeded', 'CrashConsistent'])
      assert.ok(point.timeCreated instanceof globalThis.Date)
      const expanded = await restorePoints.get(GROUP, 'c1', 'p1', { expand: 'instanceView' })
      assert.equal(expanded.instanceView?.diskRestorePoints?.length, 2)
      const found = await all(diskRestorePoint.listByRestorePoint(GROUP, 'c1', 'p1'))
      assert.equal(found.length, 2)
      const [first] = found
      const name = must(first?.name, 'It has a name')
      assert.equal((await diskRestorePoint.get(GROUP, 'c1', 'p1', name)).id, first?.id)
      assert.match(url(await diskRestorePoint.grantAccess(GROUP, 'c1', 'p1', name, READ)), /^https:/)
      await diskRestorePoint.revokeAccess(GROUP, 'c1', 'p1', name)
      const restored = await disks.createOrUpdate(GROUP, 'restored', {
        location,
        creationData: { createOption: 'Restore', sourceResourceId: idOf(first ?? {}) },
      })
      assert.equal(restored.provisioningState, 'Succeeded')
      await restorePoints.delete(GROUP, 'c1', 'p1')
      await restorePointCollections.delete(GROUP, 'c1')
      assert.deepEqual(await all(restorePointCollections.list(GROUP)), [])
    } finally {
      await machine.remove()
    }
  })
})
