/**
 * Repositories that this server makes for itself, each with a key file of its own in the home's folder `keys` (32 random bytes,
 * the owner's alone).
 *
 *   two make one at once   the key file and the repository's configuration are created once; who comes second uses what is
 *                          there. A key slot that the second one left belongs to no repository and opens nothing
 *   crash after the key    the next call makes the repository with that key
 *   crash after making it  the next call finds it and opens it with the key, to see that it is ours
 */
import { access } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CHUNK_BYTES_DEFAULT, isHoldfastError } from '#base'
import type { RegionStore } from '#catalog'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { createFileOnce, makeFolderDurable } from '#runtime'
import { JobsError } from './errors.ts'
import { readCredential, type RepositoryAccess, type RepositoryHost, withRepository } from './repository-access.ts'

const KEY_BYTES = 32

/** Whether the file is there. */
export async function hasKeyFile(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** Makes what of key and repository is not there yet. @returns the repository's id @throws what the store raises */
export async function makeOwnRepository(found: RepositoryAccess, host: RepositoryHost): Promise<string> {
  const { path } = found.credential
  await makeFolderDurable(dirname(path))
  await createFileOnce(path, [host.random.bytes(KEY_BYTES)])
  await makeOnce(found, host)
  return withRepository(found, host, (repository) => Promise.resolve(repository.config.id))
}

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
export function checkReach({ location, shared, name }: RegionStore, region: string, host: string): void {
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
