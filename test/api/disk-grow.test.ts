/** A disk that a running QEMU of others has: adopted where it lies, grown by its monitor, not deleted, not read by URL. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { GIB } from '#base'
import { putSetting } from '#catalog'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { type Disk, DiskWorld, qemuImg } from './disk-world.ts'

test('A disk of a running machine grows without stopping it, and keeps its bytes', async () => {
  await using world = await DiskWorld.make()
  const machine = await BlankMachine.create([{}])
  try {
    await world.api.catalog.write((trx) => putSetting(trx, 'adopt-folders', JSON.stringify([machine.folder])))
    const adopted = await world.ask<Disk>('POST', world.at('live', 'adopt'), {
      location: 'eastus',
      path: machine.pathOf(0),
      format: 'qcow2',
      machine: { name: 'web', qmp: join(machine.folder, 'instant.qmp') },
    })
    // QEMU holds the image: looking at it from outside would need its lock.
    const done = await world.end(adopted)
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    const disk = await world.disk('live')
    assert.equal(disk.properties.diskState, 'Attached')
    assert.equal(disk.managedBy, `${world.group}/providers/Microsoft.Compute/virtualMachines/web`)
    assert.equal(disk.properties.diskSizeBytes, machine.model[0]?.length)
    await world.succeed(await world.ask('PATCH', world.at('live'), { properties: { diskSizeGB: 2 } }))
    assert.equal((await world.disk('live')).properties.diskSizeBytes, 2 * GIB)
    const drives = (await machine.qmp.execute('query-block')) as { inserted: { image: { 'virtual-size': number } } }[]
    assert.equal(drives[0]?.inserted.image['virtual-size'], 2 * GIB, 'the machine has the larger disk')
    assert.equal(await machine.status(), 'running')
    assert.equal((await world.ask('DELETE', world.at('live'))).status, 409)
    assert.equal(
      (await world.ask('POST', world.at('live', 'beginGetAccess'), { access: 'Read', durationInSeconds: 9 })).status,
      409,
    )
    await machine.write(0, 0, 4096)
    await machine.stop()
    const model = join(machine.folder, 'model.raw')
    await writeFile(model, machine.model[0] ?? '')
    await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', model, machine.pathOf(0))
  } finally {
    await machine.remove()
  }
})
