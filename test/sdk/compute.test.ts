/** Disks and snapshots by the newest JavaScript SDK: long-running operations followed by its pollers, bytes by signed URLs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Disk, Snapshot } from '@azure/arm-compute'
import { GIB, must } from '#base'
import { KNOWN_DISK } from '../az/disk-views.ts'
import { until } from '../jobs/processes.ts'
import { assertVhd, uploadVhd } from '../rig/signed-vhd.ts'
import { all, refusal, SdkWorld } from './sdk-world.ts'

const GROUP = 'rg1'
const location = 'eastus'
const DISKS = 'Microsoft.Compute/disks'
const SNAPSHOTS = 'Microsoft.Compute/snapshots'
const READ = { access: 'Read', durationInSeconds: 600 } as const

test('SDK: disks and snapshots', async (t) => {
  await using world = await SdkWorld.make()
  const skip = await world.lacks(DISKS)
  if (skip !== false) return t.test('disks', { skip }, () => {})
  const { resources, compute } = world.clients
  const { disks, snapshots } = compute
  await resources.resourceGroups.createOrUpdate(GROUP, { location })
  const url = ({ accessSAS }: Readonly<{ accessSAS?: string }>): string => must(accessSAS, 'A granted access has a URL')
  const sizeBytes = KNOWN_DISK.sizeBytes

  await t.test('a disk is made, shown, listed, grown, changed', async () => {
    const wanted: Disk = { location, diskSizeGB: 4, creationData: { createOption: 'Empty' }, tags: { env: 'sdk' } }
    const made = await disks.createOrUpdate(GROUP, 'd1', wanted)
    assert.deepEqual(
      [made.name, made.diskSizeGB, made.diskSizeBytes, made.diskState, made.provisioningState, made.tags],
      ['d1', 4, 4 * GIB, 'Unattached', 'Succeeded', { env: 'sdk' }],
    )
    assert.ok(made.timeCreated instanceof globalThis.Date)
    assert.equal((await disks.get(GROUP, 'D1')).uniqueId, made.uniqueId)
    assert.equal((await disks.update(GROUP, 'd1', { diskSizeGB: 6 })).diskSizeBytes, 6 * GIB)
    assert.deepEqual((await disks.update(GROUP, 'd1', { tags: { by: 'me' } })).tags, { by: 'me' })
    const again = await disks.createOrUpdate(GROUP, 'd1', await disks.get(GROUP, 'd1'))
    assert.equal(again.uniqueId, made.uniqueId, 'what was shown may be sent back')
    assert.deepEqual(
      (await all(disks.list())).map(({ name }) => name),
      ['d1'],
    )
    assert.deepEqual(
      (await all(disks.listByResourceGroup(GROUP))).map(({ name }) => name),
      ['d1'],
    )
  })

  await t.test('what cannot be is refused by its code', async () => {
    assert.deepEqual(await refusal(disks.get(GROUP, 'nothing')), [404, 'ResourceNotFound'])
    const [status] = await refusal(disks.update(GROUP, 'd1', { diskSizeGB: 1 }))
    assert.ok(status === 400 || status === 409)
  })

  await t.test('an uploaded disk has the bytes that were uploaded, until access is taken away', async () => {
    const creationData = { createOption: 'Upload', uploadSizeBytes: sizeBytes + 512 }
    const made = await disks.createOrUpdate(GROUP, 'up', { location, creationData })
    assert.equal(made.diskState, 'ReadyToUpload')
    const write = { access: 'Write', durationInSeconds: 600 }
    await uploadVhd(url(await disks.grantAccess(GROUP, 'up', write)), world.ca, KNOWN_DISK)
    await disks.revokeAccess(GROUP, 'up')
    assert.equal((await disks.get(GROUP, 'up')).diskState, 'Unattached')
    await assertVhd(url(await disks.grantAccess(GROUP, 'up', READ)), world.ca, KNOWN_DISK, sizeBytes)
    await disks.revokeAccess(GROUP, 'up')
  })

  const noSnapshots = await world.lacks(SNAPSHOTS)
  const id = async (name: string): Promise<string> => must((await snapshots.get(GROUP, name)).id, 'It has an id')
  const equal = async (name: string): Promise<void> => {
    await assertVhd(url(await snapshots.grantAccess(GROUP, name, READ)), world.ca, KNOWN_DISK, sizeBytes)
    await snapshots.revokeAccess(GROUP, name)
  }

  await t.test('snapshots, full and incremental, have its bytes', { skip: noSnapshots }, async () => {
    const sourceResourceId = must((await disks.get(GROUP, 'up')).id, 'It has an id')
    const creationData = { createOption: 'Copy', sourceResourceId }
    const wanted: Snapshot = { location, creationData }
    const full = await snapshots.createOrUpdate(GROUP, 'full', wanted)
    const incremental = await snapshots.createOrUpdate(GROUP, 'inc', { ...wanted, incremental: true })
    assert.deepEqual([full.incremental, incremental.incremental], [false, true])
    assert.ok(incremental.incrementalSnapshotFamilyId)
    await equal('full')
    await equal('inc')
  })

  await t.test('a copy in another region tells how far it is and is whole', { skip: noSnapshots }, async () => {
    const creationData = { createOption: 'CopyStart', sourceResourceId: await id('inc') }
    await snapshots.createOrUpdate(GROUP, 'west', { location: 'westus', creationData, incremental: true })
    await until('the copy is complete', async () => (await snapshots.get(GROUP, 'west')).completionPercent === 100)
    await equal('west')
  })

  await t.test('a disk of a snapshot outlives disk and snapshot', { skip: noSnapshots }, async () => {
    const creationData = { createOption: 'Copy', sourceResourceId: await id('inc') }
    await disks.createOrUpdate(GROUP, 'back', { location, creationData })
    await disks.delete(GROUP, 'up')
    await snapshots.delete(GROUP, 'inc')
    await assertVhd(url(await disks.grantAccess(GROUP, 'back', READ)), world.ca, KNOWN_DISK, sizeBytes)
    await disks.revokeAccess(GROUP, 'back')
  })

  await t.test('a group is deleted with what is in it', async () => {
    await resources.resourceGroups.delete(GROUP)
    assert.deepEqual(await all(disks.list()), [])
  })
  return undefined
})
