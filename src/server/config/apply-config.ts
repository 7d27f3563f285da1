/**
 * Puts what handlers and jobs heed into the catalog's settings, where they read it: at every start, so that the file decides.
 */
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { GIB, MIB } from '#base'
import { type Catalog, putSetting } from '#catalog'
import { NETWORK_SETTINGS_KEY, type NetworkSettings, ROOM_SETTINGS } from '#jobs'
import type { Home } from '../home.ts'
import type { Config } from './schema.ts'

const CPUS_PER_PROCESSOR = 8
const MEMORY_MIB_MIN = 256

/** What the host gives to machines: what was said, else most of what it has. Memory is given once, processors are shared. */
export function roomOf(
  { memory, processors }: Config['machines'],
  host: Readonly<{ memoryBytes: number; processors: number }>,
): Readonly<{ memoryMib: number; cpus: number }> {
  const usual = host.memoryBytes - host.memoryBytes / 8 - GIB
  const bytes = memory > 0 ? memory : usual
  return {
    memoryMib: Math.max(MEMORY_MIB_MIN, Math.floor(bytes / MIB)),
    cpus: processors > 0 ? processors : CPUS_PER_PROCESSOR * host.processors,
  }
}

export async function applyConfig(
  catalog: Catalog,
  home: Home,
  { imports, snapshots, machines, networks }: Config,
): Promise<void> {
  const room = roomOf(machines, { memoryBytes: totalmem(), processors: availableParallelism() })
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
    [ROOM_SETTINGS.memoryMib]: String(room.memoryMib),
    [ROOM_SETTINGS.cpus]: String(room.cpus),
    [NETWORK_SETTINGS_KEY]: JSON.stringify(networkSettings),
  }
  await catalog.write(async (trx) => {
    for (const [name, value] of Object.entries(settings)) await putSetting(trx, name, value)
  })
}
