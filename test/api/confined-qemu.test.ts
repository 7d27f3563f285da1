/**
 * Root runs the server, QEMU runs as `holdfast-qemu`, and every folder is root's alone, as homes are. The server sees that user in a mount
 * namespace of its own, so that this host need not have it.
 */
import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkCommand } from '#runtime'
import type { Done } from './disk-world.ts'
import { KillWorld, processesOf } from './machine-kill-world.ts'
import { SNAPSHOT_VERSION } from './snapshot-world.ts'

const UID = 64_990

async function mayMount(): Promise<boolean> {
  return checkCommand('unshare', [
    '--mount',
    '--propagation',
    'private',
    '--',
    'mount',
    '-t',
    'tmpfs',
    'tmpfs',
    '/mnt',
  ]).then(
    () => true,
    () => false,
  )
}

test('a QEMU that is not root reaches its files in a home that is root’s alone', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('this is not root')
  if (!(await mayMount())) return t.skip('nothing may be mounted here')
  const folder = await mkdtemp(join(tmpdir(), 'hf-passwd-'))
  t.after(() => rm(folder, { recursive: true }))
  const passwd = join(folder, 'passwd')
  const user = `holdfast-qemu:x:${UID}:${UID}::/nonexistent:/usr/sbin/nologin\n`
  await writeFile(passwd, `${await readFile('/etc/passwd', 'utf8')}${user}`, { mode: 0o644 })
  const inside = 'mount --bind "$1" /etc/passwd && shift && exec "$@"'
  const through = ['unshare', '--mount', '--propagation', 'private', '--', 'sh', '-c', inside, 'sh', passwd]
  await using world = await KillWorld.make(through)
  const { home } = world
  const pool = join(home.home, 'regions', 'eastus', 'pool')

  await t.test(
    'a folder above the home that is closed is one clear error, and the machine is not started',
    async () => {
      assert.equal((await stat(home.folder)).mode & 0o777, 0o700)
      const answer = await world.put('m0')
      assert.equal(answer.status, 201, answer.text)
      const done = await world.client.followed<Done>(answer)
      assert.equal(done.status, 'Failed')
      assert.equal(done.error?.code, 'OperationNotAllowed')
      assert.match(
        done.error?.message ?? '',
        new RegExp(`cannot pass through the folder ${home.folder}\\. .*chmod o\\+x`),
      )
      assert.equal((await stat(home.folder)).mode & 0o777, 0o700, 'it is not ours to open')
    },
  )

  await t.test('opened as the error says, a machine runs as that user; what is secret stays root’s alone', async () => {
    await chmod(home.folder, 0o711)
    await world.guest('m1')
    const { vmId } = (await world.show('m1')).properties
    const [pid] = await processesOf(vmId)
    assert.match(await readFile(`/proc/${pid}/status`, 'utf8'), new RegExp(`^Uid:\\t${UID}\\t${UID}`, 'm'))
    for (const [path, mode] of [
      [home.home, 0o710],
      [pool, 0o710],
      [join(home.home, 'keys'), 0o700],
      [join(home.home, 'tls'), 0o700],
      [join(home.home, 'catalog.sqlite'), 0o600],
    ] as const)
      assert.equal((await stat(path)).mode & 0o777, mode, path)
  })

  await t.test(
    'a disk comes while it runs; a snapshot of it is of its moment; it starts again after the server did',
    async () => {
      const disk = await world.disk('data', { createOption: 'Empty' }, { diskSizeGB: 1 })
      const body = { dataDisksToAttach: [{ diskId: disk, lun: 0 }] }
      await world.succeed(await world.client.ask('POST', world.url('m1', 'attachDetachDataDisks'), body))
      await world.run('m1', 'ls -d /sys/bus/scsi/devices/*:0:0:1')
      await world.run('m1', 'echo before > /root/mark && sync')
      const creationData = { createOption: 'Copy', sourceResourceId: world.id('disks', 'm1-os') }
      const snapshot = { location: 'eastus', properties: { creationData, incremental: true } }
      await world.succeed(await world.client.ask('PUT', `${world.id('snapshots', 's1')}?${SNAPSHOT_VERSION}`, snapshot))
      await world.kill('serve')
      assert.equal((await stat(home.home)).mode & 0o777, 0o710, 'what passes may go on passing')
      await world.succeed(await world.client.ask('POST', world.url('m1', 'restart')))
      assert.equal((await world.run('m1', 'cat /root/mark')).trim(), 'before')
      await world.succeed(await world.client.ask('DELETE', world.url('m1')))
    },
  )

  await t.test('so does one in a virtual network, of an image', async () => {
    const id = (type: string, name: string): string => `${world.group}/providers/${type}/${name}`
    const version = 'api-version=2024-11-01'
    const put = async (path: string, properties: unknown): Promise<void> => {
      const answer = await world.client.ask('PUT', `${path}?${version}`, { location: 'eastus', properties })
      if (answer.headers['azure-asyncoperation'] === undefined) assert.equal(answer.status, 201, answer.text)
      else await world.succeed(answer)
    }
    const osDisk = { osType: 'Linux', osState: 'Specialized', managedDisk: { id: world.id('disks', 'm1-os') } }
    await put(id('Microsoft.Compute/images', 'img'), { storageProfile: { osDisk } })
    const subnet = { name: 's', properties: { addressPrefix: '10.9.0.0/24' } }
    const network = id('Microsoft.Network/virtualNetworks', 'net')
    await put(network, { addressSpace: { addressPrefixes: ['10.9.0.0/16'] }, subnets: [subnet] })
    const card = id('Microsoft.Network/networkInterfaces', 'nic')
    const ip = { name: 'ip1', properties: { subnet: { id: `${network}/subnets/s` } } }
    await put(card, { ipConfigurations: [ip] })
    await put(world.id('virtualMachines', 'm2'), {
      hardwareProfile: { vmSize: 'Holdfast_1x192' },
      storageProfile: {
        imageReference: { id: id('Microsoft.Compute/images', 'img') },
        osDisk: { createOption: 'FromImage', osType: 'Linux' },
      },
      networkProfile: { networkInterfaces: [{ id: card }] },
    })
    const { vmId } = (await world.show('m2')).properties
    const [pid] = await processesOf(vmId)
    assert.match(await readFile(`/proc/${pid}/status`, 'utf8'), /^CapEff:\t0+$/m)
    await world.run('m2', 'ip link show eth0')
    await world.succeed(await world.client.ask('DELETE', world.url('m2')))
  })
  return undefined
})
