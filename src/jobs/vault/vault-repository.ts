/**
 * The repository of a vault: where its recovery points lie. It has a key of its own (`keys/vault-<uid>.key` of the home) and lies
 * inside the first store of the vault's region, at `vaults/<uid>`: inside, because the store may be a mount point, and nothing
 * beside it would be on the same file system.
 *
 *   the store's file system is away   making a vault first opens the region's own repository. So no vault is ever made in the
 *                                     empty folder that a file system is mounted on
 *   crash in the middle               the uid is on record before anything is made; the next call goes on with that key and
 *                                     that folder (`own-repository.ts`) and gives the same id
 *
 * Once the id is on record nothing is made anew: a folder that has become empty or a key that is gone is an error.
 */
import { join } from 'node:path'
import { listStores, recordRepository } from '#catalog'
import { formatStoreLocation, parseStoreLocation } from '#engine/repository'
import { regionRepository, type RegionRepositoryParts } from '../compute/region-repository.ts'
import { JobsError } from '../errors.ts'
import { checkReach, hasKeyFile, makeOwnRepository } from '../own-repository.ts'
import { type RepositoryAccess, withRepository } from '../repository-access.ts'
import { type VaultBacking, vaultBackingOf, vaultRow } from './vault-rows.ts'

export type VaultRepository = Readonly<{
  access: RepositoryAccess
  repositoryId: string
  region: string
  /** The copy in the other region, where there is one; it may lag, and may not be there yet. */
  mirror?: RepositoryAccess
}>

const UID = /^[0-9a-f-]{36}$/

export function vaultKeyPath(keysFolder: string, uid: string): string {
  return join(keysFolder, `vault-${uid}.key`)
}

/** Where a vault lies in a store. */
export function vaultLocation(storeLocation: string, uid: string): string {
  const descriptor = parseStoreLocation(storeLocation)
  if (descriptor.kind === 'folder') return join(descriptor.path, 'vaults', uid)
  if (descriptor.kind === 's3')
    return formatStoreLocation({ ...descriptor, prefix: `${descriptor.prefix}vaults/${uid}/` })
  return formatStoreLocation({ ...descriptor, name: `${descriptor.name}/vaults/${uid}` })
}

/** Where a new vault of the region is to lie. @throws JobsError `region_without_store` */
export async function vaultPlace(
  { catalog }: Pick<RegionRepositoryParts, 'catalog'>,
  region: string,
  uid: string,
): Promise<string> {
  const [store] = await listStores(catalog, region)
  if (store !== undefined) return vaultLocation(store.location, uid)
  throw new JobsError('region_without_store', `The region ${region} has no store.`, {
    facts: { region },
    hint: 'Give it one with "holdfast store add".',
  })
}

function accessOf(keysFolder: string, uid: string, location: string): RepositoryAccess {
  return { store: location, credential: { kind: 'key-file', path: vaultKeyPath(keysFolder, uid) } }
}

/**
 * Makes what is not there yet of the vault's key and repository.
 * @returns the repository's id
 * @throws JobsError `region_key_missing`, `job_input_invalid`; what the store raises
 */
export async function makeVaultRepository(
  parts: RegionRepositoryParts,
  { uid, region, location }: Pick<VaultBacking, 'uid' | 'region' | 'location'>,
): Promise<string> {
  const { catalog, keysFolder, host } = parts
  if (!UID.test(uid)) throw new JobsError('job_input_invalid', `${uid} is no uid of a vault.`, { facts: { uid } })
  const own = await regionRepository(parts, region)
  await withRepository(own.access, host, () => Promise.resolve())
  const repositoryId = await makeOwnRepository(accessOf(keysFolder, uid, location), host)
  await recordRepository(catalog, { id: repositoryId, location, addedMs: host.clock.nowMs() })
  return repositoryId
}

/**
 * How a vault's repository is opened. `elsewhere`: the host that is to open it, where that is not this one.
 * @throws JobsError `vault_not_there`, `vault_key_missing`, `store_not_shared`
 */
export async function vaultRepository(
  parts: RegionRepositoryParts,
  vaultId: string,
  elsewhere?: string,
): Promise<VaultRepository> {
  const { catalog, keysFolder } = parts
  const { uid, region, location, repositoryId, mirror } = vaultBackingOf(await vaultRow(catalog, vaultId))
  if (repositoryId === undefined)
    throw new JobsError('vault_not_there', `The vault ${vaultId} is still being made.`, { retry: 'later' })
  const access = accessOf(keysFolder, uid, location)
  if (!(await hasKeyFile(access.credential.path)))
    throw new JobsError('vault_key_missing', `The key file of the vault ${vaultId} is not there.`, {
      facts: { path: access.credential.path },
      hint: 'Put it back from your copy of the folder "keys": without it nobody can read the vault’s recovery points.',
    })
  if (elsewhere !== undefined) {
    const [store] = await listStores(catalog, region)
    if (store !== undefined) checkReach({ ...store, location }, region, elsewhere)
  }
  return {
    access,
    repositoryId,
    region,
    ...(mirror !== undefined && { mirror: accessOf(keysFolder, uid, mirror.location) }),
  }
}
