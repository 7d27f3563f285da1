/** Opening the repository that a command names, and closing it whatever happens. */
import type { Command } from 'commander'
import { WRITER } from '#base'
import type { BlobStore, Repository, RepositoryEnvironment, StoreDescriptor } from '#engine/repository'
import { askCredential, type CredentialRequest } from '../credential.ts'
import { type CommandContext, type CommandText, makeCommand, type SharedOptions } from '../command.ts'
import { openCacheFolder } from './cache.ts'

export type RepoOptions = SharedOptions & Readonly<{ cacheDir?: string }>

/** A command on a repository; `store` is its first argument. */
export function makeRepoCommand(text: CommandText): Command {
  return makeCommand(text).option(
    '--cache-dir <folder>',
    'where indexes are cached (default: $XDG_CACHE_HOME/holdfast or ~/.cache/holdfast)',
  )
}

export type OpenRepository = Readonly<{ repository: Repository; descriptor: StoreDescriptor; store: BlobStore }>

export async function makeEnvironment(
  options: RepoOptions,
  { output }: Pick<CommandContext, 'output'>,
): Promise<RepositoryEnvironment> {
  const { systemClock, systemRandom } = await import('#runtime')
  const cacheFolder = await openCacheFolder(options.cacheDir, (sentence) => output.note(sentence))
  return { clock: systemClock, random: systemRandom, cacheFolder, writer: WRITER }
}

/** Keeps the cache within its bound. It is a cache: what fails here must not fail a command that did its work. */
async function trim({ cacheFolder, clock }: RepositoryEnvironment): Promise<void> {
  const { trimCaches } = await import('#engine/repository')
  await trimCaches(cacheFolder, clock.nowMs()).catch(() => {
    // The next command trims.
  })
}

/**
 * Opens, runs `use`, closes. `request` says where its key comes from when a command opens two. A log that went back behind what this user saw is told of, and reading goes on.
 */
export async function withRepository<T>(
  location: string,
  options: RepoOptions,
  context: CommandContext,
  use: (opened: OpenRepository) => Promise<T>,
  request: CredentialRequest = {},
): Promise<T> {
  const { openStore, parseStoreLocation, Repository } = await import('#engine/repository')
  const descriptor = parseStoreLocation(location)
  const store = await openStore(descriptor)
  try {
    const environment = await makeEnvironment(options, context)
    const repository = await Repository.open(store, await credentialFor(store, request), environment)
    const { output } = context
    if (repository.rollback !== undefined) output.note(`Warning: ${repository.rollback.message}`)
    const [hurt] = repository.log.damage
    if (hurt !== undefined)
      output.note(
        `Warning: Entry ${hurt.number} of the log is damaged: points may be missing here. Run "holdfast repo verify" for the whole picture.`,
      )
    const { immutability } = repository
    const clock = await immutability.judge()
    if (!clock.plausible && immutability.isUsed)
      output.note(`Warning: the clock of this host is not believed; see "holdfast repo immutability ${location}".`)
    const result = await use({ repository, descriptor, store })
    await repository.close()
    await trim(environment)
    return result
  } catch (error) {
    await store.close().catch(() => {
      // What went wrong first is what matters; nothing is written by closing.
    })
    throw error
  }
}

/** Asks for the key only once there is a repository that it could open, of a format that is known. */
async function credentialFor(store: BlobStore, request: CredentialRequest): ReturnType<typeof askCredential> {
  const { readConfig } = await import('#engine/repository')
  await readConfig(store)
  return askCredential(request)
}
