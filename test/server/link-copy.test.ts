/** Snapshots copied from one linked server to the other: byte for byte, by who may, over deaths of either side. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { stampedBytes } from '#engine/block'
import type { FaceClient } from '../api/face-client.ts'
import type { Disk, Done, Failure } from '../api/disk-world.ts'
import { LinkWorld } from './link-world.ts'
import type { ServedHome } from './served-home.ts'

const V = 'api-version=2024-11-01'
const SIZE_BYTES = 64 * MIB

/** Whose bytes say where they belong, with holes, written up to its last sector. */
function contentOfDisk(): Buffer {
  const bytes = Buffer.alloc(SIZE_BYTES)
  for (const [at, length] of [
    [0, 2 * MIB],
    [5 * MIB, MIB],
    [40 * MIB, 3 * MIB],
    [SIZE_BYTES - 512, 512],
  ] as const)
    stampedBytes({ disk: 7, version: 3 }, at, length).copy(bytes, at)
  return bytes
}

async function sub(client: FaceClient): Promise<string> {
  return `/subscriptions/${(await client.record()).subscriptionId}`
}

async function put(client: FaceClient, id: string, location: string, properties: object): Promise<Done> {
  const answer = await client.ask('PUT', `${id}?${V}`, { location, properties })
  assert.equal(answer.status, 202, answer.text)
  return client.followed<Done>(answer)
}

async function download(home: ServedHome, client: FaceClient, id: string): Promise<Buffer> {
  const access = await client.ask('POST', `${id}/beginGetAccess?${V}`, { access: 'Read', durationInSeconds: 600 })
  const { properties } = await client.followed<{ properties: { output: { accessSAS: string } } }>(access)
  const ca = await readFile((await home.face()).caFile, 'utf8')
  return new Promise((resolve, reject) => {
    const sent = request(properties.output.accessSAS, { ca, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () => resolve(Buffer.concat(parts)))
      response.on('error', reject)
    })
    sent.on('error', reject)
    sent.end()
  })
}

const copyOf = (source: string, incremental = false) => ({
  incremental,
  creationData: { createOption: 'CopyStart', sourceResourceId: source },
})

