/**
 * The job `backup`: a recovery point of a running machine, made by a worker, then recorded in the catalog.
 *
 *   dies                       what is left                          what goes on
 *   serve                      the worker's task                     the next serve takes the job over and attaches to it
 *   the worker, while reading  an open instant, packs nobody names   watchdog frees the guest; the task begins again on the
 *                                                                    next worker, which recovers the instant first
 *   the worker, committed      the point, which names the job        the task finds it and gives it: no second one is made
 *   serve, before recording    the point                             the step's result is asked for again
 */
import { type Catalog, recordPoint, recordRepository } from '#catalog'
import type { ListedPoint } from '#domain'
import type { ConsistencyLevel } from '#engine/hypervisor'
import { backUpRunning } from '#engine/transfer'
import type { JobDefinition } from './port.ts'
import { type RepositoryAccess, type RepositoryHost, withRepository } from './repository-access.ts'
import { absolutePathOf, inputInvalid, readRepositoryAccess, recordOf } from './repository-access.ts'
import { listedPoint } from './listed-point.ts'
import type { TaskHandler, TaskRunner } from './tasks.ts'

export const BACKUP_JOB = 'backup'
export const BACKUP_TASK = 'backup-machine'

export type BackupJobInput = RepositoryAccess &
  Readonly<{
    /** Points of one name form a history. */
    machine: string
    qmp: string
    agent?: string
    consistency: ConsistencyLevel
    strict: boolean
  }>

export type BackupJobOutput = Readonly<{ point: ListedPoint; readBytes: number; storedBytes: number; mode: string }>

/** A worker is started again within seconds, later when it dies again and again; a machine may be out of reach for longer. */
const WORKER_RETRY = { attemptsMax: 12, delayMs: 500, delayMsMax: 60_000 }
const NAME = /^\P{C}{1,128}$/u
const LEVELS: readonly string[] = ['crash', 'filesystem', 'application'] satisfies ConsistencyLevel[]

/** @throws JobsError `job_input_invalid` */
export function readBackupInput(given: unknown): BackupJobInput {
  const input = recordOf(given, 'fields')
  const { machine, agent, strict = false } = input
  const consistency = input['consistency'] ?? (agent === undefined ? 'crash' : 'application')
  if (typeof machine !== 'string' || !NAME.test(machine)) throw inputInvalid('machine')
  if (typeof consistency !== 'string' || !LEVELS.includes(consistency)) throw inputInvalid('consistency')
  if (agent === undefined && consistency !== 'crash')
    throw inputInvalid(`agent, which ${consistency} consistency needs`)
  if (typeof strict !== 'boolean') throw inputInvalid('strict')
  return {
    ...readRepositoryAccess(input),
    machine,
    qmp: absolutePathOf(input['qmp'], 'qmp'),
    ...(agent === undefined ? {} : { agent: absolutePathOf(agent, 'agent') }),
    consistency: consistency as ConsistencyLevel,
    strict,
  }
}

export type BackupTaskHost = RepositoryHost &
  Readonly<{ stateFolder: string; warn: (facts: Record<string, unknown>, message: string) => void }>

/** Runs on the worker. May begin again at any time after it died. */
export function backupTask(host: BackupTaskHost): TaskHandler {
  return async (given, { key, signal, progress }): Promise<BackupJobOutput> => {
    const input = readBackupInput(given)
    const { machine, qmp, agent, consistency, strict } = input
    const sockets = { qmpSocketPath: qmp, ...(agent === undefined ? {} : { agentSocketPath: agent }) }
    return withRepository(input, host, async (repository, store) => {
      const backup = { machine, sockets, consistency, strict, once: `Made by job ${key.job}.` }
      const point = await backUpRunning(repository, backup, {
        ...host,
        store,
        signal,
        progress,
        onWarning: (sentence) => host.warn({ machine }, sentence),
        onUnrecovered: (id, error) =>
          host.warn({ instant: id, error: error?.message }, 'an instant of an earlier run is still open'),
      })
      const sum = (field: 'readBytes' | 'storedBytes'): number =>
        point.disks.reduce((all, disk) => all + disk[field], 0)
      const [readBytes, storedBytes] = [sum('readBytes'), sum('storedBytes')]
      return { point: listedPoint(repository, point), readBytes, storedBytes, mode: point.mode }
    })
  }
}

export function backupJob(
  parts: Readonly<{ catalog: Catalog; tasks: TaskRunner; nowMs: () => number }>,
): JobDefinition<BackupJobInput, BackupJobOutput> {
  const { catalog, tasks, nowMs } = parts
  return {
    name: BACKUP_JOB,
    version: 1,
    parse: readBackupInput,
    run: async (job, input) => {
      const made = await job.step(
        'back-up',
        async (step) => (await tasks.run(step, BACKUP_TASK, input)) as BackupJobOutput,
        { retry: WORKER_RETRY },
      )
      await job.step('record', async () => {
        const { repositoryId } = made.point
        await recordRepository(catalog, { id: repositoryId, location: input.store, addedMs: nowMs() })
        await recordPoint(catalog, made.point)
      })
      return made
    },
  }
}
