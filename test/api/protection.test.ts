/** Protection of a real guest over the API: enabled, backed up while it runs and while it is off, stopped in three ways, brought back. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { isoTime, must } from '#base'
import { AZURE_MACHINE_ATTACHMENT, type AzureMachine } from '#domain'
import { readAttachment } from '#engine/transfer'
import { systemClock } from '#runtime'
import { assertSameBytes, imageBytes } from './disk-world.ts'
import { MachineApiWorld } from './machine-api-world.ts'
import { type Failure, type Item, type Listed, type Job, ProtectionWorld } from './protection-world.ts'

let machines: MachineApiWorld
let world: ProtectionWorld

before(async () => {
  machines = await MachineApiWorld.make()
  world = new ProtectionWorld(machines.api, machines.ask)
  await world.makeVault()
  const os = await machines.microDisk('os1')
  const data = await machines.emptyDisk('data1')
  const dataDisks = [{ lun: 3, createOption: 'Attach', managedDisk: { id: data } }]
  await machines.succeed(await machines.put('vm1', os, { dataDisks, tags: { owner: 'tests' } }))
  await machines.ready('vm1')
})
after(() => machines[Symbol.asyncDispose]())

test('A machine of the vault’s region can be protected: discovery shows it, refresh is done at once', async () => {
  type Protectable = { properties: { virtualMachineId: string; friendlyName: string; protectionState: string } }
  const filter = `&$filter=${encodeURIComponent("backupManagementType eq 'AzureIaasVM'")}`
  const found = await world.ask<Listed<Protectable>>('GET', world.url(`${world.vault}/backupProtectableItems`, filter))
  assert.deepEqual(
    found.body.value.map(({ properties }) => [properties.friendlyName, properties.protectionState]),
    [['vm1', 'NotProtected']],
  )
  const refresh = await world.ask('POST', world.url(`${world.vault}/backupFabrics/Azure/refreshContainers`))
  assert.equal(refresh.status, 202)
  assert.equal((await world.ask('GET', String(refresh.headers['location']))).status, 204)
})

test('Enabling is a job that is completed when it is answered; the machine’s side shows it', async () => {
  const job = await world.protect('vm1')
  assert.equal(job.properties.operation, 'ConfigureBackup')
  assert.equal(job.properties.extendedInfo.propertyBag['Policy Name'], 'DefaultPolicy')
  const item = await world.show('vm1')
  assert.equal(item.properties.protectionState, 'IRPending')
  assert.equal(item.properties['lastBackupTime'], '2001-01-01T00:00:00Z')
  assert.ok(String(item.properties['nextBackupTime']) > isoTime(systemClock.nowMs()), 'its next backup is planned')
  const status = await world.ask<Record<string, string>>(
    'POST',
    `${machines.api.subscription}/providers/Microsoft.RecoveryServices/locations/eastus/backupStatus?api-version=2025-02-01`,
    { resourceType: 'VM', resourceId: world.machineId('vm1') },
  )
  assert.equal(status.body['vaultId'], world.vault)
  assert.equal(status.body['protectionStatus'], 'Protecting')
})

test('A running guest is backed up, file systems frozen; the next backup reads what changed; every byte is the instant’s', async () => {
  await machines.run('vm1', 'echo first > /root/mark 2>/dev/null || echo first > /tmp/mark; sync')
  const first = await world.backup('vm1')
  assert.equal(first.properties.operation, 'Backup')
  assert.deepEqual(
    first.properties.extendedInfo.tasksList.map(({ taskId, status }) => [taskId, status]),
    [
      ['Take Snapshot', 'Completed'],
      ['Transfer data to vault', 'Completed'],
    ],
  )
  await world.backup('vm1')
  const points = await world.points('vm1')
  assert.equal(points.length, 2)
  const [newest, oldest] = points
  assert.ok(newest !== undefined && oldest !== undefined)
  assert.ok(BigInt(newest.name) > BigInt(oldest.name), 'names grow')
  assert.match(newest.name, /^\d+$/)
  assert.equal(newest.properties.recoveryPointType === 'CrashConsistent', false, 'the agent froze the file systems')
  assert.equal(newest.properties.holdfast.mode, 'incremental')
  assert.deepEqual(
    newest.properties.recoveryPointTierDetails.map(({ type }) => type),
    ['InstantRP', 'HardenedRP'],
  )
  assert.deepEqual(newest.properties.recoveryPointDiskConfiguration.includedDiskList, [
    { lun: -1, name: 'os1' },
    { lun: 3, name: 'data1' },
  ])
  const record = await world.recordOf(newest)
  assert.equal(record.machine, 'rg1/vm1')
  assert.deepEqual(
    record.disks.map(({ lun }) => lun),
    [0, 4],
  )
  const azure = await world.inVault(async (repository) => {
    const kept = must(
      record.attachments.find(({ name }) => name === AZURE_MACHINE_ATTACHMENT),
      'It tells of its machine',
    )
    const bytes = await readAttachment(repository, kept)
    return JSON.parse(new TextDecoder().decode(bytes)) as AzureMachine
  })
  assert.equal(azure.machine.id, world.machineId('vm1'))
  assert.deepEqual(azure.machine.tags, { owner: 'tests' })
  assert.deepEqual(
    azure.disks.map(({ lun, name, included }) => [lun, name, included]),
    [
      [-1, 'os1', true],
      [3, 'data1', true],
    ],
  )
  const item = await world.show('vm1')
  assert.equal(item.properties.protectionState, 'Protected')
  assert.equal((item.properties['extendedInfo'] as { recoveryPointCount: number }).recoveryPointCount, 2)
})

test('A machine that is off is backed up by its images, byte for byte', async () => {
  await machines.commanded('vm1', 'deallocate')
  await world.backup('vm1')
  const [point] = await world.points('vm1')
  assert.ok(point !== undefined)
  assert.equal(point.properties.recoveryPointType, 'CrashConsistent')
  for (const name of ['os1', 'data1']) {
    const { uniqueId } = (await machines.disk(name)).properties
    const file = await world.diskFile(machines.diskId(name))
    const expected = await imageBytes(file, 'qcow2', join(machines.api.home.folder, `${name}.out`))
    assertSameBytes(await world.bytesOf(point, uniqueId), expected, name)
  }
})

test('Disks are left out by LUN; the setting is replaced, and cleared', async () => {
  const only = (luns: number[], isInclusionList: boolean) => ({
    extendedProperties: { diskExclusionProperties: { diskLunList: luns, isInclusionList } },
  })
  await world.protect('vm1', only([3], false))
  await world.backup('vm1')
  const [point] = await world.points('vm1')
  assert.deepEqual(point?.properties.recoveryPointDiskConfiguration.includedDiskList, [{ lun: -1, name: 'os1' }])
  assert.deepEqual(point.properties.recoveryPointDiskConfiguration.excludedDiskList, [{ lun: 3, name: 'data1' }])
  await world.protect('vm1', only([], true))
  const item = await world.show('vm1')
  assert.deepEqual(item.properties['extendedProperties'], {
    diskExclusionProperties: { diskLunList: [], isInclusionList: true },
  })
  await world.protect('vm1', { extendedProperties: { diskExclusionProperties: null } })
  assert.equal((await world.show('vm1')).properties['extendedProperties'], undefined)
})

test('A second backup while one runs is refused by name; the first goes on', async () => {
  const [one, two] = await Promise.all([world.beginBackup('vm1'), world.beginBackup('vm1')])
  const codes = [one, two].map(({ status }) => status).toSorted((a, b) => a - b)
  assert.deepEqual(codes, [202, 409])
  const refused = [one, two].find(({ status }) => status === 409)
  assert.equal((refused?.body as Failure | undefined)?.error.code, 'UserErrorBackupOperationInProgress')
  const begun = [one, two].find(({ status }) => status === 202)
  assert.ok(begun !== undefined)
  const job = await world.ended(await world.jobOf(begun))
  assert.match(job.properties.status, /^Completed/)
})

test('Jobs are listed by operation, status and time; a bad filter is refused', async () => {
  const at = `${world.vault}/backupJobs`
  const filtered = async (filter: string): Promise<Job[]> => {
    const answer = await world.ask<Listed<Job>>('GET', world.url(at, `&$filter=${encodeURIComponent(filter)}`))
    assert.equal(answer.status, 200, answer.text)
    return answer.body.value
  }
  const backups = await filtered("operation eq 'Backup' and status eq 'Completed'")
  assert.ok(backups.length >= 4)
  assert.ok(backups.every(({ properties }) => properties.operation === 'Backup'))
  assert.equal((await filtered("startTime eq '2099-01-01 01:00:00 AM'")).length, 0)
  const bad = await world.ask('GET', world.url(at, `&$filter=${encodeURIComponent("operation eq 'Sleep'")}`))
  assert.equal(bad.status, 400)
})

test('Stopped for ever, resumed, stopped by policy, deleted and brought back: each is a job, and no point is lost', async () => {
  const before = (await world.points('vm1')).length
  const stopped = await world.jobOf(await world.putItem('vm1', { policyId: '', protectionState: 'ProtectionStopped' }))
  assert.equal(stopped.properties.operation, 'DisableBackup')
  let item = await world.show('vm1')
  assert.equal(item.properties.protectionState, 'ProtectionStopped')
  assert.equal(item.properties['policyId'], '')
  assert.ok(
    (await world.points('vm1')).every(({ properties }) => properties.recoveryPointProperties.ruleName === 'Retained'),
  )
  assert.equal((await world.beginBackup('vm1')).status, 409, 'what is stopped is not backed up')

  await world.protect('vm1')
  assert.equal((await world.show('vm1')).properties.protectionState, 'Protected')
  await world.jobOf(await world.putItem('vm1', { policyId: '', protectionState: 'BackupsSuspended' }))
  item = await world.show('vm1')
  assert.equal(item.properties.protectionState, 'BackupsSuspended')
  assert.equal(item.properties['nextBackupTime'], undefined)

  const deleted = await world.jobOf(await world.ask('DELETE', world.url(world.item('vm1'))))
  assert.equal(deleted.properties.operation, 'DeleteBackupData')
  item = await world.show('vm1')
  assert.equal(item.properties['isScheduledForDeferredDelete'], true)
  assert.match(String(item.properties['deferredDeleteTimeRemaining']), /^1[34]\.\d\d:\d\d:\d\d$/)
  assert.equal((await world.putItem('vm1', { policyId: world.policy('DefaultPolicy') })).status, 409)

  const back = await world.jobOf(await world.putItem('vm1', { isRehydrate: true }))
  assert.equal(back.properties.operation, 'Undelete')
  item = await world.show('vm1')
  assert.equal(item.properties['isScheduledForDeferredDelete'], false)
  assert.equal(item.properties.protectionState, 'ProtectionStopped')
  assert.equal((await world.points('vm1')).length, before)
  await world.protect('vm1')
})

test('One point is deleted by name, and stays until its soft delete is over; the newest of a protected machine is kept', async () => {
  const points = await world.points('vm1')
  const [newest, second] = points
  assert.ok(newest !== undefined && second !== undefined)
  const refused = await world.ask<Failure>('DELETE', world.url(newest.id))
  assert.equal(refused.status, 409, refused.text)
  await world.jobOf(await world.ask('DELETE', world.url(second.id)))
  const after = await world.ask<(typeof points)[number]>('GET', world.url(second.id))
  assert.equal(after.body.properties.recoveryPointProperties.isSoftDeleted, true)
  assert.equal(await world.recordOf(second).then(() => true), true, 'its bytes are there')
})

test('What cannot be protected is refused by name and changes nothing', async () => {
  const policyId = world.policy('DefaultPolicy')
  const missing = await world.putItem('vm9', { policyId })
  assert.equal(missing.status, 404, missing.text)
  const foreign = await world.putItem('vm1', { policyId: `${world.vault}x/backupPolicies/DefaultPolicy` })
  assert.equal(foreign.status, 400, foreign.text)
  const unknown = await world.putItem('vm1', { policyId, surprise: true })
  assert.equal(unknown.status, 400, unknown.text)
  const other = `${world.vault}2`
  await world.makeVault(other)
  const second = await world.putItem('vm1', { policyId: `${other}/backupPolicies/DefaultPolicy` }, other)
  assert.equal(second.status, 409, second.text)
  const list = await world.ask<Listed<Item>>('GET', world.url(`${world.vault}/backupProtectedItems`))
  assert.deepEqual(
    list.body.value.map(({ name }) => name),
    ['VM;iaasvmcontainerv2;rg1;vm1'],
  )
})
