/**
 * Protection by unmodified `az backup`: a real guest is protected, backed up, its jobs and points listed, a job stopped, protection
 * stopped in three ways, deleted data brought back.
 */
import assert from 'node:assert/strict'
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { messageOf } from '#base'
import { hostOf, rememberAccelerator } from '../api/machine-api-world.ts'
import { FaceClient } from '../api/face-client.ts'
import type { Done } from '../api/disk-world.ts'
import { microImage } from '../rig/micro-image.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

const ITEMS = 'Microsoft.RecoveryServices/vaults'
const SIZE = ['--size', 'Holdfast_1x192']

type Job = Readonly<{
  name: string
  properties: {
    operation: string
    status: string
    extendedInfo: { tasksList: { taskId: string; status: string }[]; propertyBag: Record<string, string> }
  }
}>
type Item = Readonly<{ name: string; properties: Record<string, unknown> & { protectionState: string } }>
type Point = Readonly<{ name: string; properties: { recoveryPointType: string } }>

test('az: protection', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, served } = world
  const flow = world.flows(t)
  await rememberAccelerator(join(served.home, 'run', 'm'))
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const host = hostOf(served.home)
  const vault = ['-g', 'rg1', '-v', 'v1']
  const item = [...vault, '--container-name', 'vm1', '--item-name', 'vm1', '--backup-management-type', 'AzureIaasVM']
  const show = (): Promise<Item> => az.run<Item>('backup', 'item', 'show', ...vault, '-c', 'vm1', '-n', 'vm1', '--backup-management-type', 'AzureIaasVM', '--workload-type', 'VM') // prettier-ignore
  const waited = async (job: Job): Promise<Job> => {
    await az.run('backup', 'job', 'wait', ...vault, '-n', job.name, '--timeout', '300')
    return az.run<Job>('backup', 'job', 'show', ...vault, '-n', job.name)
  }
  try {
    await flow(
      'vault create, protection enable-for-vm, check-vm, item and container list',
      async () => {
        const path = join(served.home, 'import', 'micro.raw')
        await mkdir(join(served.home, 'import'), { recursive: true })
        await copyFile(await microImage(), path)
        const client = new FaceClient(served.home)
        const id = `${world.subscription}/resourceGroups/rg1/providers/Microsoft.Compute/disks/os1`
        const creationData = { createOption: 'Import', sourceUri: `file://${path}` }
        const body = { location: 'eastus', properties: { osType: 'Linux', creationData } }
        const answer = await client.ask('PUT', `${id}?api-version=2023-04-02`, body)
        assert.equal((await client.followed<Done>(answer)).status, 'Succeeded')
        await az.run('vm', 'create', '-g', 'rg1', '-n', 'vm1', '--attach-os-disk', 'os1', '--os-type', 'linux', ...SIZE)
        await az.run('backup', 'vault', 'create', '-g', 'rg1', '-n', 'v1', '-l', 'eastus')
        const job = await az.run<Job>('backup', 'protection', 'enable-for-vm', ...vault, '--vm', 'vm1', '-p', 'DefaultPolicy') // prettier-ignore
        assert.deepEqual([job.properties.operation, job.properties.status], ['ConfigureBackup', 'Completed'])
        const vmId = `${world.subscription}/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/vm1`
        const checked = await az.run<string>('backup', 'protection', 'check-vm', '--vm-id', vmId)
        assert.match(JSON.stringify(checked), /vaults\/v1/)
        const items = await az.run<Item[]>('backup', 'item', 'list', ...vault)
        assert.deepEqual(
          items.map(({ properties }) => properties['friendlyName']),
          ['vm1'],
        )
        const containers = await az.run<Item[]>('backup', 'container', 'list', ...vault, '--backup-management-type', 'AzureIaasVM') // prettier-ignore
        assert.equal(containers.length, 1)
      },
      ITEMS,
    )

    await flow(
      'protection backup-now, job wait, show and list, recoverypoint list and show',
      async () => {
        const job = await waited(await az.run<Job>('backup', 'protection', 'backup-now', ...item, '--retain-until', '01-01-2030')) // prettier-ignore
        assert.match(job.properties.status, /^Completed/)
        assert.deepEqual(
          job.properties.extendedInfo.tasksList.map(({ taskId, status }) => [taskId, status]),
          [
            ['Take Snapshot', 'Completed'],
            ['Transfer data to vault', 'Completed'],
          ],
        )
        const jobs = await az.run<Job[]>('backup', 'job', 'list', ...vault, '--operation', 'Backup')
        assert.deepEqual(
          jobs.map(({ name }) => name),
          [job.name],
        )
        const points = await az.run<Point[]>('backup', 'recoverypoint', 'list', ...item, '--workload-type', 'VM')
        assert.equal(points.length, 1)
        const [point] = points
        const shown = await az.run<Point>('backup', 'recoverypoint', 'show', ...item, '--name', point?.name ?? '')
        assert.equal(shown.name, point?.name)
        assert.equal((await show()).properties.protectionState, 'Protected')
      },
      ITEMS,
    )

    await flow(
      'protection update-for-vm and backup of the system disk alone; job stop',
      async () => {
        const job = await az.run<Job>('backup', 'protection', 'update-for-vm', ...vault, '--container-name', 'vm1', '--item-name', 'vm1', '--exclude-all-data-disks') // prettier-ignore
        assert.equal(job.properties.status, 'Completed')
        const extended = (await show()).properties['extendedProperties']
        assert.match(JSON.stringify(extended), /"isInclusionList":true/)
        const running = await az.run<Job>('backup', 'protection', 'backup-now', ...item, '--retain-until', '01-01-2030')
        // It may be over before it is stopped: then it cannot be any more, and says so.
        const why = await az.run('backup', 'job', 'stop', ...vault, '-n', running.name).then(() => '', messageOf)
        if (why !== '') assert.match(why, /cannot be cancelled/)
        const ended = await waited(running)
        assert.match(ended.properties.status, /^(Cancelled|Completed)/)
      },
      ITEMS,
    )

    await flow(
      'protection disable (for ever, by policy, deleted), resume, undelete',
      async () => {
        const yes = ['--yes']
        const disabled = await az.run<Job>('backup', 'protection', 'disable', ...item, ...yes)
        assert.deepEqual([disabled.properties.operation, disabled.properties.status], ['DisableBackup', 'Completed'])
        assert.equal((await show()).properties.protectionState, 'ProtectionStopped')
        await az.run('backup', 'protection', 'resume', ...item, '-p', 'DefaultPolicy')
        assert.equal((await show()).properties.protectionState, 'Protected')
        await az.run('backup', 'protection', 'disable', ...item, ...yes, '--retain-recovery-points-as-per-policy')
        assert.equal((await show()).properties.protectionState, 'BackupsSuspended')
        const deleted = await az.run<Job>('backup', 'protection', 'disable', ...item, ...yes, '--delete-backup-data', 'true') // prettier-ignore
        assert.equal(deleted.properties.operation, 'DeleteBackupData')
        assert.equal((await show()).properties['isScheduledForDeferredDelete'], true)
        const back = await az.run<Job>('backup', 'protection', 'undelete', ...item, '--workload-type', 'VM')
        assert.equal(back.properties.operation, 'Undelete')
        assert.equal((await show()).properties.protectionState, 'ProtectionStopped')
      },
      ITEMS,
    )
  } finally {
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
  }
})
