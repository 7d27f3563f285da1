/**
 * kill -9 of the server and of the worker at each moment of a restore: it goes on to its end, and leaves all disks with their bytes
 * or none. An instant machine goes on through the death of the server, the worker and its own QEMU.
 */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { must, MIB } from '#base'
import { Catalog, findResource, listResources, type VaultPoint } from '#catalog'
import { isHydrated } from '#engine/transfer'
import { checkCommand, processState, systemClock } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { ServedHome } from '../server/served-home.ts'
import { VERSION } from './api-world.ts'
import type { Done } from './disk-world.ts'
import { FaceClient } from './face-client.ts'
import { hostOf, rememberAccelerator } from './machine-api-world.ts'
import { content } from './snapshot-world.ts'
import { type BackupJob, JOB_MS_MAX, VaultWorld } from './vault-world.ts'

const DATA_BYTES = 96 * MIB
/** ms after the request was answered. */
const KILLS_MS = [150, 700]
const DISKS = 'Microsoft.Compute/disks'

class KillWorld {
  readonly home: ServedHome
  readonly client: FaceClient
  readonly catalog: Catalog
  readonly vault: VaultWorld
  readonly group: string

  private constructor(home: ServedHome, client: FaceClient, catalog: Catalog, vault: VaultWorld, group: string) {
    this.home = home
    this.client = client
    this.catalog = catalog
    this.vault = vault
    this.group = group
  }

  static async make(): Promise<KillWorld> {
    const home = await ServedHome.make()
    try {
      await rememberAccelerator(join(home.home, 'run', 'm'))
      await home.serve()
      const client = new FaceClient(home.home)
      const { subscriptionId } = await client.record()
      const group = `/subscriptions/${subscriptionId}/resourceGroups/rg1`
      assert.equal((await client.ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })).status, 201)
      const catalog = await Catalog.open(join(home.home, 'catalog.sqlite'), systemClock)
      const ask: VaultWorld['ask'] = (method, path, body) => client.ask(method, path, body)
      const vault = await VaultWorld.over({ folder: home.home, catalog, subscriptionId, group, ask })
      return new KillWorld(home, client, catalog, vault, group)
    } catch (error) {
      await home[Symbol.asyncDispose]()
      throw error
    }
  }

  id(type: string, name: string): string {
    return `${this.group}/providers/${type}/${name}`
  }

  async made(type: string, name: string, properties: unknown): Promise<string> {
    const id = this.id(type, name)
    const answer = await this.client.ask('PUT', `${id}?${VERSION}`, { location: 'eastus', properties })
    assert.ok(answer.status < 300, answer.text)
    if (answer.headers['azure-asyncoperation'] === undefined) return id
    const done = await this.client.followed<Done>(answer)
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    return id
  }

  /** A machine that runs nothing, with a data disk of these bytes, and its point. */
  async machine(bytes: Buffer): Promise<VaultPoint> {
    const folder = join(this.home.home, 'import')
    await mkdir(folder, { recursive: true })
    const path = join(folder, 'data.raw')
    await writeFile(path, bytes)
    const creationData = { createOption: 'Import', sourceUri: `file://${path}` }
    const data = await this.made(DISKS, 'data', { creationData })
    await this.made('Microsoft.Compute/virtualMachines', 'web', {
      hardwareProfile: { vmSize: 'Holdfast_1x64' },
      storageProfile: {
        osDisk: { createOption: 'Empty', osType: 'Linux', diskSizeGB: 1 },
        dataDisks: [{ lun: 0, createOption: 'Attach', managedDisk: { id: data } }],
      },
    })
    await this.vault.protect('web')
    return this.vault.backUp('web')
  }

  async kill(victim: 'serve' | 'worker'): Promise<void> {
    if (victim === 'worker') {
      const worker = await this.home.worker()
      if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
      return
    }
    await this.home.killServe()
    await this.home.serve()
  }

  /** The job's record once it is over, whoever died meanwhile. */
  ended(id: string): Promise<BackupJob> {
    return eventually(`the job ${id} is over`, JOB_MS_MAX, async () => {
      const job = await this.vault.job(id).catch(() => undefined)
      return job === undefined || job.properties.status === 'InProgress' ? undefined : job
    })
  }

  async restored(prefix: string) {
    const rows = await listResources(this.catalog, { type: DISKS, group: this.group })
    return rows.filter(({ name }) => name.startsWith(prefix))
  }

  /** Of disks, whole or not, in the region's pool. */
  filesOf(): Promise<string[]> {
    return readdir(join(this.home.home, 'regions', 'eastus', 'pool', 'disks'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const host = hostOf(this.home.home)
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
    await this.catalog.close()
    await this.home[Symbol.asyncDispose]()
  }
}

async function bytesOf(world: KillWorld, file: string): Promise<Buffer> {
  const raw = join(world.home.folder, 'out.raw')
  await checkCommand('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', file, raw])
  return readFile(raw)
}

