/** Restores of recovery points by the API: disks with their template, a new machine, a machine's disks replaced; real micro guests. */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { must } from '#base'
import { BUILT_IN_ROLES } from '#domain'
import { findVaultPoint, listResources, type VaultPoint } from '#catalog'
import { isHydrated } from '#engine/transfer'
import { isHeld } from '#jobs'
import { systemClock } from '#runtime'
import type { Failure } from './machine-api-world.ts'
import { VERSION } from './api-world.ts'
import { type BackupJob, VaultWorld } from './vault-world.ts'

const DISKS = 'Microsoft.Compute/disks'
const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)
/** The data disk, as the micro guest sees it. */
const DATA = '/dev/sda'

async function prepare(world: VaultWorld): Promise<void> {
  const { machines } = world
  const data = await machines.emptyDisk('data')
  const made = await machines.put('web', await machines.microDisk('os'), {
    dataDisks: [{ lun: 1, createOption: 'Attach', managedDisk: { id: data } }],
    tags: { owner: 'ada' },
  })
  await machines.succeed(made)
  await machines.run('web', `printf before > ${DATA}; sync`)
  await world.protect('web')
}

function inGroup({ machines }: VaultWorld): string {
  return machines.group
}

describe('restores over the API', () => {
  it('restore disks with their template, make a new machine, and replace the disks of the machine', async (t) => {
    await using world = await VaultWorld.make()
    await prepare(world)
    const { machines } = world
    const point = await world.backUp('web')
    await machines.run('web', `printf after! > ${DATA}; sync`)

    await t.test('a subset of the disks, by LUN', async () => {
      const answer = await world.restore('web', point, {
        recoveryType: 'RestoreDisks',
        targetResourceGroupId: inGroup(world),
        region: 'eastus',
        restoreDiskLunList: [],
      })
      const { properties } = await world.ended(answer)
      assert.equal(properties.status, 'Completed', JSON.stringify(properties))
      const rows = await listResources(machines.api.catalog, { type: DISKS, group: machines.group })
      const made = rows.filter(({ name }) => name.startsWith('web-'))
      assert.deepEqual(
        made.map(({ name }) => name.replace(/\d{8}-\d{6}/, 'TIME')),
        ['web-osdisk-TIME'],
      )
      assert.equal(made[0]?.state, 'Succeeded')
      assert.equal(made[0]?.backing['restoredBy'], undefined)
    })
    await t.test('all disks, with the template that makes the machine again', () => disksWithTemplate(world, point))
    await t.test('a new machine, with the data of the point', () => newMachine(world, point))
    await t.test('a machine that cannot be made leaves its disks, and the job warns', () => noMachine(world, point))
    await t.test('an instant machine runs on the data of the vault, which moves in', () => instantMachine(world, point))
    await t.test('the disks of the machine are replaced; snapshots and old disks stay', () => replaced(world, point))
    await t.test('the point is held no longer', async () => {
      const row = must(await findVaultPoint(machines.api.catalog, point.itemKey, point.name), 'There is the point')
      assert.equal(isHeld(row, systemClock.nowMs()), false)
    })
    await t.test('what a body names is asked for with the caller’s own roles', () => strangers(world, point))
    await t.test('requests that Azure refuses are refused, and change nothing', () => refusals(world, point))
  })
})

async function network({ machines }: VaultWorld): Promise<string> {
  const id = `${machines.group}/providers/Microsoft.Network/virtualNetworks/net`
  const subnets = [{ name: 'default', properties: { addressPrefix: '10.9.0.0/24' } }]
  const properties = { addressSpace: { addressPrefixes: ['10.9.0.0/16'] }, subnets }
  await machines.succeed(await machines.ask('PUT', `${id}?${VERSION}`, { location: 'eastus', properties }))
  return `${id}/subnets/default`
}

async function account({ machines }: VaultWorld): Promise<string> {
  const id = `${machines.group}/providers/Microsoft.Storage/storageAccounts/staging`
  const body = { location: 'eastus', kind: 'StorageV2', sku: { name: 'Standard_LRS' } }
  const made = await machines.ask('PUT', `${id}?${VERSION}`, body)
  assert.equal(made.status, 200, made.text)
  return id
}

function completed(job: BackupJob): BackupJob['properties'] {
  assert.equal(job.properties.status, 'Completed', JSON.stringify(job.properties))
  return job.properties
}

