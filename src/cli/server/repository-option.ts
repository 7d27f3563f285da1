/**
 * The repository of a job, as the command line names it. The job gets the path of the key's file, never the key: the server
 * keeps its jobs, and does them when nobody is there to ask.
 */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { RepositoryAccess } from '#server'
import { CliError } from '../errors.ts'

export type RepositoryOptions = Readonly<{ store: string; passphraseFile?: string; keyFile?: string }>

export function withRepositoryOptions(command: Command): Command {
  return command
    .requiredOption('--store <store>', 'the repository')
    .option('--passphrase-file <path>', 'file with its passphrase (default: HOLDFAST_PASSPHRASE_FILE)')
    .option('--key-file <path>', 'file with its key (default: HOLDFAST_KEY_FILE)')
}

/** @throws CliError `passphrase_missing`, RepositoryError `store_location_invalid` */
export async function accessOf({ store, passphraseFile, keyFile }: RepositoryOptions): Promise<RepositoryAccess> {
  const { formatStoreLocation, parseStoreLocation } = await import('#engine/repository')
  const descriptor = parseStoreLocation(store)
  const location = descriptor.kind === 'folder' ? resolve(descriptor.path) : formatStoreLocation(descriptor)
  return { store: location, credential: credentialOf(passphraseFile, keyFile) }
}

function credentialOf(passphraseFile: string | undefined, keyFile: string | undefined): RepositoryAccess['credential'] {
  const passphrase = (path: string) => ({ kind: 'passphrase-file', path: resolve(path) }) as const
  const key = (path: string) => ({ kind: 'key-file', path: resolve(path) }) as const
  if (keyFile !== undefined) return key(keyFile)
  if (passphraseFile !== undefined) return passphrase(passphraseFile)
  const { HOLDFAST_KEY_FILE: envKey = '', HOLDFAST_PASSPHRASE_FILE: envPassphrase = '' } = process.env
  if (envKey !== '') return key(envKey)
  if (envPassphrase !== '') return passphrase(envPassphrase)
  throw new CliError('passphrase_missing', "The file with the repository's passphrase or key was not named.", {
    hint: 'Use --passphrase-file or --key-file, or set HOLDFAST_PASSPHRASE_FILE or HOLDFAST_KEY_FILE; the worker reads it.',
  })
}
