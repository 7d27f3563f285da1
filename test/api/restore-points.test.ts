/** Restore points: all disks of a machine at one instant, incremental, copied to another region, restored, given up. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { KIB, SECTOR_BYTES } from '#base'
import type { DiskBacking } from '#domain'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { type Answer, followed, VERSION } from './api-world.ts'
import { assertSameBytes, imageBytes, outputOf } from './disk-world.ts'
import { type Failure, type Operation, SnapshotWorld } from './snapshot-world.ts'

type Reference = { id: string }
type Point = {
  id: string
  name: string
  properties: {
    provisioningState: string
    timeCreated: string
    consistencyMode: string
    excludeDisks?: Reference[]
    sourceRestorePoint?: Reference
    sourceMetadata: {
      vmId: string
      location: string
      storageProfile: {
        osDisk?: { name: string; diskRestorePoint: Reference }
        dataDisks: { lun: number; name: string; diskRestorePoint: Reference }[]
      }
    }
    instanceView?: { diskRestorePoints: { id: string; replicationStatus: { completionPercent: number } }[] }
  }
}
type DiskPoint = {
  id: string
  name: string
  properties: {
    sourceResourceId: string
    sourceUniqueId: string
    familyId: string
    completionPercent: number
    osType?: string
    timeCreated: string
  }
}

const COMPUTE = 'providers/Microsoft.Compute'

class PointWorld {
  readonly own: SnapshotWorld
  readonly machine: BlankMachine

  constructor(own: SnapshotWorld, machine: BlankMachine) {
    this.own = own
    this.machine = machine
  }

  get machineId(): string {
    return `${this.own.group}/${COMPUTE}/virtualMachines/m1`
  }

  collection(name: string): string {
    return `${this.own.group}/${COMPUTE}/restorePointCollections/${name}`
  }

  async adopt(): Promise<void> {
    const answer = await this.own.ask('POST', `${this.machineId}/adopt?${VERSION}`, {
      location: 'eastus',
      qmp: join(this.machine.folder, 'instant.qmp'),
      osType: 'Linux',
    })
    const ended = await followed<Operation>(this.own.ask, answer)
    assert.equal(ended.body.status, 'Succeeded', ended.text)
  }

  collect(name: string, source: string, location = 'eastus'): Promise<Answer<Record<string, unknown>>> {
    return this.own.ask('PUT', `${this.collection(name)}?${VERSION}`, {
      location,
      properties: { source: { id: source } },
    })
  }

  put(collection: string, name: string, properties: Record<string, unknown> = {}): Promise<Answer<Point>> {
    return this.own.ask<Point>('PUT', `${this.collection(collection)}/restorePoints/${name}?${VERSION}`, { properties })
  }

  async made(collection: string, name: string, properties: Record<string, unknown> = {}): Promise<Point> {
    const answer = await this.put(collection, name, properties)
    assert.equal(answer.status, 201, answer.text)
    const ended = await followed<Operation>(this.own.ask, answer)
    assert.equal(ended.body.status, 'Succeeded', ended.text)
    return (await this.get(collection, name)).body
  }

  get(collection: string, name: string, more = ''): Promise<Answer<Point>> {
    return this.own.ask<Point>('GET', `${this.collection(collection)}/restorePoints/${name}?${VERSION}${more}`)
  }

  async disksOf({ id }: Reference): Promise<DiskPoint[]> {
    return (await this.own.ask<{ value: DiskPoint[] }>('GET', `${id}/diskRestorePoints?${VERSION}`)).body.value
  }

  /** Bytes of a disk that is made from a disk's restore point. */
  async restored(name: string, source: string, location = 'eastus'): Promise<Buffer> {
    const id = `${this.own.group}/${COMPUTE}/disks/${name}`
    const answer = await this.own.ask('PUT', `${id}?${VERSION}`, {
      location,
      properties: { creationData: { createOption: 'Restore', sourceResourceId: source } },
    })
    assert.equal(answer.status, 202, answer.text)
    const ended = await followed<Operation>(this.own.ask, answer)
    assert.equal(ended.body.status, 'Succeeded', ended.text)
    const { file } = (await this.own.row(id)).backing as unknown as DiskBacking
    return imageBytes(file, 'qcow2', `${file}.out`)
  }

  /** Writes into the running machine's disks, all of them, and keeps what they hold then. */
  async write(version: number): Promise<Buffer[]> {
    for (const disk of [0, 1])
      await this.machine.write(disk, (8 * version + disk) * 64 * KIB + SECTOR_BYTES, 16 * SECTOR_BYTES)
    return this.machine.model.map((content) => Buffer.from(content))
  }
}