async function disksWithTemplate(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const { properties } = await world.ended(
    await world.restore('web', point, {
      recoveryType: 'RestoreDisks',
      sourceResourceId: machines.id('web'),
      targetResourceGroupId: machines.group,
      storageAccountId: await account(world),
      region: 'eastus',
      createNewCloudService: false,
      originalStorageAccountOption: false,
    }),
  )
  const { extendedInfo } = properties
  assert.equal(properties.status, 'Completed', JSON.stringify(properties))
  const bag = extendedInfo.propertyBag
  assert.equal(bag['Job Type'], 'Recover disks')
  assert.equal(bag['Target Storage Account Name'], 'staging')
  const blobs = await listResources(machines.api.catalog, { type: 'Microsoft.Storage/storageAccounts' })
  const folder = `${String(blobs[0]?.backing['folder'])}/${bag['Config Blob Container Name']}`
  const texts: string[] = []
  for (const name of await readdir(folder))
    if (name.startsWith('data-')) texts.push(await readFile(join(folder, name), 'utf8'))
  const template = must(
    texts.find((text) => text.includes('deploymentTemplate.json')),
    'There is the template',
  )
  await network(world)
  const parameters = {
    VirtualMachineName: { value: 'again' },
    VirtualNetwork: { value: 'net' },
    VirtualNetworkResourceGroup: { value: 'rg1' },
    Subnet: { value: 'default' },
  }
  const deployment = `${machines.group}/providers/Microsoft.Resources/deployments/again?${VERSION}`
  const body = { properties: { mode: 'Incremental', template: JSON.parse(template) as unknown, parameters } }
  await machines.succeed(await machines.ask('PUT', deployment, body))
  assert.equal(await machines.run('again', `head -c 6 ${DATA}`), 'before')
  await machines.delete('again')
}

async function newMachine(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const subnetId = await network(world)
  const job = await world.ended(
    await world.restore('web', point, {
      recoveryType: 'AlternateLocation',
      targetVirtualMachineId: machines.id('web2'),
      targetResourceGroupId: machines.group,
      subnetId,
      region: 'eastus',
    }),
  )
  const { extendedInfo } = completed(job)
  assert.deepEqual(
    extendedInfo.tasksList.map(({ taskId, status }) => [taskId, status]),
    [
      ['Transfer data from vault', 'Completed'],
      ['Create the restored virtual machine', 'Completed'],
    ],
  )
  assert.equal(await machines.run('web2', `head -c 6 ${DATA}`), 'before')
  const { tags } = await machines.show('web2')
  assert.deepEqual(tags, { owner: 'ada' })
  await machines.delete('web2')
}

async function noMachine(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const subnetId = await network(world)
  const before = await listResources(machines.api.catalog, { type: DISKS, group: machines.group })
  const answer = await world.restore('web', point, {
    recoveryType: 'AlternateLocation',
    targetVirtualMachineId: machines.id('late'),
    subnetId,
  })
  // Somebody is quicker with the name.
  await machines.succeed(await machines.put('late', await machines.emptyDisk('late-os')))
  const { properties } = await world.ended(answer)
  assert.equal(properties.status, 'CompletedWithWarnings', JSON.stringify(properties))
  const after = await listResources(machines.api.catalog, { type: DISKS, group: machines.group })
  assert.equal(after.length, before.length + 1 + 2)
  const late = await machines.show('late')
  assert.match(late.properties.storageProfile.osDisk.managedDisk.id, /late-os$/)
  const cards = await listResources(machines.api.catalog, { type: 'Microsoft.Network/networkInterfaces' })
  assert.deepEqual(
    cards.filter(({ name }) => name.startsWith('late-nic')),
    [],
  )
  await machines.delete('late')
}

async function instantMachine(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const subnetId = await network(world)
  const answer = await world.restore('web', point, {
    recoveryType: 'AlternateLocation',
    targetVirtualMachineId: machines.id('now'),
    subnetId,
    holdfastInstant: true,
  })
  const { extendedInfo } = completed(await world.ended(answer))
  const { 'Running at': ran, 'Hydrated at': hydrated } = extendedInfo.propertyBag
  assert.ok(ran !== undefined && hydrated !== undefined && ran < hydrated, JSON.stringify(extendedInfo))
  assert.equal(await machines.run('now', `head -c 6 ${DATA}`), 'before')
  const [os] = (await listResources(machines.api.catalog, { type: DISKS })).filter(
    ({ body }) => body['managedBy'] === machines.id('now'),
  )
  assert.equal(await isHydrated(String(os?.backing['file'])), true)
  await machines.delete('now')
}

