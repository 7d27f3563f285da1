/** The jobs that `serve` knows and the tasks that its worker does, put together for one home. */
import { join } from 'node:path'
import { type Clock, type Random, randomUuid, WRITER } from '#base'
import type { ChangeSource } from '#catalog'
import { NetworkHost } from '#engine/hypervisor'
import {
  BACKUP_TASK,
  backupJob,
  backupTask,
  ByteServer,
  computeTasks,
  defineComputeJobs,
  defineMachineJobs,
  defineNetworkJobs,
  defineProtectionJobs,
  defineImageJobs,
  defineRestoreJobs,
  defineSnapshotJobs,
  defineVaultCareJobs,
  defineVaultJobs,
  deleteGroupJob,
  DEPLOYMENT_QUEUE,
  deploymentJob,
  diskDeleteJobs,
  HostMachines,
  Hydrations,
  imageDeleteJobs,
  imageTasks,
  instantTasks,
  listRepositoryJob,
  machineDeleteJobs,
  MACHINE_ORDERS,
  machineTasks,
  openMachineHost,
  networkDeleteJobs,
  networkTasks,
  protectionTasks,
  RESOURCE_QUEUE,
  type RepositoryHost,
  restoreTasks,
  scheduleKeeping,
  schedulePrune,
  SealedOrders,
  scheduleBaseSweep,
  scheduleSweep,
  scheduleVaultPurge,
  snapshotDeleteJobs,
  snapshotTasks,
  type TaskHandler,
  vaultCareTasks,
  vaultDeleteJobs,
  vaultTasks,
} from '#jobs'
import { type Logger, systemClock, systemRandom } from '#runtime'
import { CONFIG_DEFAULTS } from './config/read-config.ts'
import type { Home } from './home.ts'
import type { ServeParts } from './serve.ts'

export const BACKUP_QUEUE = 'backup'
/** Deployments that ask for something at once; while they wait for what they asked for they take no place. */
const DEPLOYMENTS_AT_ONCE = 8

const changeSource: ChangeSource = {
  nowMs: () => systemClock.nowMs(),
  newEtag: () => `W/"${randomUuid(systemRandom)}"`,
}

export function repositoryHost(home: Home, clock: Clock, random: Random): RepositoryHost {
  return { clock, random, cacheFolder: join(home.folder, 'cache'), writer: WRITER }
}

/** Defines queues and jobs. Jobs with one key, such as a machine's name, run one after the other. */
export function defineJobs(
  home: Home,
  { engine, catalog, tasks, deployments, apiDesk, config = CONFIG_DEFAULTS }: ServeParts,
): void {
  const { backupsAtOnce, operationsAtOnce } = config.limits
  engine.queue(BACKUP_QUEUE, { concurrency: backupsAtOnce, perKeyConcurrency: 1 })
  engine.define(backupJob({ catalog, tasks, nowMs: () => systemClock.nowMs() }))
  engine.queue(RESOURCE_QUEUE, { concurrency: operationsAtOnce, perKeyConcurrency: 1 })
  const deleteJobs = new Map([
    ...diskDeleteJobs,
    ...snapshotDeleteJobs,
    ...imageDeleteJobs,
    ...machineDeleteJobs,
    ...networkDeleteJobs,
    ...vaultDeleteJobs,
  ])
  engine.define(deleteGroupJob({ catalog, source: changeSource, deleteJobs }))
  engine.queue(DEPLOYMENT_QUEUE, { concurrency: DEPLOYMENTS_AT_ONCE })
  engine.define(deploymentJob(deployments))
  const host = repositoryHost(home, systemClock, systemRandom)
  engine.define(listRepositoryJob(catalog, host))
  const compute = { catalog, tasks, source: changeSource, folder: home.folder, host }
  defineComputeJobs(engine, compute)
  defineSnapshotJobs(engine, compute)
  const orders = new SealedOrders(home.folder, systemRandom, MACHINE_ORDERS)
  defineMachineJobs(engine, { ...compute, orders })
  defineRestoreJobs(engine, { ...compute, orders, random: systemRandom, desk: apiDesk })
  defineNetworkJobs(engine, compute)
  defineImageJobs(engine, compute)
  defineVaultJobs(engine, compute)
  const { webhook, secretFile } = config.alerts
  defineVaultCareJobs(engine, compute, webhook === null ? undefined : { url: webhook, secretFile })
  defineProtectionJobs(engine, compute, backupsAtOnce)
}

/** The virtual networks of this host. One of them in a process, so that what it made is known to whoever looks after it. */
export function openNetworks(home: Home, logger: Logger): NetworkHost {
  const warn = (facts: Record<string, unknown>, message: string): void => logger.warn(facts, message)
  return new NetworkHost({ folder: join(home.folder, 'networks'), clock: systemClock, warn })
}

export function workerTasks(
  home: Home,
  logger: Logger,
  networks: NetworkHost = openNetworks(home, logger),
): ReadonlyMap<string, TaskHandler> {
  const host = repositoryHost(home, systemClock, systemRandom)
  const warn = (facts: Record<string, unknown>, message: string): void => logger.warn(facts, message)
  const running = { ...host, stateFolder: home.folder, warn }
  const machines = openMachineHost(running)
  const hydrations = new Hydrations(host, machines)
  return new Map([
    [BACKUP_TASK, backupTask(running)],
    ...computeTasks(host),
    ...snapshotTasks(running),
    ...machineTasks({ ...machines, letGo: (files) => hydrations.letGo(files) }),
    ...instantTasks(hydrations),
    ...restoreTasks(host),
    ...protectionTasks(running),
    ...networkTasks(networks),
    ...imageTasks(host),
    ...vaultTasks,
    ...vaultCareTasks(host),
  ])
}

/** Where the worker moves bytes for signed URLs. */
export function bytesSocketPath(home: Home): string {
  const address = home.socket('bytes')
  if (address.kind !== 'unix') throw new TypeError('The sockets of a home are unix sockets')
  return address.path
}

export function openByteServer(home: Home, logger: Logger): Promise<ByteServer> {
  const host = repositoryHost(home, systemClock, systemRandom)
  const machines = new HostMachines(openMachineHost({ ...host, stateFolder: home.folder }))
  return ByteServer.open({ socketPath: bytesSocketPath(home), host, logger, machines })
}

/** Schedules of the server's own. */
export async function scheduleJobs({ engine }: ServeParts): Promise<void> {
  await scheduleSweep(engine, RESOURCE_QUEUE)
  await scheduleBaseSweep(engine, RESOURCE_QUEUE)
  await schedulePrune(engine, RESOURCE_QUEUE)
  await scheduleKeeping(engine, RESOURCE_QUEUE)
  await scheduleVaultPurge(engine, RESOURCE_QUEUE)
}
