/**
 * Puts what was found into an empty home, in one transaction: all of it, or none.
 *
 *   from the copy of the catalog   regions, resource groups, vaults with their policies, items, points, jobs, alerts; of points those alone that
 *                                  the vault's repository has
 *   from the points themselves     what the copy does not know, or all of it where there is none: vault, item and point, by `azure.json`
 *
 * Nothing is protected after this: the machines are not there. Items are as if their protection had been stopped with their data kept, so nothing
 * is scheduled and no retention deletes anything before somebody has looked. What is soft-deleted gets its days anew: the time that passed until
 * somebody recovered the home is not held against it.
 */
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  findProtectedItem,
  findResource,
  findVaultPoint,
  insertBackupJob,
  insertProtectedItem,
  insertResource,
  insertVaultPoint,
  listAlerts,
  listBackupJobs,
  listProtectedItems,
  listRegions,
  listResources,
  listVaultPoints,
  putRegion,
  putSetting,
  raiseAlert,
  recordRepository,
  type ResourceRecord,
} from '#catalog'
import { DAY_MS, DEFAULT_POLICIES, VAULT_SETTINGS_DEFAULT, type VaultSettings } from '#domain'
import { DELETED_VAULT_TYPE, insertPolicy, POLICY_TYPE, VAULT_TYPE, type VaultBacking, vaultBackingOf } from '#jobs'
import type { OpenedVault, VaultPointFound } from './read-vault.ts'

const GROUP_TYPE = 'Microsoft.Resources/resourceGroups'

/** Where one vault lies now: the vault itself, its mirror, or both. */
export type FoundPair = Readonly<{ uid: string; primary?: OpenedVault; mirror?: OpenedVault }>

export type Imported = {
  vaults: number
  policies: number
  items: number
  points: number
  jobs: number
  fromPoints: number
}

export const openedOf = ({ primary, mirror }: FoundPair): OpenedVault => {
  const opened = primary ?? mirror
  if (opened === undefined) throw new TypeError('A pair has one side at least')
  return opened
}

export class RecordImport {
  readonly #catalog: Catalog
  readonly #source: ChangeSource
  /** What could not be put in. */
  readonly notes: string[] = []
  readonly done: Imported = { vaults: 0, policies: 0, items: 0, points: 0, jobs: 0, fromPoints: 0 }

  constructor(catalog: Catalog, source: ChangeSource) {
    this.#catalog = catalog
    this.#source = source
  }

