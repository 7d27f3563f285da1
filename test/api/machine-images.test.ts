/**
 * Machines and images with real guests: a machine from a platform image, generalized, made an image of with its data disk; machines
 * from that with identities of their own; restore points of a running machine; what is left when image and machine are gone.
 */
import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile } from 'node:fs/promises'
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

async function offerMicro(world: MachineApiWorld): Promise<void> {
  const folder = join(world.api.home.folder, 'import')
  await mkdir(folder, { recursive: true })
  const path = join(folder, 'micro.raw')
  await copyFile(await microImage(), path)
  const place = `${world.api.subscription}/providers/Microsoft.Compute/locations/eastus/publishers/Holdfast`
  const properties = { sourceUri: pathToFileURL(path).href, osType: 'Linux', alias: 'Micro' }
  const url = `${place}/artifacttypes/vmimage/offers/micro/skus/gen1/versions/1.0.0?${VERSION}`
  await world.succeed(await world.ask('PUT', url, { properties }))
}

async function fromImage(
  world: MachineApiWorld,
  name: string,
  imageReference: Record<string, string>,
  more: Readonly<{ dataDisks?: unknown[]; specialized?: boolean }> = {},
): Promise<void> {
  const ssh = { publicKeys: [{ path: '/home/admin/.ssh/authorized_keys', keyData: KEY }] }
  const osProfile = {
    computerName: name,
    adminUsername: 'admin',
    linuxConfiguration: { disablePasswordAuthentication: true, ssh },
    customData: Buffer.from('#!/bin/sh\necho custom > /root/custom\n').toString('base64'),
  }
  const { dataDisks, specialized } = more
  const properties = {
    hardwareProfile: { vmSize: MICRO_SIZE },
    storageProfile: {
      imageReference,
      osDisk: { createOption: 'FromImage', osType: 'Linux', deleteOption: 'Delete' },
      ...(dataDisks !== undefined && { dataDisks }),
    },
    ...(specialized !== true && { osProfile }),
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
