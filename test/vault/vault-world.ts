/**
 * Two regions on folders of their own, a vault in the first with its mirror in the second, the jobs that look after it on a real
 * engine and catalog, and points as a backup leaves them: in the vault's repository, with `azure.json`, and on record.
 */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { must, WRITER } from '#base'
import {
  Catalog,
  findProtectedItem,
  insertProtectedItem,
  insertResource,
  insertVaultPoint,
  listVaultPoints,
  putRegion,
  putSetting,
  putStore,
  type VaultPoint,
} from '#catalog'
import { type AzureMachine, DEFAULT_POLICIES, VAULT_SETTINGS_DEFAULT, type VaultSettings } from '#domain'
import { MemoryDevice, stampedBytes } from '#engine/block'
import { openStore, type PointRecord, Repository } from '#engine/repository'
import { backUp, restoreDisk } from '#engine/transfer'
import {
  defineVaultCareJobs,
  EmbeddedEngine,
  insertPolicy,
  type JobView,
  makeVaultRepository,
  type TaskRunner,
  vaultCareTasks,
  VAULT_TYPE,
  type VaultBacking,
  vaultKeyPath,
  vaultLocation,
  type Webhook,
} from '#jobs'
import { identityOf, silentLogger, systemClock, systemRandom } from '#runtime'

export const SUBSCRIPTION = '11111111-2222-4333-8444-555555555555'
export const TENANT = '99999999-2222-4333-8444-555555555555'
export const GROUP = `/subscriptions/${SUBSCRIPTION}/resourceGroups/web`
export const VAULT = `${GROUP}/providers/${VAULT_TYPE}/v1`
export const UID = '7d3e1c52-5a3b-4f6e-9d2b-0c1d2e3f4a5b'
const GROUP_TYPE = 'Microsoft.Resources/resourceGroups'
const MIB = 1024 * 1024
export const MACHINE = `${GROUP}/providers/Microsoft.Compute/virtualMachines/web1`
export const ITEM = `${VAULT}/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;web;web1/protectedItems/VM;iaasvmcontainerv2;web;web1`

/** A disk whose chunks carry this version. */
export function contentOf(version: number): Uint8Array {
  const bytes = new Uint8Array(2 * MIB)
  for (let at = 0; at < bytes.length; at += 64 * 1024)
    if (at % (3 * 64 * 1024) !== 0 || version % 2 === 0)
      bytes.set(stampedBytes({ disk: 1, version }, at, 64 * 1024), at)
  return bytes
}

function azureMachine(): AzureMachine {
  const kept = (id: string, name: string) => ({ id, name, location: 'east', tags: { app: 'web' } })
  const properties = { hardwareProfile: { vmSize: 'Standard_B1s' }, vmId: 'a' }
  return {
    schema: 1,
    group: 'web',
    subscription: SUBSCRIPTION,
    machine: { ...kept(MACHINE, 'web1'), body: { properties } },
    firmware: 'bios',
    owned: true,
    disks: [
      {
        ...kept(`${GROUP}/providers/Microsoft.Compute/disks/os1`, 'os1'),
        body: { properties: { osType: 'Linux' }, sku: { name: 'Premium_LRS' } },
        diskId: 'os-disk',
        lun: -1,
        sizeBytes: 2 * MIB,
        included: true,
      },
    ],
    cards: [],
    networks: [],
    subnets: [],
    vault: { id: VAULT, item: ITEM, policy: `${VAULT}/backupPolicies/DefaultPolicy` },
  }
}

export class VaultWorld {
  readonly folder: string
  readonly home: string
  readonly east: string
  readonly west: string
  readonly catalog: Catalog
  readonly engine: EmbeddedEngine
  readonly contents = new Map<string, Uint8Array>()
  /** The vault's key, as somebody keeps it elsewhere. */
  key = new Uint8Array()

  private constructor(folder: string, catalog: Catalog, engine: EmbeddedEngine) {
    this.folder = folder
    this.home = join(folder, 'home')
    this.east = join(folder, 'east')
    this.west = join(folder, 'west')
    this.catalog = catalog
    this.engine = engine
  }

