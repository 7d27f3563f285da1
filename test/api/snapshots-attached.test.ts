/** Snapshots of disks that a running QEMU has: the instant is that of the request; machines are adopted; groups are one moment. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { join } from 'node:path'
import { SECTOR_BYTES } from '#base'
import { updateResource } from '#catalog'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { followed, VERSION } from './api-world.ts'
import { type Failure, type Operation, type Snapshot, SNAPSHOT_VERSION, SnapshotWorld } from './snapshot-world.ts'

type Machine = {
  id: string
  name: string
  properties: {
    vmId: string
    provisioningState: string
    storageProfile: {
      osDisk?: { name: string; managedDisk: { id: string } }
      dataDisks: { lun: number; name: string }[]
    }
    instanceView?: { statuses: { code: string }[] }
  }
}
type Group = { instant: string; skewMs: number; pauseMs: number; consistency: string; snapshots: { id: string }[] }
type Row = { id: string; name: string; managedBy?: string; properties: { diskState: string; diskSizeBytes: number } }

const COMPUTE = 'providers/Microsoft.Compute'

async function adopted(own: SnapshotWorld, name: string, machine: BlankMachine): Promise<Machine> {
  const url = `${own.group}/${COMPUTE}/virtualMachines/${name}`
  const answer = await own.ask<Machine>('POST', `${url}/adopt?${VERSION}`, {
    location: 'eastus',
    qmp: join(machine.folder, 'instant.qmp'),
    osType: 'Linux',
  })
  assert.equal(answer.status, 202, answer.text)
  const ended = await followed<Operation>(own.ask, answer)
  assert.equal(ended.body.status, 'Succeeded', ended.text)
  return (await own.ask<Machine>('GET', `${url}?${VERSION}&$expand=instanceView`)).body
}

async function diskRows(own: SnapshotWorld): Promise<Row[]> {
  const rows = ['m1', 'm2'].flatMap((name) => [`${name}_OsDisk`, `${name}_DataDisk_1`])
  const found: Row[] = []
  for (const name of rows) {
    const id = `${own.group}/${COMPUTE}/disks/${name}`
    const row = await own.row(id).catch(() => undefined)
    if (row !== undefined) found.push({ id, name, ...row.body } as unknown as Row)
  }
  return found
}

test('Snapshots of a running machine’s disks', async (t) => {
  const machine = await BlankMachine.create([{}, { format: 'raw' }])
  try {
    await using own = await SnapshotWorld.make()
    const { ask } = own
    const before = await machine.graph()

    await t.test('a machine is adopted with its disks in place, and says by its monitor that it runs', async () => {
      const adoption = await adopted(own, 'm1', machine)
      assert.equal(adoption.properties.provisioningState, 'Succeeded')
      assert.equal(adoption.properties.storageProfile.osDisk?.name, 'm1_OsDisk')
      assert.equal(adoption.properties.storageProfile.dataDisks.length, 1)
      assert.ok(adoption.properties.instanceView?.statuses.some(({ code }) => code === 'PowerState/running'))
      const disks = await diskRows(own)
      assert.deepEqual(
        disks.map(({ name, managedBy, properties }) => [
          name,
          managedBy,
          properties.diskState,
          properties.diskSizeBytes,
        ]),
        [
          ['m1_OsDisk', adoption.id, 'Attached', machine.model[0]?.length],
          ['m1_DataDisk_1', adoption.id, 'Attached', machine.model[1]?.length],
        ],
      )
      assert.deepEqual(await machine.graph(), before)
    })

    await t.test('the same image is not adopted twice, and only who manages the server may name a socket', async () => {
      const url = `${own.group}/${COMPUTE}/virtualMachines/twin/adopt?${VERSION}`
      const body = { location: 'eastus', qmp: join(machine.folder, 'instant.qmp') }
      const answer = await ask('POST', url, body)
      const ended = await followed<Operation>(ask, answer)
      assert.equal(ended.body.status, 'Failed', ended.text)
      assert.equal((await ask('DELETE', url.replace('/adopt', ''))).status, 200)
      const owner = await own.world.principal('owner', [
        { role: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635', scope: own.world.subscription },
      ])
      assert.equal((await owner.ask('POST', url, body)).status, 403)
    })

    const os = `${own.group}/${COMPUTE}/disks/m1_OsDisk`
    const data = `${own.group}/${COMPUTE}/disks/m1_DataDisk_1`

    await t.test('what is written after the answer is not in it, what was written before is', async () => {
      await machine.write(0, 0, 64 * SECTOR_BYTES)
      const expected = Buffer.from(machine.model[0] ?? '')
      const answer = await own.put('run1', os, { incremental: true })
      assert.equal(answer.status, 202, answer.text)
      await machine.write(0, 0, 128 * SECTOR_BYTES)
      const instant = answer.body.properties.timeCreated
      await followed<Operation>(ask, answer)
      assert.ok((await own.bytesOf('run1')).equals(expected))
      assert.equal((await own.get('run1')).body.properties.timeCreated, instant)
      assert.equal(await machine.status(), 'running')
    })

    await t.test('the next one reads what changed since; a full one in between disturbs nothing', async () => {
      await own.made('between', os)
      await machine.write(0, 256 * SECTOR_BYTES, 8 * SECTOR_BYTES)
      await own.made('run2', os, { incremental: true })
      const point = await own.pointOf(own.snapshotId('run2'))
      assert.equal(point.mode, 'incremental', point.disks[0]?.reason)
      assert.ok((await own.bytesOf('run2')).equals(machine.model[0] ?? Buffer.alloc(0)))
      assert.ok((await own.bytesOf('between')).length === machine.model[0]?.length)
      await own.made('raw1', data)
      assert.ok((await own.bytesOf('raw1')).equals(machine.model[1] ?? Buffer.alloc(0)))
    })

    await t.test('a consistency group: all disks of two machines at one moment', async () => {
      const second = await BlankMachine.create([{}, {}])
      try {
        const other = await adopted(own, 'm2', second)
        const expected = [...machine.model, ...second.model].map((bytes) => Buffer.from(bytes))
        const answer = await ask(
          'POST',
          `${own.group}/providers/Holdfast.Protection/consistencyGroups/g1/createSnapshots?${VERSION}`,
          {
            machines: [`${own.group}/${COMPUTE}/virtualMachines/m1`, other.id],
            namePattern: '{group}-{disk}',
          },
        )
        assert.equal(answer.status, 202, answer.text)
        for (const one of [machine, second]) for (const lun of [0, 1]) await one.write(lun, 0, 16 * SECTOR_BYTES)
        const ended = await followed<Operation>(ask, answer)
        assert.equal(ended.body.status, 'Succeeded', ended.text)
        const group = ended.body.properties?.output as Group
        assert.equal(group.snapshots.length, 4)
        assert.ok(group.skewMs >= 0 && group.skewMs < 5_000, String(group.skewMs))
        console.log(
          `two machines, four disks: skew ${group.skewMs.toFixed(1)} ms, longest pause ${group.pauseMs.toFixed(1)} ms`,
        )
        const names = ['g1-m1_OsDisk', 'g1-m1_DataDisk_1', 'g1-m2_OsDisk', 'g1-m2_DataDisk_1']
        for (const [i, name] of names.entries()) {
          assert.ok((await own.bytesOf(name)).equals(expected[i] ?? Buffer.alloc(0)), name)
          const { tags, properties } = (await own.get(name)).body
          assert.equal(tags['consistencyGroup'], 'g1')
          assert.equal(properties.consistencyGroup?.skewMs, group.skewMs)
        }
        for (const one of [machine, second]) assert.equal(await one.status(), 'running')
      } finally {
        await second.remove()
      }
    })

    await t.test(
      'a group is all or none: one that cannot be taken leaves no snapshot, and the others go on',
      async () => {
        const disks = [os, data, `${own.group}/${COMPUTE}/disks/m2_OsDisk`]
        const row = await own.row(disks[2] ?? '')
        const backing = { ...row.backing, file: `${String(row.backing['file'])}.gone` }
        const source = { nowMs: () => 0, newEtag: () => 'x' }
        await own.world.catalog.write((trx) => updateResource(trx, row.id, { backing }, source))
        const url = `${own.group}/providers/Holdfast.Protection/consistencyGroups/g2/createSnapshots?${VERSION}`
        const answer = await ask<Failure>('POST', url, { disks })
        assert.ok(answer.status >= 400 && answer.status !== 504, answer.text)
        for (const name of ['m1_OsDisk-g2', 'm1_DataDisk_1-g2', 'm2_OsDisk-g2'])
          assert.equal((await own.get(name)).status, 404)
        assert.equal(await machine.status(), 'running')
      },
    )

    await t.test('once it is stopped it says so, and its disks are read from their images', async () => {
      await machine.stop()
      const { body } = await ask<Machine>(
        'GET',
        `${own.group}/${COMPUTE}/virtualMachines/m1?${VERSION}&$expand=instanceView`,
      )
      assert.ok(body.properties.instanceView?.statuses.some(({ code }) => code === 'PowerState/stopped'))
      const made: Snapshot = await own.made('stopped', os, { incremental: true })
      assert.ok((await own.bytesOf('stopped')).equals(machine.model[0] ?? Buffer.alloc(0)))
      assert.equal((await own.pointOf(made.id)).mode, 'incremental', 'QEMU stored its bitmap when it closed the image')
    })

    await t.test('forgetting it leaves its disks, unattached', async () => {
      assert.equal((await ask('DELETE', `${own.group}/${COMPUTE}/virtualMachines/m1?${VERSION}`)).status, 200)
      const disks = (await diskRows(own)).filter(({ name }) => name.startsWith('m1'))
      assert.deepEqual(
        disks.map(({ managedBy, properties }) => [managedBy, properties.diskState]),
        [
          [undefined, 'Unattached'],
          [undefined, 'Unattached'],
        ],
      )
      const again = await ask('GET', `${own.snapshotId('run1')}?${SNAPSHOT_VERSION}`)
      assert.equal(again.status, 200)
    })
  } finally {
    await machine.remove()
  }
})
