/**
 * Restores by unmodified `az backup restore`: disks with their template, a new machine, the machine's own disks, files mounted and
 * unmounted; of a real guest that a vault protects.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { must } from '#base'
import type { Done } from '../api/disk-world.ts'
import { FaceClient } from '../api/face-client.ts'
import { hostOf, rememberAccelerator, runIn } from '../api/machine-api-world.ts'
import { microImage } from '../rig/micro-image.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

const ITEMS = 'Microsoft.RecoveryServices/vaults'
const SIZE = ['--size', 'Holdfast_1x192']
const run = promisify(execFile)

type Job = Readonly<{
  name: string
  properties: {
    operation: string
    status: string
    extendedInfo: { tasksList: { taskId: string; status: string }[]; propertyBag: Record<string, string> }
  }
}>
type Point = Readonly<{ name: string; properties: { isInstantIlrSessionActive: boolean } }>
type Machine = Readonly<{ name: string; storageProfile: { osDisk: { managedDisk: { id: string } } } }>

test('az: restores', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, served } = world
  const flow = world.flows(t)
  await rememberAccelerator(join(served.home, 'run', 'm'))
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const host = hostOf(served.home)
  const vault = ['-g', 'rg1', '-v', 'v1']
  const item = [...vault, '--container-name', 'vm1', '--item-name', 'vm1']
  const typed = [...item, '--backup-management-type', 'AzureIaasVM', '--workload-type', 'VM']
  const waited = async (job: Job): Promise<Job['properties']> => {
    await az.run('backup', 'job', 'wait', ...vault, '-n', job.name, '--timeout', '300')
    return (await az.run<Job>('backup', 'job', 'show', ...vault, '-n', job.name)).properties
  }
  const points = (): Promise<Point[]> => az.run<Point[]>('backup', 'recoverypoint', 'list', ...typed)
  let point = ''
  const restore = (...more: readonly string[]): Promise<Job> =>
    az.run<Job>('backup', 'restore', 'restore-disks', ...item, '--rp-name', point, '--storage-account', 'sa1', ...more)
  try {
    await flow(
      'a guest is protected and backed up',
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
        await az.run('storage', 'account', 'create', '-g', 'rg1', '-n', 'sa1', '-l', 'eastus', '--sku', 'Standard_LRS')
        await az.run('backup', 'vault', 'create', '-g', 'rg1', '-n', 'v1', '-l', 'eastus')
        await az.run('backup', 'vault', 'backup-properties', 'set', '-g', 'rg1', '-n', 'v1', '--backup-storage-redundancy', 'LocallyRedundant') // prettier-ignore
        await az.run('backup', 'protection', 'enable-for-vm', ...vault, '--vm', 'vm1', '-p', 'DefaultPolicy')
        const backup = await az.run<Job>('backup', 'protection', 'backup-now', ...item, '--backup-management-type', 'AzureIaasVM', '--retain-until', '01-01-2030') // prettier-ignore
        assert.match((await waited(backup)).status, /^Completed/)
        point = must((await points())[0], 'There is a point').name
      },
      ITEMS,
    )
    await flow(
      'restore restore-disks, with the template in the storage account',
      async () => {
        const done = await waited(await restore('--target-resource-group', 'rg1'))
        assert.deepEqual([done.operation, done.status], ['Restore', 'Completed'])
        const bag = done.extendedInfo.propertyBag
        assert.match(String(bag['Template Blob Uri']), /\/sa1\/restore-[0-9a-f-]+\/azuredeploy/)
        const disks = await az.run<{ name: string }[]>('disk', 'list', '-g', 'rg1')
        assert.ok(disks.some(({ name }) => name.startsWith('vm1-osdisk-')))
      },
      ITEMS,
    )
    await flow(
      'restore restore-disks to a new machine',
      async () => {
        const network = ['--target-vnet-name', 'vm1VNET', '--target-vnet-resource-group', 'rg1', '--target-subnet-name', 'vm1Subnet'] // prettier-ignore
        const job = await restore('--restore-mode', 'AlternateLocation', '--target-resource-group', 'rg1', '--target-vm-name', 'vm2', ...network) // prettier-ignore
        assert.equal((await waited(job)).status, 'Completed')
        const machine = await az.run<Machine>('vm', 'show', '-g', 'rg1', '-n', 'vm2')
        assert.match(machine.storageProfile.osDisk.managedDisk.id, /vm1-osdisk-/)
        const [second] = (await host.discover()).machines.filter(({ machine: found }) => found.name.startsWith('vm2-'))
        await runIn(host, must(second, 'It runs').machine.name, 'true')
      },
      ITEMS,
    )
    await flow(
      'restore restore-disks to the original location',
      async () => {
        const before = await az.run<Machine>('vm', 'show', '-g', 'rg1', '-n', 'vm1')
        const done = await waited(await restore('--restore-mode', 'OriginalLocation'))
        assert.equal(done.status, 'Completed', JSON.stringify(done))
        const after = await az.run<Machine>('vm', 'show', '-g', 'rg1', '-n', 'vm1')
        assert.notEqual(after.storageProfile.osDisk.managedDisk.id, before.storageProfile.osDisk.managedDisk.id)
        const snapshots = await az.run<{ name: string }[]>('snapshot', 'list', '-g', 'rg1')
        assert.equal(snapshots.length, 1)
      },
      ITEMS,
    )
    await flow(
      'restore files mount-rp, its script, and unmount-rp',
      async () => {
        await az.run('backup', 'restore', 'files', 'mount-rp', ...item, '--rp-name', point)
        const [name] = (await readdir(served.folder)).filter((one) => one.endsWith('.py'))
        const script = join(served.folder, must(name, 'az wrote the script'))
        const [row] = (await points()).filter((one) => one.name === point)
        assert.equal(row?.properties.isInstantIlrSessionActive, true)
        const client = new FaceClient(served.home)
        const path = `${world.subscription}/resourceGroups/rg1/providers/${ITEMS}/v1/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;rg1;vm1/protectedItems/VM;iaasvmcontainerv2;rg1;vm1/recoveryPoints/${point}/listInstantItemRecoveryOperationResult` // prettier-ignore
        const again = await client.ask<{ clientScripts: { scriptNameSuffix: string }[] }>('POST', `${path.split('/').map(encodeURIComponent).join('/')}?api-version=2025-02-01`, {}) // prettier-ignore
        const password = must(again.body.clientScripts[0], again.text).scriptNameSuffix.slice(-15)
        const env = { ...process.env, HOLDFAST_PASSWORD: password }
        const listed = await run('python3', [script, 'ls', '/'], { env })
        assert.match(listed.stdout, /^folder .* os/m)
        await az.run('backup', 'restore', 'files', 'unmount-rp', ...item, '--rp-name', point)
        await assert.rejects(run('python3', [script, 'ls', '/'], { env }), /over or was revoked/)
      },
      ITEMS,
    )
  } finally {
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
  }
})
