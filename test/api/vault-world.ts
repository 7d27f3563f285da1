/**
 * A vault with recovery points for the tests of restores: its repository is a real one, its points are taken of real machines by the
 * worker's own task, and its records are written as the API writes them.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { must, randomUuid } from '#base'
import {
  type Catalog,
  findProtectedItem,
  findResource,
  insertProtectedItem,
  insertResource,
  insertVaultPoint,
  updateResource,
  type VaultPoint,
} from '#catalog'
import { VAULT_SETTINGS_DEFAULT } from '#domain'
import {
  makeVaultRepository,
  type TaskContext,
  VAULT_TYPE,
  type VaultBacking,
  vaultPlace,
  vaultRepository,
} from '#jobs'
import { systemClock, systemRandom } from '#runtime'
import { type BackedUp, backUpToVaultTask } from '../../src/jobs/vault/back-up-task.ts'
import { planBackup } from '../../src/jobs/vault/plan-backup.ts'
import { eventually } from '../rig/deadline.ts'
import type { Answer, Ask } from './api-world.ts'
import { MachineApiWorld } from './machine-api-world.ts'

/** A busy machine takes its time; nothing is asserted of it. */
export const JOB_MS_MAX = 600_000
export const BACKUP_VERSION = 'api-version=2025-02-01'

const source = { nowMs: () => systemClock.nowMs(), newEtag: () => `W/"${randomUuid(systemRandom)}"` }

export type BackupJob = {
  name: string
  properties: {
    operation: string
    status: string
    actionsInfo: number[]
    errorDetails?: { errorCode: unknown; errorString: string; recommendations: string[] }[]
    extendedInfo: {
      tasksList: { taskId: string; status: string }[]
      propertyBag: Record<string, string>
    }
  }
}

function contextOf(job: string): TaskContext {
  return {
    key: { job, step: 'back up', epoch: 1 },
    epoch: () => 1,
    signal: new AbortController().signal,
    progress: () => undefined,
    milestone: () => undefined,
    reached: new Set(),
    recorded: () => Promise.resolve(),
  }
}

/** A home with a server, by whatever it is asked. */
export type VaultBase = Readonly<{
  /** Of the home. */
  folder: string
  catalog: Catalog
  subscriptionId: string
  group: string
  ask: Ask
}>

export class VaultWorld {
  readonly vaultId: string
  readonly ask: Ask
  readonly #base: VaultBase
  readonly #machines: MachineApiWorld | undefined
  #points = 0

  private constructor(base: VaultBase, name: string, machines?: MachineApiWorld) {
    this.#base = base
    this.ask = base.ask
    this.#machines = machines
    this.vaultId = `${base.group}/providers/${VAULT_TYPE}/${name}`
  }

  get machines(): MachineApiWorld {
    return must(this.#machines, 'It was made with machines')
  }

  /** @param more of what stands behind the vault, such as a mirror */
  static async make(more: Partial<VaultBacking> = {}): Promise<VaultWorld> {
    const machines = await MachineApiWorld.make()
    const { api, group, ask } = machines
    const { subscriptionId } = api.record
    const base = { folder: api.home.folder, catalog: api.catalog, subscriptionId, group, ask }
    const world = new VaultWorld(base, 'v1', machines)
    await world.#makeVault(more)
    return world
  }

  static async over(base: VaultBase): Promise<VaultWorld> {
    const world = new VaultWorld(base, 'v1')
    await world.#makeVault({})
    return world
  }

  get parts() {
    const { folder, catalog } = this.#base
    const host = {
      clock: systemClock,
      random: systemRandom,
      cacheFolder: join(folder, 'cache-of-test'),
      writer: 'test',
    }
    return { catalog, host, keysFolder: join(folder, 'keys') }
  }

  async #makeVault(more: Partial<VaultBacking>): Promise<void> {
    const { catalog, subscriptionId, group } = this.#base
    const uid = randomUuid(systemRandom)
    const region = 'eastus'
    const location = await vaultPlace(this.parts, region, uid)
    const repositoryId = await makeVaultRepository(this.parts, { uid, region, location })
    const backing: VaultBacking = { uid, region, location, repositoryId, settings: VAULT_SETTINGS_DEFAULT, ...more }
    await catalog.write((trx) =>
      insertResource(
        trx,
        {
          id: this.vaultId,
          subscription: subscriptionId,
          group,
          type: VAULT_TYPE,
          name: 'v1',
          location: region,
          tags: {},
          state: 'Succeeded',
          body: { sku: { name: 'RS0', tier: 'Standard' }, properties: {} },
          backing,
        },
        source,
      ),
    )
  }

