/** Platform images: offered by publisher, offer, sku and version, by a word of the alias document, and sources of disks. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'node:test'
import { MIB } from '#base'
import { VERSION } from './api-world.ts'
import { assertSameBytes, type Failure, patchyDisk } from './disk-world.ts'
import { ImageWorld } from './image-world.ts'

type Listed = { id: string; name: string; location: string }[]
type Shown = { name: string; properties: { hyperVGeneration: string; osDiskImage: { operatingSystem: string } } }
type Aliases = { outputs: { aliases: { value: Record<string, Record<string, Record<string, string>>> } } }

test('Platform images', async (t) => {
  await using world = await ImageWorld.make()
  const { disks } = world
  const { ask, api } = disks
  const place = `${api.subscription}/providers/Microsoft.Compute/locations/eastus/publishers`
  const versions = `${place}/Holdfast/artifacttypes/vmimage/offers/micro/skus/gen1/versions`
  const bytes = (version: number): Buffer => patchyDisk(8, 2 * MIB, version)
  const offer = async (version: string, content: Buffer, more: Record<string, unknown> = {}) => {
    const path = join(disks.folder, `${version}.raw`)
    await writeFile(path, content)
    const properties = { sourceUri: pathToFileURL(path).href, osType: 'Linux', alias: 'Micro', ...more }
    return ask('PUT', `${versions}/${version}?${VERSION}`, { properties })
  }
  const aliases = async (): Promise<Aliases> => (await api.raw<Aliases>({ method: 'GET', path: '/aliases.json' })).body

  await t.test('nothing is offered by a fresh server, and the alias document says so to anybody', async () => {
    assert.deepEqual((await aliases()).outputs.aliases.value, { Linux: {}, Windows: {} })
    assert.deepEqual((await ask<Listed>('GET', `${place}?${VERSION}`)).body, [])
    const answer = await disks.put('none', {
      creationData: { createOption: 'FromImage', imageReference: { id: `${versions}/1.0.0` } },
    })
    assert.deepEqual([answer.status, (answer.body as unknown as Failure).error.code], [404, 'PlatformImageNotFound'])
  })

  await t.test('one is made of a file in an import folder by who may manage the server, once', async () => {
    for (const version of ['1.9.0', '1.10.0']) {
      const made = await offer(version, bytes(Number(version.split('.')[1])))
      assert.equal(made.status, 201, made.text)
      assert.equal((await world.end(made)).status, 'Succeeded')
    }
    const again = await offer('1.9.0', bytes(1))
    assert.deepEqual([again.status, (again.body as unknown as Failure).error.code], [400, 'PropertyChangeNotAllowed'])
    const owner = await api.principal('owner', [
      { role: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635', scope: api.subscription },
    ])
    const properties = { sourceUri: 'file:///etc/passwd', osType: 'Linux' }
    const refused = await owner.ask('PUT', `${versions}/2.0.0?${VERSION}`, { properties })
    assert.equal(refused.status, 403, refused.text)
    const outside = await ask('PUT', `${versions}/2.0.0?${VERSION}`, { properties })
    assert.equal((await world.end(outside)).status, 'Failed', 'a file outside of the import folders')
    for (const bad of ['1.0', 'latest', '1.0.0.0']) assert.equal((await offer(bad, bytes(1))).status, 400, bad)
  })

  await t.test('it is listed level by level, as bare lists, and known by its word', async () => {
    const names = async (path: string, query = ''): Promise<string[]> =>
      (await ask<Listed>('GET', `${path}?${VERSION}${query}`)).body.map(({ name }) => name)
    assert.deepEqual(await names(place), ['Holdfast'])
    assert.deepEqual(await names(`${place}/Holdfast/artifacttypes/vmimage/offers`), ['micro'])
    assert.deepEqual(await names(`${place}/Holdfast/artifacttypes/vmimage/offers/micro/skus`), ['gen1'])
    assert.deepEqual(await names(versions), ['1.9.0', '1.10.0'])
    assert.deepEqual(await names(versions, '&$top=1&$orderby=name%20desc'), ['1.10.0'])
    assert.deepEqual(await names(versions.replace('eastus', 'westus')), [])
    const shown = (await ask<Shown>('GET', `${versions}/1.10.0?${VERSION}`)).body
    assert.deepEqual([shown.properties.hyperVGeneration, shown.properties.osDiskImage.operatingSystem], ['V1', 'Linux'])
    assert.equal((await ask('GET', `${versions}/3.0.0?${VERSION}`)).status, 404)
    assert.deepEqual((await aliases()).outputs.aliases.value['Linux'], {
      Micro: { publisher: 'Holdfast', offer: 'micro', sku: 'gen1', version: 'latest', architecture: 'x64' },
    })
  })

  await t.test('disks of every group are made from it: by id, and of the newest by its words', async () => {
    const made = async (name: string, imageReference: Record<string, unknown>): Promise<Buffer> => {
      await disks.succeed(await disks.put(name, { creationData: { createOption: 'FromImage', imageReference } }))
      return disks.bytes(name)
    }
    assertSameBytes(await made('old', { id: `${versions}/1.9.0` }), bytes(9), 'by id')
    assertSameBytes(await made('new', { id: `${versions}/latest` }), bytes(10), 'the newest: 1.10.0 comes after 1.9.0')
  })

  await t.test('it is given up while its disks live on', async () => {
    const gone = await ask('DELETE', `${versions}/1.10.0?${VERSION}`)
    assert.equal((await world.end(gone)).status, 'Succeeded')
    assert.equal((await ask('GET', `${versions}/1.10.0?${VERSION}`)).status, 404)
    assertSameBytes(await disks.bytes('new'), bytes(10), 'a disk of it')
    await disks.succeed(
      await disks.put('after', {
        creationData: { createOption: 'FromImage', imageReference: { id: `${versions}/latest` } },
      }),
    )
    assertSameBytes(await disks.bytes('after'), bytes(9), 'the newest that is left')
  })
})
