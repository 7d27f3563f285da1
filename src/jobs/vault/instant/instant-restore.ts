/**
 * Steps of a restore whose machine runs in seconds, on the vault's data, while that moves in behind it.
 *
 *   step                        a crash right after it leaves                    what goes on
 *   1 serve, make overlays      overlays, perhaps not all                        the task makes those that are missing
 *   2 keep the disks            disks that rest on a server                      no way back: they are the user's
 *   3 hydrate, beside           a server, or none: reads wait up to 300 s        the task serves again on the same socket
 *     make the machine          a machine that runs, or not                      its PUT is asked again
 *   4 both have ended           disks like any others
 *
 * serve, the worker and QEMU may each die at any time in 3: the task outlives `serve`; a new worker is asked again by the step; a
 * machine whose QEMU died is started again and goes on with its overlays. A machine that was not made leaves its disks to be filled at
 * rest. The job's record says when the machine ran (`Running at`) and when nothing was read from the vault any more (`Hydrated at`).
 */
import { HoldfastError, isHoldfastError, isoTime, must } from '#base'
import { type Catalog, changeBackupJob, findBackupJob, findResource } from '#catalog'
import { backingOf, changeDisk } from '../../compute/disk-records.ts'
import { poolOf, WORKER_RETRY } from '../../compute/create-disk.ts'
import { machineRoots } from '../../compute/machine/machine-host.ts'
import { milestoneFacts } from '../../compute/milestone-facts.ts'
import type { JobContext, JobDefinition, StepContext, StepRetry } from '../../port.ts'
import { recordOf } from '../../repository-access.ts'
import type { RestoreOrder } from '../restore/order.ts'
import type { ReadVaultPoint } from '../restore/read-point.ts'
import type { RestoredDisk, RestoreDisksParts } from '../restore/restored-disks.ts'
import { HYDRATE_WAITS, type InstantDisks, instantSocket } from './hydrations.ts'
import {
  HYDRATE_DISKS_TASK,
  MACHINE_RUNS,
  MAKE_INSTANT_DISKS_TASK,
  RELEASE_INSTANT_DISKS_TASK,
} from './instant-tasks.ts'

export const HYDRATE_RESTORED_DISKS_JOB = 'hydrate-restored-disks'
export const HYDRATE_QUEUE = 'hydrate'

/** However long the store is away: what the guest does not have yet is only there. */
const HYDRATE_RETRY: StepRetry = { attemptsMax: 1_000_000, delayMs: 300, delayMsMax: 5_000, ...HYDRATE_WAITS }

async function instantDisks(
  parts: RestoreDisksParts,
  job: JobContext,
  order: RestoreOrder,
  read: ReadVaultPoint,
  disks: readonly RestoredDisk[],
): Promise<InstantDisks> {
  const { catalog, folder } = parts
  const rows = await Promise.all(disks.map(async ({ id }) => must(await findResource(catalog, id), 'It was announced')))
  const [first] = rows
  return {
    key: job.jobId,
    place: read.place,
    socketPath: instantSocket(machineRoots(folder).runtimeFolder, job.jobId),
    pool: await poolOf(catalog, order.region, backingOf(must(first, 'There is a disk'))),
    disks: disks.map(({ diskId }, at) => ({
      diskId,
      exportName: `d${at}`,
      file: backingOf(must(rows[at], 'It was announced')).file,
    })),
  }
}

/** Step 1: the overlays are there. What they rest on, for the steps after it. */
export async function makeOverlays(
  job: JobContext,
  parts: RestoreDisksParts,
  order: RestoreOrder,
  read: ReadVaultPoint,
  disks: readonly RestoredDisk[],
): Promise<InstantDisks> {
  const wanted = await job.step('plan the overlays', () => instantDisks(parts, job, order, read, disks))
  await job.step(
    'make the overlays',
    async (step) => {
      await parts.tasks.run(step, MAKE_INSTANT_DISKS_TASK, wanted)
    },
    { retry: WORKER_RETRY },
  )
  return wanted
}

/** For a restore that is given up before its disks are anybody's. */
export async function releaseOverlays(parts: RestoreDisksParts, step: StepContext): Promise<void> {
  await parts.tasks.run(step, RELEASE_INSTANT_DISKS_TASK, { key: step.jobId })
}

async function note(catalog: Catalog, id: string, words: Readonly<Record<string, string>>): Promise<void> {
  await catalog.write(async (trx) => {
    const record = await findBackupJob(trx, id)
    if (record !== undefined) await changeBackupJob(trx, id, { properties: { ...record.properties, ...words } })
  })
}

export type HydrateInput = Readonly<{
  wanted: InstantDisks
  /** Of the disks' records. */
  disks: readonly string[]
  /** The restore, whose record is told. */
  restore: string
}>
export type Hydrated = Readonly<{ hydratedAt: string; runningAt: string | null }>

async function moveIn(
  { catalog, tasks }: RestoreDisksParts,
  step: StepContext,
  wanted: InstantDisks,
  restore: string,
): Promise<Readonly<{ done: boolean }>> {
  const milestone: StepContext['milestone'] = async (name, facts) => {
    await step.milestone(name, facts)
    const first = await milestoneFacts(catalog, step.jobId, MACHINE_RUNS)
    if (name === MACHINE_RUNS) await note(catalog, restore, { 'Running at': String((first ?? facts)['startedAt']) })
  }
  try {
    return (await tasks.run({ ...step, milestone }, HYDRATE_DISKS_TASK, wanted)) as { done: boolean }
  } catch (error) {
    throw step.signal.aborted ? error : triedAgain(error)
  }
}

/** Whatever goes wrong, a guest may rest on what is served: nobody stops serving for good but by moving all of it in. */
function triedAgain(error: unknown): unknown {
  if (!isHoldfastError(error) || error.retry !== 'never') return error
  const { code, message, facts, hint } = error
  return new HoldfastError(code, message, { facts, hint, cause: error, retry: 'later' })
}

/** Step 3, a job beside the one that makes the machine: it is over when every disk is whole. */
export function hydrateRestoredDisksJob(parts: RestoreDisksParts): JobDefinition<HydrateInput, Hydrated> {
  const { catalog, source } = parts
  return {
    name: HYDRATE_RESTORED_DISKS_JOB,
    version: 1,
    parse: (given) => recordOf(given, 'fields') as unknown as HydrateInput,
    run: async (job, { wanted, disks, restore }) => {
      for (let n = 1; ; n += 1) {
        const { done } = await job.step(`move the data in ${n}`, (step) => moveIn(parts, step, wanted, restore), {
          retry: HYDRATE_RETRY,
        })
        if (done) break
      }
      return job.step('record that it moved in', async () => {
        const hydratedAt = isoTime(source.nowMs())
        const facts = await milestoneFacts(catalog, job.jobId, MACHINE_RUNS)
        const runningAt = typeof facts?.['startedAt'] === 'string' ? facts['startedAt'] : null
        await note(catalog, restore, {
          ...(runningAt !== null && { 'Running at': runningAt }),
          'Hydrated at': hydratedAt,
        })
        await catalog.write(async (trx) => {
          for (const id of disks) await changeDisk(trx, id, { properties: { completionPercent: undefined } }, source)
        })
        return { hydratedAt, runningAt }
      })
    },
  }
}
