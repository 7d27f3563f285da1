/**
 * The repository's configuration: one create-once object `config`, plain JSON, the first thing that anyone reads.
 *
 * Compatibility: a program that does not know the version, or a feature in `requires`, refuses the repository by name, before
 * it touches anything; features in `compatible` may be ignored by those who do not know them. Nobody vouches for this
 * object (it is read before there is a key), so what must be known to go by the log stands in the log too (log/features.ts).
 */
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, isHoldfastError } from '#base'
import type { BlobStore } from './blob-store.ts'
import { RepositoryError } from './errors.ts'
import { parseObject, toJsonBytes } from './json.ts'

export const CONFIG_KEY = 'config'
/** What is made now. */
export const FORMAT_VERSION = '1'
/** The last draft has the bytes of 1. Its repositories keep their name, and are read and written as they are. */
const FORMAT_VERSIONS: ReadonlySet<string> = new Set([FORMAT_VERSION, '1-draft'])
/** A configuration that asks for more is not believed: whoever changed it would fill the store. */
export const RESERVE_BYTES_MAX = 1024 * 1024 * 1024
const KNOWN_FEATURES: ReadonlySet<string> = new Set()

export type RepositoryConfig = Readonly<{
  format: 'holdfast-repository'
  version: string
  /** 32 hex digits. */
  id: string
  createdAt: string
  /** Chunk size for disks that do not ask for another, in bytes. */
  chunkSizeBytes: number
  /** What a folder store holds in reserve, in bytes; absent or 0: nothing. */
  reserveBytes?: number
  requires: readonly string[]
  compatible: readonly string[]
  writer: string
}>

export function encodeConfig(config: RepositoryConfig): Uint8Array {
  return toJsonBytes(config)
}

function damaged(location: string, what: string): RepositoryError {
  return new RepositoryError(
    'repository_damaged',
    `The configuration of the repository at ${location} is damaged: ${what}.`,
    {
      facts: { location },
      hint: 'Copy the object "config" back from a mirror or backup of this store.',
    },
  )
}

function tooNew(
  { version, writer }: Partial<RepositoryConfig>,
  location: string,
  what: string,
  unknownFeatures: readonly string[],
): RepositoryError {
  return new RepositoryError(
    'repository_too_new',
    `The repository at ${location} ${what}, which this Holdfast does not know. Nothing was changed.`,
    {
      facts: { location, version, known: [...FORMAT_VERSIONS], unknownFeatures, madeBy: writer },
      hint:
        writer === undefined
          ? 'Use a newer Holdfast.'
          : `Use a Holdfast at least as new as the one that made it: ${writer}.`,
    },
  )
}

/** Parses and checks a configuration. @throws repository_damaged, repository_too_new */
export function decodeConfig(bytes: Uint8Array, location: string): RepositoryConfig {
  const config = parseObject(bytes) as Partial<RepositoryConfig> | undefined
  if (config?.format !== 'holdfast-repository') throw damaged(location, 'it is not a Holdfast configuration')
  if (typeof config.version !== 'string' || typeof config.id !== 'string' || !/^[0-9a-f]{32}$/.test(config.id)) {
    throw damaged(location, 'version or id is missing')
  }
  const requires = Array.isArray(config.requires) ? config.requires.map(String) : []
  const unknown = requires.filter((feature) => !KNOWN_FEATURES.has(feature))
  if (!FORMAT_VERSIONS.has(config.version)) throw tooNew(config, location, `is of format ${config.version}`, [])
  if (unknown.length > 0) throw tooNew(config, location, `asks for ${unknown.join(', ')}`, unknown)
  const chunk = config.chunkSizeBytes ?? 0
  if (chunk < CHUNK_BYTES_MIN || chunk > CHUNK_BYTES_MAX || (chunk & (chunk - 1)) !== 0)
    throw damaged(location, 'its chunk size is impossible')
  const reserve = config.reserveBytes ?? 0
  if (!Number.isSafeInteger(reserve) || reserve < 0 || reserve > RESERVE_BYTES_MAX)
    throw damaged(location, 'its reserve is impossible')
  return config as RepositoryConfig
}

/** Reads the configuration. @throws repository_not_found, repository_damaged, repository_too_new */
export async function readConfig(store: BlobStore): Promise<RepositoryConfig> {
  try {
    return decodeConfig(await store.get(CONFIG_KEY), store.location)
  } catch (cause) {
    if (!isHoldfastError(cause, 'blob_not_found')) throw cause
    await refuseHeadless(store)
    throw new RepositoryError('repository_not_found', `There is no Holdfast repository at ${store.location}.`, {
      facts: { location: store.location },
      hint: 'Check the location, or make one with "holdfast repo init".',
      cause,
    })
  }
}

/**
 * Where a log or packs lie, a repository was: one whose configuration was lost is not absent, and nothing may be made on
 * top of it. @throws repository_damaged
 */
export async function refuseHeadless(store: BlobStore): Promise<void> {
  for (const prefix of ['log/', 'packs/'])
    for await (const { key } of store.list(prefix))
      throw new RepositoryError(
        'repository_damaged',
        `The repository at ${store.location} has lost its configuration: there is ${key}, but no object "config".`,
        {
          facts: { location: store.location, found: key },
          hint: 'Copy the object "config" back from a mirror or backup of this store ("holdfast repo repair STORE --mirror"). Do not make a new repository here.',
        },
      )
}
