/**
 * The repository of a region: where its snapshots' bytes lie. It is made at the first use, once, in the region's first store,
 * and opened with a key file that this home keeps (`keys/region-<name>.key`: 32 random bytes, the owner's alone).
 *
 *   two make it at once    the key file and the repository's configuration are created once; who comes second uses what is
 *                          there. A key slot that the second one left belongs to no repository and opens nothing
 *   crash after the key    the next use makes the repository with that key
 *   crash after making it  the next use finds it, opens it with the key to see that it is ours, and records its id
 *
 * Once the id is on record nothing is ever made anew: a store that has become empty or a key that is gone is an error, not
 * a new repository over the old one's name.
 */
import { access } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CHUNK_BYTES_DEFAULT, isHoldfastError } from '#base'
import { type Catalog, listStores, putStore, recordRepository, type RegionStore } from '#catalog'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { createFileOnce, makeFolderDurable } from '#runtime'
import { JobsError } from '../errors.ts'
import { readCredential, type RepositoryAccess, type RepositoryHost, withRepository } from '../repository-access.ts'

const KEY_BYTES = 32
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
  try {
    await access(path)
  } catch (cause) {
    throw new JobsError('region_key_missing', `The key file of the region ${region} is not there.`, {
      facts: { path },
      hint: 'Put it back from your copy of the folder "keys": without it nobody can read the region’s snapshots.',
      cause,
    })
  }
}

/** Makes the repository unless there is one. @throws what the store raises */
async function makeOnce(found: RepositoryAccess, host: RepositoryHost): Promise<void> {
  const descriptor = parseStoreLocation(found.store)
  if (descriptor.kind === 'folder') await makeFolderDurable(dirname(descriptor.path))
  const store = await openStore(descriptor, { create: true })
  try {
    const credential = await readCredential(found.credential)
    await Repository.init(store, { credential, chunkSizeBytes: CHUNK_BYTES_DEFAULT }, host)
  } catch (error) {
    if (!isHoldfastError(error, 'repository_exists')) throw error
  } finally {
    await store.close()
  }
}

/** @throws JobsError `store_not_shared` when the host sees no such folder */
function checkReach({ location, shared, name }: RegionStore, region: string, host: string): void {
  if (shared || parseStoreLocation(location).kind !== 'folder') return
  throw new JobsError(
    'store_not_shared',
    `The host ${host} cannot reach the store ${region}/${name}: a folder of the server.`,
    {
      facts: { host, store: location },
      hint:
        'Give the region a store that both reach: a bucket (s3://...), or a folder that is mounted at this path on both, ' +
        'added with "holdfast store add --shared".',
    },
  )
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
  await makeFolderDurable(keysFolder)
  await createFileOnce(path, [host.random.bytes(KEY_BYTES)])
  await makeOnce(found, host)
  const repositoryId = await withRepository(found, host, (repository) => Promise.resolve(repository.config.id))
  await catalog.write((trx) => putStore(trx, { ...store, repositoryId }))
  await recordRepository(catalog, { id: repositoryId, location: store.location, addedMs: host.clock.nowMs() })
  return { access: found, repositoryId }
}
