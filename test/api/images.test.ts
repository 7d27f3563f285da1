/** Images of disks and snapshots, disks that share their data, and everything that is done with a disk, over a base. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { GIB, KIB, MIB } from '#base'
import { insertResource, updateResource } from '#catalog'
import { stampedBytes } from '#engine/block'
import { SWEEP_BASES_JOB } from '#jobs'
import { followed, VERSION } from './api-world.ts'
import { assertSameBytes, type Failure, imageBytes, patchyDisk, qemuImg } from './disk-world.ts'
import { ImageWorld } from './image-world.ts'

const run = promisify(execFile)
const OS_BYTES = 6 * MIB + 512
const DATA_BYTES = 3 * MIB

async function write(file: string, offset: number, bytes: Buffer): Promise<void> {
  const pattern = `${file}.pattern`
  await writeFile(pattern, bytes)
  await run('qemu-io', ['-f', 'qcow2', '-c', `write -s ${pattern} ${offset} ${bytes.length}`, file])
}

/** The first bytes of a disk. */
async function headOf(file: string, bytes: number): Promise<Buffer> {
  const out = `${file}.head`
  await qemuImg('dd', '-f', 'qcow2', '-O', 'raw', 'bs=512', `count=${bytes / 512}`, `if=${file}`, `of=${out}`)
  const head = await readFile(out)
  await rm(out)
  return head
}

