/** Signed URLs to the bytes of disks and snapshots, and uploads through them. */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { GIB, must, MIB } from '#base'
import { findResource, insertResource, updateResource } from '#catalog'
import { makeFixedVhdFooter, MemoryDevice, stampedBytes } from '#engine/block'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { backUp } from '#engine/transfer'
import { regionRepository } from '#jobs'
import { systemClock, systemRandom } from '#runtime'
import type { Answer } from './api-world.ts'
import { assertSameBytes, DiskWorld, type Failure, imageBytes, outputOf, patchyDisk, qemuImg } from './disk-world.ts'

const SIZE = 6 * MIB
const etags = { nowMs: () => systemClock.nowMs(), newEtag: () => 'W/"test"' }

describe('Access by signed URL', () => {
  let world: DiskWorld
  const content = patchyDisk(4, SIZE)
  before(async () => {
    world = await DiskWorld.make()
    await world.import('d', content)
  })
  after(() => world[Symbol.asyncDispose]())

  const get = (url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer<undefined>> =>
    world.api.raw({ method, path: url, headers })

  it('streams a fixed VHD, whole and in ranges, until it is revoked', async () => {
    const url = await world.grant('d')
    assert.equal((await world.disk('d')).properties.diskState, 'ActiveSAS')
    const whole = await get(url)
    assert.equal(whole.status, 200)
    assert.equal(whole.headers['x-ms-blob-type'], 'PageBlob')
    assert.equal(whole.bytes.length, SIZE + 512)
    assertSameBytes(whole.bytes.subarray(0, SIZE), content, 'the disk in the VHD')
    const path = join(world.api.home.folder, 'd.vhd')
    await writeFile(path, whole.bytes)
    assertSameBytes(await imageBytes(path, 'vpc', `${path}.raw`), content, 'as QEMU reads the VHD')
    const head = await get(url, {}, 'HEAD')
    assert.deepEqual([head.status, head.headers['content-length'], head.bytes.length], [200, String(SIZE + 512), 0])
    for (const [from, to] of [
      [0, 511],
      [511, 70_000],
      [SIZE - 100, SIZE + 511],
      [SIZE + 10, SIZE + 20],
      [MIB - 1, 3 * MIB],
    ] as const) {
      const part = await get(url, { 'x-ms-range': `bytes=${from}-${to}`, 'if-match': String(head.headers['etag']) })
      assert.equal(part.status, 206)
      assert.equal(part.headers['content-range'], `bytes ${from}-${to}/${SIZE + 512}`)
      assertSameBytes(part.bytes, whole.bytes.subarray(from, to + 1), `${from}-${to}`)
    }
    const tail = await get(url, { range: 'bytes=-512' })
    assertSameBytes(tail.bytes, whole.bytes.subarray(SIZE), 'the footer')
    assert.equal((await get(url, { range: `bytes=${SIZE + 512}-` })).status, 416)
    assert.equal((await get(url, { 'if-match': '"other"' })).status, 412)
    assert.equal((await get(`${url}&comp=lease`)).status, 400)
    assert.equal((await world.revoke('d')).status, 'Succeeded')
    assert.equal((await get(url)).status, 403)
    assert.equal((await world.disk('d')).properties.diskState, 'Unattached')
  })

  it('tells which pages hold data, so that a sparse disk is fetched fast', async () => {
    const url = await world.grant('d')
    const list = await get(`${url}&comp=pagelist`)
    assert.equal(list.status, 200, list.text)
    const ranges = Array.from(list.text.matchAll(/<Start>(\d+)<\/Start><End>(\d+)<\/End>/g), (match) =>
      match.slice(1).map(Number),
    )
    const rebuilt = Buffer.alloc(SIZE + 512)
    for (const [from = 0, to = 0] of ranges)
      (await get(url, { range: `bytes=${from}-${to}` })).bytes.copy(rebuilt, from)
    assertSameBytes(rebuilt.subarray(0, SIZE), content, 'rebuilt from the listed pages')
    assert.ok(ranges.reduce((sum, [from = 0, to = 0]) => sum + to - from, 0) < SIZE / 2, 'holes are left out')
    await world.revoke('d')
  })

  it('refuses forged, foreign, expired and changed URLs alike', async () => {
    const url = await world.grant('d', 'Read', 1)
    const forged = new URL(url)
    const signature = forged.searchParams.get('sig') ?? ''
    forged.searchParams.set('sig', `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`)
    const longer = new URL(url)
    longer.searchParams.set('sp', 'rw')
    const other = url.replace(/\/blob\/[^/]+/, '/blob/00000000-0000-4000-8000-000000000000')
    for (const bad of [
      forged.href,
      longer.href,
      other,
      url.split('?')[0] ?? '',
      url.replace('/blob/', '/blob/../blob/x/'),
    ])
      assert.ok([403, 404].includes((await get(bad)).status), bad)
    assert.equal((await get(url, {}, 'PUT')).status, 403, 'a URL for reading writes nothing')
    const expires = globalThis.Date.parse(new URL(url).searchParams.get('se') ?? '')
    while (systemClock.nowMs() <= expires) await systemClock.sleep(50)
    assert.equal((await get(url)).status, 403)
    assert.equal((await world.disk('d')).properties.diskState, 'Unattached', 'what has expired binds nobody')
    const denied = await get(url)
    assert.match(denied.text, /<Code>AuthenticationFailed<\/Code>/)
  })

  it('survives a restart of the server, and keeps no URL in the catalog', async () => {
    const url = await world.grant('d')
    await world.api.restart()
    world = await DiskWorld.over(world.api)
    const path = url.replace(/^https:\/\/[^/]+/, '')
    assertSameBytes((await get(path)).bytes.subarray(0, SIZE), content, 'after the restart')
    const { sig } = Object.fromEntries(new URL(url).searchParams)
    for (const table of ['resource', 'job', 'operation', 'job_step'] as const)
      assert.ok(
        !JSON.stringify(await world.api.catalog.db.selectFrom(table).selectAll().execute()).includes(String(sig)),
        table,
      )
    const refused = await world.ask<Failure>('DELETE', world.at('d'))
    assert.deepEqual([refused.status, refused.body.error.code], [409, 'OperationNotAllowed'])
    await world.revoke('d')
  })

  it('ends the streams that are open when it is revoked', async () => {
    await world.import('long', stampedBytes({ disk: 9, version: 1 }, 0, 48 * MIB))
    const url = new URL(await world.grant('long'))
    const ca = await readFile(world.api.record.caFile, 'utf8')
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request(url, { ca }, resolve).on('error', reject).end()
    })
    // Nothing is read yet: the server waits for room, whatever it could send.
    await world.revoke('long')
    let bytes = 0
    await assert.rejects(async () => {
      for await (const part of response as AsyncIterable<Buffer>) bytes += part.length
    })
    assert.ok(bytes < 48 * MIB, `the stream ended after ${bytes} bytes`)
  })

  it('reads a snapshot from its version in the region’s repository', async () => {
    const { catalog } = world.api
    const version = await storedVersion(world, content)
    const properties = {
      uniqueId: '11111111-2222-4333-8444-555555555555',
      diskState: 'Unattached',
      diskSizeBytes: SIZE,
      diskSizeGB: 1,
    }
    const id = `${world.group}/providers/Microsoft.Compute/snapshots/s1`
    const row = {
      id,
      subscription: world.api.record.subscriptionId,
      group: world.group,
      type: 'Microsoft.Compute/snapshots',
    }
    const more = {
      name: 's1',
      location: 'eastus',
      tags: {},
      state: 'Succeeded',
      body: { properties },
      backing: { version },
    }
    await catalog.write((trx) => insertResource(trx, { ...row, ...more }, etags))
    const begun = await world.ask('POST', `${id}/beginGetAccess?api-version=2023-10-02`, {
      access: 'Read',
      durationInSeconds: 600,
    })
    const done = await world.succeed(begun)
    const { accessSAS } = outputOf(done)
    const whole = await get(accessSAS)
    assertSameBytes(whole.bytes.subarray(0, SIZE), content, 'the snapshot')
    assert.equal(
      (
        await world.ask('POST', `${id}/beginGetAccess?api-version=2023-10-02`, {
          access: 'Write',
          durationInSeconds: 1,
        })
      ).status,
      409,
    )
    await world.end(await world.ask('POST', `${id}/endGetAccess?api-version=2023-10-02`))
    assert.equal((await get(accessSAS)).status, 403)
    const creationData = { createOption: 'Copy', sourceResourceId: id }
    await world.succeed(await world.put('from-snapshot', { creationData }))
    assertSameBytes(await world.bytes('from-snapshot'), content, 'a disk of the snapshot')
    await world.succeed(await world.put('larger', { creationData, diskSizeGB: 1 }))
    assert.equal((await world.disk('larger')).properties.diskSizeBytes, GIB)
    await qemuImg(
      'compare',
      '-f',
      'qcow2',
      '-F',
      'qcow2',
      await world.file('from-snapshot'),
      await world.file('larger'),
    )
    const elsewhere = await world.ask<Failure>('PUT', world.at('west'), {
      location: 'westus',
      properties: { creationData },
    })
    assert.equal(elsewhere.status, 400, 'not across regions')
  })

  it('takes an upload page by page in any order, and makes the disk of it', async () => {
    const vhd = Buffer.concat([content, makeFixedVhdFooter(SIZE, Buffer.alloc(16, 7), 1_790_000_000_000)])
    const creationData = { createOption: 'Upload', uploadSizeBytes: vhd.length }
    await world.succeed(await world.put('up', { creationData }))
    assert.equal((await world.disk('up')).properties.diskState, 'ReadyToUpload')
    assert.equal(
      (await world.ask('POST', world.at('up', 'beginGetAccess'), { access: 'Read', durationInSeconds: 9 })).status,
      409,
    )
    const url = await world.grant('up', 'Write')
    assert.equal((await world.disk('up')).properties.diskState, 'ActiveUpload')
    const put = (from: number, body: Uint8Array, more: Record<string, string> = {}): Promise<Answer<undefined>> =>
      world.api.raw({
        method: 'PUT',
        path: `${url}&comp=page`,
        body,
        headers: {
          'x-ms-page-write': 'update',
          'x-ms-range': `bytes=${from}-${from + body.length - 1}`,
          'content-length': String(body.length),
          ...more,
        },
      })
    const head = await get(url, {}, 'HEAD')
    assert.equal(head.headers['content-length'], String(vhd.length))
    assert.equal((await put(100, vhd.subarray(0, 512))).status, 416, 'pages are aligned')
    assert.equal((await put(SIZE, vhd.subarray(0, 1024))).status, 416, 'nothing goes behind the end')
    assert.equal((await put(0, vhd.subarray(0, 512), { 'content-md5': 'AAAAAAAAAAAAAAAAAAAAAA==' })).status, 400)
    await put(3 * MIB, stampedBytes({ disk: 99, version: 9 }, 0, MIB))
    const clear = { 'x-ms-page-write': 'clear', 'x-ms-range': `bytes=${3 * MIB}-${4 * MIB - 1}`, 'content-length': '0' }
    assert.equal((await world.api.raw({ method: 'PUT', path: `${url}&comp=page`, headers: clear })).status, 201)
    const ends = [SIZE, 4 * MIB, 0, 2 * MIB, 3 * MIB, MIB, 5 * MIB]
    for (const from of ends) {
      const part = vhd.subarray(from, Math.min(from + MIB, vhd.length))
      if (part.some((byte) => byte !== 0)) assert.equal((await put(from, part.subarray(0, MIB))).status, 201)
    }
    assert.equal((await world.revoke('up')).status, 'Succeeded')
    assert.equal((await put(0, vhd.subarray(0, 512))).status, 403)
    assert.equal((await world.disk('up')).properties.diskState, 'Unattached')
    assertSameBytes(await world.bytes('up'), content, 'the uploaded disk')
  })

  it('makes no disk of an upload whose footer is not that of the disk', async () => {
    const creationData = { createOption: 'Upload', uploadSizeBytes: SIZE + 512 }
    await world.succeed(await world.put('bad', { creationData }))
    const good = makeFixedVhdFooter(SIZE, Buffer.alloc(16, 7), 1_790_000_000_000)
    const changed = (change: (footer: Buffer) => void): Buffer => {
      const footer = Buffer.from(good)
      change(footer)
      return footer
    }
    const hostile: readonly Buffer[] = [
      Buffer.alloc(512),
      changed((footer) => footer.write('CONECTIX', 0)),
      changed((footer) => footer.writeUInt32BE(0, 64)),
      makeFixedVhdFooter(SIZE - 512, Buffer.alloc(16, 7), 1_790_000_000_000),
      makeFixedVhdFooter(64 * MIB, Buffer.alloc(16, 7), 1_790_000_000_000),
      resigned(changed((footer) => footer.writeUInt32BE(3, 60))),
      resigned(changed((footer) => footer.writeUInt32BE(4, 60))),
    ]
    const write = async (url: string, footer: Buffer): Promise<void> => {
      const headers = {
        'x-ms-page-write': 'update',
        'x-ms-range': `bytes=${SIZE}-${SIZE + 511}`,
        'content-length': '512',
      }
      assert.equal(
        (await world.api.raw({ method: 'PUT', path: `${url}&comp=page`, body: footer, headers })).status,
        201,
      )
    }
    for (const [index, footer] of hostile.entries()) {
      await write(await world.grant('bad', 'Write'), footer)
      const done = await world.revoke('bad')
      assert.deepEqual([done.status, done.error?.code], ['Failed', 'InvalidParameter'], `footer ${index}`)
      assert.equal((await world.disk('bad')).properties.diskState, 'ReadyToUpload')
    }
    await write(await world.grant('bad', 'Write'), good)
    assert.equal((await world.revoke('bad')).status, 'Succeeded')
    assert.equal((await world.disk('bad')).properties.diskState, 'Unattached')
  })

  it('is refused where the network policy or a running machine forbids it', async () => {
    const ask = (): Promise<Answer<Failure>> =>
      world.ask('POST', world.at('d', 'beginGetAccess'), { access: 'Read', durationInSeconds: 60 })
    await world.ask('PATCH', world.at('d'), { properties: { networkAccessPolicy: 'DenyAll' } })
    assert.equal((await ask()).status, 409)
    await world.ask('PATCH', world.at('d'), { properties: { networkAccessPolicy: 'AllowAll' } })
    const record = must(await findResource(world.api.catalog, world.id('d')), 'The disk is there')
    const properties = { ...(record.body['properties'] as object), diskState: 'Attached' }
    await world.api.catalog.write((trx) =>
      updateResource(trx, record.id, { body: { ...record.body, properties } }, etags),
    )
    assert.equal((await ask()).status, 409)
    await world.api.catalog.write((trx) => updateResource(trx, record.id, { body: record.body }, etags))
    for (const body of [
      {},
      { access: 'Read' },
      { access: 'Read', durationInSeconds: 0 },
      { access: 'All', durationInSeconds: 5 },
    ])
      assert.equal((await world.ask('POST', world.at('d', 'beginGetAccess'), body)).status, 400, JSON.stringify(body))
  })
})

