/** Snapshots of disks that no machine has: made, shown, copied, given up, refused. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { MIB } from '#base'
import { putSetting } from '#catalog'
import { followed, VERSION } from './api-world.ts'
import {
  content,
  type Failure,
  type Operation,
  type Snapshot,
  SNAPSHOT_VERSION,
  SnapshotWorld,
} from './snapshot-world.ts'

const CONTRIBUTOR = '7efff54f-a5b4-42b5-a1c5-5411624893ce'
const READER = 'acdd72a7-3385-48ef-bd42-f606fba81ae7'

test('Snapshots of unattached disks', async (t) => {
  await using own = await SnapshotWorld.make()
  const { ask } = own
  const disk = await own.disk('d1', 1)

  await t.test('show the disk at the instant of the request, independent of it from then on', async () => {
    const before = Buffer.from(disk.content)
    const answer = await own.put('full1', disk.id, { tags: { env: 'lab' } })
    assert.equal(answer.status, 202, answer.text)
    assert.equal(answer.body.properties.provisioningState, 'Creating')
    const ended = await followed<Operation>(ask, answer)
    assert.equal(ended.body.status, 'Succeeded', ended.text)
    await own.write(disk, 0, content(64 * 1024, 1, 2))
    const { body } = await own.get('full1')
    assert.equal(body.properties.provisioningState, 'Succeeded')
    assert.equal(body.sku.name, 'Standard_LRS')
    assert.deepEqual(body.tags, { env: 'lab' })
    assert.equal(body.properties.completionPercent, 100)
    assert.equal(body.properties.diskSizeBytes, disk.content.length)
    assert.equal(body.properties.incremental, false)
    assert.equal(body.properties.incrementalSnapshotFamilyId, undefined)
    assert.equal(body.properties.creationData.sourceUniqueId, disk.uniqueId)
    assert.ok((await own.bytesOf('full1')).equals(before))
    assert.ok(!(await own.bytesOf('full1')).equals(disk.content))
  })

  await t.test('incremental: the second one reads what changed, and each is whole by itself', async () => {
    const first = await own.made('inc1', disk.id, { incremental: true })
    const content1 = Buffer.from(disk.content)
    await own.write(disk, 2 * MIB, content(256 * 1024, 1, 3))
    const second = await own.made('inc2', disk.id, { incremental: true })
    assert.equal(second.properties.incrementalSnapshotFamilyId, first.properties.incrementalSnapshotFamilyId)
    const [one, two] = [await own.pointOf(first.id), await own.pointOf(second.id)]
    assert.equal(one.mode, 'full')
    assert.equal(two.mode, 'incremental')
    assert.ok((two.disks[0]?.readBytes ?? 0) <= 512 * 1024, 'Only what changed was read')
    assert.equal((await own.deleted('inc1')).status, 'Succeeded')
    assert.ok((await own.bytesOf('inc2')).equals(disk.content))
    assert.ok(!(await own.bytesOf('inc2')).equals(content1))
  })

  await t.test('are copied in the region and to another one, and need their source no more', async () => {
    const bytes = await own.bytesOf('inc2')
    const inc2 = own.snapshotId('inc2')
    const same = await own.made('inc2-copy', inc2, { incremental: true })
    const far = await own.made('inc2-far', inc2, { incremental: true, createOption: 'CopyStart', location: 'westus' })
    const full = await own.made('full-far', own.snapshotId('full1'), { location: 'westus' })
    assert.equal(full.properties.incremental, false)
    assert.equal(same.properties.timeCreated, far.properties.timeCreated)
    assert.notEqual(far.properties.incrementalSnapshotFamilyId, same.properties.incrementalSnapshotFamilyId)
    assert.equal(far.location, 'westus')
    assert.equal((await own.deleted('inc2')).status, 'Succeeded')
    for (const name of ['inc2-copy', 'inc2-far']) assert.ok((await own.bytesOf(name)).equals(bytes), name)
  })

  await t.test('what is fixed when it is made is refused later; what is not is changed', async () => {
    const refused = await ask<Failure>('PUT', `${own.snapshotId('full1')}?${SNAPSHOT_VERSION}`, {
      location: 'eastus',
      properties: { incremental: true },
    })
    assert.equal(refused.status, 400)
    assert.equal(refused.body.error.code, 'PropertyChangeNotAllowed')
    const shown = (await own.get('full1')).body
    const echoed = await ask<Snapshot>('PUT', `${own.snapshotId('full1')}?${SNAPSHOT_VERSION}`, {
      ...shown,
      tags: { env: 'prod' },
      sku: { name: 'Premium_LRS' },
    })
    assert.equal(echoed.status, 200, echoed.text)
    assert.deepEqual(echoed.body.tags, { env: 'prod' })
    assert.equal(echoed.body.sku.name, 'Premium_LRS')
    const patched = await ask<Snapshot>('PATCH', `${own.snapshotId('full1')}?${SNAPSHOT_VERSION}`, {
      properties: { networkAccessPolicy: 'DenyAll' },
    })
    assert.equal(patched.status, 200, patched.text)
    assert.equal(patched.body.properties.networkAccessPolicy, 'DenyAll')
    assert.deepEqual(patched.body.tags, { env: 'prod' })
  })

  await t.test('are listed in the group and in the subscription', async () => {
    for (const scope of [own.group, own.world.subscription]) {
      const { body } = await ask<{ value: Snapshot[] }>(
        'GET',
        `${scope}/providers/Microsoft.Compute/snapshots?${SNAPSHOT_VERSION}`,
      )
      assert.deepEqual(
        body.value.map(({ name }) => name),
        ['full-far', 'full1', 'inc2-copy', 'inc2-far'],
      )
    }
  })

  await t.test('refuse what cannot be, by name', async () => {
    const inc = own.snapshotId('inc2-copy')
    const cases: readonly (readonly [more: Record<string, unknown>, source: string, code: string])[] = [
      [{ location: 'westus' }, disk.id, 'InvalidParameter'],
      [{ createOption: 'CopyStart' }, disk.id, 'InvalidParameter'],
      [{ createOption: 'Import' }, disk.id, 'UnsupportedField'],
      [{ location: 'westus', incremental: true }, inc, 'InvalidParameter'],
      [{ incremental: true }, own.snapshotId('full1'), 'InvalidParameter'],
      [{ incremental: true, sku: 'Premium_LRS' }, disk.id, 'InvalidParameter'],
      [{}, `${disk.id}x`, 'ResourceNotFound'],
      [{}, own.group, 'InvalidResourceReference'],
      [{ encryption: { diskEncryptionSetId: '/x' } }, disk.id, 'UnsupportedField'],
      [{ location: 'atlantis' }, disk.id, 'InvalidLocation'],
    ]
    for (const [more, from, code] of cases) {
      const answer = (await own.put('never', from, more)) as unknown as { status: number; body: Failure; text: string }
      assert.equal(answer.body.error.code, code, answer.text)
      assert.equal((await own.get('never')).status, 404)
    }
  })

  await t.test('of many equal requests at once one is made', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => own.put('once', disk.id)))
    for (const answer of answers) assert.ok(answer.status === 202 || answer.status === 200, answer.text)
    const first = answers.find(({ status }) => status === 202)
    assert.ok(first !== undefined)
    await followed<Operation>(ask, first)
    const points = await own.inRegion('eastus', (repository) => Promise.resolve(repository.points()))
    const { point } = (await own.row(own.snapshotId('once'))).backing['version'] as { point: string }
    assert.equal(points.filter(({ machine }) => machine === `disk-${disk.uniqueId}-full`).length, 2)
    assert.ok(points.some(({ id }) => id === point))
  })

  await t.test('roles: who may make snapshots must also be allowed to read the disk’s bytes', async () => {
    const reader = await own.world.principal('reader', [{ role: READER, scope: own.group }])
    const url = `${own.snapshotId('r1')}?${SNAPSHOT_VERSION}`
    const body = {
      location: 'eastus',
      properties: { creationData: { createOption: 'Copy', sourceResourceId: disk.id } },
    }
    assert.equal((await reader.ask('PUT', url, body)).status, 403)
    const elsewhere = `${own.world.subscription}/resourceGroups/rg2`
    await ask('PUT', `${elsewhere}?${VERSION}`, { location: 'eastus' })
    const maker = await own.world.principal('maker', [{ role: CONTRIBUTOR, scope: elsewhere }])
    const there = `${elsewhere}/providers/Microsoft.Compute/snapshots/r1?${SNAPSHOT_VERSION}`
    const linked = await maker.ask<Failure>('PUT', there, body)
    assert.equal(linked.status, 403)
    assert.equal(linked.body.error.code, 'LinkedAuthorizationFailed')
  })

  await t.test('limits that are chosen are held; a copy counts as well', async () => {
    await own.world.catalog.write((trx) => putSetting(trx, 'snapshots-per-disk', '2'))
    await own.made('lim1', disk.id, { incremental: true })
    const second = await own.put('lim2', disk.id, { incremental: true })
    assert.equal(second.status, 409)
    assert.match(second.text, /OperationNotAllowed/)
    await own.world.catalog.write((trx) => putSetting(trx, 'snapshots-per-disk', '500'))
  })

  await t.test(
    'deleting: 204 for what is not there; its points are given up; the group takes the rest along',
    async () => {
      assert.equal((await ask('DELETE', `${own.snapshotId('nothing')}?${SNAPSHOT_VERSION}`)).status, 204)
      const gone = await own.pointOf(own.snapshotId('once'))
      assert.equal((await own.deleted('once')).status, 'Succeeded')
      assert.equal((await own.get('once')).status, 404)
      const left = await own.inRegion('eastus', (repository) => Promise.resolve(repository.points()))
      assert.ok(!left.some(({ id }) => id === gone.id))
      const removed = await ask('DELETE', `${own.group}?${VERSION}`)
      assert.equal(removed.status, 202)
      await followed(ask, removed)
      for (const region of ['eastus', 'westus'])
        assert.deepEqual(await own.inRegion(region, (repository) => Promise.resolve(repository.points())), [])
    },
  )
})

test('A disk that a program writes to is not half a snapshot: the request is refused, and nothing is left', async () => {
  await using own = await SnapshotWorld.make()
  const disk = await own.disk('busy', 7)
  const holder = spawn('qemu-io', ['-f', 'qcow2', disk.file], { stdio: ['pipe', 'pipe', 'ignore'] })
  try {
    await once(holder.stdout, 'data')
    const answer = (await own.put('s', disk.id)) as unknown as { status: number; body: Failure; text: string }
    assert.equal(answer.status, 409, answer.text)
    assert.equal(answer.body.error.code, 'OperationNotAllowed')
    assert.equal((await own.get('s')).status, 404)
  } finally {
    const ended = once(holder, 'exit')
    holder.kill('SIGKILL')
    await ended
  }
  const made = await own.made('s', disk.id)
  assert.equal(made.properties.provisioningState, 'Succeeded')
})