describe('An image', () => {
  let world: ImageWorld
  const os = patchyDisk(1, OS_BYTES)
  const data = patchyDisk(2, DATA_BYTES)
  before(async () => {
    world = await ImageWorld.make()
    await world.disks.import('os', os)
    await world.disks.import('data', data)
  })
  after(() => world[Symbol.asyncDispose]())
  const diskSource = (name: string) => ({ managedDisk: { id: world.disks.id(name) } })

  it('is made of a disk and data disks, answered with 201, and shows what it is', async () => {
    const data7 = { lun: 7, caching: 'ReadOnly', ...diskSource('data') }
    const answer = await world.of('img', diskSource('os'), [data7])
    assert.equal(answer.status, 201, answer.text)
    assert.equal(answer.body.properties.provisioningState, 'Creating')
    const image = await world.made(answer)
    const { osDisk, dataDisks } = image.properties.storageProfile
    assert.deepEqual(osDisk, { osType: 'Linux', osState: 'Generalized', ...diskSource('os'), diskSizeGB: 1 })
    assert.deepEqual(dataDisks, [{ ...data7, diskSizeGB: 1 }])
    const list = await world.disks.ask<{ value: { name: string }[] }>(
      'GET',
      `${world.disks.group}/providers/Microsoft.Compute/images?${VERSION}`,
    )
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['img'],
    )
    assert.equal((await world.of('img', diskSource('os'), [data7])).status, 200, 'put again, it is as it was')
    const other = await world.of('img', diskSource('data'))
    assert.deepEqual([other.status, (other.body as unknown as Failure).error.code], [400, 'PropertyChangeNotAllowed'])
    const patched = await world.disks.ask('PATCH', `${world.id('img')}?${VERSION}`, { tags: { env: 'lab' } })
    assert.equal(patched.status, 200, patched.text)
    assert.deepEqual((await world.get('img')).tags, { env: 'lab' })
  })

  it('rests on nothing that it was made of', async () => {
    await world.deleteDisk('os')
    await world.deleteDisk('data')
    const file = await world.disk('first', 'img')
    assertSameBytes(await world.disks.bytes('first'), os, 'the OS disk')
    await world.disk('first-data', 'img', { lun: 7 })
    assertSameBytes(await world.disks.bytes('first-data'), data, 'the data disk of LUN 7')
    assert.equal((await world.bases()).length, 2, 'one base a disk of the image')
    const shown = await world.disks.disk('first')
    assert.deepEqual(shown.properties.creationData, {
      createOption: 'FromImage',
      imageReference: { id: world.id('img') },
    })
    assert.equal(shown.properties.diskSizeBytes, OS_BYTES)
    assert.ok((await stat(file)).blocks * 512 <= 64 * KIB, 'the disk takes next to nothing')
  })

  it('is shared by its disks, and what one writes no other sees', async () => {
    const second = await world.disk('second', 'img')
    const larger = await world.disk('larger', 'img', { diskSizeGB: 1 })
    assert.equal((await world.bases()).length, 2, 'no second base')
    const { base } = await world.diskBacking('second')
    assert.equal((await stat(base?.file ?? '')).mode & 0o222, 0, 'nobody may write to a base')
    const mine = stampedBytes({ disk: 9, version: 2 }, 64 * KIB, 64 * KIB)
    await write(second, 64 * KIB, mine)
    await write(larger, 32 * MIB, mine)
    const expected = Buffer.from(os)
    mine.copy(expected, 64 * KIB)
    assertSameBytes(await world.disks.bytes('second'), expected, 'the one that was written to')
    const behind = Buffer.alloc(40 * MIB)
    os.copy(behind)
    mine.copy(behind, 32 * MIB)
    assertSameBytes(await headOf(larger, behind.length), behind, 'the larger one, behind the image’s end')
    assert.equal((await world.disks.disk('larger')).properties.diskSizeBytes, GIB)
    await world.deleteDisk('larger')
    assertSameBytes(await world.disks.bytes('first'), os, 'the other one')
    assertSameBytes(await world.disks.bytes('first-data'), data, 'the data disk')
  })

  it('makes no disk that is smaller, of another region, of a LUN that it has not, or of a field that does not belong', async () => {
    const creationData = { createOption: 'FromImage', imageReference: { id: world.id('img') } }
    const refusals: (readonly [Record<string, unknown>, number, string])[] = [
      [{ creationData: { ...creationData, imageReference: { id: world.id('img'), lun: 3 } } }, 400, 'InvalidParameter'],
      [{ creationData: { ...creationData, sourceResourceId: world.id('img') } }, 400, 'InvalidParameter'],
      [{ creationData: { createOption: 'FromImage' } }, 400, 'InvalidResourceReference'],
      [{ creationData: { ...creationData, imageReference: { id: world.id('none') } } }, 404, 'ResourceNotFound'],
    ]
    for (const [properties, status, code] of refusals) {
      const answer = await world.disks.put('none', properties)
      assert.deepEqual([answer.status, (answer.body as unknown as Failure).error.code], [status, code], answer.text)
    }
    const west = await world.disks.put('none', { creationData }, { location: 'westus' })
    assert.deepEqual([west.status, (west.body as unknown as Failure).error.code], [400, 'InvalidParameter'], west.text)
  })

  it('a disk over a base is snapshotted, copied, read by URL, grown, and refuses an upload', async () => {
    const file = await world.disks.file('first')
    const mine = stampedBytes({ disk: 5, version: 3 }, 2 * MIB, 128 * KIB)
    await write(file, 2 * MIB, mine)
    const expected = Buffer.from(os)
    mine.copy(expected, 2 * MIB)
    const snapshot = `${world.disks.group}/providers/Microsoft.Compute/snapshots`
    const take = async (name: string): Promise<void> => {
      const creationData = { createOption: 'Copy', sourceResourceId: world.disks.id('first') }
      const answer = await world.disks.ask('PUT', `${snapshot}/${name}?${VERSION}`, {
        location: 'eastus',
        properties: { incremental: true, creationData },
      })
      const done = (await followed<{ status: string }>(world.disks.ask, answer)).body
      assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    }
    const restored = async (name: string, source: string): Promise<Buffer> => {
      const creationData = { createOption: 'Copy', sourceResourceId: source }
      await world.disks.succeed(await world.disks.put(name, { creationData }))
      return world.disks.bytes(name)
    }
    await take('s1')
    assertSameBytes(await restored('of-s1', `${snapshot}/s1`), expected, 'the first snapshot')
    const later = stampedBytes({ disk: 5, version: 4 }, 3 * MIB, 64 * KIB)
    await write(file, 3 * MIB, later)
    await take('s2')
    later.copy(expected, 3 * MIB)
    assertSameBytes(await restored('of-s2', `${snapshot}/s2`), expected, 'the incremental one after it')
    assertSameBytes(await restored('copy', world.disks.id('first')), expected, 'a copy of the disk')
    assert.equal((await world.diskBacking('copy')).base, undefined, 'a copy is a disk by itself')

    const url = await world.disks.grant('first')
    const read = await world.disks.api.raw({ method: 'GET', path: url })
    assertSameBytes(read.bytes.subarray(0, OS_BYTES), expected, 'by URL')
    await world.disks.revoke('first')
    const upload = await world.disks.ask('POST', world.disks.at('first', 'beginGetAccess'), {
      access: 'Write',
      durationInSeconds: 60,
    })
    assert.equal(upload.status, 409, upload.text)

    await world.disks.succeed(
      await world.disks.ask('PATCH', world.disks.at('first'), { properties: { diskSizeGB: 2 } }),
    )
    assert.equal((await world.disks.disk('first')).properties.diskSizeBytes, 2 * GIB)
    assertSameBytes(await headOf(file, OS_BYTES), expected, 'the grown disk')
  })

  it('is made of a snapshot by naming its version once more, and lives without it', async () => {
    const snapshot = `${world.disks.group}/providers/Microsoft.Compute/snapshots/s1`
    const image = await world.made(
      await world.of('of-snapshot', { snapshot: { id: snapshot }, osState: 'Specialized' }),
    )
    assert.equal(image.properties.storageProfile.osDisk['osState'], 'Specialized')
    const gone = await followed<{ status: string }>(
      world.disks.ask,
      await world.disks.ask('DELETE', `${snapshot}?${VERSION}`),
    )
    assert.equal(gone.body.status, 'Succeeded', gone.text)
    await world.disk('of-snapshot-1', 'of-snapshot')
    assertSameBytes(
      await world.disks.bytes('of-snapshot-1'),
      await world.disks.bytes('of-s1'),
      'a disk of the image of the snapshot',
    )
    await world.deleteDisk('of-snapshot-1')
    await world.delete('of-snapshot')
  })

  it('what a disk has of its own and what deleting it frees is told apart from what it shares', async () => {
    const measure = `${world.disks.api.subscription}/providers/Holdfast.Protection/locations/eastus/measureUsage?${VERSION}`
    await followed(world.disks.ask, await world.disks.ask('POST', measure))
    type Usage = { name: string; properties: { usedBytes: number; ownBytes: number; freedBytes: number } }
    const all = await world.disks.ask<{ value: Usage[] }>(
      'GET',
      `${world.disks.group}/providers/Holdfast.Protection/usage?${VERSION}`,
    )
    const of = (name: string) => all.body.value.find((one) => one.name === name)?.properties
    const [second, image] = [of('second'), of('img')]
    const own = (await stat(await world.disks.file('second'))).blocks * 512
    const { base } = await world.diskBacking('second')
    const below = (await stat(base?.file ?? '')).blocks * 512
    assert.deepEqual(
      [second?.usedBytes, second?.ownBytes, second?.freedBytes],
      [own + below, own, own],
      'the base stays for others',
    )
    assert.ok(image !== undefined && image.usedBytes >= 6 * 64 * KIB, 'all disks of the image together')
  })

  it('is deleted while its disks live on; the base goes with the last of them', async () => {
    const before = await world.disks.bytes('second')
    await world.delete('img')
    assert.equal((await world.bases()).length, 2, 'bases with disks on them stay')
    assertSameBytes(await world.disks.bytes('second'), before, 'a disk without its image')
    const late = await world.disks.put('late', {
      creationData: { createOption: 'FromImage', imageReference: { id: world.id('img') } },
    })
    assert.equal(late.status, 404)
    await world.deleteDisk('first')
    assertSameBytes(await world.disks.bytes('second'), before, 'without the other disk')
    await world.deleteDisk('second')
    assert.equal((await world.bases()).length, 1, 'the base of the OS disk is gone')
    await world.deleteDisk('first-data')
    assert.deepEqual(await world.bases(), [])
  })

  it('the sweep removes what nothing names, and nothing that an overlay rests on', async () => {
    await world.disks.import('again', os)
    await world.made(await world.of('swept', diskSource('again')))
    const file = await world.disk('over', 'swept')
    const { base } = await world.diskBacking('over')
    const stray = join(world.pool, 'bases', 'f'.repeat(32) + '.stray.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', stray, '1M')
    const sweep = async (): Promise<unknown> => {
      const { jobs } = world.disks.api
      const job = await jobs.wait(await jobs.start(SWEEP_BASES_JOB, null))
      assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
      return job.output
    }
    assert.equal(await sweep(), 1)
    // As if the records were lost: the overlay itself still says what it rests on.
    const { catalog } = world.disks.api
    await catalog.write((trx) => trx.deleteFrom('resource').where('name', 'in', ['swept', 'over']).execute())
    assert.equal(await sweep(), 0)
    assertSameBytes(
      (await imageBytes(file, 'qcow2', `${file}.out`)).subarray(0, OS_BYTES),
      os,
      'the overlay reads as it did',
    )
    await run('rm', [file])
    assert.equal(await sweep(), 1)
    assert.ok(!(await world.bases()).includes(base?.file.split('/').at(-1) ?? ''))
  })

  it('refuses a machine that is not generalized or not deallocated, and says which', async () => {
    const id = `${world.disks.group}/providers/Microsoft.Compute/virtualMachines/vm1`
    const source = { nowMs: () => 0, newEtag: () => 'W/"1"' }
    const profile = {
      osDisk: { name: 'os', caching: 'ReadWrite', managedDisk: { id: world.disks.id('again') } },
      dataDisks: [],
    }
    const row = {
      id,
      subscription: world.disks.api.record.subscriptionId,
      group: world.disks.group,
      type: 'Microsoft.Compute/virtualMachines',
      name: 'vm1',
      location: 'eastus',
      tags: {},
      state: 'Succeeded',
      body: { properties: { storageProfile: profile } },
      backing: { power: 'running', generalized: false },
    }
    const { catalog } = world.disks.api
    await catalog.write((trx) => insertResource(trx, row, source))
    const put = () => world.put('of-machine', { sourceVirtualMachine: { id } })
    for (const [backing, said] of [
      [{ power: 'running', generalized: false }, /not generalized and not deallocated/],
      [{ power: 'stopped', generalized: true }, /it is not deallocated\./],
      [{ power: 'deallocated', generalized: false }, /it is not generalized\./],
    ] as const) {
      await catalog.write((trx) => updateResource(trx, id, { backing }, source))
      const answer = await put()
      const { error } = answer.body as unknown as Failure
      assert.deepEqual([answer.status, error.code], [409, 'OperationNotAllowed'], answer.text)
      assert.match(error.message, said)
    }
    await catalog.write((trx) =>
      updateResource(trx, id, { backing: { power: 'deallocated', generalized: true } }, source),
    )
    const image = await world.made(await put())
    assert.deepEqual(image.properties.sourceVirtualMachine, { id })
    assert.deepEqual(image.properties.storageProfile.osDisk['caching'], 'ReadWrite')
    await world.disk('of-machine-1', 'of-machine')
    assertSameBytes(await world.disks.bytes('of-machine-1'), os, 'a disk from the image of the machine')
  })
})
