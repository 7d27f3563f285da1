/** Managed disks by unmodified `az`: made, shown, changed, uploaded, read by URL, deleted. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { GIB } from '#base'
import { assertRange, assertRefused, assertVhd, uploadVhd } from '../rig/signed-vhd.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'
import { DISKS, type DiskView, KNOWN_DISK, signedUrl } from './disk-views.ts'

test('az: disks', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, record, subscription } = world
  const flow = world.flows(t)
  const ca = await readFile(record.caFile, 'utf8')
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const at = (name: string): string[] => ['-g', 'rg1', '-n', name]
  const show = (name: string): Promise<DiskView> => az.run<DiskView>('disk', 'show', ...at(name))
  const grant = async (name: string, ...more: string[]): Promise<string> =>
    signedUrl(await az.run('disk', 'grant-access', ...at(name), '--duration-in-seconds', '600', ...more))

  await flow(
    'disk create, show, list',
    async () => {
      const made = await az.run<DiskView>(
        'disk',
        'create',
        ...at('d1'),
        '--size-gb',
        '8',
        '--sku',
        'StandardSSD_LRS',
        '--os-type',
        'Linux',
        '--tags',
        'env=lab',
      )
      assert.equal(made.id, `${subscription}/resourceGroups/rg1/providers/Microsoft.Compute/disks/d1`)
      assert.deepEqual(
        [made.location, made.diskSizeGB, made.diskSizeBytes, made.diskState, made.provisioningState, made.osType],
        ['eastus', 8, 8 * GIB, 'Unattached', 'Succeeded', 'Linux'],
      )
      assert.deepEqual([made.sku.name, made.tags], ['StandardSSD_LRS', { env: 'lab' }])
      assert.equal((await show('D1')).uniqueId, made.uniqueId)
      const names = async (...within: string[]): Promise<string[]> =>
        (await az.run<DiskView[]>('disk', 'list', ...within)).map(({ name }) => name)
      assert.deepEqual([await names(), await names('-g', 'rg1')], [['d1'], ['d1']])
      const resources = await az.run<{ name: string; type: string }[]>('resource', 'list', '--tag', 'env=lab')
      assert.deepEqual(
        resources.map(({ name, type }) => [name, type]),
        [['d1', DISKS]],
      )
    },
    DISKS,
  )

  await flow(
    'disk update: larger, never smaller; tags',
    async () => {
      const grown = await az.run<DiskView>('disk', 'update', ...at('d1'), '--size-gb', '16')
      assert.deepEqual([grown.diskSizeGB, grown.diskSizeBytes, grown.tags], [16, 16 * GIB, { env: 'lab' }])
      await az.fail('disk', 'update', ...at('d1'), '--size-gb', '4')
      assert.equal((await show('d1')).diskSizeGB, 16)
      assert.deepEqual((await az.run<DiskView>('disk', 'update', ...at('d1'), '--set', 'tags.x=y')).tags, {
        env: 'lab',
        x: 'y',
      })
    },
    DISKS,
  )

  await flow(
    'disk create for upload, grant-access, revoke-access: the uploaded bytes are its bytes',
    async () => {
      const size = String(KNOWN_DISK.sizeBytes + 512)
      const made = await az.run<DiskView>(
        'disk',
        'create',
        ...at('up'),
        '--upload-type',
        'Upload',
        '--upload-size-bytes',
        size,
      )
      assert.deepEqual([made.diskState, made.creationData.createOption], ['ReadyToUpload', 'Upload'])
      await uploadVhd(await grant('up', '--access-level', 'Write'), ca, KNOWN_DISK)
      await az.run('disk', 'revoke-access', ...at('up'))
      const { diskState, diskSizeBytes } = await show('up')
      assert.deepEqual([diskState, diskSizeBytes], ['Unattached', KNOWN_DISK.sizeBytes])
    },
    DISKS,
  )

  await flow(
    'disk grant-access: the downloaded VHD is equal byte for byte, until access is revoked',
    async () => {
      const url = await grant('up', '--access-level', 'Read')
      assert.equal((await show('up')).diskState, 'ActiveSAS')
      await assertVhd(url, ca, KNOWN_DISK, KNOWN_DISK.sizeBytes)
      await assertRange(url, ca, KNOWN_DISK, 30 * 1024 * 1024, 4096)
      await az.run('disk', 'revoke-access', ...at('up'))
      await assertRefused(url, ca)
    },
    DISKS,
  )

  await flow(
    'disk create --source a disk: a copy of its own',
    async () => {
      const { id, uniqueId } = await show('up')
      const copy = await az.run<DiskView>('disk', 'create', ...at('copy'), '--source', id)
      assert.deepEqual([copy.creationData.createOption, copy.creationData.sourceResourceId], ['Copy', id])
      assert.notEqual(copy.uniqueId, uniqueId)
      await az.run('disk', 'delete', ...at('up'), '--yes')
      await assertVhd(await grant('copy', '--access-level', 'Read'), ca, KNOWN_DISK, KNOWN_DISK.sizeBytes)
      await az.run('disk', 'revoke-access', ...at('copy'))
    },
    DISKS,
  )

  await flow(
    'disk delete, and again; show what is not there',
    async () => {
      await az.run('disk', 'delete', ...at('d1'), '--yes')
      await az.run('disk', 'delete', ...at('d1'), '--yes')
      const { exitCode, stderr } = await az.fail('disk', 'show', ...at('d1'))
      assert.equal(exitCode, 3)
      assert.match(stderr, /ResourceNotFound/)
      await az.refused('ResourceGroupNotFound', 'disk', 'create', '-g', 'nothing', '-n', 'd', '--size-gb', '1')
    },
    DISKS,
  )

  await flow(
    'group delete takes its disks with it',
    async () => {
      await az.run('group', 'delete', '-n', 'rg1', '--yes')
      assert.deepEqual(await az.run('disk', 'list'), [])
    },
    DISKS,
  )
})