  /** @param old the copy of the catalog, where there is one */
  async run(pairs: readonly FoundPair[], old: Catalog | undefined): Promise<void> {
    await this.#catalog.write(async (trx) => {
      if (old !== undefined) await this.#regions(trx, old)
      for (const pair of pairs) {
        const row = old === undefined ? undefined : await vaultIn(old, pair)
        if (old !== undefined && row !== undefined) await this.#vaultOfCatalog(trx, old, row, pair)
        await this.#vaultOfPoints(trx, row?.key, pair)
        await this.#noteUnknown(trx, row?.key, pair)
      }
    })
    const nowMs = this.#source.nowMs()
    for (const pair of pairs) {
      const { repositoryId: id, location } = openedOf(pair)
      await recordRepository(this.#catalog, { id, location, addedMs: nowMs })
    }
  }

  async #regions(trx: CatalogTransaction, old: Catalog): Promise<void> {
    const known = new Set((await listRegions(trx)).map(({ name }) => name))
    for (const region of await listRegions(old)) if (!known.has(region.name)) await putRegion(trx, region)
  }

  async #vaultOfCatalog(trx: CatalogTransaction, old: Catalog, row: ResourceRecord, pair: FoundPair): Promise<void> {
    const group = row.groupKey === '' ? undefined : await findResource(old, row.groupKey)
    if (group !== undefined) await this.#put(trx, group)
    const { deleted, ...backing } = backingNow(vaultBackingOf(row), pair)
    const kept = deleted && { deleted: { ...deleted, purgeAtMs: this.#laterPurge(deleted.purgeAtMs) } }
    await this.#put(trx, { ...row, backing: { ...backing, ...kept }, state: 'Succeeded' })
    await this.#sayImmutability(trx, pair)
    this.done.vaults += 1
    for (const policy of await listResources(old, { type: POLICY_TYPE, parent: row.id })) {
      await this.#put(trx, policy)
      this.done.policies += 1
    }
    const { points, untold } = openedOf(pair)
    const held = new Set([...points.map(({ point }) => point), ...untold].map(({ id }) => id))
    for (const item of await listProtectedItems(old, { vaultKey: row.key })) {
      const purgeAtMs = this.#laterPurge(item.purgeAtMs)
      await insertProtectedItem(trx, { ...item, state: 'ProtectionStopped', nextDueMs: undefined, purgeAtMs })
      this.done.items += 1
      for (const point of (await listVaultPoints(old, { itemKey: item.key })).filter(({ pointId }) =>
        held.has(pointId),
      )) {
        await insertVaultPoint(trx, { ...point, landed: undefined, purgeAtMs: this.#laterPurge(point.purgeAtMs) })
        this.done.points += 1
      }
    }
    await this.#history(trx, old, row.key)
  }

  #laterPurge<T extends number | undefined>(purgeAtMs: T): T | number {
    const { days } = VAULT_SETTINGS_DEFAULT.softDelete
    return purgeAtMs === undefined ? purgeAtMs : Math.max(purgeAtMs, this.#source.nowMs() + days * DAY_MS)
  }

  async #history(trx: CatalogTransaction, old: Catalog, vaultKey: string): Promise<void> {
    const nowMs = this.#source.nowMs()
    for (const job of await listBackupJobs(old, { vaultKey })) {
      const isOver = job.endedMs !== undefined
      await insertBackupJob(trx, isOver ? job : { ...job, status: 'Failed', endedMs: nowMs, isCancellable: false })
      this.done.jobs += 1
    }
    for (const alert of await listAlerts(old, { vaultKey }))
      await raiseAlert(trx, { ...alert, resolvedMs: alert.resolvedMs ?? nowMs })
  }

  /** What the vault's points say beyond what is there by now. `vaultKey`: of the vault in the copy of the catalog. */
  async #vaultOfPoints(trx: CatalogTransaction, vaultKey: string | undefined, pair: FoundPair): Promise<void> {
    for (const found of openedOf(pair).points) {
      const key = vaultKey ?? (await this.#vaultOf(trx, found, pair))
      if ((await listVaultPoints(trx, { vaultKey: key, pointId: found.point.id, limit: 1 })).length > 0) continue
      await this.#pointOf(trx, key, found)
    }
  }

  /** What neither says itself whose it is nor is in the copy of the catalog stays in the vault, and is told of. */
  async #noteUnknown(trx: CatalogTransaction, vaultKey: string | undefined, pair: FoundPair): Promise<void> {
    const { untold, location } = openedOf(pair)
    for (const { id, takenAt } of untold)
      if (vaultKey === undefined || (await listVaultPoints(trx, { vaultKey, pointId: id, limit: 1 })).length === 0)
        this.notes.push(
          `Point ${id} of ${takenAt} in ${location} says not whose it is; "holdfast repo restore" brings it back by its id.`,
        )
  }

  async #vaultOf(trx: CatalogTransaction, { machine }: VaultPointFound, pair: FoundPair): Promise<string> {
    const { id } = machine.vault
    const known = await findResource(trx, id)
    if (known !== undefined) return known.key
    const [, group = '', name = ''] = /^(\/subscriptions\/[^/]+\/resourceGroups\/[^/]+)\/.*\/([^/]+)$/i.exec(id) ?? []
    const location = machine.machine.location
    await this.#putGroup(trx, machine.subscription, group, location)
    const { settings, backing } = backingOfPoints(location, pair)
    const row = await insertResource(
      trx,
      {
        id,
        subscription: machine.subscription,
        group,
        type: VAULT_TYPE,
        name,
        location,
        tags: {},
        state: 'Succeeded',
        body: {},
        backing: { ...backing, settings },
      },
      this.#source,
    )
    for (const [policyName, policy] of Object.entries(DEFAULT_POLICIES))
      await insertPolicy(trx, row, { name: policyName, policy }, this.#source)
    await this.#sayImmutability(trx, pair)
    this.done.vaults += 1
    return row.key
  }

  async #pointOf(
    trx: CatalogTransaction,
    vaultKey: string,
    { point, sequence, machine }: VaultPointFound,
  ): Promise<void> {
    const { item: id, policy } = machine.vault
    const takenMs = globalThis.Date.parse(point.takenAt)
    const nowMs = this.#source.nowMs()
    if ((await findProtectedItem(trx, id)) === undefined) {
      await insertProtectedItem(trx, {
        key: id.toLowerCase(),
        id,
        vaultKey,
        name: id.split('/').at(-1) ?? '',
        machineId: machine.machine.id,
        machineKey: machine.machine.id.toLowerCase(),
        friendlyName: machine.machine.name,
        state: 'ProtectionStopped',
        policyId: policy,
        facts: { recovered: true },
        createdMs: nowMs,
        changedMs: nowMs,
      })
      this.done.items += 1
    }
    const name = pointName(sequence, takenMs)
    if ((await findVaultPoint(trx, id.toLowerCase(), name)) !== undefined) return
    const taken = machine.disks.filter(({ included }) => included)
    await insertVaultPoint(trx, {
      vaultKey,
      itemKey: id.toLowerCase(),
      name,
      pointId: point.id,
      takenMs,
      sequence,
      consistency: point.consistency,
      vaultedMs: takenMs,
      isOnDemand: false,
      keptBy: [],
      sizeBytes: taken.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      storedBytes: point.disks.reduce((sum, { storedBytes }) => sum + storedBytes, 0),
      disks: taken.map(({ diskId, lun, name: diskName, sizeBytes }) => ({ diskId, lun, name: diskName, sizeBytes })),
      facts: { ...factsOf(machine), notes: point.notes, mode: point.mode, recovered: true },
    })
    this.done.points += 1
    this.done.fromPoints += 1
  }

  async #putGroup(trx: CatalogTransaction, subscription: string, id: string, location: string): Promise<void> {
    if ((await findResource(trx, id)) !== undefined) return
    const name = id.split('/').at(-1) ?? ''
    const row = {
      id,
      subscription,
      group: undefined,
      type: GROUP_TYPE,
      name,
      location,
      tags: {},
      body: {},
      backing: {},
    }
    await insertResource(trx, { ...row, state: 'Succeeded' }, this.#source)
  }

  async #put(trx: CatalogTransaction, row: ResourceRecord): Promise<void> {
    if ((await findResource(trx, row.id)) !== undefined) return
    const { groupKey, parentKey, ...rest } = row
    const given = { ...rest, group: groupKey === '' ? undefined : groupKey, parentId: parentKey }
    await insertResource(trx, given, this.#source)
  }

  /** The repository's policy is what it is; the watch of serve is told, so that it is not taken for one to be changed. */
  async #sayImmutability(trx: CatalogTransaction, pair: FoundPair): Promise<void> {
    await putSetting(trx, `vault-immutability/${pair.uid}`, JSON.stringify(openedOf(pair).immutability))
  }
}

