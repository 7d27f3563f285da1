/** HOME/holdfast.yaml: read whole or refused; written once, never rewritten: it is its owner's. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, messageOf } from '#base'
import { createFileOnce } from '#runtime'
import { ServerError } from '../errors.ts'
import type { Home } from '../home.ts'
import { CONFIG_DEFAULTS, parseConfig } from './read-config.ts'
import type { Config } from './schema.ts'
import { configText } from './write-config.ts'

export function configPath(home: Pick<Home, 'folder'>): string {
  return join(home.folder, 'holdfast.yaml')
}

/** The settings of the home; those of a file that is not there are the usual ones. @throws ServerError `config_invalid` */
export async function readConfigFile(path: string): Promise<Config> {
  try {
    return parseConfig(await readFile(path, 'utf8'), path)
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return CONFIG_DEFAULTS
    if (cause instanceof ServerError) throw cause
    throw new ServerError('config_invalid', `The configuration ${path} cannot be read: ${messageOf(cause)}.`, {
      facts: { path },
      cause,
    })
  }
}

/** Writes the commented file unless there is one. */
export function writeConfigOnce(path: string, config: Config = CONFIG_DEFAULTS): Promise<'created' | 'exists'> {
  return createFileOnce(path, [new TextEncoder().encode(configText(config))])
}