test('A snapshot goes to a linked server and back, byte for byte', async (t) => {
  await using world = await LinkWorld.make()
  const { east, west } = world
  await world.divide()
  await world.link('--role', 'Contributor')
  const [eastFace, westFace] = [world.face(east), world.face(west)]
  const [eastSub, westSub] = [await sub(eastFace), await sub(westFace)]
  const snapshot = (sub: string, name: string) =>
    `${sub}/resourceGroups/g/providers/Microsoft.Compute/snapshots/${name}`
  const content = contentOfDisk()
  await mkdir(join(east.home, 'import'), { recursive: true })
  await writeFile(join(east.home, 'import', 'disk.raw'), content)
  for (const [client, sub, location] of [
    [eastFace, eastSub, 'eastus'],
    [westFace, westSub, 'westus'],
  ] as const)
    assert.equal((await client.ask('PUT', `${sub}/resourceGroups/g?${V}`, { location })).status, 201)
  const disk = `${eastSub}/resourceGroups/g/providers/Microsoft.Compute/disks/d`
  const creationData = { createOption: 'Import', sourceUri: `file://${join(east.home, 'import', 'disk.raw')}` }
  assert.equal((await put(eastFace, disk, 'eastus', { creationData })).status, 'Succeeded')
  const source = snapshot(eastSub, 's')
  const taken = await put(eastFace, source, 'eastus', {
    incremental: true,
    creationData: { createOption: 'Copy', sourceResourceId: disk },
  })
  assert.equal(taken.status, 'Succeeded', JSON.stringify(taken))
  const shown = (await eastFace.ask<Disk>('GET', `${source}?${V}`)).body

  await t.test('asked of the server that is to have it', async () => {
    const copied = await put(westFace, snapshot(westSub, 'c1'), 'westus', copyOf(source, true))
    assert.equal(copied.status, 'Succeeded', JSON.stringify(copied))
    const copy = (await westFace.ask<Disk>('GET', `${snapshot(westSub, 'c1')}?${V}`)).body
    assert.equal(copy.properties.diskSizeBytes, SIZE_BYTES)
    assert.equal(copy.properties.timeCreated, shown.properties.timeCreated, 'it shows the instant of its source')
    const bytes = await download(west, westFace, snapshot(westSub, 'c1'))
    assert.equal(bytes.length, SIZE_BYTES + 512)
    assert.ok(bytes.subarray(0, SIZE_BYTES).equals(content))
  })

  await t.test('asked through the server that has the source; what was used for it is gone', async () => {
    const copied = await put(eastFace, snapshot(westSub, 'c2'), 'westus', copyOf(source))
    assert.equal(copied.status, 'Succeeded', JSON.stringify(copied))
    const bytes = await download(east, eastFace, snapshot(westSub, 'c2'))
    assert.ok(bytes.subarray(0, SIZE_BYTES).equals(content), 'and read through it')
    assert.deepEqual(
      (await readdir(join(west.home, 'keys'))).filter((name) => name.startsWith('linked-')),
      [],
    )
    const files = await readdir(join(west.home, 'regions', 'westus', 'pool', 'disks'))
    assert.deepEqual(
      files.filter((name) => name.includes('copying')),
      [],
    )
  })

  await t.test('the copy outlives its source', async () => {
    assert.equal((await eastFace.followed<Done>(await eastFace.ask('DELETE', `${source}?${V}`))).status, 'Succeeded')
    const bytes = await download(west, westFace, snapshot(westSub, 'c1'))
    assert.ok(bytes.subarray(0, SIZE_BYTES).equals(content))
    const gone = await westFace.ask<Failure>('PUT', `${snapshot(westSub, 'c3')}?${V}`, {
      location: 'westus',
      properties: copyOf(source),
    })
    assert.deepEqual([gone.status, gone.body.error.code], [404, 'ResourceNotFound'])
  })

  await t.test('and back', async () => {
    const back = await put(eastFace, snapshot(eastSub, 'back'), 'eastus', copyOf(snapshot(westSub, 'c1')))
    assert.equal(back.status, 'Succeeded', JSON.stringify(back))
    assert.ok((await download(east, eastFace, snapshot(eastSub, 'back'))).subarray(0, SIZE_BYTES).equals(content))
  })

  await t.test('over the death of the server that makes it, and of that which has the source', async () => {
    const third = snapshot(eastSub, 'third')
    const answer = await eastFace.ask('PUT', `${third}?${V}`, {
      location: 'eastus',
      properties: copyOf(snapshot(westSub, 'c1')),
    })
    assert.equal(answer.status, 202, answer.text)
    await west.killServe()
    await west.serve()
    await east.killServe()
    await east.serve()
    assert.equal((await eastFace.followed<Done>(answer)).status, 'Succeeded')
    assert.ok((await download(east, eastFace, third)).subarray(0, SIZE_BYTES).equals(content))
  })

  await t.test('a disk of the other server is no source, and who may not read its bytes copies nothing', async () => {
    const ofDisk = await westFace.ask<Failure>('PUT', `${snapshot(westSub, 'c4')}?${V}`, {
      location: 'westus',
      properties: copyOf(disk),
    })
    assert.deepEqual([ofDisk.status, ofDisk.body.error.code], [400, 'InvalidResourceReference'])
    await east.run('region', 'link', await world.invitation('--role', 'Contributor'), '--role', 'Reader')
    const refused = await westFace.ask<Failure>('PUT', `${snapshot(westSub, 'c5')}?${V}`, {
      location: 'westus',
      properties: copyOf(snapshot(eastSub, 'back')),
    })
    assert.deepEqual(
      [refused.status, refused.body.error.code],
      [403, 'AuthorizationFailed'],
      'west is a Reader in the east',
    )
    assert.equal((await westFace.ask('GET', `${snapshot(westSub, 'c5')}?${V}`)).status, 404)
  })
})
