/**
 * How a job names a repository: its location, and the file that holds its passphrase or key. Secrets never stand in a job's
 * input, which is kept in the catalog; the file is read when the work is done, by the process that does it.
 */
import { readFile } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { type Clock, messageOf, type Random } from '#base'
import {
  type Credential,
  openStore,
  parseStoreLocation,
  Repository,
  type StoreDescriptor,
  trimCaches,
} from '#engine/repository'
import { JobsError } from './errors.ts'

export type RepositoryAccess = Readonly<{
  /** A folder or an s3:// URL without a secret. */
  store: string
  /** `passphrase`: the file's first line; `key`: all its bytes. */
  credential: Readonly<{ kind: 'passphrase-file' | 'key-file'; path: string }>
}>

/** As a task is told: one on a host elsewhere, which has no such file, is told the key itself. */
export type TaskAccess = Readonly<{
  store: string
  credential: RepositoryAccess['credential'] | Readonly<{ kind: 'key'; base64: string }>
}>

/** What a process needs to open repositories. */
export type RepositoryHost = Readonly<{ clock: Clock; random: Random; cacheFolder: string; writer: string }>

const SECRET_BYTES_MAX = 1024 * 1024

export function inputInvalid(what: string): JobsError {
  return new JobsError('job_input_invalid', `The job's input has no valid ${what}.`, { facts: { what } })
}

/** @throws JobsError `job_input_invalid` */
export function recordOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw inputInvalid(what)
}

/** An absolute path: the process that uses it works in another folder than who named it. @throws JobsError */
export function absolutePathOf(value: unknown, what: string): string {
  if (typeof value === 'string' && isAbsolute(value)) return value
  throw inputInvalid(`${what} (an absolute path)`)
}

function readStore({ store }: Record<string, unknown>): string {
  if (typeof store !== 'string') throw inputInvalid('store')
  const descriptor = parseStoreLocation(store)
  if (descriptor.kind === 'folder') absolutePathOf(store, 'store')
  return store
}

/** What a task was told. @throws JobsError `job_input_invalid`, RepositoryError `store_location_invalid` */
export function readTaskAccess(input: Record<string, unknown>): TaskAccess {
  const { kind, base64 } = recordOf(input['credential'], 'credential')
  if (kind !== 'key') return readRepositoryAccess(input)
  if (typeof base64 !== 'string' || base64 === '') throw inputInvalid('credential')
  return { store: readStore(input), credential: { kind, base64 } }
}

/** What a job is told: never a key. @throws JobsError `job_input_invalid`, RepositoryError `store_location_invalid` */
export function readRepositoryAccess(input: Record<string, unknown>): RepositoryAccess {
  const store = readStore(input)
  const { kind, path } = recordOf(input['credential'], 'credential')
  if (kind !== 'passphrase-file' && kind !== 'key-file') throw inputInvalid('credential kind')
  return { store, credential: { kind, path: absolutePathOf(path, 'credential path') } }
}

/** @throws JobsError `job_secret_unreadable` */
export async function readCredential(given: TaskAccess['credential']): Promise<Credential> {
  if (given.kind === 'key') return { kind: 'key-file', bytes: Buffer.from(given.base64, 'base64') }
  const { kind, path } = given
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new JobsError('job_secret_unreadable', `The key file ${path} cannot be read: ${messageOf(cause)}`, {
      facts: { path },
      hint: 'The user that the worker runs as must be able to read it.',
      cause,
    })
  })
  if (bytes.length > SECRET_BYTES_MAX) {
    throw new JobsError('job_secret_unreadable', `The key file ${path} is larger than 1 MiB.`, { facts: { path } })
  }
  if (kind === 'key-file') return { kind, bytes }
  return { kind: 'passphrase', passphrase: bytes.toString('utf8').split(/\r?\n/, 1)[0] ?? '' }
}

/** Opens, runs `use`, closes. @throws what reading the key and opening raise */
export async function withRepository<T>(
  access: TaskAccess,
  host: RepositoryHost,
  use: (repository: Repository, descriptor: StoreDescriptor) => Promise<T>,
): Promise<T> {
  const credential = await readCredential(access.credential)
  const descriptor = parseStoreLocation(access.store)
  const store = await openStore(descriptor)
  try {
    const repository = await Repository.open(store, credential, host)
    const result = await use(repository, descriptor)
    await repository.close()
    await trimCaches(host.cacheFolder, host.clock.nowMs()).catch(() => {
      // It is a cache: the next one trims.
    })
    return result
  } catch (error) {
    await store.close().catch(() => {
      // What went wrong first is what matters; nothing is written by closing.
    })
    throw error
  }
}
