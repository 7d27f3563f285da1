import assert from 'node:assert/strict'
import { chmod, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { insertResource, listActivity } from '#catalog'
import { AdminWorld, SUBSCRIPTION } from '../admin.fixture.ts'
import type { HostView } from './host-methods.ts'
import type { RegionDetail, RegionView } from './region-methods.ts'
import type { Added, PoolView, StoreView } from './space-methods.ts'

const source = { nowMs: () => 1, newEtag: () => 'e' }

async function putDisk(world: AdminWorld, location: string, file: string): Promise<void> {
  const id = `/subscriptions/${SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Compute/disks/d`
  const disk = {
    id,
    subscription: SUBSCRIPTION,
    group: undefined,
    type: 'Microsoft.Compute/disks',
    name: 'd',
    location,
  }
  await world.catalog.write((trx) =>
    insertResource(trx, { ...disk, tags: {}, state: 'Succeeded', body: {}, backing: { file } }, source),
  )
}

test('region.add makes a region with this host in it; a pair holds both ways and goes with one of the two', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic', displayName: 'The attic' })
  const cellar = await world.ask<RegionView>('region.add', { name: 'Cellar', pair: 'ATTIC' })
  assert.deepEqual([cellar.name, cellar.pair], ['cellar', 'attic'])
  assert.equal((await world.ask<RegionDetail>('region.show', { name: 'attic' })).pair, 'cellar')
  const hosts = await world.ask<HostView[]>('host.list', { region: 'cellar' })
  assert.deepEqual(
    hosts.map(({ name, driver }) => [name, driver]),
    [['local', 'qemu']],
  )
  await assert.rejects(world.ask('region.add', { name: 'third', pair: 'attic' }), { code: 'place_in_use' })
  await world.ask('region.remove', { name: 'cellar' })
  assert.equal((await world.ask<RegionDetail>('region.show', { name: 'attic' })).pair, undefined)
  await world.ask('region.add', { name: 'third', pair: 'attic' })
})

test('region.add refuses names that no client could use, twice the same one, and a pair that is not there', async () => {
  await using world = await AdminWorld.make()
  for (const name of ['1st', 'a-b', 'é', 'a/../b', `a${'b'.repeat(60)}`, 'a\u0000'])
    await assert.rejects(world.ask('region.add', { name }), { code: 'place_invalid' }, name)
  await world.ask('region.add', { name: 'attic' })
  await assert.rejects(world.ask('region.add', { name: 'Attic' }), { code: 'place_exists' })
  await assert.rejects(world.ask('region.add', { name: 'b', pair: 'nowhere' }), { code: 'place_not_found' })
  await assert.rejects(world.ask('region.add', { name: 'c', displayName: 'a\u001b[2J' }), { code: 'place_invalid' })
  assert.equal((await world.ask<RegionView[]>('region.list')).length, 1)
})

test('region.remove refuses a region with a resource, a pool or a store', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic' })
  await world.ask('pool.add', { region: 'attic', name: 'p', path: world.folder('pool') })
  await assert.rejects(world.ask('region.remove', { name: 'attic' }), { code: 'place_in_use', message: /pool p/ })
  await world.ask('pool.remove', { region: 'attic', name: 'p' })
  await world.ask('store.add', { region: 'attic', name: 's', location: world.folder('store') })
  await assert.rejects(world.ask('region.remove', { name: 'attic' }), { code: 'place_in_use', message: /store s/ })
  await world.ask('store.remove', { region: 'attic', name: 's' })
  await putDisk(world, 'attic', '/x')
  await assert.rejects(world.ask('region.remove', { name: 'attic' }), { code: 'place_in_use', message: /disks\/d/ })
})

test('pool.add makes the folder, tries it and leaves nothing of the trial', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic' })
  const path = world.folder('a/b/pool')
  const pool = await world.ask<Added<PoolView>>('pool.add', { region: 'attic', name: 'fast', path, reserveBytes: 4096 })
  assert.deepEqual([pool.path, pool.reserveBytes, pool.warnings], [path, 4096, []])
  assert.ok((pool.space?.freeBytes ?? 0) > 0)
  assert.deepEqual(await readdir(path), [])
  await assert.rejects(world.ask('pool.add', { region: 'attic', name: 'fast', path: world.folder('c') }), {
    code: 'place_exists',
  })
  for (const name of ['', 'A', '-a', 'a b', '../x'])
    await assert.rejects(world.ask('pool.add', { region: 'attic', name, path: world.folder('d') }), /valid|possible/)
})

