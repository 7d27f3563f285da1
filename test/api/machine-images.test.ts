/**
 * Machines and images with real guests: a machine from a platform image, generalized, made an image of with its data disk; machines
 * from that with identities of their own; restore points of a running machine; what is left when image and machine are gone.
 */
import assert from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'node:test'
import { MIB, must } from '#base'
import { listResources } from '#catalog'
import type { SnapshotBacking } from '#domain'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { systemClock, systemRandom } from '#runtime'
import { microImage } from '../rig/micro-image.ts'
import { VERSION } from './api-world.ts'
import { type Failure, MachineApiWorld, MICRO_SIZE } from './machine-api-world.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHoldfastHoldfastHoldfastHoldfastHoldfa me@here'

type Point = {
  id: string
  properties: {
    consistencyMode: string
    sourceMetadata: { storageProfile: { osDisk: { diskRestorePoint: { id: string } } } }
  }
}

async function offerMicro(world: MachineApiWorld, hyperVGeneration: 'V1' | 'V2' = 'V1'): Promise<void> {
  const folder = join(world.api.home.folder, 'import')
  await mkdir(folder, { recursive: true })
  const path = join(folder, 'micro.raw')
  await copyFile(await microImage(hyperVGeneration === 'V2' ? 'uefi' : 'bios'), path)
  const place = `${world.api.subscription}/providers/Microsoft.Compute/locations/eastus/publishers/Holdfast`
  const alias = hyperVGeneration === 'V2' ? 'MicroGen2' : 'Micro'
  const properties = { sourceUri: pathToFileURL(path).href, osType: 'Linux', hyperVGeneration, alias }
  const sku = hyperVGeneration === 'V2' ? 'gen2' : 'gen1'
  const url = `${place}/artifacttypes/vmimage/offers/micro/skus/${sku}/versions/1.0.0?${VERSION}`
  await world.succeed(await world.ask('PUT', url, { properties }))
}

const DATA_BYTES = 16 * MIB

/** A data disk with bytes that only this run knows. Gives their SHA-256. */
async function knownDisk(world: MachineApiWorld, name: string): Promise<string> {
  const path = join(world.api.home.folder, 'import', `${name}.raw`)
  const bytes = randomFillSync(Buffer.alloc(DATA_BYTES))
  await writeFile(path, bytes)
  const creationData = { createOption: 'Import', sourceUri: pathToFileURL(path).href }
  const body = { location: 'eastus', properties: { creationData } }
  await world.succeed(await world.ask('PUT', `${world.diskId(name)}?${VERSION}`, body))
  return createHash('sha256').update(bytes).digest('hex')
}

/** SHA-256 of the data disk at that LUN, as the guest reads it. */
async function hashInGuest(world: MachineApiWorld, name: string, lun: number): Promise<string> {
  const disk = `/dev/$(basename $(ls -d /sys/bus/scsi/devices/*:0:0:${lun + 1}/block/*))`
  return (await world.run(name, `head -c ${DATA_BYTES} ${disk} | sha256sum`)).split(' ')[0] ?? ''
}

async function fromImage(
  world: MachineApiWorld,
  name: string,
  imageReference: Record<string, string>,
  more: Readonly<{ dataDisks?: unknown[]; size?: string }> = {},
): Promise<void> {
  const ssh = { publicKeys: [{ path: '/home/admin/.ssh/authorized_keys', keyData: KEY }] }
  const osProfile = {
    computerName: name,
    adminUsername: 'admin',
    linuxConfiguration: { disablePasswordAuthentication: true, ssh },
    customData: Buffer.from('#!/bin/sh\necho custom > /root/custom\n').toString('base64'),
  }
  const { dataDisks, size = MICRO_SIZE } = more
  const properties = {
    hardwareProfile: { vmSize: size },
    storageProfile: {
      imageReference,
      osDisk: { createOption: 'FromImage', osType: 'Linux', deleteOption: 'Delete' },
      ...(dataDisks !== undefined && { dataDisks }),
    },
    osProfile,
  }
  await world.succeed(await world.ask('PUT', world.url(name), { location: 'eastus', properties }))
}

