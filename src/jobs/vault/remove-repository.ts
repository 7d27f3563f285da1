/**
 * The task that removes a vault's repository from its store, object by object: what the store locks is not removed, and the task
 * fails with it. It never touches a repository other than the one that it was told.
 *
 *   crash in the middle   the rest is removed by the next run: `config`, by which it is known, goes last. Without it what is left
 *                         is no repository any more
 */
import { rm, stat } from 'node:fs/promises'
import { errnoOf, isHoldfastError } from '#base'
import { type BlobStore, openStore, parseStoreLocation, readConfig } from '#engine/repository'
import { JobsError } from '../errors.ts'
import { inputInvalid, recordOf } from '../repository-access.ts'
import type { TaskHandler } from '../tasks.ts'

export const REMOVE_REPOSITORY_TASK = 'remove-repository'

const CONFIG = 'config'

async function isThere(folder: string): Promise<boolean> {
  try {
    await stat(folder)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

async function checkOurs(store: BlobStore, repositoryId: string | undefined, location: string): Promise<void> {
  try {
    const { id } = await readConfig(store)
    // A vault whose making broke off has none on record; its place is named by the vault alone.
    if (repositoryId === undefined || id === repositoryId) return
    throw new JobsError('vault_not_there', `Another repository lies at ${location}; it is left alone.`, {
      facts: { location, found: id },
      retry: 'never',
    })
  } catch (error) {
    // None: it is half removed already, or was never made whole.
    if (!isHoldfastError(error, 'repository_not_found')) throw error
  }
}

export function removeRepositoryTask(): TaskHandler {
  return async (input, { signal }) => {
    const { store: location, repositoryId } = recordOf(input, 'fields')
    if (typeof location !== 'string') throw inputInvalid('store')
    const descriptor = parseStoreLocation(location)
    if (descriptor.kind === 'folder' && !(await isThere(descriptor.path))) return null
    const store = await openStore(descriptor)
    try {
      await checkOurs(store, typeof repositoryId === 'string' ? repositoryId : undefined, location)
      for await (const { key } of store.list('')) {
        signal.throwIfAborted()
        if (key !== CONFIG) await store.delete(key)
      }
      await store.delete(CONFIG)
    } finally {
      await store.close()
    }
    if (descriptor.kind === 'folder') await rm(descriptor.path, { recursive: true, force: true })
    return null
  }
}
