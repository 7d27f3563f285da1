/** What the tests of protection share: a vault in a world with machines, items, backups waited for, and the vault's own repository. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { must, randomUuid } from '#base'
import { findResource, insertResource } from '#catalog'
import { VAULT_SETTINGS_DEFAULT, type VaultSettings } from '#domain'
import { openStore, parseStoreLocation, type PointRecord, Repository } from '#engine/repository'
import { openVersion } from '#engine/transfer'
import { CREATE_VAULT_JOB, readCredential, VAULT_TYPE, vaultPlace, vaultRepository } from '#jobs'
import { systemClock, systemRandom } from '#runtime'
import { type Answer, type ApiWorld, type Ask, VERSION } from './api-world.ts'

export const BACKUP_VERSION = 'api-version=2025-02-01'

export type Job = {
  name: string
  properties: {
    operation: string
    status: string
    entityFriendlyName: string
    isUserTriggered: boolean
    actionsInfo: number[]
    errorDetails?: { errorTitle: string; errorString: string; recommendations: string[] }[]
    extendedInfo: {
      tasksList: { taskId: string; status: string; progressPercentage?: number }[]
      propertyBag: Record<string, string>
    }
  }
}
export type Item = { id: string; name: string; properties: Record<string, unknown> & { protectionState: string } }
export type Point = {
  id: string
  name: string
  properties: {
    recoveryPointType: string
    recoveryPointTime: string
    recoveryPointTierDetails: { type: string; status: string }[]
    recoveryPointDiskConfiguration: { includedDiskList: { lun: number; name: string }[]; excludedDiskList: unknown[] }
    recoveryPointProperties: { expiryTime?: string; ruleName: string; isSoftDeleted: boolean }
    holdfast: { pointId: string; mode: string; storedBytes: number; sizeBytes: number; isOnDemand: boolean }
  }
}
export type Failure = { error: { code: string; message: string; target?: string } }
export type Listed<T> = { value: T[]; nextLink?: string }

const source = { nowMs: () => systemClock.nowMs(), newEtag: () => `W/"${randomUuid(systemRandom)}"` }

export class ProtectionWorld {
  readonly api: ApiWorld
  readonly ask: Ask
  readonly group: string
  readonly vault: string

  constructor(api: ApiWorld, ask: Ask, vaultName = 'v1') {
    this.api = api
    this.ask = ask
    this.group = `${api.subscription}/resourceGroups/rg1`
    this.vault = `${this.group}/providers/${VAULT_TYPE}/${vaultName}`
  }

  /** A vault of the region that keeps no mirror. */
  async makeVault(id = this.vault, settings: Partial<VaultSettings> = {}): Promise<void> {
    const { catalog, jobs, home, record } = this.api
    const uid = randomUuid(systemRandom)
    const backing = {
      uid,
      region: 'eastus',
      location: await vaultPlace({ catalog }, 'eastus', uid),
      settings: { ...VAULT_SETTINGS_DEFAULT, redundancy: 'LocallyRedundant', ...settings },
    }
    assert.ok(home.folder !== '')
    const row = {
      id,
      subscription: record.subscriptionId,
      group: this.group,
      type: VAULT_TYPE,
      name: id.split('/').at(-1) ?? '',
      location: 'eastus',
      tags: {},
      state: 'Creating',
      body: { properties: {} },
      backing,
    }
    await catalog.write((trx) => insertResource(trx, row, source))
    const job = await jobs.wait(await jobs.start(CREATE_VAULT_JOB, { id }, { queue: 'resource' }))
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
  }

  policy(name: string): string {
    return `${this.vault}/backupPolicies/${name}`
  }

  machineId(name: string): string {
    return `${this.group}/providers/Microsoft.Compute/virtualMachines/${name}`
  }

  item(name: string, vault = this.vault): string {
    const both = `iaasvmcontainerv2;rg1;${name}`
    return `${vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer;${both}/protectedItems/VM;${both}`
  }

  url(id: string, more = ''): string {
    const path = id.split('/').map(encodeURIComponent).join('/')
    return `${path}?${BACKUP_VERSION}${more}`
  }

  putItem(name: string, properties: Readonly<Record<string, unknown>>, vault = this.vault): Promise<Answer<unknown>> {
    return this.ask('PUT', this.url(this.item(name, vault)), {
      properties: {
        protectedItemType: 'Microsoft.Compute/virtualMachines',
        sourceResourceId: this.machineId(name),
        ...properties,
      },
    })
  }

  /** Follows the answer as `az` does: by the last segment of its URL, at the vault. */
  async jobOf(answer: Answer<unknown>, vault = this.vault): Promise<Job> {
    assert.equal(answer.status, 202, answer.text)
    const url = new URL(String(answer.headers['azure-asyncoperation']))
    const id = url.pathname.split('/').at(-1) ?? ''
    const path = `${vault}/backupOperations/${id}`
    const status = await this.ask<{ status: string; properties: { jobId: string } }>('GET', this.url(path))
    assert.equal(status.body.status, 'Succeeded', status.text)
    const own = await this.ask<{ status: string }>('GET', url.href)
    assert.equal(own.body.status, 'Succeeded', 'both URLs say the same')
    return this.job(status.body.properties.jobId, vault)
  }

  async job(id: string, vault = this.vault): Promise<Job> {
    const answer = await this.ask<Job>('GET', this.url(`${vault}/backupJobs/${id}`))
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }

  async ended(job: Job): Promise<Job> {
    for (;;) {
      const now = await this.job(job.name)
      if (now.properties.status !== 'InProgress' && now.properties.status !== 'Cancelling') return now
      await systemClock.sleep(50)
    }
  }

  async protect(name: string, more: Readonly<Record<string, unknown>> = {}): Promise<Job> {
    const job = await this.jobOf(await this.putItem(name, { policyId: this.policy('DefaultPolicy'), ...more }))
    assert.equal(job.properties.status, 'Completed')
    return job
  }

  async beginBackup(name: string, properties: Readonly<Record<string, unknown>> = {}): Promise<Answer<unknown>> {
    const body = { properties: { objectType: 'IaasVMBackupRequest', ...properties } }
    return this.ask('POST', this.url(`${this.item(name)}/backup`), body)
  }

  async backup(name: string, properties: Readonly<Record<string, unknown>> = {}): Promise<Job> {
    const job = await this.ended(await this.jobOf(await this.beginBackup(name, properties)))
    assert.match(job.properties.status, /^Completed/, JSON.stringify(job))
    return job
  }

  async show(name: string): Promise<Item> {
    const answer = await this.ask<Item>('GET', this.url(this.item(name)))
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }

  /** The newest first. */
  async points(name: string, more = ''): Promise<Point[]> {
    const answer = await this.ask<Listed<Point>>('GET', this.url(`${this.item(name)}/recoveryPoints`, more))
    assert.equal(answer.status, 200, answer.text)
    return answer.body.value
  }

  /** Opens the vault's repository beside whoever else has it open. */
  async inVault<T>(use: (repository: Repository) => Promise<T>): Promise<T> {
    const { catalog, home } = this.api
    const host = {
      clock: systemClock,
      random: systemRandom,
      cacheFolder: join(home.folder, 'cache-of-test'),
      writer: 'test',
    }
    const parts = { catalog, keysFolder: join(home.folder, 'keys'), host }
    const { access } = await vaultRepository(parts, this.vault)
    const store = await openStore(parseStoreLocation(access.store))
    const repository = await Repository.open(store, await readCredential(access.credential), host)
    try {
      return await use(repository)
    } finally {
      await repository.close()
    }
  }

  recordOf(point: Point): Promise<PointRecord> {
    return this.inVault((repository) => Promise.resolve(repository.findPoint(point.properties.holdfast.pointId)))
  }

  /** All bytes of a disk as the point has it. */
  bytesOf(point: Point, diskId: string): Promise<Buffer> {
    return this.inVault(async (repository) => {
      const record = repository.findPoint(point.properties.holdfast.pointId)
      const disk = must(
        record.disks.find(({ id }) => id === diskId),
        `The point has the disk ${diskId}`,
      )
      const opened = await openVersion(repository, disk, { store: repository.store, threads: 0 })
      const bytes = Buffer.alloc(opened.sizeBytes)
      await opened.read(0, bytes)
      await opened.close()
      return bytes
    })
  }

  async diskFile(diskId: string): Promise<string> {
    const record = must(await findResource(this.api.catalog, diskId), diskId)
    return String(record.backing['file'])
  }
}

export { VERSION }
