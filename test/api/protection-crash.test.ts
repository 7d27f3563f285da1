/**
 * kill -9 of the server and of the worker while a machine is backed up into a vault: every job ends, every job has one point, every
 * point has the bytes of the disk, and the repository holds the points that the list shows and no other.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB, randomUuid } from '#base'
import { Catalog, listVaultPoints } from '#catalog'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { openVersion } from '#engine/transfer'
import { readCredential, VAULT_TYPE, vaultRepository } from '#jobs'
import { processState, systemClock, systemRandom } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { insertSimulatedMachines } from '../rig/simulated-machine.ts'
import { ServedHome } from '../server/served-home.ts'
import { VERSION } from './api-world.ts'
import { FaceClient } from './face-client.ts'
import { BACKUP_VERSION, type Job } from './protection-world.ts'

const DISK_BYTES = 128 * MIB
const DISK_ID = randomUuid(systemRandom)
/** ms after the request was answered. */
const KILLS_MS = [0, 80, 250, 700]
const END_MS_MAX = 180_000

class CrashWorld {
  readonly home: ServedHome
  readonly client: FaceClient
  readonly group: string
  readonly content = randomBytes(DISK_BYTES)

  private constructor(home: ServedHome, client: FaceClient, group: string) {
    this.home = home
    this.client = client
    this.group = group
  }

  static async make(home: ServedHome): Promise<CrashWorld> {
    await home.serve()
    const client = new FaceClient(home.home)
    const { subscriptionId } = await client.record()
    const world = new CrashWorld(home, client, `/subscriptions/${subscriptionId}/resourceGroups/rg1`)
    assert.equal((await client.ask('PUT', `${world.group}?${VERSION}`, { location: 'eastus' })).status, 201)
    await world.#makeMachine(subscriptionId)
    await world.#makeVault()
    return world
  }

