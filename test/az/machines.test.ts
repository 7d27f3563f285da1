/**
 * Machines by unmodified `az`: vm create (with its network; of a disk, of an image, many at once), stop, start, deallocate,
 * restart, data disks, sizes, scripts, logs, generalize, delete. Guests are real: the micro guest.
 */
import assert from 'node:assert/strict'
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { hostOf, rememberAccelerator, runIn } from '../api/machine-api-world.ts'
import { FaceClient } from '../api/face-client.ts'
import type { Done } from '../api/disk-world.ts'
import { microImage } from '../rig/micro-image.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'
import { DISKS } from './disk-views.ts'

const MACHINES = 'Microsoft.Compute/virtualMachines'
const NETWORKS = 'Microsoft.Network/networkInterfaces'
const IMAGES = 'Microsoft.Compute/images'
const SIZE = ['--size', 'Holdfast_1x192']
/** Asked for by az with any image, also where it leaves it out of what it sends. */
const LOGIN = ['--admin-username', 'ops', '--admin-password', 'Correct-horse-7!x', '--authentication-type', 'password']

type View = Readonly<{
  id: string
  name: string
  powerState?: string
  provisioningState: string
  vmId: string
  hardwareProfile: { vmSize: string }
  storageProfile: {
    osDisk: { name: string; managedDisk: { id: string } }
    dataDisks: { lun: number; name: string; managedDisk: { id: string } }[]
  }
}>
type Created = Readonly<{ id: string; powerState: string; privateIpAddress: string; macAddress: string }>