  static async make(settings: Partial<VaultSettings> = {}, webhook?: Webhook): Promise<VaultWorld> {
    const folder = await mkdtemp(join(tmpdir(), 'hf-vault-'))
    for (const part of ['home/run', 'home/keys', 'east', 'west']) await mkdir(join(folder, part), { recursive: true })
    const catalog = await Catalog.open(join(folder, 'home', 'catalog.sqlite'), systemClock)
    const engine = new EmbeddedEngine({
      catalog,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      process: must(identityOf(), 'This process has an identity'),
      slots: 8,
      timing: {},
    })
    const world = new VaultWorld(folder, catalog, engine)
    await world.#makeRecords(settings)
    const parts = { catalog, tasks: world.tasks, source: world.source, folder: world.home, host: world.host }
    defineVaultCareJobs(engine, parts, webhook)
    engine.run()
    return world
  }

  get host() {
    const cacheFolder = join(this.home, 'cache')
    return { clock: systemClock, random: systemRandom, cacheFolder, writer: WRITER }
  }

  get repositories() {
    return { catalog: this.catalog, keysFolder: join(this.home, 'keys'), host: this.host }
  }

  readonly source = { nowMs: () => systemClock.nowMs(), newEtag: () => 'e' }

  /** What the worker does, done here. */
  get tasks(): TaskRunner {
    const handlers = new Map(vaultCareTasks(this.host))
    return {
      run: async (step, task, input) => {
        const handler = must(handlers.get(task), `The task ${task} is known`)
        const { jobId: job, stepName, epoch, signal, progress } = step
        return handler(input, {
          key: { job, step: stepName, epoch },
          epoch: () => epoch,
          signal,
          progress,
          milestone: () => {},
          recorded: () => Promise.resolve(),
          reached: new Set(),
        })
      },
    }
  }

  get vaultFolder(): string {
    return join(this.east, 'vaults', UID)
  }

  get mirrorFolder(): string {
    return join(this.west, 'vaults', UID)
  }

