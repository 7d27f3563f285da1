/**
 * The worker: one process per home that does the tasks of the data plane, and outlives the control process that started
 * it. It answers on a unix socket, and on TLS with client certificates where it is told to. The worker of a host elsewhere is
 * the same: its server's connections come to these sockets by the line that it keeps (host-line.ts).
 *
 * Crash story: kill -9 leaves the socket's file and its record; the lock is free at once, so the next worker takes both.
 */
import { PROGRAM_VERSION } from '#base'
import type { ListenAddress, Logger } from '#runtime'
import { identityOf, processPace, RpcServer, systemClock, tryProcessLock } from '#runtime'
import type { NetworkHost } from '#engine/hypervisor'
import { keepNetworks, type TaskHandler } from '#jobs'
import { ServerError } from '../errors.ts'
import type { Home } from '../home.ts'
import { openByteServer } from '../jobs-of-serve.ts'
import { folderMethods } from './folder-methods.ts'
import { HostLine, type LineParts } from './host-line.ts'
import { taskMethods } from './task-methods.ts'
import { TaskTable } from './task-table.ts'

export type WorkerOptions = Readonly<{
  home: Home
  logger: Logger
  handlers: ReadonlyMap<string, TaskHandler>
  /** Virtual networks that it keeps; without them none is looked after. */
  networks?: NetworkHost
  /** Where it listens besides its unix socket. */
  alsoAt?: readonly ListenAddress[]
  /** Tasks at once; further ones wait. Default: no limit. */
  tasksAtOnce?: number
  /** The line to a server elsewhere that this home has joined; undefined: its server is on this host. */
  line?: Omit<LineParts, 'home' | 'logger'>
  /** What it says of itself; a server asks one of another version than its own to make way. */
  version?: string
}>

export type Worker = Readonly<{
  addresses: readonly ListenAddress[]
  /** Resolves when the worker has retired: it was asked to, and its last task has ended. */
  retired: Promise<void>
  /** Aborts the tasks and closes. */
  stop: () => Promise<void>
}>

/** Starts to answer. @throws ServerError `home_in_use` when this home has a worker, RpcError */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { home, logger, version = PROGRAM_VERSION } = options
  const lock = tryProcessLock(home.lock('worker'))
  if (lock === undefined) {
    throw new ServerError('home_in_use', `The home ${home.folder} has a worker already.`, {
      facts: { home: home.folder },
    })
  }
  const tasks = new TaskTable(options.handlers, logger, options.tasksAtOnce)
  const { methods: ofTasks, retired } = taskMethods(tasks, (bytesPerSecond) => processPace.set(bytesPerSecond))
  const methods = { ...ofTasks, ...folderMethods }
  const facts = { identity: identityOf(), home: home.folder }
  const servers: RpcServer[] = []
  for (const address of [home.socket('worker'), ...(options.alsoAt ?? [])]) {
    servers.push(await RpcServer.open({ address, role: 'worker', version, facts, methods }))
  }
  const bytes = await openByteServer(home, logger)
  const leave = new AbortController()
  const keeping = keeper(options, leave.signal)
  const line = options.line === undefined ? undefined : HostLine.begin({ ...options.line, home, logger })
  const stop = async (): Promise<void> => {
    await line?.leave()
    leave.abort()
    await keeping
    await tasks.stop()
    await bytes.close()
    for (const server of servers) await server.close()
    lock.release()
  }
  return { addresses: servers.map(({ address }) => address), retired, stop }
}

/** Looks after the virtual networks until told to leave; they stay. */
async function keeper({ networks, logger }: WorkerOptions, signal: AbortSignal): Promise<void> {
  const warn = (facts: Record<string, unknown>, message: string): void => logger.warn(facts, message)
  if (networks !== undefined) await keepNetworks(networks, systemClock, signal, warn)
}
