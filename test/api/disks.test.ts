/** Managed disks over the Azure face, with a real worker and real images. */
import assert from 'node:assert/strict'
import { link, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { GIB, MIB } from '#base'
import { findResource, insertResource, listPools, putPool, putSetting, updateResource } from '#catalog'
import { stampedBytes } from '#engine/block'
import { systemClock } from '#runtime'
import { VERSION } from './api-world.ts'
import { assertSameBytes, type Disk, DiskWorld, type Failure, patchyDisk, qemuImg } from './disk-world.ts'

const READER = 'acdd72a7-3385-48ef-bd42-f606fba81ae7'
const CONTRIBUTOR = 'b24988ac-6180-42a0-ab88-20f7382dd24c'
const etags = { nowMs: () => systemClock.nowMs(), newEtag: () => 'W/"test"' }

describe('Managed disks', () => {
  let world: DiskWorld
  before(async () => {
    world = await DiskWorld.make()
  })
  after(() => world[Symbol.asyncDispose]())

  it('are made empty, as a qcow2 of the region’s pool, and shown as az expects', async () => {
    const properties = { creationData: { createOption: 'Empty' }, diskSizeGB: 8, osType: 'Linux' }
    const put = await world.put('empty', properties, { sku: { name: 'standard_lrs' }, tags: { env: 'lab' } })
    assert.equal(put.body.properties.provisioningState, 'Creating')
    assert.equal(put.headers['retry-after'], '1')
    assert.match(String(put.headers['azure-asyncoperation']), /\/locations\/eastus\/DiskOperations\//)
    const done = await world.succeed(put)
    const disk = await world.disk('EMPTY')
    assert.deepEqual(done.properties?.output, disk)
    assert.equal(disk.id, world.id('empty'))
    assert.deepEqual(disk.sku, { name: 'Standard_LRS', tier: 'Standard' })
    const { diskState, diskSizeGB, diskSizeBytes, provisioningState } = disk.properties
    assert.deepEqual([diskState, diskSizeGB, diskSizeBytes, provisioningState], ['Unattached', 8, 8 * GIB, 'Succeeded'])
    const file = await world.file('empty')
    assert.match(file, /regions\/eastus\/pool\/disks\/[0-9a-f-]{36}\.qcow2$/)
    const info = JSON.parse(await qemuImg('info', '--output=json', file)) as Record<string, unknown>
    assert.deepEqual([info['virtual-size'], info['format']], [8 * GIB, 'qcow2'])
    assert.equal((await stat(file)).mode & 0o777, 0o600)
    assert.ok(!JSON.stringify(disk).includes(file), 'what stands behind a disk is not shown')
  })

  it('take the same PUT again, tags by PATCH, and refuse to change what was fixed', async () => {
    const properties = { creationData: { createOption: 'empty' }, diskSizeGB: 8 }
    const again = await world.put('empty', properties, { tags: { env: 'prod' } })
    assert.equal(again.status, 200, again.text)
    assert.deepEqual(again.body.tags, { env: 'prod' })
    const echoed = await world.ask<Disk>('PUT', world.at('empty'), await world.disk('empty'))
    assert.equal(echoed.status, 200, echoed.text)
    const patched = await world.ask<Disk>('PATCH', world.at('empty'), {
      tags: { a: 'b' },
      sku: { name: 'Premium_LRS' },
    })
    assert.deepEqual([patched.body.tags, patched.body.sku.tier], [{ a: 'b' }, 'Premium'])
    const moved = await world.ask<Failure>('PUT', world.at('empty'), { location: 'westus', properties })
    assert.deepEqual([moved.status, moved.body.error.code], [400, 'PropertyChangeNotAllowed'])
    const other = { creationData: { createOption: 'Upload', uploadSizeBytes: MIB + 512 } }
    assert.equal((await world.put('empty', other)).status, 400)
  })

  it('are listed in the group and the subscription, to who may read them', async () => {
    const inGroup = await world.ask<{ value: Disk[] }>(
      'GET',
      `${world.group}/providers/Microsoft.Compute/disks?${VERSION}`,
    )
    const all = await world.ask<{ value: Disk[] }>(
      'GET',
      `${world.api.subscription}/providers/Microsoft.Compute/disks?${VERSION}`,
    )
    assert.deepEqual(all.body.value, inGroup.body.value)
    assert.deepEqual(
      all.body.value.map(({ name }) => name),
      ['empty'],
    )
    const stranger = await world.api.principal('stranger', [])
    const seen = await stranger.ask<{ value: Disk[] }>(
      'GET',
      `${world.group}/providers/Microsoft.Compute/disks?${VERSION}`,
    )
    assert.deepEqual(seen.body.value, [])
    const reader = await world.api.principal('reader', [{ role: READER, scope: world.group }])
    assert.equal((await reader.ask('GET', world.at('empty'))).status, 200)
    assert.equal((await reader.ask('DELETE', world.at('empty'))).status, 403)
    assert.equal((await reader.ask('POST', world.at('empty', 'beginGetAccess'), {})).status, 403)
  })

  it('grow, and never shrink', async () => {
    const grown = await world.ask<Disk>('PATCH', world.at('empty'), { properties: { diskSizeGB: 16 } })
    await world.succeed(grown)
    assert.equal((await world.disk('empty')).properties.diskSizeBytes, 16 * GIB)
    const info = JSON.parse(await qemuImg('info', '--output=json', await world.file('empty'))) as Record<
      string,
      unknown
    >
    assert.equal(info['virtual-size'], 16 * GIB)
    const shrunk = await world.ask<Failure>('PATCH', world.at('empty'), { properties: { diskSizeGB: 8 } })
    assert.deepEqual([shrunk.status, shrunk.body.error.code], [409, 'OperationNotAllowed'])
  })

  it('refuse by name what would weaken protection, and what nobody knows', async () => {
    const creationData = { createOption: 'Empty' }
    const cases: readonly (readonly [Record<string, unknown>, string])[] = [
      [{ encryption: { type: 'EncryptionAtRestWithCustomerKey' } }, 'properties.encryption.type'],
      [{ encryption: { diskEncryptionSetId: '/x' } }, 'properties.encryption.diskEncryptionSetId'],
      [{ networkAccessPolicy: 'AllowPrivate' }, 'properties.networkAccessPolicy'],
      [{ maxShares: 2 }, 'properties.maxShares'],
      [{ flyToTheMoon: true }, 'properties.flyToTheMoon'],
    ]
    for (const [more, target] of cases) {
      const refused = await world.ask<Failure>('PUT', world.at('no'), {
        location: 'eastus',
        properties: { creationData, diskSizeGB: 1, ...more },
      })
      assert.deepEqual(
        [refused.status, refused.body.error.code, refused.body.error.target],
        [400, 'UnsupportedField', target],
      )
    }
    for (const diskSizeGB of [0, 1.5, 65_537, '8', undefined])
      assert.equal((await world.put('no', { creationData, diskSizeGB })).status, 400, String(diskSizeGB))
    for (const name of ['-x', 'x-', 'a b', 'ä', 'x'.repeat(81)])
      assert.equal((await world.put(encodeURIComponent(name), { creationData, diskSizeGB: 1 })).status, 400, name)
    assert.equal((await world.ask('GET', world.at('no'))).status, 404)
    const nulls = { creationData, diskSizeGB: 1, diskAccessId: null, encryption: null, maxShares: null }
    await world.succeed(await world.put('nulls', nulls, { zones: null, tags: null }))
  })

  it('fifty identical PUTs at once make one disk', async () => {
    const before = (await readdir(dirname(await world.file('empty')))).length
    const properties = { creationData: { createOption: 'Empty' }, diskSizeGB: 4 }
    const answers = await Promise.all(Array.from({ length: 50 }, () => world.put('one', properties)))
    const statuses = new Set(answers.map(({ status }) => status))
    assert.ok(
      [...statuses].every((status) => status === 200 || status === 202),
      [...statuses].join(),
    )
    for (const answer of answers) if (answer.status === 202) await world.succeed(answer)
    const { uniqueId } = (await world.disk('one')).properties
    const files = await readdir(dirname(await world.file('one')))
    assert.equal(files.length, before + 1)
    assert.ok(files.includes(`${uniqueId}.qcow2`))
  })

  it('are imported from the import folder, copied byte for byte, and made larger on the way', async () => {
    const content = patchyDisk(1, 5 * MIB + 512)
    const imported = await world.import('imported', content)
    assert.equal(imported.properties.diskSizeBytes, content.length)
    assertSameBytes(await world.bytes('imported'), content, 'imported')
    const creationData = { createOption: 'Copy', sourceResourceId: world.id('IMPORTED') }
    await world.succeed(await world.put('copied', { creationData }))
    const copied = await world.disk('copied')
    assert.equal(copied.properties.creationData['sourceUniqueId'], imported.properties.uniqueId)
    assertSameBytes(await world.bytes('copied'), content, 'copied')
    await world.succeed(await world.put('larger', { creationData, diskSizeGB: 1 }))
    assert.equal((await world.disk('larger')).properties.diskSizeBytes, GIB)
    await qemuImg('compare', '-f', 'qcow2', '-F', 'qcow2', await world.file('imported'), await world.file('larger'))
    assert.ok((await stat(await world.file('larger'))).blocks * 512 < 4 * MIB, 'holes stay holes')
  })

  it('are not imported from what is broken, lies elsewhere, or depends on other files', async () => {
    const { folder } = world
    const secret = join(world.api.home.folder, 'keys', 'administrator.secret')
    await symlink(secret, join(folder, 'link.raw'))
    await writeFile(join(folder, 'broken.vhd'), patchyDisk(2, MIB))
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', join(folder, 'overlay.qcow2'), '1M')
    await qemuImg('create', '-q', '-f', 'vpc', '-o', 'subformat=fixed,force_size=on', join(folder, 'cut.vhd'), '2M')
    const { truncate } = await import('node:fs/promises')
    await truncate(join(folder, 'cut.vhd'), 2 * MIB)
    await writeFile(join(world.api.home.folder, 'outside.raw'), patchyDisk(3, MIB))
    const names = ['link.raw', 'broken.vhd', 'overlay.qcow2', 'cut.vhd', 'missing.raw', '../outside.raw']
    for (const [index, name] of names.entries()) {
      const creationData = { createOption: 'Import', sourceUri: `file://${folder}/${name}` }
      const done = await world.end(await world.put(`bad${index}`, { creationData }))
      assert.equal(done.status, 'Failed', name)
      assert.notEqual(done.error?.code, 'InternalServerError', `${name}: ${JSON.stringify(done.error)}`)
      assert.equal((await world.disk(`bad${index}`)).properties.provisioningState, 'Failed')
      await assert.rejects(stat(await world.file(`bad${index}`)), name)
    }
    await world.succeed(await world.put('bad0', { creationData: { createOption: 'Empty' }, diskSizeGB: 1 }))
    assert.equal((await world.disk('bad0')).properties.provisioningState, 'Succeeded')
  })

  it('are imported by URL from allowed hosts alone, and never from this host', async () => {
    const fail = async (name: string, sourceUri: string): Promise<string> => {
      const creationData = { createOption: 'Import', sourceUri }
      const put = await world.put(name, { creationData })
      assert.ok(!JSON.stringify(put.body).includes('topsecret'), 'a signature is not shown')
      const done = await world.end(put)
      assert.equal(done.status, 'Failed')
      return done.error?.message ?? ''
    }
    const sourceUri = 'https://example.org/a.vhd?sig=topsecret'
    const refused = await world.ask<Failure>('PUT', world.at('u1'), {
      location: 'eastus',
      properties: { creationData: { createOption: 'Import', sourceUri } },
    })
    assert.equal(refused.status, 400)
    assert.match(refused.body.error.message, /not on the list/)
    assert.equal((await world.ask('GET', world.at('u1'))).status, 404, 'nothing is made')
    await world.api.catalog.write((trx) =>
      putSetting(trx, 'import-hosts', JSON.stringify(['localhost', '169.254.169.254', '[::1]'])),
    )
    assert.match(await fail('u2', 'http://localhost:1/a.vhd?sig=topsecret'), /never imported from/)
    assert.match(await fail('u3', 'http://169.254.169.254/latest/meta-data'), /never imported from/)
    assert.match(await fail('u4', 'http://[::1]/a.vhd'), /never imported from/)
    const left = (await readdir(join(world.api.home.folder, 'keys'))).filter((name) => name.endsWith('.url'))
    assert.deepEqual(left, [])
    const jobs = JSON.stringify(await world.api.catalog.db.selectFrom('job').selectAll().execute())
    assert.ok(!jobs.includes('topsecret'), 'a signature does not come into the catalog')
    for (const sourceUri of ['ftp://example.org/x', 'nothing', undefined])
      assert.equal((await world.put('u5', { creationData: { createOption: 'Import', sourceUri } })).status, 400)
  })

  it('are refused when they would fill the pool, and can be made once there is room', async () => {
    const [pool] = await listPools(world.api.catalog, 'eastus')
    assert.ok(pool)
    await world.api.catalog.write((trx) => putPool(trx, { ...pool, reserveBytes: Number.MAX_SAFE_INTEGER }))
    const properties = { creationData: { createOption: 'Empty' }, diskSizeGB: 1 }
    const done = await world.end(await world.put('full', properties))
    assert.deepEqual([done.status, done.error?.code], ['Failed', 'InsufficientCapacity'])
    await world.api.catalog.write((trx) => putPool(trx, { ...pool, reserveBytes: 0 }))
    await world.succeed(await world.put('full', properties))
  })

  it('are deleted with their file, once; not while a machine has them', async () => {
    const file = await world.file('one')
    const record = await findResource(world.api.catalog, world.id('one'))
    assert.ok(record)
    const { body } = record
    await world.api.catalog.write((trx) =>
      updateResource(trx, record.id, { body: { ...body, managedBy: '/vm' } }, etags),
    )
    const refused = await world.ask<Failure>('DELETE', world.at('one'))
    assert.deepEqual([refused.status, refused.body.error.code], [409, 'OperationNotAllowed'])
    await world.api.catalog.write((trx) => updateResource(trx, record.id, { body }, etags))
    await world.succeed(await world.ask('DELETE', world.at('one')))
    await assert.rejects(stat(file))
    assert.equal((await world.ask('GET', world.at('one'))).status, 404)
    assert.equal((await world.ask('DELETE', world.at('one'))).status, 204)
  })

  it('wait with their deletion until a snapshot of them is durable', async () => {
    const { catalog } = world.api
    await world.succeed(await world.put('source', { creationData: { createOption: 'Empty' }, diskSizeGB: 1 }))
    const id = `${world.group}/providers/Microsoft.Compute/snapshots/busy`
    const snapshot = {
      id,
      subscription: world.api.record.subscriptionId,
      group: world.group,
      type: 'Microsoft.Compute/snapshots',
      name: 'busy',
      location: 'eastus',
      tags: {},
      state: 'Creating',
      body: { properties: { creationData: { sourceResourceId: world.id('SOURCE') } } },
      backing: {},
    }
    await catalog.write((trx) => insertResource(trx, snapshot, etags))
    const accepted = await world.ask('DELETE', world.at('source'))
    assert.equal(accepted.status, 202)
    const looked = async (): Promise<boolean> => {
      const status = await world.ask<{ status: string }>('GET', String(accepted.headers['azure-asyncoperation']))
      return status.body.status === 'InProgress'
    }
    assert.ok(await looked())
    assert.ok((await stat(await world.file('source'))).isFile())
    await catalog.write((trx) => updateResource(trx, id, { state: 'Succeeded' }, etags))
    await world.succeed(accepted)
  })

  it('adopt an image where it lies: for the administrator, in an allowed folder, without a backing file', async () => {
    const folder = join(world.api.home.folder, 'images')
    await mkdir(folder)
    const path = join(folder, 'old.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', path, '3M')
    const overlay = join(folder, 'overlay.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', path, '-F', 'qcow2', overlay)
    const adopt = (name: string, body: Record<string, unknown>) =>
      world.ask<Disk>('POST', world.at(name, 'adopt'), { location: 'eastus', ...body })
    assert.equal((await world.end(await adopt('adopted', { path }))).status, 'Failed', 'no folder is allowed yet')
    await world.api.catalog.write((trx) => putSetting(trx, 'adopt-folders', JSON.stringify([folder])))
    assert.equal((await world.end(await adopt('overlay', { path: overlay }))).status, 'Failed')
    await world.succeed(await adopt('adopted', { path, tags: { old: 'yes' } }))
    const disk = await world.disk('adopted')
    assert.deepEqual([disk.properties.diskSizeBytes, disk.tags], [3 * MIB, { old: 'yes' }])
    assert.equal(await world.file('adopted'), path)
    await link(path, join(folder, 'again.qcow2'))
    assert.equal((await world.end(await adopt('twice', { path }))).status, 'Failed')
    const owner = await world.api.principal('contributor', [{ role: CONTRIBUTOR, scope: world.api.subscription }])
    assert.equal((await owner.ask('POST', world.at('mine', 'adopt'), { location: 'eastus', path })).status, 403)
    await world.succeed(await world.ask('DELETE', world.at('adopted')))
    assert.ok((await stat(path)).isFile(), 'what was not ours stays')
  })

  it('survive a restart of the server after the 202: the operation ends once and well', async () => {
    const content = stampedBytes({ disk: 7, version: 1 }, 0, 8 * MIB)
    await world.import('big', content)
    const put = await world.put('after', { creationData: { createOption: 'Copy', sourceResourceId: world.id('big') } })
    const path = new URL(String(put.headers['azure-asyncoperation']))
    await world.api.restart()
    const again = await DiskWorld.over(world.api)
    const moved = { ...put, headers: { ...put.headers, 'azure-asyncoperation': `${path.pathname}${path.search}` } }
    await again.succeed(moved)
    assertSameBytes(await again.bytes('after'), content, 'copied over a restart')
  })
})