test('restores go on after kill -9', async (t) => {
  await using world = await KillWorld.make()
  const bytes = content(DATA_BYTES, 7, 1)
  const point = await world.machine(bytes)
  for (const victim of ['serve', 'worker'] as const)
    for (const afterMs of KILLS_MS)
      await t.test(`of disks: ${victim} after ${afterMs} ms`, async () => {
        const answer = await world.vault.restore('web', point, {
          recoveryType: 'RestoreDisks',
          targetResourceGroupId: world.group,
        })
        const id = world.vault.jobOf(answer)
        await systemClock.sleep(afterMs)
        await world.kill(victim)
        const { properties } = await world.ended(id)
        assert.equal(properties.status, 'Completed', JSON.stringify(properties))
        const disks = await world.restored('web-')
        assert.deepEqual(
          disks.map(({ state, name }) => `${state} ${name.replace(/-\d{8}-\d{6}.*/, '')}`),
          ['Succeeded web-datadisk-000', 'Succeeded web-osdisk'],
        )
        const data = must(disks[0], 'There is the data disk')
        assert.ok((await bytesOf(world, String(data.backing['file']))).equals(bytes), 'the bytes of the point')
        const left = await readdir(join(String(data.backing['file']), '..'))
        assert.deepEqual(
          left.filter((name) => name.startsWith('.making-')),
          [],
        )
        for (const { id: disk } of disks) {
          const gone = await world.client.ask('DELETE', `${disk}?${VERSION}`)
          assert.equal((await world.client.followed<Done>(gone)).status, 'Succeeded')
        }
      })

  await t.test('a cancelled restore leaves no disk', async () => {
    const filesBefore = (await world.filesOf()).length
    const answer = await world.vault.restore('web', point, {
      recoveryType: 'RestoreDisks',
      targetResourceGroupId: world.group,
    })
    const id = world.vault.jobOf(answer)
    const cancelled = await world.client.ask('POST', `${world.vault.vaultId}/backupJobs/${id}/cancel?${VERSION}`, {})
    assert.equal(cancelled.status, 202, cancelled.text)
    const job = await eventually('the job is over', JOB_MS_MAX, async () => {
      const seen = await world.vault.job(id)
      return ['InProgress', 'Cancelling'].includes(seen.properties.status) ? undefined : seen
    })
    assert.ok(['Cancelled', 'Completed'].includes(job.properties.status), job.properties.status)
    const left = job.properties.status === 'Cancelled' ? 0 : 2
    assert.equal((await world.restored('web-')).length, left)
    assert.equal((await world.filesOf()).length - filesBefore, left, 'neither records nor files')
  })

  await t.test('an instant machine outlives server, worker and QEMU while its data moves in', async () => {
    const subnets = [{ name: 'default', properties: { addressPrefix: '10.9.0.0/24' } }]
    const space = { addressSpace: { addressPrefixes: ['10.9.0.0/16'] }, subnets }
    const network = await world.made('Microsoft.Network/virtualNetworks', 'net', space)
    const machineId = world.id('Microsoft.Compute/virtualMachines', 'now')
    const answer = await world.vault.restore('web', point, {
      recoveryType: 'AlternateLocation',
      targetVirtualMachineId: machineId,
      subnetId: `${network}/subnets/default`,
      holdfastInstant: true,
    })
    const id = world.vault.jobOf(answer)
    await eventually('the machine runs', JOB_MS_MAX, async () => {
      const { properties } = await world.vault.job(id)
      assert.equal(properties.status, 'InProgress', JSON.stringify(properties))
      const record = await findResource(world.catalog, machineId)
      return record?.backing['power'] === 'running' ? true : undefined
    })
    await world.kill('worker')
    await world.kill('serve')
    const host = hostOf(world.home.home)
    const name = String((await findResource(world.catalog, machineId))?.backing['machine'])
    const { processId } = await host.describe(name)
    if (processId !== undefined) process.kill(processId, 'SIGKILL')
    const { properties } = await world.ended(id)
    assert.equal(properties.status, 'Completed', JSON.stringify(properties))
    const mine = (await listResources(world.catalog, { type: DISKS })).filter(
      ({ body }) => body['managedBy'] === machineId,
    )
    assert.equal(mine.length, 2)
    for (const { backing } of mine) assert.equal(await isHydrated(String(backing['file'])), true)
    const data = must(
      mine.find(({ name: disk }) => disk.includes('datadisk')),
      'It has its data disk',
    )
    assert.ok((await bytesOf(world, String(data.backing['file']))).equals(bytes), 'the bytes of the point')
  })
})
