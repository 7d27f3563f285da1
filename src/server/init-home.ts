/**
 * Makes a home without serving it: configuration, catalog, identity, regions, administrator, certificates. What is there
 * stays as it is, so a second run, also after a crash in the middle of the first, only adds what is missing.
 */
import { join } from 'node:path'
import type { Clock, Random } from '#base'
import { Catalog, listRegions } from '#catalog'
import { tryProcessLock } from '#runtime'
import { configPath, readConfigFile, writeConfigOnce } from './config/config-file.ts'
import { CONFIG_DEFAULTS } from './config/read-config.ts'
import type { Config } from './config/schema.ts'
import { ServerError } from './errors.ts'
import { openTls } from './face/certificates.ts'
import { type Administrator, firstStart, type Identity } from './face/first-start.ts'
import type { Home } from './home.ts'

export type Initialised = Readonly<{
  home: string
  configFile: string
  /** Whether this run wrote the file. */
  configWritten: boolean
  identity: Identity
  administrator: Administrator
  caFile: string
  regions: readonly string[]
}>

/** The lock of the one process that works on a home's catalog as its server. @throws ServerError `home_in_use` */
export function lockHome(home: Home) {
  const lock = tryProcessLock(home.lock('serve'))
  if (lock !== undefined) return lock
  throw new ServerError('home_in_use', `Another Holdfast serves the home ${home.folder} already.`, {
    facts: { home: home.folder },
    hint: 'Stop it first, or give this one a home of its own (HOLDFAST_HOME).',
  })
}

/** @param listen what the configuration file, if it is made now, says of where to listen. @throws ServerError, CatalogError */
export async function initHome(
  home: Home,
  source: Readonly<{ clock: Clock; random: Random }>,
  listen: Partial<Config['listen']> = {},
): Promise<Initialised> {
  const lock = lockHome(home)
  try {
    const configFile = configPath(home)
    const wanted = { ...CONFIG_DEFAULTS, listen: { ...CONFIG_DEFAULTS.listen, ...listen } }
    const configWritten = (await writeConfigOnce(configFile, wanted)) === 'created'
    const config = await readConfigFile(configFile)
    const catalog = await Catalog.open(home.catalog, source.clock)
    try {
      const { identity, administrator } = await firstStart({ home, catalog, ...source })
      const caFile = await trustedFile(home, config, source.clock)
      const regions = (await listRegions(catalog)).map(({ name }) => name)
      return { home: home.folder, configFile, configWritten, identity, administrator, caFile, regions }
    } finally {
      await catalog.close()
    }
  } finally {
    lock.release()
  }
}

async function trustedFile(home: Home, { listen, tls }: Config, clock: Clock): Promise<string> {
  if (tls.ca !== null) return tls.ca
  return (await openTls(join(home.folder, 'tls'), [listen.address, ...listen.names], clock)).caPath
}