/** The vault's row in the copy of the catalog, by the uid that it lies under. */
async function vaultIn(old: Catalog, { uid }: FoundPair): Promise<ResourceRecord | undefined> {
  const rows = [
    ...(await listResources(old, { type: VAULT_TYPE })),
    ...(await listResources(old, { type: DELETED_VAULT_TYPE })),
  ]
  return rows.find((row) => vaultBackingOf(row).uid === uid)
}

/** Where it lies now. The mirror alone stands in for a vault that is lost. */
function backingNow(before: VaultBacking, pair: FoundPair): VaultBacking {
  const { primary, mirror } = pair
  const { mirror: was, ...rest } = before
  const location = openedOf(pair).location
  const region = primary === undefined ? (was?.region ?? before.region) : before.region
  const settings = strongest(before.settings, pair)
  const isPair = primary !== undefined && mirror !== undefined && was !== undefined
  return {
    ...rest,
    region,
    location,
    settings,
    ...(isPair && { mirror: { region: was.region, location: mirror.location } }),
  }
}

function backingOfPoints(
  region: string,
  pair: FoundPair,
): { settings: VaultSettings; backing: Omit<VaultBacking, 'settings'> } {
  const { location, repositoryId } = openedOf(pair)
  const settings = strongest({ ...VAULT_SETTINGS_DEFAULT, redundancy: 'LocallyRedundant' }, pair)
  return { settings, backing: { uid: pair.uid, region, location, repositoryId, hadItems: true } }
}

/** What the repository itself promises is never said to be less. */
function strongest(settings: VaultSettings, pair: FoundPair): VaultSettings {
  const { state, days } = openedOf(pair).immutability
  if (state === 'disabled') return settings
  const immutability = { state: state === 'locked' ? ('Locked' as const) : ('Unlocked' as const), days }
  return settings.immutability.state === 'Locked' ? settings : { ...settings, immutability }
}

function factsOf({ machine, disks }: VaultPointFound['machine']): Record<string, unknown> {
  const properties = (machine.body['properties'] ?? {}) as Record<string, unknown>
  const { vmSize } = (properties['hardwareProfile'] ?? {}) as Record<string, unknown>
  const os = disks.find(({ lun }) => lun < 0)
  const { osType } = (os?.body['properties'] ?? {}) as Record<string, unknown>
  return { ...(typeof vmSize === 'string' && { vmSize }), ...(typeof osType === 'string' && { osType }) }
}

/** As a backup names it: decimal digits, larger for newer ones. */
function pointName(sequence: number, takenMs: number): string {
  return `${sequence}${String(Math.floor(takenMs / 1000)).padStart(10, '0')}`
}
