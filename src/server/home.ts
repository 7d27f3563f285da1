/**
 * Where a Holdfast keeps its own things: HOLDFAST_HOME, else $XDG_STATE_HOME/holdfast, else ~/.local/state/holdfast; for
 * root /var/lib/holdfast. Folders are the owner's alone; but those above what QEMU opens let it pass, where root runs it as another
 * user (src/engine/hypervisor/qemu/passage.ts).
 *
 *   holdfast.yaml          the settings (src/server/config)
 *   catalog.sqlite         the catalog (src/catalog)
 *   backup/                copies of the catalog, one a day (src/server/catalog-copies.ts)
 *   keys/, tls/            what must stay secret: the key of tokens, the administrator's secret, certificates' keys
 *                          of a host elsewhere: tls/host.json, which lets it in at its server, and no catalog
 *   regions/               pool and store of the regions made to try things out
 *   run/serve.lock         held by the one `serve` of this home; run/worker.lock by the one worker
 *   run/serve.sock         the sockets that they answer on; run/bytes.sock, where the worker moves bytes for signed URLs
 *   run/worker.json        which process was started as worker, and why the last one was replaced; the same for the watchdog
 *   log/worker.log, .1, …  the worker's log, bounded (WORKER_LOG); the watchdog's lies with the journals
 *   log/*.out, *.out.old   what these processes print besides: mostly nothing
 *   import/                files that disks may be imported from, unless the setting `import-folders` says otherwise
 *   keys/                  secrets of this home, one file each: region-<name>.key opens a region's repository, access.key signs
 *                          URLs to disks. Copy them: without the first nobody can read the snapshots
 *   machines/              machines that run here: description, last run, UEFI variables, seed (src/jobs/compute/machine)
 *   run/m/                 their sockets, where the home's path is short enough
 *   machine-orders/        what first boots are to find, and scripts, sealed; keys/machine-orders/ their keys, removed first
 *   orders/                sealed orders of deployments that run; keys/orders/ their keys, removed first
 *   networks/              virtual networks of this host: their plans, and the sockets of what keeps them
 *   instants/              journals of open instants, one folder a repository; watchdog.json, keeper.json
 */
import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { messageOf } from '#base'
import { type Environment, recordPath, type ListenAddress, UNIX_PATH_BYTES_MAX, usualHome } from '#runtime'
import { ServerError } from './errors.ts'

export type Home = Readonly<{
  folder: string
  catalog: string
  lock: (name: string) => string
  socket: (name: string) => ListenAddress
  record: (name: string) => string
  log: (name: string) => string
  /** What a process prints besides its log, such as its last words. */
  output: (name: string) => string
}>

/** The folder that the environment says. @throws ServerError `home_unusable` */
export function homeFolder(environment: Environment, isRoot: boolean): string {
  const folder = usualHome(environment, isRoot)
  if (isAbsolute(folder)) return folder
  throw new ServerError('home_unusable', `HOLDFAST_HOME must be an absolute path, not "${folder}".`, {
    facts: { folder },
  })
}

function checkSocketPath(path: string): string {
  if (Buffer.byteLength(path) <= UNIX_PATH_BYTES_MAX) return path
  const message = `The path ${path} is too long for a socket: the system takes ${UNIX_PATH_BYTES_MAX} bytes.`
  throw new ServerError('home_path_too_long', message, {
    facts: { path },
    hint: 'Set HOLDFAST_HOME to a shorter path.',
  })
}

/** Makes the folders. @throws ServerError */
export function openHome(folder: string): Home {
  try {
    for (const path of [folder, join(folder, 'run'), join(folder, 'log')]) {
      mkdirSync(path, { recursive: true, mode: 0o700 })
      chmodSync(path, 0o700 | (statSync(path).mode & 0o010))
    }
  } catch (cause) {
    throw new ServerError('home_unusable', `The folder ${folder} cannot be used: ${messageOf(cause)}.`, {
      facts: { folder },
      hint: 'Set HOLDFAST_HOME to a folder that you may write.',
      cause,
    })
  }
  return {
    folder,
    catalog: join(folder, 'catalog.sqlite'),
    lock: (name) => join(folder, 'run', `${name}.lock`),
    socket: (name) => ({ kind: 'unix', path: checkSocketPath(join(folder, 'run', `${name}.sock`)) }),
    record: (name) => recordPath(folder, name),
    log: (name) => join(folder, 'log', `${name}.log`),
    output: (name) => join(folder, 'log', `${name}.out`),
  }
}
