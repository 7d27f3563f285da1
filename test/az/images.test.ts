/** Images and restore points by unmodified `az`: of a disk, a snapshot, a VHD blob; disks from them; the alias document; copies. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { assertVhd, uploadVhd } from '../rig/signed-vhd.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'
import { DISKS, KNOWN_DISK, signedUrl, SNAPSHOTS } from './disk-views.ts'

const IMAGES = 'Microsoft.Compute/images'
const POINTS = 'Microsoft.Compute/restorePointCollections'

type Image = Readonly<{
  id: string
  name: string
  provisioningState: string
  hyperVGeneration: string
  storageProfile: { osDisk: { osState: string; osType: string }; dataDisks: { lun: number }[] }
}>
type Point = Readonly<{
  id: string
  consistencyMode: string
  provisioningState: string
  sourceMetadata: {
    storageProfile: { osDisk: { diskRestorePoint: { id: string } }; dataDisks: { diskRestorePoint: { id: string } }[] }
  }
}>

test('az: images', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, record } = world
  const flow = world.flows(t)
  const ca = await readFile(record.caFile, 'utf8')
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const at = (name: string): string[] => ['-g', 'rg1', '-n', name]
  const equal = async (disk: string): Promise<void> => {
    const url = signedUrl(await az.run('disk', 'grant-access', ...at(disk), '--duration-in-seconds', '600'))
    await assertVhd(url, ca, KNOWN_DISK, KNOWN_DISK.sizeBytes)
    await az.run('disk', 'revoke-access', ...at(disk))
  }

  await flow(
    'a disk with known bytes, uploaded, and a snapshot of it',
    async () => {
      const size = String(KNOWN_DISK.sizeBytes + 512)
      await az.run('disk', 'create', ...at('disk1'), '--upload-type', 'Upload', '--upload-size-bytes', size)
      const write = ['--duration-in-seconds', '600', '--access-level', 'Write']
      await uploadVhd(signedUrl(await az.run('disk', 'grant-access', ...at('disk1'), ...write)), ca, KNOWN_DISK)
      await az.run('disk', 'revoke-access', ...at('disk1'))
      await az.run('snapshot', 'create', ...at('snap1'), '--source', 'disk1')
    },
    DISKS,
    SNAPSHOTS,
  )

  await flow(
    'image create from a disk with a data disk, and from a snapshot; shown, listed, tagged',
    async () => {
      const source = ['--source', 'disk1', '--os-type', 'Linux', '--data-disk-sources', 'snap1']
      const made = await az.run<Image>('image', 'create', ...at('img1'), ...source)
      assert.deepEqual(
        [made.provisioningState, made.hyperVGeneration, made.storageProfile.osDisk.osState],
        ['Succeeded', 'V1', 'Generalized'],
      )
      assert.deepEqual(
        made.storageProfile.dataDisks.map(({ lun }) => lun),
        [0],
      )
      await az.run('image', 'create', ...at('img2'), '--source', 'snap1', '--os-type', 'Linux')
      const listed = await az.run<Image[]>('image', 'list', '-g', 'rg1')
      assert.deepEqual(listed.map(({ name }) => name).sort(), ['img1', 'img2'])
      const tagged = await az.run<{ tags: unknown }>('image', 'update', ...at('img1'), '--tags', 'env=lab')
      assert.deepEqual(tagged.tags, { env: 'lab' })
    },
    IMAGES,
  )

  await flow(
    'the bytes of an image, without what it was made of',
    async () => {
      await az.run('disk', 'delete', ...at('disk1'), '--yes')
      await az.run('snapshot', 'delete', ...at('snap1'))
      const { id } = await az.run<Image>('image', 'show', ...at('img1'))
      for (const [name, lun] of [
        ['os1', undefined],
        ['data1', 0],
      ] as const) {
        const creationData = {
          createOption: 'FromImage',
          imageReference: { id, ...(lun !== undefined && { lun }) },
        }
        const body = await az.file(`${name}.json`, JSON.stringify({ location: 'eastus', properties: { creationData } }))
        const url = `${record.endpoint.replace(/\/$/, '')}${world.subscription}/resourceGroups/rg1/providers/${DISKS}/${name}?api-version=2023-04-02`
        await az.run('rest', '--method', 'put', '--url', url, '--body', `@${body}`)
        await az.run('disk', 'wait', ...at(name), '--created', '--interval', '1')
        await equal(name)
      }
    },
    IMAGES,
  )

  await flow(
    'image delete: disks made from it live on',
    async () => {
      await az.run('image', 'delete', ...at('img1'))
      await az.run('image', 'delete', ...at('img1'))
      await equal('os1')
      await az.refused('ResourceNotFound', 'image', 'show', ...at('img1'))
    },
    IMAGES,
  )

  await flow(
    'the alias document, and what is offered',
    async () => {
      assert.deepEqual(await az.run('vm', 'image', 'list'), [])
      assert.deepEqual(await az.run('vm', 'image', 'list-publishers', '-l', 'eastus'), [])
    },
    IMAGES,
  )

  const machine = await BlankMachine.create([{}, {}])
  t.after(() => machine.remove())
  const vm = `${world.subscription}/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/m1`

  await flow(
    'restore points: all disks of a machine, one left out, copied to another region, restored, deleted',
    async () => {
      const body = await az.file(
        'adopt.json',
        JSON.stringify({ location: 'eastus', qmp: join(machine.folder, 'instant.qmp') }),
      )
      const endpoint = record.endpoint.replace(/\/$/, '')
      await az.run(
        'rest',
        '--method',
        'post',
        '--url',
        `${endpoint}${vm}/adopt?api-version=2024-07-01`,
        '--body',
        `@${body}`,
      )
      const collection = ['-g', 'rg1', '--collection-name']
      const make = (name: string, source: string, location: string): Promise<unknown> =>
        az.run('restore-point', 'collection', 'create', ...collection, name, '--source-id', source, '-l', location)
      await make('c1', vm, 'eastus')
      const point = await az.run<Point>('restore-point', 'create', ...collection, 'c1', '-n', 'p1')
      assert.deepEqual([point.provisioningState, point.consistencyMode], ['Succeeded', 'CrashConsistent'])
      assert.equal(point.sourceMetadata.storageProfile.dataDisks.length, 1)
      const data = `${world.subscription}/resourceGroups/rg1/providers/${DISKS}/m1_DataDisk_1`
      const one = await az.run<Point>(
        'restore-point',
        'create',
        ...collection,
        'c1',
        '-n',
        'p2',
        '--exclude-disks',
        data,
      )
      assert.deepEqual(one.sourceMetadata.storageProfile.dataDisks, [])
      const shown = await az.run<{ restorePoints: unknown[] }>(
        'restore-point',
        'collection',
        'show',
        ...collection,
        'c1',
        '--restore-points',
      )
      assert.equal(shown.restorePoints.length, 2)
      const c1 = `${world.subscription}/resourceGroups/rg1/providers/${POINTS}/c1`
      await make('west', c1, 'westus')
      const copy = await az.run<Point>(
        'restore-point',
        'create',
        ...collection,
        'west',
        '-n',
        'p1',
        '--source-restore-point',
        point.id,
      )
      const disk = copy.sourceMetadata.storageProfile.osDisk.diskRestorePoint.id
      const restore = {
        location: 'westus',
        properties: { creationData: { createOption: 'Restore', sourceResourceId: disk } },
      }
      const file = await az.file('restore.json', JSON.stringify(restore))
      const url = `${endpoint}${world.subscription}/resourceGroups/rg1/providers/${DISKS}/restored?api-version=2023-04-02`
      await az.run('rest', '--method', 'put', '--url', url, '--body', `@${file}`)
      await az.run('disk', 'wait', ...at('restored'), '--created', '--interval', '1')
      await az.run('restore-point', 'delete', ...collection, 'c1', '-n', 'p1', '--yes')
      await az.run('restore-point', 'collection', 'delete', ...collection, 'c1', '--yes')
      await az.refused('ResourceNotFound', 'restore-point', 'collection', 'show', ...collection, 'c1')
    },
    POINTS,
  )
})