test('az: machines', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, served } = world
  const flow = world.flows(t)
  await rememberAccelerator(join(served.home, 'run', 'm'))
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const at = (name: string): string[] => ['-g', 'rg1', '-n', name]
  const show = (name: string): Promise<View> => az.run<View>('vm', 'show', ...at(name), '-d')
  const host = hostOf(served.home)
  const guest = async (name: string, command: string): Promise<string> => {
    const { vmId } = await show(name)
    const found = (await host.discover()).machines.find(({ machine }) => machine.uuid === vmId)
    return runIn(host, found?.machine.name ?? name, command)
  }
  /** Disks that the micro guest boots from. */
  const microDisk = async (name: string): Promise<void> => {
    const path = join(served.home, 'import', 'micro.raw')
    await mkdir(join(served.home, 'import'), { recursive: true })
    await copyFile(await microImage(), path)
    const client = new FaceClient(served.home)
    const id = `${world.subscription}/resourceGroups/rg1/providers/Microsoft.Compute/disks/${name}`
    const creationData = { createOption: 'Import', sourceUri: `file://${path}` }
    const body = { location: 'eastus', properties: { osType: 'Linux', creationData } }
    const answer = await client.ask('PUT', `${id}?api-version=2023-04-02`, body)
    assert.equal((await client.followed<Done>(answer)).status, 'Succeeded')
  }

  try {
    await flow(
      'vm create --attach-os-disk: with its network, address and rules; show -d, list -d',
      async () => {
        await microDisk('disk1')
        const attach = ['--attach-os-disk', 'disk1', '--os-type', 'linux']
        const made = await az.run<Created>('vm', 'create', ...at('vm1'), ...attach, ...SIZE)
        assert.equal(made.powerState, 'VM running')
        assert.match(made.privateIpAddress, /^10\./)
        const shown = await show('vm1')
        assert.deepEqual([shown.powerState, shown.provisioningState], ['VM running', 'Succeeded'])
        const listed = await az.run<View[]>('vm', 'list', '-g', 'rg1', '-d')
        assert.deepEqual(
          listed.map(({ name }) => name),
          ['vm1'],
        )
        assert.match(
          await guest('vm1', 'cat /sys/class/net/eth0/address'),
          new RegExp(made.macAddress.replaceAll('-', ':'), 'i'),
        )
      },
      MACHINES,
      NETWORKS,
    )

    await flow(
      'vm run-command invoke; boot-diagnostics get-boot-log',
      async () => {
        const script = ['--command-id', 'RunShellScript', '--scripts', 'echo hello $1', '--parameters', 'world']
        const ran = await az.run<{ value: { message: string }[] }>(
          'vm',
          'run-command',
          'invoke',
          ...at('vm1'),
          ...script,
        )
        assert.match(ran.value[0]?.message ?? '', /\[stdout\]\nhello world\n/)
        await az.run('vm', 'boot-diagnostics', 'enable', ...at('vm1'))
        const log = await az.run<string>('vm', 'boot-diagnostics', 'get-boot-log', ...at('vm1'))
        assert.ok(log.length > 0, 'the guest says something at its boot')
        const view = await az.run<{ instanceView: { statuses: { code: string }[] } }>(
          'vm',
          'get-instance-view',
          ...at('vm1'),
        )
        assert.ok(view.instanceView.statuses.some(({ code }) => code === 'PowerState/running'))
        const sizes = await az.run<{ name: string }[]>('vm', 'list-sizes', '-l', 'eastus')
        assert.ok(sizes.some(({ name }) => name === 'Standard_DS1_v2'))
      },
      MACHINES,
      NETWORKS,
    )

    await flow(
      'vm disk attach --new, attach, detach; vm update; vm resize',
      async () => {
        await az.run(
          'vm',
          'disk',
          'attach',
          '-g',
          'rg1',
          '--vm-name',
          'vm1',
          '--name',
          'data1',
          '--new',
          '--size-gb',
          '1',
        )
        await az.run('disk', 'create', ...at('data2'), '--size-gb', '1')
        await az.run('vm', 'disk', 'attach', '-g', 'rg1', '--vm-name', 'vm1', '--name', 'data2')
        const { storageProfile } = await show('vm1')
        assert.deepEqual(
          storageProfile.dataDisks.map(({ lun, name }) => [lun, name]),
          [
            [0, 'data1'],
            [1, 'data2'],
          ],
        )
        await az.run('vm', 'disk', 'detach', '-g', 'rg1', '--vm-name', 'vm1', '--name', 'data1')
        await az.run('vm', 'update', ...at('vm1'), '--set', 'tags.role=web')
        await az.run('vm', 'resize', ...at('vm1'), '--size', 'Holdfast_1x224')
        const after = await show('vm1')
        assert.equal(after.hardwareProfile.vmSize, 'Holdfast_1x224')
        assert.equal(after.storageProfile.dataDisks.length, 1)
      },
      MACHINES,
      NETWORKS,
    )

    await flow(
      'vm stop, start, restart, deallocate, generalize: each in its state',
      async () => {
        await az.run('vm', 'stop', ...at('vm1'))
        assert.equal((await show('vm1')).powerState, 'VM stopped')
        await az.run('vm', 'start', ...at('vm1'))
        await az.run('vm', 'restart', ...at('vm1'))
        assert.equal((await show('vm1')).powerState, 'VM running')
        await az.run('vm', 'deallocate', ...at('vm1'))
        assert.equal((await show('vm1')).powerState, 'VM deallocated')
        await az.run('vm', 'generalize', ...at('vm1'))
        await az.refused('OperationNotAllowed', 'vm', 'start', ...at('vm1'))
      },
      MACHINES,
      NETWORKS,
    )

    await flow(
      'image create --source a machine; vm create --image, with a password, and several by --count',
      async () => {
        await az.run('image', 'create', ...at('img1'), '--source', 'vm1')
        const network = ['--vnet-name', 'vm1VNET', '--subnet', 'vm1Subnet']
        await az.run('vm', 'create', ...at('vm2'), '--image', 'img1', ...LOGIN, ...SIZE, ...network)
        assert.equal((await show('vm2')).storageProfile.dataDisks.length, 1, 'the image has a data disk')
        assert.match(await guest('vm2', 'echo up'), /up/)
        const many = ['--count', '3', '--nsg', '', '--public-ip-address', '']
        await az.run('vm', 'create', ...at('vmc'), '--image', 'img1', ...LOGIN, ...SIZE, ...network, ...many)
        for (const name of ['vmc0', 'vmc1', 'vmc2']) assert.equal((await show(name)).provisioningState, 'Succeeded')
      },
      MACHINES,
      NETWORKS,
      IMAGES,
    )

    await flow(
      'vm create --image --specialized: of a snapshot of a machine, as it was',
      async () => {
        await az.run('snapshot', 'create', ...at('snap1'), '--source', 'disk1')
        const id = `${world.subscription}/resourceGroups/rg1/providers/Microsoft.Compute`
        const osDisk = { osType: 'Linux', osState: 'Specialized', snapshot: { id: `${id}/snapshots/snap1` } }
        const client = new FaceClient(served.home)
        const body = { location: 'eastus', properties: { storageProfile: { osDisk } } }
        const answer = await client.ask('PUT', `${id}/images/spec1?api-version=2024-07-01`, body)
        assert.equal((await client.followed<Done>(answer)).status, 'Succeeded')
        const network = ['--vnet-name', 'vm1VNET', '--subnet', 'vm1Subnet', '--nsg', '', '--public-ip-address', '']
        await az.run(
          'vm',
          'create',
          ...at('vms'),
          '--image',
          `${id}/images/spec1`,
          '--specialized',
          ...LOGIN,
          ...SIZE,
          ...network,
        )
        assert.match(await guest('vms', 'echo up'), /up/)
      },
      MACHINES,
      NETWORKS,
      IMAGES,
    )

    await flow(
      'vm delete; the group with all that is in it',
      async () => {
        await az.run('vm', 'delete', ...at('vm2'), '--yes')
        await az.refused('ResourceNotFound', 'vm', 'show', ...at('vm2'))
        await az.run('group', 'delete', '-n', 'rg1', '--yes')
        assert.deepEqual((await host.discover()).machines, [])
      },
      MACHINES,
      NETWORKS,
      DISKS,
    )
  } finally {
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
  }
})