async function readBytesOf(world: MachineApiWorld, point: string): Promise<number> {
  const { folder } = world.api.home
  const bytes = await readFile(join(folder, 'keys', 'region-eastus.key'))
  const store = await openStore(parseStoreLocation(join(folder, 'regions', 'eastus', 'store')))
  const host = { clock: systemClock, random: systemRandom, cacheFolder: join(folder, 'cache-of-test'), writer: 'test' }
  const repository = await Repository.open(store, { kind: 'key-file', bytes }, host)
  try {
    return must(repository.findPoint(point).disks[0], 'It has a disk').readBytes
  } finally {
    await repository.close()
  }
}

const identity = async (world: MachineApiWorld, name: string): Promise<readonly string[]> => {
  const read = 'hostname; cat /etc/machine-id; dropbearkey -y -f /etc/dropbear/host_key | grep ^ssh-'
  return (await world.run(name, read)).trim().split('\n')
}

test('Machines from images, and restore points of them', async (t) => {
  await using world = await MachineApiWorld.make()
  const { ask } = world
  const URN = { publisher: 'Holdfast', offer: 'micro', sku: 'gen1', version: 'latest' }
  const compute = `${world.group}/providers/Microsoft.Compute`
  const image = `${compute}/images/web`
  let builder: readonly string[] = []

  await t.test('a machine from a platform image is who it was asked to be', async () => {
    await offerMicro(world)
    await fromImage(world, 'builder', URN, { dataDisks: [{ lun: 4, createOption: 'Empty', diskSizeGB: 1 }] })
    builder = await identity(world, 'builder')
    assert.equal(builder[0], 'builder')
    assert.equal((await world.run('builder', 'cat /home/admin/.ssh/authorized_keys')).trim(), KEY)
    assert.equal((await world.run('builder', 'cat /root/custom')).trim(), 'custom')
    const disk = '$(ls /dev/sd? | while read d; do [ "$(cat /sys/block/${d#/dev/}/size)" = 2097152 ] && echo $d; done)'
    await world.run(
      'builder',
      `d=${disk}; mkfs.ext4 -q $d && mount -t ext4 $d /mnt && echo data > /mnt/file && umount /mnt`,
    )
  })

  await t.test('an image is made of it once it is generalized and deallocated, and not before', async () => {
    const put = () =>
      ask<Failure>('PUT', `${image}?${VERSION}`, {
        location: 'eastus',
        properties: { sourceVirtualMachine: { id: world.id('builder') } },
      })
    const early = await put()
    assert.deepEqual([early.status, early.body.error.code], [409, 'OperationNotAllowed'], early.text)
    assert.match(early.body.error.message, /not generalized and not deallocated/)
    await world.run('builder', 'deprovision --user admin --yes')
    await world.commanded('builder', 'deallocate')
    assert.match((await put()).body.error.message, /it is not generalized\./)
    assert.equal((await ask('POST', world.url('builder', 'generalize'))).status, 200)
    const answer = await put()
    assert.equal(answer.status, 201, answer.text)
    await world.succeed(answer)
    const started = await ask<Failure>('POST', world.url('builder', 'start'))
    assert.equal(started.status, 409, 'the source of a generalized image does not start again')
  })

  await t.test('machines from it have identities of their own, and its data disk at its LUN', async () => {
    const found = [builder]
    for (const name of ['web1', 'web2']) {
      await fromImage(world, name, { id: image })
      const own = await identity(world, name)
      assert.equal(own[0], name)
      found.push(own)
      const shown = await world.show(name)
      assert.deepEqual(
        shown.properties.storageProfile.dataDisks.map(({ lun }) => lun),
        [4],
      )
      const read = 'for d in /dev/sd?; do mount -t ext4 $d /mnt 2>/dev/null && cat /mnt/file && umount /mnt; done; true'
      assert.equal((await world.run(name, read)).trim(), 'data')
      assert.equal((await world.run(name, 'cat /home/admin/.ssh/authorized_keys')).trim(), KEY)
    }
    for (const part of [0, 1, 2]) assert.equal(new Set(found.map((one) => one[part])).size, 3, `part ${part} of each`)
  })

  await t.test('all disks of a running one at one instant; a disk of it has what was written before', async () => {
    await world.run('web1', 'echo before > /root/instant && sync')
    const collection = `${compute}/restorePointCollections/c1`
    const properties = { source: { id: world.id('web1') } }
    assert.equal((await ask('PUT', `${collection}?${VERSION}`, { location: 'eastus', properties })).status, 201)
    const answer = await ask<Point>('PUT', `${collection}/restorePoints/p1?${VERSION}`, { properties: {} })
    assert.equal(answer.status, 201, answer.text)
    await world.run('web1', 'echo after > /root/instant && sync')
    await world.succeed(answer)
    const point = (await ask<Point>('GET', `${collection}/restorePoints/p1?${VERSION}`)).body
    assert.equal(point.properties.consistencyMode, 'ApplicationConsistent', 'its agent froze it')
    const disks = await listResources(world.api.catalog, { parent: point.id })
    const os = must(
      disks.find(({ name }) => /osdisk/i.test(name)),
      'It has the OS disk',
    )
    const { version } = os.backing as SnapshotBacking
    const read = await readBytesOf(world, must(version, 'It is durable').point)
    assert.ok(read < 200 * MIB, `of 256 MiB ${read} bytes were read: the holes of base and overlay were not`)
    const { id } = point.properties.sourceMetadata.storageProfile.osDisk.diskRestorePoint
    const creationData = { createOption: 'Restore', sourceResourceId: id }
    const restored = await ask('PUT', `${world.diskId('restored')}?${VERSION}`, {
      location: 'eastus',
      properties: { creationData },
    })
    await world.succeed(restored)
    await world.succeed(await world.put('again', world.diskId('restored')))
    assert.equal((await world.run('again', 'cat /root/instant')).trim(), 'before')
    await world.delete('again')
  })

  await t.test('image, source and one machine go; the other one stays well', async () => {
    await world.succeed(await ask('DELETE', `${image}?${VERSION}`))
    await world.delete('builder')
    await world.delete('web1')
    assert.equal((await identity(world, 'web2'))[0], 'web2')
    await world.commanded('web2', 'deallocate')
    await world.commanded('web2', 'start')
    assert.equal((await identity(world, 'web2'))[0], 'web2')
  })
})

