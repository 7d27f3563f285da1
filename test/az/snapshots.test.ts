/** Snapshots by unmodified `az`: full, incremental, of a snapshot, in another region; read by URL; a disk made of one. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { systemClock } from '#runtime'
import { assertVhd, uploadVhd } from '../rig/signed-vhd.ts'
import { until } from '../jobs/processes.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'
import { DISKS, type DiskView, KNOWN_DISK, signedUrl, SNAPSHOTS, type SnapshotView } from './disk-views.ts'

test('az: snapshots', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, record } = world
  const flow = world.flows(t)
  const ca = await readFile(record.caFile, 'utf8')
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const at = (name: string): string[] => ['-g', 'rg1', '-n', name]
  const show = (name: string): Promise<SnapshotView> => az.run<SnapshotView>('snapshot', 'show', ...at(name))
  const create = (name: string, source: string, ...more: string[]): Promise<SnapshotView> =>
    az.run<SnapshotView>('snapshot', 'create', ...at(name), '--source', source, ...more)
  const equal = async (name: string): Promise<void> => {
    const url = signedUrl(await az.run('snapshot', 'grant-access', ...at(name), '--duration-in-seconds', '600'))
    await assertVhd(url, ca, KNOWN_DISK, KNOWN_DISK.sizeBytes)
    await az.run('snapshot', 'revoke-access', ...at(name))
  }
  const whole = (name: string): Promise<SnapshotView> =>
    until(`${name} is complete`, async () => {
      const shown = await show(name)
      return shown.completionPercent === 100 && shown.provisioningState === 'Succeeded' && shown
    })

  await flow(
    'a disk with known bytes, uploaded',
    async () => {
      const size = String(KNOWN_DISK.sizeBytes + 512)
      await az.run('disk', 'create', ...at('disk1'), '--upload-type', 'Upload', '--upload-size-bytes', size)
      const write = ['--duration-in-seconds', '600', '--access-level', 'Write']
      await uploadVhd(signedUrl(await az.run('disk', 'grant-access', ...at('disk1'), ...write)), ca, KNOWN_DISK)
      await az.run('disk', 'revoke-access', ...at('disk1'))
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow(
    'snapshot create: full; shown, listed, tagged',
    async () => {
      const beforeMs = systemClock.nowMs()
      const made = await create('full1', 'disk1', '--tags', 'env=lab')
      const disk = await az.run<DiskView>('disk', 'show', ...at('disk1'))
      assert.deepEqual(
        [made.incremental, made.diskSizeBytes, made.sku.name, made.tags],
        [false, KNOWN_DISK.sizeBytes, 'Standard_LRS', { env: 'lab' }],
      )
      assert.deepEqual(
        [made.creationData.createOption, made.creationData.sourceResourceId, made.creationData.sourceUniqueId],
        ['Copy', disk.id, disk.uniqueId],
      )
      assert.ok(globalThis.Date.parse(made.timeCreated) >= beforeMs - 1000, 'the instant is when it was asked for')
      const listed = await az.run<SnapshotView[]>('snapshot', 'list', '-g', 'rg1')
      assert.deepEqual(
        listed.map(({ name }) => name),
        ['full1'],
      )
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow('snapshot grant-access: a full one, byte for byte', () => equal('full1'), DISKS, SNAPSHOTS)

  await flow(
    'snapshot create --incremental, twice: one family',
    async () => {
      const first = await create('inc1', 'disk1', '--incremental', 'true')
      const second = await create('inc2', 'disk1', '--incremental', 'true')
      assert.equal(first.incremental && second.incremental, true)
      assert.ok(first.incrementalSnapshotFamilyId)
      assert.equal(second.incrementalSnapshotFamilyId, first.incrementalSnapshotFamilyId)
      await equal('inc2')
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow(
    'snapshot create --source a snapshot',
    async () => {
      const source = await show('inc1')
      const made = await create('ofsnap', source.id, '--incremental', 'true')
      assert.equal(made.creationData.sourceResourceId, source.id)
      await equal('ofsnap')
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow(
    'snapshot create --copy-start in another region: incremental and full ones',
    async () => {
      for (const [name, source, incremental] of [
        ['west-inc', 'inc2', 'true'],
        ['west-full', 'full1', 'false'],
      ] as const) {
        const from = await show(source)
        await create(name, from.id, '-l', 'westus', '--copy-start', 'true', '--incremental', incremental)
        const made = await whole(name)
        assert.deepEqual([made.location, made.creationData.createOption], ['westus', 'CopyStart'])
        assert.equal(made.timeCreated, from.timeCreated, 'it shows the instant of its source')
        await equal(name)
      }
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow(
    'the disk goes, its snapshots stay; disk create --source a snapshot brings it back',
    async () => {
      await az.run('disk', 'delete', ...at('disk1'), '--yes')
      await equal('inc1')
      const { id } = await show('inc1')
      const disk = await az.run<DiskView>('disk', 'create', ...at('back'), '--source', id)
      assert.equal(disk.creationData.sourceResourceId, id)
      const url = signedUrl(await az.run('disk', 'grant-access', ...at('back'), '--duration-in-seconds', '600'))
      await assertVhd(url, ca, KNOWN_DISK, KNOWN_DISK.sizeBytes)
      await az.run('disk', 'revoke-access', ...at('back'))
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow(
    'snapshot delete: others of its family stay whole',
    async () => {
      await az.run('snapshot', 'delete', ...at('inc1'))
      await az.run('snapshot', 'delete', ...at('full1'))
      await az.refused('ResourceNotFound', 'snapshot', 'show', ...at('inc1'))
      await equal('inc2')
      await equal('west-full')
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow(
    'group delete takes disks and snapshots with it',
    async () => {
      await az.run('group', 'delete', '-n', 'rg1', '--yes')
      assert.deepEqual(await az.run('resource', 'list'), [])
    },
    DISKS,
    SNAPSHOTS,
  )
})