  async #makeRecords(settings: Partial<VaultSettings>): Promise<void> {
    await this.catalog.write(async (trx) => {
      await putSetting(trx, 'subscription', SUBSCRIPTION)
      await putSetting(trx, 'tenant', TENANT)
      for (const [name, pair, location] of [
        ['east', 'west', this.east],
        ['west', 'east', this.west],
      ] as const) {
        await putRegion(trx, { name, displayName: name, pair, geography: 'x', createdMs: 1 })
        const store = { region: name, name: 'first', repositoryId: undefined, shared: false, createdMs: 1 }
        await putStore(trx, { ...store, location })
      }
    })
    const place = { uid: UID, region: 'east', location: vaultLocation(this.east, UID) }
    const repositoryId = await makeVaultRepository(this.repositories, place)
    this.key = new Uint8Array(await readFile(vaultKeyPath(join(this.home, 'keys'), UID)))
    const mirror = { region: 'west', location: vaultLocation(this.west, UID) }
    const backing: VaultBacking = {
      ...place,
      repositoryId,
      mirror,
      settings: { ...VAULT_SETTINGS_DEFAULT, ...settings },
    }
    const common = { subscription: SUBSCRIPTION, location: 'east', tags: {}, state: 'Succeeded', body: {} }
    await this.catalog.write(async (trx) => {
      const group = { id: GROUP, group: undefined, type: GROUP_TYPE, name: 'web', backing: {} }
      await insertResource(trx, { ...common, ...group }, this.source)
      const given = { id: VAULT, group: GROUP, type: VAULT_TYPE, name: 'v1', backing }
      const vault = await insertResource(trx, { ...common, ...given }, this.source)
      for (const [name, policy] of Object.entries(DEFAULT_POLICIES))
        await insertPolicy(trx, vault, { name, policy }, this.source)
      await insertProtectedItem(trx, {
        key: ITEM.toLowerCase(),
        id: ITEM,
        vaultKey: VAULT.toLowerCase(),
        name: ITEM.split('/').at(-1) ?? '',
        machineId: MACHINE,
        machineKey: MACHINE.toLowerCase(),
        friendlyName: 'web1',
        state: 'Protected',
        policyId: `${VAULT}/backupPolicies/DefaultPolicy`,
        facts: {},
        createdMs: 1,
        changedMs: 1,
      })
    })
  }

  /** Opens a repository with the vault's key. */
  async withVault<T>(folder: string, use: (repository: Repository) => Promise<T>): Promise<T> {
    const store = await openStore(folder)
    const repository = await Repository.open(store, { kind: 'key-file', bytes: this.key }, this.host)
    try {
      return await use(repository)
    } finally {
      await repository.close()
    }
  }

  /** A backup as it lies in the vault, and on record unless `isUnrecorded`; it says whose it is unless `isUntold`. */
  async addPoint(
    version: number,
    more: Readonly<{ lockMs?: number; isUnrecorded?: boolean; isUntold?: boolean }> = {},
  ): Promise<PointRecord> {
    const content = contentOf(version)
    const { lockMs, isUnrecorded = false, isUntold = false } = more
    return this.withVault(this.vaultFolder, async (repository) => {
      const azure = new TextEncoder().encode(JSON.stringify(azureMachine()))
      const disk = {
        id: 'os-disk',
        lun: 0,
        format: 'raw',
        sizeBytes: content.length,
        source: { opened: MemoryDevice.from(content) },
        changes: { kind: 'all', reason: 'test' } as const,
      }
      const input = {
        machine: 'web/web1',
        takenAtMs: systemClock.nowMs(),
        consistency: 'crash' as const,
        notes: [],
        disks: [disk],
        attachments: isUntold ? [] : [{ name: 'azure.json', bytes: azure }],
        ...(lockMs !== undefined && { lockMs }),
      }
      const point = await backUp(repository, input, { ...this.host, store: repository.store })
      this.contents.set(point.id, content)
      const sequence = repository.log.state.points.get(point.id)?.number ?? 0
      if (!isUnrecorded) await this.#record(point, sequence, content.length)
      return point
    })
  }

  async #record(point: PointRecord, sequence: number, sizeBytes: number): Promise<void> {
    const takenMs = globalThis.Date.parse(point.takenAt)
    const row: VaultPoint = {
      vaultKey: VAULT.toLowerCase(),
      itemKey: ITEM.toLowerCase(),
      name: `${sequence}${String(Math.floor(takenMs / 1000)).padStart(10, '0')}`,
      pointId: point.id,
      takenMs,
      sequence,
      consistency: point.consistency,
      vaultedMs: systemClock.nowMs(),
      isOnDemand: false,
      keptBy: ['daily'],
      sizeBytes,
      storedBytes: 1,
      disks: [{ diskId: 'os-disk', lun: -1, name: 'os1', sizeBytes }],
      facts: {},
    }
    await this.catalog.write((trx) => insertVaultPoint(trx, row))
  }

  points(): Promise<VaultPoint[]> {
    return listVaultPoints(this.catalog, { vaultKey: VAULT.toLowerCase() })
  }

  async item() {
    return must(await findProtectedItem(this.catalog, ITEM), 'The item is there')
  }

  /** Starts the job and waits for its end. */
  async run(job: string, input: unknown): Promise<JobView> {
    return this.engine.wait(await this.engine.start(job, input, { queue: 'mirror' }))
  }

  /** The bytes of the point's disk, out of a repository that was opened with the key alone. */
  async assertRestores(repository: Repository, id: string): Promise<void> {
    const point = repository.findPoint(id)
    const disk = must(point.disks[0], 'It has a disk')
    const target = new MemoryDevice(disk.virtualSizeBytes)
    await restoreDisk(repository, disk, { opened: target }, { store: repository.store, clock: systemClock })
    const expected = must(this.contents.get(point.id), 'It was backed up here')
    assert.equal(Buffer.compare(target.toBytes(), expected), 0, 'what is restored is what was backed up')
  }

  async close(): Promise<void> {
    await this.engine.stop()
    await this.catalog.close()
    await rm(this.folder, { recursive: true, force: true })
  }
}