  async #makeMachine(subscription: string): Promise<void> {
    const file = join(this.home.folder, 'd1.raw')
    await writeFile(file, this.content)
    const disks = [{ file, sizeBytes: DISK_BYTES, uniqueId: DISK_ID }]
    const machine = { group: this.group, subscription, name: 'vm1', disks }
    await this.inCatalog((catalog) => insertSimulatedMachines(catalog, [machine]))
  }

  async #makeVault(): Promise<void> {
    const properties = {
      publicNetworkAccess: 'Enabled',
      redundancySettings: { standardTierStorageRedundancy: 'LocallyRedundant' },
    }
    const body = { location: 'eastus', sku: { name: 'RS0', tier: 'Standard' }, properties }
    const made = await this.client.ask('PUT', `${this.vault}?api-version=2024-04-01`, body)
    assert.ok(made.status === 201 || made.status === 202, made.text)
    await eventually('the vault to be made', END_MS_MAX, async () => {
      const shown = await this.client.ask<{ properties: { provisioningState: string } }>(
        'GET',
        `${this.vault}?api-version=2024-04-01`,
      )
      return shown.body.properties.provisioningState === 'Succeeded' ? true : undefined
    })
  }

  get vault(): string {
    return `${this.group}/providers/${VAULT_TYPE}/v1`
  }

  get item(): string {
    const both = 'iaasvmcontainerv2;rg1;vm1'
    return `${this.vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer;${both}/protectedItems/VM;${both}`
  }

  async protect(): Promise<void> {
    const properties = {
      protectedItemType: 'Microsoft.Compute/virtualMachines',
      sourceResourceId: `${this.group}/providers/Microsoft.Compute/virtualMachines/vm1`,
      policyId: `${this.vault}/backupPolicies/DefaultPolicy`,
    }
    const answer = await this.client.ask('PUT', `${this.item}?${BACKUP_VERSION}`, { properties })
    assert.equal(answer.status, 202, answer.text)
  }

  /** The id of the job. */
  async begin(): Promise<string> {
    const body = { properties: { objectType: 'IaasVMBackupRequest' } }
    const answer = await this.client.ask('POST', `${this.item}/backup?${BACKUP_VERSION}`, body)
    assert.equal(answer.status, 202, answer.text)
    return new URL(String(answer.headers['azure-asyncoperation'])).pathname.split('/').at(-1) ?? ''
  }

  ended(id: string): Promise<Job> {
    return eventually(`job ${id} to end`, END_MS_MAX, async () => {
      const answer = await this.client
        .ask<Job>('GET', `${this.vault}/backupJobs/${id}?${BACKUP_VERSION}`)
        .catch(() => undefined) // The server is being started.
      const status = answer?.body.properties?.status
      return status === undefined || status === 'InProgress' || status === 'Cancelling' ? undefined : answer?.body
    })
  }

  cancel(id: string) {
    return this.client.ask('POST', `${this.vault}/backupJobs/${id}/cancel?${BACKUP_VERSION}`)
  }

  async killWorker(): Promise<void> {
    const worker = await this.home.worker()
    if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
  }

  async inCatalog<T>(use: (catalog: Catalog) => Promise<T>): Promise<T> {
    const catalog = await Catalog.open(join(this.home.home, 'catalog.sqlite'), systemClock)
    try {
      return await use(catalog)
    } finally {
      await catalog.close()
    }
  }

  /** Ids of the points that the list shows, and of those that the repository holds; and that each has the disk's bytes. */
  points(): Promise<Readonly<{ listed: string[]; held: string[] }>> {
    return this.inCatalog(async (catalog) => {
      const listed = await listVaultPoints(catalog, { itemKey: this.item.toLowerCase() })
      const cacheFolder = join(this.home.folder, 'cache-of-test')
      const host = { clock: systemClock, random: systemRandom, cacheFolder, writer: 'test' }
      const parts = { catalog, keysFolder: join(this.home.home, 'keys'), host }
      const { access } = await vaultRepository(parts, this.vault)
      const store = await openStore(parseStoreLocation(access.store))
      const repository = await Repository.open(store, await readCredential(access.credential), host)
      // The catalog lies in the vault too.
      const held = repository.points().filter(({ machine }) => machine === 'rg1/vm1')
      for (const { disks } of held) {
        const [disk, ...others] = disks
        assert.ok(disk !== undefined && others.length === 0)
        assert.equal(disk.id, DISK_ID)
        const opened = await openVersion(repository, disk, { store, threads: 0 })
        const read = Buffer.alloc(opened.sizeBytes)
        await opened.read(0, read)
        await opened.close()
        assert.equal(Buffer.compare(read, this.content), 0, 'the bytes of the disk')
      }
      await repository.close()
      const sorted = (ids: readonly string[]): string[] => ids.toSorted((a, b) => a.localeCompare(b))
      return { listed: sorted(listed.map(({ pointId }) => pointId)), held: sorted(held.map(({ id }) => id)) }
    })
  }
}

test('kill -9 of the worker and of the server during backups into a vault', async (t) => {
  await using home = await ServedHome.make()
  const world = await CrashWorld.make(home)
  await world.protect()
  let made = 0

  await t.test('the worker dies: the backup goes on and makes one point', async () => {
    for (const ms of KILLS_MS) {
      const id = await world.begin()
      await systemClock.sleep(ms)
      await world.killWorker()
      const job = await world.ended(id)
      assert.equal(job.properties.status, 'Completed', JSON.stringify(job))
      made += 1
    }
    const { listed, held } = await world.points()
    assert.equal(listed.length, made)
    assert.deepEqual(listed, held)
  })

  await t.test('the server dies: the next one ends the job', async () => {
    for (const ms of KILLS_MS) {
      const id = await world.begin()
      await systemClock.sleep(ms)
      await home.killServe()
      await home.serve()
      const job = await world.ended(id)
      assert.equal(job.properties.status, 'Completed', JSON.stringify(job))
      made += 1
    }
    const { listed, held } = await world.points()
    assert.equal(listed.length, made)
    assert.deepEqual(listed, held)
  })

  await t.test('a backup that is cancelled leaves no point, whenever it is', async () => {
    for (const ms of [0, 150]) {
      const id = await world.begin()
      await systemClock.sleep(ms)
      const cancel = await world.cancel(id)
      const job = await world.ended(id)
      if (cancel.status === 202)
        assert.ok(['Cancelled', 'Completed'].includes(job.properties.status), JSON.stringify(job))
      if (job.properties.status === 'Completed') made += 1
    }
    const { listed, held } = await world.points()
    assert.deepEqual(listed, held)
    assert.equal(listed.length, made)
  })
})
