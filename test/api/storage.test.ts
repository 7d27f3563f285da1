/** The thin storage account: keys, containers, blobs, signatures, and importing a VHD from a blob. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { must, MIB } from '#base'
import { findResource } from '#catalog'
import { stampedBytes } from '#engine/block'
import { systemClock } from '#runtime'
import { type Answer, VERSION } from './api-world.ts'
import { BlobClient } from './blob-client.ts'
import { assertSameBytes, DiskWorld, type Failure, patchyDisk, qemuImg } from './disk-world.ts'

type Account = { name: string; properties: { primaryEndpoints: { blob: string }; provisioningState: string } }
type Keys = { keys: { keyName: string; value: string }[] }

describe('A storage account', () => {
  let world: DiskWorld
  let blobs: BlobClient
  const at = (name: string, action = ''): string =>
    `${world.group}/providers/Microsoft.Storage/storageAccounts/${name}${action === '' ? '' : `/${action}`}?${VERSION}`
  before(async () => {
    world = await DiskWorld.make()
  })
  after(() => world[Symbol.asyncDispose]())

  it('is made once, has two keys, and its name is nobody else’s', async () => {
    const check = (name: string) =>
      world.ask<{ nameAvailable: boolean }>(
        'POST',
        `${world.api.subscription}/providers/Microsoft.Storage/checkNameAvailability?${VERSION}`,
        { name },
      )
    assert.equal((await check('acct1')).body.nameAvailable, true)
    const body = { location: 'eastus', kind: 'StorageV2', sku: { name: 'Standard_LRS' } }
    const made = await world.ask<Account>('PUT', at('acct1'), body)
    assert.equal(made.status, 200, made.text)
    assert.equal(made.body.properties.primaryEndpoints.blob, `${world.api.record.endpoint}/acct1/`)
    assert.equal((await world.ask('PUT', at('acct1'), body)).status, 200)
    assert.equal((await check('acct1')).body.nameAvailable, false)
    await world.ask('PUT', `${world.api.subscription}/resourceGroups/rg2?${VERSION}`, { location: 'eastus' })
    const taken = await world.ask<Failure>('PUT', at('acct1').replace('rg1', 'rg2'), body)
    assert.deepEqual([taken.status, taken.body.error.code], [409, 'StorageAccountAlreadyTaken'])
    for (const name of ['blob', 'graph', 'subscriptions', 'ab', 'UPPER', 'with-hyphen'])
      assert.equal((await world.ask('PUT', at(name), body)).status, 400, name)
    const refused = await world.ask<Failure>('PUT', at('other1'), {
      ...body,
      properties: { publicNetworkAccess: 'Disabled' },
    })
    assert.equal(refused.body.error.code, 'UnsupportedField')
    const { keys } = (await world.ask<Keys>('POST', at('acct1', 'listKeys'))).body
    assert.deepEqual(
      keys.map(({ keyName }) => keyName),
      ['key1', 'key2'],
    )
    assert.notEqual(keys[0]?.value, keys[1]?.value)
    const record = await findResource(world.api.catalog, at('acct1').split('?')[0] ?? '')
    assert.ok(!JSON.stringify(record).includes(String(keys[0]?.value)), 'no key stands in the catalog')
    blobs = new BlobClient(world, 'acct1', must(keys[0], 'There is a key').value)
  })

  it('keeps containers and block blobs, whole or made of blocks, and gives them back in ranges', async () => {
    assert.equal((await blobs.ask('PUT', '/vhds?restype=container')).status, 201)
    assert.equal((await blobs.ask('PUT', '/vhds?restype=container')).status, 409)
    assert.equal((await blobs.ask('GET', '/none?restype=container&comp=list')).status, 404)
    const data = stampedBytes({ disk: 1, version: 1 }, 0, 5 * MIB + 100)
    const type = { 'x-ms-blob-type': 'BlockBlob', 'content-type': 'text/x', 'x-ms-meta-who': 'me' }
    assert.equal((await blobs.ask('PUT', '/vhds/a%20b/c.bin', data, type)).status, 201)
    const whole = await blobs.ask('GET', '/vhds/a%20b/c.bin')
    assertSameBytes(whole.bytes, data, 'the blob')
    const { 'content-type': contentType, 'x-ms-meta-who': who, 'content-md5': md5 } = whole.headers
    assert.deepEqual([contentType, who, md5], ['text/x', 'me', createHash('md5').update(data).digest('base64')])
    const part = await blobs.ask('GET', '/vhds/a%20b/c.bin', undefined, { 'x-ms-range': 'bytes=1000-4999' })
    assert.equal(part.status, 206)
    assertSameBytes(part.bytes, data.subarray(1000, 5000), 'a range')
    const ids = ['b1', 'b2', 'b3'].map((id) => Buffer.from(id).toString('base64'))
    const block = (id: string): string => `/vhds/blocks?comp=block&blockid=${encodeURIComponent(id)}`
    for (const [index, id] of ids.entries())
      assert.equal((await blobs.ask('PUT', block(id), data.subarray(index * MIB, (index + 1) * MIB))).status, 201)
    const list = (order: readonly string[]): Buffer =>
      Buffer.from(`<?xml version="1.0"?><BlockList>${order.map((id) => `<Latest>${id}</Latest>`).join('')}</BlockList>`)
    const [b1 = '', b2 = '', b3 = ''] = ids
    assert.equal((await blobs.ask('PUT', '/vhds/blocks?comp=blocklist', list([b1, 'bm9uZQ==']))).status, 400)
    assert.equal((await blobs.ask('PUT', '/vhds/blocks?comp=blocklist', list([b2, b1, b3]))).status, 201)
    const joined = Buffer.concat([data.subarray(MIB, 2 * MIB), data.subarray(0, MIB), data.subarray(2 * MIB, 3 * MIB)])
    assertSameBytes((await blobs.ask('GET', '/vhds/blocks')).bytes, joined, 'of blocks')
    const names = await blobs.ask('GET', '/vhds?restype=container&comp=list&prefix=a')
    assert.match(names.text, /<Name>a b\/c\.bin<\/Name>/)
    assert.doesNotMatch(names.text, /<Name>blocks<\/Name>/)
    assert.match((await blobs.ask('GET', '/?comp=list')).text, /<Name>vhds<\/Name>/)
    assert.equal((await blobs.ask('PUT', '/vhds/blocks', data, { ...type, 'if-none-match': '*' })).status, 409)
    assert.equal((await blobs.ask('DELETE', '/vhds/blocks')).status, 202)
    assert.equal((await blobs.ask('GET', '/vhds/blocks')).status, 404)
  })

  it('refuses by name what it does not do, and whoever has no key', async () => {
    for (const [method, path, headers] of [
      ['PUT', '/vhds/x?comp=appendblock', {}],
      ['PUT', '/vhds/x', { 'x-ms-blob-type': 'AppendBlob' }],
      ['PUT', '/vhds/x', { 'x-ms-blob-type': 'BlockBlob', 'x-ms-copy-source': 'https://example.org' }],
      ['PUT', '/vhds/x?comp=lease', {}],
      ['GET', '/vhds/x?snapshot=2020', {}],
      ['GET', '/?restype=service&comp=properties', {}],
    ] as const) {
      const answer = await blobs.ask(method, path, undefined, headers)
      assert.equal(answer.status, 400, `${method} ${path}`)
      assert.match(answer.text, /UnsupportedOperation/)
    }
    const bare = await world.api.raw({ method: 'GET', path: '/acct1/vhds/a%20b/c.bin' })
    assert.equal(bare.status, 401)
    const wrong = new BlobClient(world, 'acct1', Buffer.alloc(64, 1).toString('base64'))
    assert.equal((await wrong.ask('GET', '/vhds/a%20b/c.bin')).status, 403)
    assert.equal(
      (await blobs.ask('GET', '/vhds/a%20b/c.bin', undefined, { 'x-ms-date': 'Thu, 01 Jan 2026 00:00:00 GMT' })).status,
      403,
    )
    for (const path of ['/vhds/..%2f..%2fsecret', '/..%2f..', '/vhds/%00', '/UPPER?restype=container', '/vhds/%zz'])
      assert.ok((await blobs.ask('GET', path).catch(() => ({ status: 400 }))).status >= 400, path)
    const token = await world.api.token()
    const bearer = await world.api.raw({
      method: 'GET',
      path: '/acct1/vhds/x',
      headers: { authorization: `Bearer ${token}` },
    })
    assert.equal(bearer.status, 403)
  })

  it('takes a SAS for what it was made for, until it expires or its key is renewed', async () => {
    const get = (query: string, path = '/vhds/a%20b/c.bin', method = 'GET'): Promise<Answer<undefined>> =>
      world.api.raw({ method, path: `/acct1${path}?${query}` })
    const soon = systemClock.nowMs() + 600_000
    const ofBlob = blobs.sas('/vhds/a b/c.bin', 'b', 'r', soon)
    assert.equal((await get(ofBlob)).status, 200)
    assert.equal((await get(ofBlob, '/vhds/other')).status, 403)
    assert.equal((await get(ofBlob, '/vhds/a%20b/c.bin', 'DELETE')).status, 403)
    assert.equal((await get(ofBlob.replace('sp=r', 'sp=rwd'))).status, 403)
    assert.equal((await get(blobs.sas('/vhds/a b/c.bin', 'b', 'r', systemClock.nowMs() - 1000))).status, 403)
    assert.equal((await get(blobs.sas('/vhds', 'c', 'rl', soon))).status, 200)
    const renewed = await world.ask<Keys>('POST', at('acct1', 'regenerateKey'), { keyName: 'key1' })
    assert.equal((await get(ofBlob)).status, 403)
    blobs.key = must(renewed.body.keys[0], 'There is a key').value
    assert.equal((await blobs.ask('HEAD', '/vhds/a%20b/c.bin')).status, 200)
  })

  it('holds page blobs, from which a disk is imported', async () => {
    const content = patchyDisk(5, 4 * MIB)
    const raw = join(world.folder, 'x.raw')
    const { writeFile } = await import('node:fs/promises')
    await writeFile(raw, content)
    await qemuImg('convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=fixed,force_size=on', raw, `${raw}.vhd`)
    const vhd = await readFile(`${raw}.vhd`)
    const length = { 'x-ms-blob-content-length': String(vhd.length), 'x-ms-blob-type': 'PageBlob' }
    assert.equal((await blobs.ask('PUT', '/vhds/d.vhd', Buffer.alloc(0), length)).status, 201)
    for (let from = 0; from < vhd.length; from += MIB) {
      const body = vhd.subarray(from, from + MIB)
      const headers = { 'x-ms-page-write': 'update', 'x-ms-range': `bytes=${from}-${from + body.length - 1}` }
      assert.equal((await blobs.ask('PUT', '/vhds/d.vhd?comp=page', body, headers)).status, 201)
    }
    assertSameBytes((await blobs.ask('GET', '/vhds/d.vhd')).bytes, vhd, 'the page blob')
    const sourceUri = `${world.api.record.endpoint}/acct1/vhds/d.vhd`
    const creationData = { createOption: 'Import', sourceUri, storageAccountId: at('acct1').split('?')[0] }
    await world.succeed(await world.put('from-blob', { creationData }))
    assertSameBytes(await world.bytes('from-blob'), content, 'the imported disk')
    const missing = { createOption: 'Import', sourceUri: `${sourceUri}x` }
    assert.equal((await world.end(await world.put('no-blob', { creationData: missing }))).error?.code, 'NotFound')
    const role = 'd1b9e7ff-0000-4000-8000-000000000000'
    const stranger = await world.api.principal('stranger', [{ role, scope: world.group }])
    assert.equal((await stranger.ask('POST', at('acct1', 'listKeys'))).status, 403)
  })

  it('goes with its blobs, by itself and with its group', async () => {
    const record = must(await findResource(world.api.catalog, at('acct1').split('?')[0] ?? ''), 'The account is there')
    const folder = String(record.backing['folder'])
    assert.deepEqual(await readdir(folder), ['vhds'])
    await world.ask('PUT', at('gone1'), { location: 'eastus' })
    assert.equal((await world.ask('DELETE', at('gone1'))).status, 200)
    assert.equal((await world.ask('DELETE', at('gone1'))).status, 204)
    const deleted = await world.ask('DELETE', `${world.group}?${VERSION}`)
    assert.equal(deleted.status, 202)
    for (;;) {
      const polled = await world.ask('GET', String(deleted.headers['location']))
      if (polled.status !== 202) break
    }
    await assert.rejects(stat(folder))
    assert.equal((await blobs.ask('GET', '/vhds/d.vhd')).status, 401)
  })
})