async function replaced(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const before = (await machines.show('web')).properties.storageProfile
  const job = await world.ended(await world.restore('web', point, { recoveryType: 'OriginalLocation' }))
  completed(job)
  assert.equal(await machines.run('web', `head -c 6 ${DATA}`), 'before')
  const after = (await machines.show('web')).properties.storageProfile
  assert.notEqual(after.osDisk.managedDisk.id, before.osDisk.managedDisk.id)
  assert.equal(after.dataDisks[0]?.lun, 1)
  const old = await machines.disk('data')
  assert.equal(old.properties.diskState, 'Unattached')
  const snapshots = await listResources(machines.api.catalog, { type: 'Microsoft.Compute/snapshots' })
  assert.deepEqual(
    snapshots.map(({ name, state }) => [name.replace(/-[0-9a-f]{8}$/, ''), state]),
    [
      ['web-lun1-before-restore', 'Succeeded'],
      ['web-os-before-restore', 'Succeeded'],
    ],
  )
}

async function strangers(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const theirs = `${machines.api.subscription}/resourceGroups/theirs`
  assert.equal((await machines.ask('PUT', `${theirs}?${VERSION}`, { location: 'eastus' })).status, 201)
  const stranger = await machines.api.principal('restorer', [{ role: roleNamed('Contributor'), scope: machines.group }])
  const at = (type: string, name: string): string => `${theirs}/providers/${type}/${name}`
  const own = { targetVirtualMachineId: machines.id('mine'), targetResourceGroupId: machines.group }
  const subnetId = at('Microsoft.Network/virtualNetworks', 'net/subnets/default')
  const cases: readonly Record<string, unknown>[] = [
    { recoveryType: 'RestoreDisks', targetResourceGroupId: theirs },
    {
      recoveryType: 'RestoreDisks',
      targetResourceGroupId: machines.group,
      storageAccountId: at('Microsoft.Storage/storageAccounts', 'sa'),
    },
    { recoveryType: 'AlternateLocation', ...own, subnetId },
    {
      recoveryType: 'AlternateLocation',
      ...own,
      subnetId,
      targetVirtualMachineId: at('Microsoft.Compute/virtualMachines', 'm'),
    },
  ]
  for (const properties of cases) {
    const body = { properties: { objectType: 'IaasVMRestoreRequest', ...properties } }
    const answer = await stranger.ask<Failure>('POST', world.pointUrl('web', point, 'restore'), body)
    // A group that is not the caller's is told of by the same words whether it is there or not.
    assert.deepEqual([answer.status, answer.body.error.code], [403, 'LinkedAuthorizationFailed'], answer.text)
  }
}

async function refusals(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const before = await listResources(machines.api.catalog, { type: DISKS, group: machines.group })
  const wrong: readonly (readonly [string, Record<string, unknown>])[] = [
    ['recoveryType', {}],
    ['recoveryType', { recoveryType: 'Offline' }],
    ['targetResourceGroupId', { recoveryType: 'RestoreDisks' }],
    ['targetResourceGroupId', { recoveryType: 'RestoreDisks', targetResourceGroupId: 7 }],
    [
      'restoreDiskLunList',
      { recoveryType: 'RestoreDisks', targetResourceGroupId: inGroup(world), restoreDiskLunList: [9] },
    ],
    [
      'restoreDiskLunList',
      { recoveryType: 'RestoreDisks', targetResourceGroupId: inGroup(world), restoreDiskLunList: '1' },
    ],
    ['region', { recoveryType: 'RestoreDisks', targetResourceGroupId: inGroup(world), region: 'westus' }],
    [
      'storageAccountId',
      { recoveryType: 'RestoreDisks', targetResourceGroupId: inGroup(world), storageAccountId: '/x' },
    ],
    ['targetVirtualMachineId', { recoveryType: 'AlternateLocation' }],
    ['recoveryPointId', { recoveryType: 'OriginalLocation', recoveryPointId: '1' }],
    ['restoreWithManagedDisks', { recoveryType: 'OriginalLocation', restoreWithManagedDisks: false }],
    ['sourceResourceId', { recoveryType: 'OriginalLocation', sourceResourceId: machines.id('other') }],
    ['unknown', { recoveryType: 'OriginalLocation', unknown: 1 }],
  ]
  for (const [field, properties] of wrong) {
    const answer = await world.restore('web', point, properties)
    const { error } = answer.body as Failure
    assert.ok(answer.status >= 400 && answer.status < 500, `${field}: ${answer.text}`)
    assert.ok(`${error.target ?? ''} ${error.message}`.includes(field), answer.text)
  }
  const gone = await world.restore('web', { ...point, name: '5' }, { recoveryType: 'OriginalLocation' })
  assert.equal(gone.status, 404)
  const after = await listResources(machines.api.catalog, { type: DISKS, group: machines.group })
  assert.equal(after.length, before.length)
}