  async changeVault(change: Partial<VaultBacking>): Promise<void> {
    const { catalog } = this.#base
    const row = must(await findResource(catalog, this.vaultId), 'There is the vault')
    await catalog.write((trx) => updateResource(trx, this.vaultId, { backing: { ...row.backing, ...change } }, source))
  }

  itemId(machine: string): string {
    const name = `iaasvmcontainerv2;rg1;${machine}`
    return `${this.vaultId}/backupFabrics/Azure/protectionContainers/IaasVMContainer;${name}/protectedItems/VM;${name}`
  }

  async protect(machine: string): Promise<void> {
    const { catalog } = this.#base
    const id = this.itemId(machine)
    const nowMs = systemClock.nowMs()
    const machineId = `${this.#base.group}/providers/Microsoft.Compute/virtualMachines/${machine}`
    await catalog.write((trx) =>
      insertProtectedItem(trx, {
        key: id.toLowerCase(),
        id,
        vaultKey: this.vaultId.toLowerCase(),
        name: `VM;iaasvmcontainerv2;rg1;${machine}`,
        machineId,
        machineKey: machineId.toLowerCase(),
        friendlyName: machine,
        state: 'Protected',
        facts: {},
        createdMs: nowMs,
        changedMs: nowMs,
      }),
    )
  }

  /** A recovery point of the machine as it is now. */
  async backUp(machine: string, more: Partial<VaultPoint> = {}): Promise<VaultPoint> {
    const { catalog, folder } = this.#base
    const item = must(await findProtectedItem(catalog, this.itemId(machine)), 'It is protected')
    const { disks, host: _here, ...planned } = await planBackup(catalog, systemClock, item)
    const { access } = await vaultRepository(this.parts, this.vaultId)
    const warn = (facts: Record<string, unknown>, text: string): void => assert.fail(`${text} ${JSON.stringify(facts)}`)
    const task = backUpToVaultTask({ ...this.parts.host, stateFolder: folder, warn })
    const input = { ...access, ...planned, history: item.key, consistency: 'crash', waitMs: 30_000 }
    const made = (await task(input, contextOf(randomUuid(systemRandom)))) as BackedUp
    this.#points += 1
    const point: VaultPoint = {
      vaultKey: this.vaultId.toLowerCase(),
      itemKey: item.key,
      name: String(1_000_000_000_000 + this.#points),
      pointId: made.point,
      takenMs: made.takenAtMs,
      sequence: made.sequence,
      consistency: 'crash',
      vaultedMs: systemClock.nowMs(),
      isOnDemand: true,
      keptBy: [],
      sizeBytes: 0,
      storedBytes: 0,
      disks,
      facts: {},
      ...more,
    }
    await catalog.write((trx) => insertVaultPoint(trx, point))
    return point
  }

  pointUrl(machine: string, point: Pick<VaultPoint, 'name'>, action = ''): string {
    const path = `${this.itemId(machine)}/recoveryPoints/${point.name}${action === '' ? '' : `/${action}`}`
    return `${path.split('/').map(encodeURIComponent).join('/')}?${BACKUP_VERSION}`
  }

  restore(machine: string, point: VaultPoint, properties: Readonly<Record<string, unknown>>): Promise<Answer<never>> {
    const body = { properties: { objectType: 'IaasVMRestoreRequest', recoveryPointId: point.name, ...properties } }
    return this.ask('POST', this.pointUrl(machine, point, 'restore'), body)
  }

  /** Id of the job that an answer began. */
  jobOf(answer: Answer<unknown>): string {
    assert.equal(answer.status, 202, answer.text)
    const url = new URL(String(answer.headers['azure-asyncoperation']))
    return must(url.pathname.split('/').at(-1), 'It names an operation')
  }

  async job(id: string): Promise<BackupJob> {
    const answer = await this.ask<BackupJob>('GET', `${this.vaultId}/backupJobs/${id}?${BACKUP_VERSION}`)
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }

  /** The job's record once the job is over. */
  async ended(answer: Answer<unknown>): Promise<BackupJob> {
    const id = this.jobOf(answer)
    return eventually(`the job ${id} is over`, JOB_MS_MAX, async () => {
      const job = await this.job(id)
      return ['InProgress', 'Cancelling'].includes(job.properties.status) ? undefined : job
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machines?.[Symbol.asyncDispose]()
  }
}
