/** Machines over the API with real guests: made of disks that are there, started, stopped, deleted; what is refused, and why. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Failure, MachineApiWorld } from './machine-api-world.ts'
import { VERSION } from './api-world.ts'

test('A machine of a disk that is there', async (t) => {
  await using world = await MachineApiWorld.make()
  const { ask } = world
  const os = await world.microDisk('os1')

  await t.test('it is made when its QEMU runs; its guest is ready a while later', async () => {
    const answer = await world.put('m1', os, { tags: { role: 'web' } })
    assert.equal(answer.status, 201, answer.text)
    assert.equal(answer.body.properties.provisioningState, 'Creating')
    await world.succeed(answer)
    const shown = await world.show('m1')
    assert.equal(shown.properties.provisioningState, 'Succeeded')
    assert.equal(shown.properties.hardwareProfile.vmSize, 'Holdfast_1x192')
    assert.deepEqual(shown.tags, { role: 'web' })
    assert.equal(await world.power('m1'), 'running')
    const disk = await world.disk('os1')
    assert.equal(disk.managedBy, world.id('m1'))
    assert.equal(disk.properties.diskState, 'Attached')
    await world.ready('m1')
    const { instanceView } = (await world.show('m1')).properties
    assert.equal(instanceView?.vmAgent?.statuses[0]?.displayStatus, 'Ready')
    assert.match(await world.run('m1', 'head -1 /proc/meminfo'), /MemTotal: +1[0-9]{5} kB/)
  })

  await t.test('the same PUT again changes nothing and starts nothing twice', async () => {
    const before = await world.processId('m1')
    const again = await world.put('m1', os, { tags: { role: 'web' } })
    assert.equal(again.status, 200, again.text)
    assert.equal(await world.processId('m1'), before)
  })

  await t.test('its disk is nobody else’s, and cannot be deleted under it', async () => {
    const osDisk = { createOption: 'Attach', managedDisk: { id: os } }
    const body = world.body({ storageProfile: { osDisk } })
    const second = await ask<Failure>('PUT', world.url('m2'), body)
    assert.equal(second.status, 409, second.text)
    assert.equal(second.body.error.code, 'OperationNotAllowed')
    assert.match(second.body.error.message, /is attached to/)
    assert.equal((await ask('GET', world.url('m2'))).status, 404)
    const gone = await ask<Failure>('DELETE', `${os}?${VERSION}`)
    assert.equal(gone.status, 409, gone.text)
  })

  await t.test('stopped it keeps its host, deallocated it gives it back; each is done once', async () => {
    await world.commanded('m1', 'powerOff')
    assert.equal(await world.power('m1'), 'stopped')
    assert.equal(await world.processId('m1'), undefined)
    assert.equal((await world.disk('os1')).properties.diskState, 'Reserved')
    assert.equal((await world.record('m1')).backing['allocated'], true)
    await world.commanded('m1', 'powerOff')
    await world.commanded('m1', 'deallocate')
    assert.equal(await world.power('m1'), 'deallocated')
    assert.equal((await world.record('m1')).backing['allocated'], false)
    const restarted = await ask<Failure>('POST', world.url('m1', 'restart'))
    assert.equal(restarted.status, 409)
    assert.match(restarted.body.error.message, /requires the VM to be running/)
  })

  await t.test('started again it has what it wrote; a restart boots it anew', async () => {
    await world.commanded('m1', 'start')
    await world.run('m1', 'echo kept > /root/note && sync')
    const before = await world.processId('m1')
    await world.commanded('m1', 'restart')
    assert.notEqual(await world.processId('m1'), before)
    assert.equal((await world.run('m1', 'cat /root/note')).trim(), 'kept')
  })

  await t.test('a generalized one refuses to start', async () => {
    const early = await ask<Failure>('POST', world.url('m1', 'generalize'))
    assert.equal(early.status, 409, 'it runs')
    await world.commanded('m1', 'deallocate')
    const answer = await ask('POST', world.url('m1', 'generalize'))
    assert.equal(answer.status, 200, answer.text)
    assert.equal(answer.text, '')
    const { instanceView } = (await world.show('m1')).properties
    assert.ok(instanceView?.statuses.some(({ code }) => code === 'OSState/generalized'))
    const started = await ask<Failure>('POST', world.url('m1', 'start'))
    assert.equal(started.status, 409)
    assert.equal(started.body.error.code, 'OperationNotAllowed')
  })

  await t.test('deleted it leaves its disk, unattached, and nothing of itself', async () => {
    const folder = join(world.api.home.folder, 'machines', await world.hostName('m1'))
    assert.ok(existsSync(folder))
    await world.delete('m1')
    assert.equal((await ask('GET', world.url('m1'))).status, 404)
    assert.equal((await ask('DELETE', world.url('m1'))).status, 204)
    assert.ok(!existsSync(folder))
    const disk = await world.disk('os1')
    assert.equal(disk.managedBy, undefined)
    assert.equal(disk.properties.diskState, 'Unattached')
  })

  await t.test('what it cannot be is refused by name, and nothing is left of it', async () => {
    const refused = async (code: string, body: unknown): Promise<void> => {
      const answer = await ask<Failure>('PUT', world.url('bad'), body)
      assert.equal(answer.body.error?.code, code, answer.text)
      assert.equal((await ask('GET', world.url('bad'))).status, 404)
    }
    const osDisk = { createOption: 'Attach', osType: 'Linux', managedDisk: { id: os } }
    const good = { hardwareProfile: { vmSize: 'Holdfast_1x192' }, storageProfile: { osDisk } }
    const other = { ...osDisk, managedDisk: { id: world.diskId('none') } }
    await refused('InvalidParameter', world.body({ ...good, hardwareProfile: { vmSize: 'Standard_Nothing' } }))
    await refused('InvalidLocation', { location: 'moon', properties: good })
    await refused('InvalidParameter', { location: 'westus', properties: good })
    await refused('UnsupportedField', world.body({ ...good, identity2: { a: 1 } }))
    await refused('UnsupportedField', { ...world.body(good), identity: { type: 'SystemAssigned' } })
    await refused('InvalidParameter', world.body({ hardwareProfile: good.hardwareProfile }))
    await refused('ResourceNotFound', world.body({ ...good, storageProfile: { osDisk: other } }))
    const twice = { osDisk, dataDisks: [{ lun: 0, createOption: 'Attach', managedDisk: { id: os } }] }
    await refused('InvalidParameter', world.body({ ...good, storageProfile: twice }))
    assert.equal((await world.disk('os1')).managedBy, undefined)
  })
})

test('Who makes a machine needs a right to each disk that is named', async () => {
  await using world = await MachineApiWorld.make()
  const os = await world.emptyDisk('os1')
  const other = `${world.api.subscription}/resourceGroups/rg2`
  assert.equal((await world.ask('PUT', `${other}?${VERSION}`, { location: 'eastus' })).status, 201)
  const contributor = '9980e02c-c2be-4d73-94e8-173b1dc7cf3c'
  const someone = await world.api.principal('someone', [{ role: contributor, scope: other }])
  const answer = await someone.ask<Failure>(
    'PUT',
    `${other}/providers/Microsoft.Compute/virtualMachines/m1?${VERSION}`,
    world.body({ storageProfile: { osDisk: { createOption: 'Attach', managedDisk: { id: os } } } }),
  )
  assert.equal(answer.status, 403, answer.text)
  assert.equal(answer.body.error.code, 'LinkedAuthorizationFailed')
})
