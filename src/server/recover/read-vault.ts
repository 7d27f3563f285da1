/** What a vault that was found says by itself, opened by one of the keys given: its points with what Azure needs of each, and the copies of the catalog in it. */
import { isHoldfastError } from '#base'
import { AZURE_MACHINE_ATTACHMENT, type AzureMachine } from '#domain'
import {
  type Credential,
  type ImmutabilityPolicy,
  openMaster,
  openStore,
  type PointRecord,
  Repository,
  type RepositoryEnvironment,
} from '#engine/repository'
import { createRawTarget } from '#engine/block'
import { readAttachment, restoreDisk } from '#engine/transfer'
import { CATALOG_HISTORY, RECOVER_ATTACHMENT, type RecoverFacts } from '#jobs'
import type { FoundVault } from './find-vaults.ts'

export type Key = Readonly<{ path: string; bytes: Uint8Array }>

export type VaultPointFound = Readonly<{
  point: PointRecord
  /** The number of the log's entry that committed it. */
  sequence: number
  machine: AzureMachine
}>

export type OpenedVault = FoundVault &
  Readonly<{
    key: Key
    points: readonly VaultPointFound[]
    /** Points that do not say, or not any more, which machine of the API stands behind them: a catalog may know. */
    untold: readonly PointRecord[]
    immutability: ImmutabilityPolicy
    /** The newest first. */
    catalogs: readonly CatalogCopy[]
  }>

export type CatalogCopy = Readonly<{ point: PointRecord; facts: RecoverFacts | undefined }>

/** Undefined when none of the keys opens it. @throws what the store throws */
export async function openVault(
  found: FoundVault,
  keys: readonly Key[],
  environment: RepositoryEnvironment,
): Promise<OpenedVault | undefined> {
  const key = await keyOf(found, keys)
  if (key === undefined) return undefined
  return withVault(found, key, environment, async (repository) => {
    const points: VaultPointFound[] = []
    const untold: PointRecord[] = []
    for (const point of repository.points().filter(({ machine }) => machine !== CATALOG_HISTORY)) {
      const machine = await readJson<AzureMachine>(repository, point, AZURE_MACHINE_ATTACHMENT)
      const sequence = repository.log.state.points.get(point.id)?.number ?? 0
      if (machine?.schema === 1) points.push({ point, sequence, machine })
      else untold.push(point)
    }
    const { immutability } = repository.log.state
    return { ...found, key, points, untold, immutability, catalogs: await catalogsIn(repository) }
  })
}

async function catalogsIn(repository: Repository): Promise<CatalogCopy[]> {
  const copies: CatalogCopy[] = []
  for (const point of repository.points().filter(({ machine }) => machine === CATALOG_HISTORY))
    copies.unshift({ point, facts: await readJson<RecoverFacts>(repository, point, RECOVER_ATTACHMENT) })
  return copies
}

async function keyOf(found: FoundVault, keys: readonly Key[]): Promise<Key | undefined> {
  const store = await openStore(found.location)
  try {
    for (const key of keys) {
      try {
        await openMaster(store, found.repositoryId, credentialOf(key))
        return key
      } catch (error) {
        if (!isHoldfastError(error, 'key_wrong')) throw error
      }
    }
    return undefined
  } finally {
    await store.close()
  }
}

const credentialOf = ({ bytes }: Key): Credential => ({ kind: 'key-file', bytes })

async function withVault<T>(
  { location }: FoundVault,
  key: Key,
  environment: RepositoryEnvironment,
  use: (repository: Repository) => Promise<T>,
): Promise<T> {
  const store = await openStore(location)
  try {
    return await use(await Repository.open(store, credentialOf(key), environment))
  } finally {
    await store.close()
  }
}

/** An attachment that a damaged pack took is as if it were not there: the others of the vault are recovered. */
async function readJson<T>(repository: Repository, point: PointRecord, name: string): Promise<T | undefined> {
  const attachment = point.attachments.find((one) => one.name === name)
  if (attachment === undefined) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(await readAttachment(repository, attachment))) as T
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    if (isHoldfastError(error, 'chunk_missing', 'chunk_corrupt', 'pack_missing', 'pack_corrupt')) return undefined
    throw error
  }
}

/** Writes the vault's copy of the catalog into a new file. @throws chunk_missing, chunk_corrupt, target_exists */
export async function restoreCatalog(
  vault: OpenedVault,
  point: PointRecord,
  path: string,
  environment: RepositoryEnvironment,
): Promise<void> {
  const [disk] = point.disks
  if (disk === undefined) return
  await withVault(vault, vault.key, environment, async (repository) => {
    const target = await createRawTarget(path, disk.virtualSizeBytes)
    try {
      await restoreDisk(repository, disk, { opened: target }, { store: repository.store, clock: environment.clock })
      await target.flush()
    } finally {
      await target.close()
    }
  })
}