/** The footer with a checksum that is right again. */
function resigned(footer: Buffer): Buffer {
  footer.writeUInt32BE(0, 64)
  const sum = footer.reduce((total, byte) => total + byte, 0)
  footer.writeUInt32BE(~sum >>> 0, 64)
  return footer
}

/** A point in the repository of the region, as a snapshot makes it. */
async function storedVersion(world: DiskWorld, bytes: Uint8Array) {
  const { catalog, home } = world.api
  const host = { clock: systemClock, random: systemRandom, cacheFolder: join(home.folder, 'cache'), writer: 'test' }
  const parts = { catalog, keysFolder: join(home.folder, 'keys'), host }
  const [first, second] = await Promise.all([regionRepository(parts, 'eastus'), regionRepository(parts, 'eastus')])
  assert.deepEqual(first, second, 'two who make it at once get one')
  const store = parseStoreLocation(first.access.store)
  const credential = { kind: 'key-file' as const, bytes: await readFile(first.access.credential.path) }
  const repository = await Repository.open(await openStore(store), credential, host)
  const device = new MemoryDevice(bytes.length)
  for (let at = 0; at < bytes.length; at += 64 * 1024) {
    const part = bytes.subarray(at, at + 64 * 1024)
    if (part.some((byte) => byte !== 0)) await device.write(at, part)
  }
  const point = await backUp(
    repository,
    {
      machine: 'm',
      takenAtMs: systemClock.nowMs(),
      consistency: 'crash',
      notes: [],
      disks: [
        {
          id: 'disk-a',
          lun: 0,
          format: 'raw',
          sizeBytes: bytes.length,
          source: { opened: device },
          changes: { kind: 'all', reason: 'first_backup' },
        },
      ],
    },
    { store, clock: systemClock, random: systemRandom, writer: 'test' },
  )
  await repository.close()
  return { region: 'eastus', point: point.id, disk: 'disk-a' }
}