test('Restore points', async (t) => {
  const machine = await BlankMachine.create([{ overlay: true }, { format: 'raw' }])
  try {
    await using own = await SnapshotWorld.make()
    const world = new PointWorld(own, machine)
    await world.adopt()
    const { ask } = own
    let first: Point
    let second: Point
    let [firstBytes, secondBytes]: [Buffer[], Buffer[]] = [[], []]

    await t.test('a collection is of a machine in its region, made once, shown and listed', async () => {
      const made = await world.collect('c1', world.machineId)
      assert.equal(made.status, 201, made.text)
      assert.equal((await world.collect('c1', world.machineId)).status, 200)
      for (const [answer, status] of [
        [await world.collect('c2', world.machineId, 'westus'), 400],
        [await world.collect('c2', `${own.group}/${COMPUTE}/virtualMachines/none`), 404],
        [await world.collect('c2', `${own.group}/${COMPUTE}/disks/m1_OsDisk`), 400],
        [await world.collect('c1', world.collection('other')), 400],
      ] as const)
        assert.equal(answer.status, status, answer.text)
      const list = await ask<{ value: Reference[] }>(
        'GET',
        `${own.group}/${COMPUTE}/restorePointCollections?${VERSION}`,
      )
      assert.deepEqual(
        list.body.value.map(({ id }) => id),
        [world.collection('c1')],
      )
    })

    await t.test('a point has all disks of the running machine at the instant of the request', async () => {
      firstBytes = await world.write(1)
      const answer = await world.put('c1', 'p1')
      assert.equal(answer.status, 201, answer.text)
      // What is written after the answer is not in the point.
      secondBytes = await world.write(2)
      const ended = await followed<Operation>(ask, answer)
      assert.equal(ended.body.status, 'Succeeded', ended.text)
      first = (await world.get('c1', 'p1', '&$expand=instanceView')).body
      assert.equal(first.properties.consistencyMode, 'CrashConsistent', 'there is no agent')
      const { osDisk, dataDisks } = first.properties.sourceMetadata.storageProfile
      assert.deepEqual(
        [osDisk?.name, dataDisks.map(({ lun, name }) => [lun, name])],
        ['m1_OsDisk', [[1, 'm1_DataDisk_1']]],
      )
      assert.deepEqual(
        first.properties.instanceView?.diskRestorePoints.map(
          ({ replicationStatus }) => replicationStatus.completionPercent,
        ),
        [100, 100],
      )
      const ids = [osDisk, ...dataDisks].map((disk) => disk?.diskRestorePoint.id ?? '')
      for (const [i, id] of ids.entries())
        assertSameBytes(await world.restored(`r1-${i}`, id), firstBytes[i] ?? Buffer.alloc(0), `disk ${i} of the first`)
    })

    await t.test('the next one stores what changed, and each is whole by itself', async () => {
      second = await world.made('c1', 'p2', { consistencyMode: 'CrashConsistent' })
      const disks = await world.disksOf(second)
      assert.equal(disks.length, 2)
      for (const { id } of disks) {
        const { mode } = (await own.pointOf(id)).disks[0] ?? {}
        assert.equal(mode, 'incremental')
      }
      const os = second.properties.sourceMetadata.storageProfile.osDisk?.diskRestorePoint.id ?? ''
      assertSameBytes(await world.restored('r2', os), secondBytes[0] ?? Buffer.alloc(0), 'the OS disk of the second')
      const families = [...(await world.disksOf(first)), ...disks].map(({ properties }) => properties.familyId)
      assert.equal(new Set(families).size, 2, 'one family a disk')
    })

    await t.test('disks may be left out, but only those of the machine, and not all', async () => {
      const data = `${own.group}/${COMPUTE}/disks/m1_DataDisk_1`
      const point = await world.made('c1', 'p3', { excludeDisks: [{ id: data }] })
      assert.deepEqual(
        (await world.disksOf(point)).map(({ properties }) => properties.sourceResourceId),
        [`${own.group}/${COMPUTE}/disks/m1_OsDisk`],
      )
      assert.deepEqual(point.properties.sourceMetadata.storageProfile.dataDisks, [])
      const foreign = await world.put('c1', 'p4', { excludeDisks: [{ id: data.replace('m1', 'x') }] })
      assert.equal(foreign.status, 400, foreign.text)
      const all = [data, data.replace('DataDisk_1', 'OsDisk')].map((id) => ({ id }))
      assert.equal((await world.put('c1', 'p4', { excludeDisks: all })).status, 400)
      const again = await world.put('c1', 'p3')
      assert.deepEqual([again.status, (again.body as unknown as Failure).error.code], [400, 'PropertyChangeNotAllowed'])
    })

    await t.test('a point is copied to another region by a collection whose source is the collection', async () => {
      assert.equal((await world.collect('west', world.collection('c1'), 'westus')).status, 201)
      const none = await world.put('west', 'p1')
      assert.equal(none.status, 400, none.text)
      const copy = await world.made('west', 'p1', { sourceRestorePoint: { id: first.id } })
      assert.equal(copy.properties.timeCreated, first.properties.timeCreated)
      assert.equal(copy.properties.sourceRestorePoint?.id, first.id)
      const { osDisk } = copy.properties.sourceMetadata.storageProfile
      assert.ok(
        osDisk !== undefined && osDisk.diskRestorePoint.id.startsWith(`${copy.id}/`),
        'the copy names its own disks',
      )
      assertSameBytes(
        await world.restored('r-west', osDisk.diskRestorePoint.id, 'westus'),
        firstBytes[0] ?? Buffer.alloc(0),
        'from the other region',
      )
      const here = await ask('PUT', `${own.group}/${COMPUTE}/disks/r-east?${VERSION}`, {
        location: 'eastus',
        properties: { creationData: { createOption: 'Restore', sourceResourceId: osDisk.diskRestorePoint.id } },
      })
      assert.equal(here.status, 400, 'a disk is made in the region of the version')
    })

    await t.test('a disk’s restore point is read by a signed URL, and not deleted meanwhile', async () => {
      const id = first.properties.sourceMetadata.storageProfile.osDisk?.diskRestorePoint.id ?? ''
      const wanted = { access: 'Read', durationInSeconds: 600 }
      const begun = await ask('POST', `${id}/beginGetAccess?${VERSION}`, wanted)
      assert.equal(begun.status, 202, begun.text)
      const done = (await followed<Operation>(ask, begun)).body
      const { accessSAS } = outputOf(done)
      const read = await own.world.raw({ method: 'GET', path: accessSAS })
      const expected = firstBytes[0] ?? Buffer.alloc(0)
      assertSameBytes(read.bytes.subarray(0, expected.length), expected, 'by URL')
      for (const path of [first.id, world.collection('c1')]) {
        const refused = await ask<Failure>('DELETE', `${path}?${VERSION}`)
        assert.deepEqual([refused.status, refused.body.error.code], [409, 'OperationNotAllowed'], refused.text)
      }
      await followed(ask, await ask('POST', `${id}/endGetAccess?${VERSION}`))
      const write = await ask('POST', `${id}/beginGetAccess?${VERSION}`, { ...wanted, access: 'Write' })
      assert.equal(write.status, 409, write.text)
    })

    await t.test(
      'deleting a point leaves the others whole; deleting the collection gives all versions up',
      async () => {
        const gone = await followed<Operation>(ask, await ask('DELETE', `${first.id}?${VERSION}`))
        assert.equal(gone.body.status, 'Succeeded', gone.text)
        assert.equal((await world.get('c1', 'p1')).status, 404)
        assert.equal((await ask('GET', `${first.id}/diskRestorePoints?${VERSION}`)).status, 404)
        const os = second.properties.sourceMetadata.storageProfile.osDisk?.diskRestorePoint.id ?? ''
        assertSameBytes(await world.restored('r3', os), secondBytes[0] ?? Buffer.alloc(0), 'the second after the first')
        const collection = await followed<Operation>(ask, await ask('DELETE', `${world.collection('c1')}?${VERSION}`))
        assert.equal(collection.body.status, 'Succeeded', collection.text)
        const left = await own.inRegion('eastus', async (repository) => {
          await repository.log.refresh()
          return repository.points().length
        })
        assert.equal(left, 0)
        assert.equal((await world.get('west', 'p1')).status, 200, 'the copy needs neither')
      },
    )
  } finally {
    await machine.remove()
  }
})
