/**
 * The repository of a region: where its snapshots' bytes lie. It is made at the first use, once, in the region's first store,
 * and opened with a key file that this home keeps (`keys/region-<name>.key`: 32 random bytes, the owner's alone).
 *
 *   crash in the middle    the next use goes on (`own-repository.ts`), and records its id
 *
 * Once the id is on record nothing is ever made anew: a store that has become empty or a key that is gone is an error, not
 * a new repository over the old one's name.
 */
import { join } from 'node:path'
import { type Catalog, listStores, putStore, recordRepository, type RegionStore } from '#catalog'
import { JobsError } from '../errors.ts'
import { checkReach, hasKeyFile, makeOwnRepository } from '../own-repository.ts'
import type { RepositoryAccess, RepositoryHost } from '../repository-access.ts'

const REGION = /^[a-z0-9]{1,60}$/

export type RegionRepositoryParts = Readonly<{
  catalog: Catalog
  /** `keys` of the home. */
  keysFolder: string
  host: RepositoryHost
}>

export type RegionRepository = Readonly<{ access: RepositoryAccess; repositoryId: string }>

export function regionKeyPath(keysFolder: string, region: string): string {
  return join(keysFolder, `region-${region}.key`)
}

async function storeOf(catalog: Catalog, region: string): Promise<RegionStore> {
  const [first] = REGION.test(region) ? await listStores(catalog, region) : []
  if (first !== undefined) return first
  throw new JobsError('region_without_store', `The region ${region} has no store.`, {
    facts: { region },
    hint: 'Give it one with "holdfast store add".',
  })
}

async function checkKey(path: string, region: string): Promise<void> {
  if (await hasKeyFile(path)) return
  throw new JobsError('region_key_missing', `The key file of the region ${region} is not there.`, {
    facts: { path },
    hint: 'Put it back from your copy of the folder "keys": without it nobody can read the region’s snapshots.',
  })
}

/**
 * How the region's repository is opened; made at the first use. `elsewhere`: the host that is to open it, where that is not this one.
 * @throws JobsError `region_without_store`, `store_not_shared`, `region_key_missing`; RepositoryError `key_wrong` when the store holds a
 * repository that is not this home's; what the store raises
 */
export async function regionRepository(
  parts: RegionRepositoryParts,
  region: string,
  elsewhere?: string,
): Promise<RegionRepository> {
  const { catalog, keysFolder, host } = parts
  const store = await storeOf(catalog, region)
  if (elsewhere !== undefined) checkReach(store, region, elsewhere)
  const path = regionKeyPath(keysFolder, region)
  const found: RepositoryAccess = { store: store.location, credential: { kind: 'key-file', path } }
  if (store.repositoryId !== undefined) {
    await checkKey(path, region)
    return { access: found, repositoryId: store.repositoryId }
  }
  const repositoryId = await makeOwnRepository(found, host)
  await catalog.write((trx) => putStore(trx, { ...store, repositoryId }))
  await recordRepository(catalog, { id: repositoryId, location: store.location, addedMs: host.clock.nowMs() })
  return { access: found, repositoryId }
}