test('A UEFI guest of an image: itself, its data disks and those of machines made from it', async () => {
  await using world = await MachineApiWorld.make()
  const { ask } = world
  await offerMicro(world, 'V2')
  const sha256 = await knownDisk(world, 'known')
  const URN = { publisher: 'Holdfast', offer: 'micro', sku: 'gen2', version: 'latest' }
  const size = 'Holdfast_1x256'
  const generation = async (name: string): Promise<unknown> =>
    ((await world.show(name)).properties.instanceView as unknown as { hyperVGeneration: string }).hyperVGeneration

  const dataDisks = [{ lun: 1, createOption: 'Attach', managedDisk: { id: world.diskId('known') } }]
  await fromImage(world, 'builder', URN, { size, dataDisks })
  assert.match(await world.run('builder', 'hostname; ls -d /sys/firmware/efi'), /^builder\n.*efi/)
  assert.equal(await generation('builder'), 'V2')
  assert.equal(await hashInGuest(world, 'builder', 1), sha256)

  await world.run('builder', 'deprovision --user admin --yes')
  await world.commanded('builder', 'deallocate')
  assert.equal((await ask('POST', world.url('builder', 'generalize'))).status, 200)
  const image = `${world.group}/providers/Microsoft.Compute/images/web`
  const properties = { sourceVirtualMachine: { id: world.id('builder') }, hyperVGeneration: 'V2' }
  await world.succeed(await ask('PUT', `${image}?${VERSION}`, { location: 'eastus', properties }))
  await world.delete('builder')
  await fromImage(world, 'web1', { id: image }, { size })
  assert.match(await world.run('web1', 'hostname; ls -d /sys/firmware/efi'), /^web1\n.*efi/)
  assert.equal(await generation('web1'), 'V2')
  assert.equal(await hashInGuest(world, 'web1', 1), sha256)
  await world.commanded('web1', 'restart')
  assert.equal((await world.run('web1', 'hostname')).trim(), 'web1')
})
