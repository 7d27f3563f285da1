/**
 * Puts what handlers and jobs heed into the catalog's settings, where they read it: at every start, so that the file decides.
 */
import { join } from 'node:path'
import { type Catalog, putSetting } from '#catalog'
import { NETWORK_SETTINGS_KEY, type NetworkSettings } from '#jobs'
import type { Home } from '../home.ts'
import type { Config } from './schema.ts'

export async function applyConfig(
  catalog: Catalog,
  home: Home,
  { imports, snapshots, networks }: Config,
): Promise<void> {
  const { address, firstPort, lastPort, hostLoopback } = networks
  const networkSettings: NetworkSettings = {
    address,
    portFirst: firstPort,
    portLast: lastPort,
    hostLoopback: hostLoopback === 'yes',
  }
  const settings: Readonly<Record<string, string>> = {
    'import-folders': JSON.stringify([join(home.folder, 'import'), ...imports.folders]),
    'import-hosts': JSON.stringify(imports.hosts),
    'adopt-folders': JSON.stringify(imports.adoptFolders),
    'snapshot-limits': snapshots.limits,
    'snapshots-per-disk': String(snapshots.perDisk),
    [NETWORK_SETTINGS_KEY]: JSON.stringify(networkSettings),
  }
  await catalog.write(async (trx) => {
    for (const [name, value] of Object.entries(settings)) await putSetting(trx, name, value)
  })
}