test('pool.add refuses what cannot keep disks: a file, no room above the reserve, a relative path, a folder of others', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic' })
  const add = (path: string, reserveBytes = 0) =>
    world.ask('pool.add', { region: 'attic', name: 'p', path, reserveBytes })
  await writeFile(world.folder('file'), 'x')
  await assert.rejects(add(world.folder('file')), { code: 'place_unusable' })
  await assert.rejects(add(world.folder('small'), Number.MAX_SAFE_INTEGER), {
    code: 'place_unusable',
    message: /stay free/,
  })
  await assert.rejects(add('relative'), { code: 'place_invalid' })
  if (process.getuid?.() !== 0) {
    await mkdir(world.folder('closed'))
    await chmod(world.folder('closed'), 0o500)
    await assert.rejects(add(world.folder('closed')), { code: 'place_unusable' })
  }
  assert.deepEqual(await world.ask('pool.list'), [])
})

test('No place lies in another one, by whatever name; regions on one device are warned of', async () => {
  await using world = await AdminWorld.make()
  for (const name of ['attic', 'cellar']) await world.ask('region.add', { name })
  await world.ask('pool.add', { region: 'attic', name: 'p', path: world.folder('pool') })
  await symlink(world.folder('pool'), world.folder('link'))
  for (const path of ['pool', 'pool/deeper', 'link', 'link/deeper', 'pool/../pool'])
    await assert.rejects(world.ask('store.add', { region: 'cellar', name: 's', location: world.folder(path) }), {
      code: 'place_invalid',
    })
  assert.deepEqual(await readdir(world.folder('pool')), [], 'nothing was made where it was refused')
  const location = world.folder('pool2')
  const store = await world.ask<Added<StoreView>>('store.add', { region: 'cellar', name: 's', location })
  assert.match(store.warnings.join(), /shares a device with the region attic/)
  for (const bad of ['memory:x', 'ftp://x', 's3://B', ''])
    await assert.rejects(world.ask('store.add', { region: 'cellar', name: 't', location: bad }), /./, bad)
})

test('pool.remove and store.remove refuse what holds something or is referred to; they delete nothing', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic' })
  const path = world.folder('pool')
  const names = { region: 'attic', name: 'p' }
  await world.ask('pool.add', { ...names, path })
  await writeFile(`${path}/disk.raw`, 'content')
  await assert.rejects(world.ask('pool.remove', names), { code: 'place_in_use', message: /disk\.raw/ })
  await rm(`${path}/disk.raw`)
  await putDisk(world, 'attic', `${path}/disks/d.qcow2`)
  await assert.rejects(world.ask('pool.remove', names), { code: 'place_in_use', message: /disks\/d lies there/ })
  await world.ask('store.add', { region: 'attic', name: 's', location: world.folder('store') })
  await world.ask('store.remove', { region: 'attic', name: 's' })
  await assert.rejects(world.ask('store.remove', { region: 'attic', name: 's' }), { code: 'place_not_found' })
  assert.deepEqual(await readdir(world.folder('store')), [], 'the folder stays')
})

test('Every change of a place is an event of the activity log', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic' })
  await world.ask('pool.add', { region: 'attic', name: 'p', path: world.folder('pool') })
  await world.ask('pool.remove', { region: 'attic', name: 'p' })
  await world.ask('host.remove', { region: 'attic', name: 'local' })
  await world.ask('host.add', { region: 'attic', name: 'local', driver: 'qemu' })
  await assert.rejects(world.ask('host.add', { region: 'attic', name: 'Far away', driver: 'qemu' }), {
    code: 'place_invalid',
  })
  const events = await listActivity(world.catalog, { limit: 10 })
  assert.deepEqual(
    events.map(({ action, caller }) => [action.replace('Holdfast.Places/', ''), caller]),
    ['hosts/write', 'hosts/delete', 'pools/delete', 'pools/write', 'regions/write'].map((action) => [
      action,
      'local-administrator',
    ]),
  )
})

test('region.pair pairs anew and leaves nobody with half a pair', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'a' })
  await world.ask('region.add', { name: 'b', pair: 'a' })
  await world.ask('region.add', { name: 'c' })
  await world.ask('region.add', { name: 'd', pair: 'c' })
  const pairs = async () =>
    (await world.ask<RegionView[]>('region.list')).map(({ name, pair }) => `${name}${pair ?? ''}`)
  await world.ask('region.pair', { name: 'a', pair: 'c' })
  assert.deepEqual(await pairs(), ['ac', 'b', 'ca', 'd'])
  await world.ask('region.pair', { name: 'c' })
  assert.deepEqual(await pairs(), ['a', 'b', 'c', 'd'])
  await assert.rejects(world.ask('region.pair', { name: 'a', pair: 'A' }), { code: 'place_invalid' })
})

test('pool.reserve changes what is to stay free', async () => {
  await using world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic' })
  await world.ask('pool.add', { region: 'attic', name: 'p', path: world.folder('pool') })
  await world.ask('pool.reserve', { region: 'attic', name: 'p', reserveBytes: 12345 })
  assert.equal((await world.ask<PoolView>('pool.show', { region: 'attic', name: 'p' })).reserveBytes, 12345)
  await assert.rejects(world.ask('pool.reserve', { region: 'attic', name: 'p', reserveBytes: -1 }), {
    code: 'request_invalid',
  })
})
