/**
 * The job `restore-point`: disks of a recovery point become managed disks; of them, where that was asked for, a new machine, or the
 * disks of the machine that they were taken of.
 *
 *   step                                  after a failure, a cancellation, or kill -9 for good
 *   1 the point is held (with the order)  it is let go of
 *   2 disks are announced and made        no disk: neither record nor file
 *   3 disks are kept, all at once         the disks; from here on nothing is cancelled any more
 *   4 template and configuration          the disks; a warning when the staging account is gone
 *   5 a machine is made                   the disks; a warning, and neither machine nor cards
 *     or disks are exchanged              no disk, unless the exchange took place (replace-disks.ts)
 *
 * Killed anywhere the job goes on from its last recorded step, on this process's successor. While it runs the record of the point
 * names it (`holds`), so that retention leaves the point alone; the bytes are pinned in the repository by who reads them.
 */
import { isHoldfastError } from '#base'
import { type BackupJobError, machineConfig, recreationTemplate } from '#domain'
import type { ApiDesk } from '../../api-desk.ts'
import { RESOURCE_QUEUE } from '../../resources/delete-group.ts'
import { join } from 'node:path'
import { WORKER_RETRY } from '../../compute/create-disk.ts'
import type { JobContext, JobDefinition } from '../../port.ts'
import { asBackupJob, type BackupJobEnd, forbidCancel, passTask } from '../backup-job-rows.ts'
import { placesOfPoint } from '../point-source.ts'
import type { InstantDisks } from '../instant/hydrations.ts'
import {
  HYDRATE_QUEUE,
  HYDRATE_RESTORED_DISKS_JOB,
  type Hydrated,
  type HydrateInput,
  makeOverlays,
  releaseOverlays,
} from '../instant/instant-restore.ts'
import { findPoint } from './find-point.ts'
import { makeMachine, type NewMachineOrder } from './make-machine.ts'
import { readRestoreOrder, type RestoreOrder } from './order.ts'
import { releasePoint } from './point-holds.ts'
import { READ_VAULT_POINT_TASK, type ReadVaultPoint } from './read-point.ts'
import { REPLACE_MACHINE_DISKS_JOB, type ReplaceDisksInput, type ReplacedDisks } from './replace-disks.ts'
import {
  announceDisks,
  giveUpDisks,
  keepDisks,
  makeDisks,
  type RestoredDisk,
  type RestoreDisksParts,
  settleDisks,
} from './restored-disks.ts'

export const RESTORE_POINT_JOB = 'restore-point'
/** The lines of the job's list. */
export const TRANSFER_TASK = 'Transfer data from vault'
export const MACHINE_TASK = 'Create the restored virtual machine'
export const REPLACE_TASK = 'Replace the existing disks'
/** Container of the staging account. */
const CONTAINER_PREFIX = 'restore-'

export type RestoreParts = RestoreDisksParts & Readonly<{ desk: ApiDesk }>

type Result = Readonly<Record<string, unknown>>
type Done = BackupJobEnd<null>

function warning(code: string, title: string, message: string, recommendation: string): BackupJobError {
  return { code, title, message, recommendations: [recommendation] }
}

function readPoint(parts: RestoreParts, job: JobContext, order: RestoreOrder): Promise<ReadVaultPoint> {
  const { catalog, tasks, folder, host } = parts
  return job.step(
    'read the point',
    async (step) => {
      const point = await findPoint(catalog, order)
      const repositories = { catalog, host, keysFolder: join(folder, 'keys') }
      const places = await placesOfPoint(repositories, point, { from: order.from })
      return (await tasks.run(step, READ_VAULT_POINT_TASK, { places })) as ReadVaultPoint
    },
    { retry: WORKER_RETRY },
  )
}

type Made = Readonly<{ order: RestoreOrder; read: ReadVaultPoint; disks: readonly RestoredDisk[] }>

/** An account that takes nothing, for it is full or not ours to write to, costs a warning and no disk. */
async function orNot(written: Promise<boolean>): Promise<boolean> {
  try {
    return await written
  } catch (error) {
    if (!isHoldfastError(error) || isHoldfastError(error, 'cancelled', 'job_lost', 'engine_stopping')) throw error
    return false
  }
}

/** Writes template and configuration into the staging account. Undefined: they are there, or nobody wants them. */
async function stage(job: JobContext, { desk }: RestoreParts, made: Made): Promise<Result> {
  const { order, read, disks } = made
  const { azure } = read
  const { storage } = order
  if (azure === null || storage === null) return {}
  const container = `${CONTAINER_PREFIX}${job.jobId}`
  const template = `azuredeploy${job.jobId}.json`
  const config = `config-${order.friendlyName.toLowerCase().replaceAll(/[^a-z0-9-]/g, '-')}-${job.jobId}.json`
  const text = (value: unknown): string => JSON.stringify(value, null, 2)
  const blobs = [
    { name: template, contentType: 'application/json', text: text(recreationTemplate(azure, order.region, disks)) },
    { name: config, contentType: 'application/json', text: text(machineConfig(azure, disks)) },
  ]
  const isThere = await orNot(
    job.step('write the template', async ({ signal }) =>
      (await desk.host(signal)).writeBlobs(storage, container, blobs),
    ),
  )
  const templateUrl = `${order.storageUrl ?? ''}/${container}/${template}`
  return isThere ? { storage, container, template, config, templateUrl } : { storage }
}

function stagedProperties({ container, template, templateUrl, config }: Result): Record<string, string> {
  if (typeof template !== 'string') return {}
  return {
    'Config Blob Container Name': String(container),
    'Config Blob Name': String(config),
    'Template Blob Uri': String(templateUrl),
  }
}

async function newMachine(job: JobContext, parts: RestoreParts, made: Made): Promise<readonly BackupJobError[]> {
  const { order, read, disks } = made
  const { machine } = order
  const advice = 'The disks are restored: make the machine from them, with the template or by hand.'
  if (machine === null) return []
  if (read.azure === null)
    return [
      warning('UserErrorVmNotDescribed', 'No machine was made.', 'The point says nothing of its machine.', advice),
    ]
  const wanted: NewMachineOrder = { ...order, machine }
  const failure = await makeMachine(job, parts, wanted, read.azure, disks)
  if (failure === undefined) return []
  return [
    warning(failure.code, 'The virtual machine could not be made; its disks are restored.', failure.message, advice),
  ]
}

async function exchange(job: JobContext, { order, read, disks }: Made): Promise<Pick<Done, 'warnings' | 'result'>> {
  const { replaces } = order
  if (replaces === null || read.azure === null) return {}
  const input: ReplaceDisksInput = { id: replaces, disks, azure: read.azure }
  const options = { queue: RESOURCE_QUEUE, key: replaces.toLowerCase() }
  const { why, ...done } = await job.child<ReplacedDisks>('exchange', REPLACE_MACHINE_DISKS_JOB, input, options)
  const advice = 'Start the machine. Its disks are those of the recovery point.'
  const warnings =
    why === null ? [] : [warning('UserErrorVmNotStarted', 'The machine was not started again.', why, advice)]
  return { warnings, result: { ...done } }
}

async function restore(job: JobContext, parts: RestoreParts, order: RestoreOrder): Promise<Done> {
  const rows = { catalog: parts.catalog, clock: parts.host.clock }
  const read = await readPoint(parts, job, order)
  let isKept = false
  job.cleanup(
    'give up the disks',
    async (step) => {
      // From the moment that they are kept they are the user's, but for those that were to replace others and did not.
      if (isKept && order.kind !== 'replace') return
      if (order.instant) await releaseOverlays(parts, step)
      await giveUpDisks(parts, step, order)
    },
    { retry: WORKER_RETRY },
  )
  const disks = await job.step('announce the disks', () => announceDisks(parts, job, order, read))
  const instant = order.instant ? await makeOverlays(job, parts, order, read, disks) : undefined
  if (instant === undefined) await makeDisks(job, parts, order, read, disks)
  await job.step('no way back', () => forbidCancel(rows, job.jobId))
  await job.step('keep the disks', () => keepDisks(parts, disks))
  isKept = true
  const made: Made = { order, read, disks }
  if (instant === undefined) await job.step('transferred', () => passTask(rows, job.jobId, TRANSFER_TASK))
  const [moved, rest] = await Promise.all([moveIn(job, instant, disks), restOfIt(job, parts, made)])
  await job.step('settle the disks', () => settleDisks(parts, disks))
  return {
    ...rest,
    output: null,
    properties: {
      ...rest.properties,
      ...(typeof moved?.runningAt === 'string' && { 'Running at': moved.runningAt }),
      ...(moved !== undefined && { 'Hydrated at': moved.hydratedAt }),
    },
    result: {
      ...rest.result,
      ...moved,
    },
  }
}

/** Undefined where the disks are whole already. */
function moveIn(
  job: JobContext,
  instant: InstantDisks | undefined,
  disks: readonly RestoredDisk[],
): Promise<Hydrated | undefined> {
  if (instant === undefined) return Promise.resolve(undefined)
  const input: HydrateInput = { wanted: instant, disks: disks.map(({ id }) => id), restore: job.jobId }
  return job.child<Hydrated>('hydrate', HYDRATE_RESTORED_DISKS_JOB, input, { queue: HYDRATE_QUEUE })
}

/** What is made of the disks. */
async function restOfIt(job: JobContext, parts: RestoreParts, made: Made): Promise<Omit<Done, 'output'>> {
  const { order, read, disks } = made
  const rows = { catalog: parts.catalog, clock: parts.host.clock }
  const staged = await stage(job, parts, made)
  const isUnstaged = order.storage !== null && read.azure !== null && staged['template'] === undefined
  const machineWarnings = order.kind === 'machine' ? await newMachine(job, parts, made) : []
  const exchanged = order.kind === 'replace' ? await exchange(job, made) : {}
  if (order.instant) await job.step('the machine was made', () => passTask(rows, job.jobId, MACHINE_TASK))
  const [name = ''] = order.storage?.split('/').slice(-1) ?? []
  const unstaged = warning(
    'UserErrorStagingAccountNotFound',
    'The template was not written.',
    `The storage account ${name} is not there any more, or could not be written to.`,
    'The disks are restored: make the machine from them by hand.',
  )
  return {
    warnings: [...(isUnstaged ? [unstaged] : []), ...machineWarnings, ...(exchanged.warnings ?? [])],
    properties: stagedProperties(staged),
    result: {
      ...staged,
      disks: disks.map(({ id, lun }) => ({ id, lun })),
      readFrom: read.place.side,
      passed: read.passed,
      ...exchanged.result,
    },
  }
}

export function restorePointJob(parts: RestoreParts): JobDefinition<RestoreOrder, null> {
  const rows = { catalog: parts.catalog, clock: parts.host.clock }
  return {
    name: RESTORE_POINT_JOB,
    version: 1,
    parse: readRestoreOrder,
    run: (job, order) => {
      job.cleanup('let go of the point', () => releasePoint(parts.catalog, order, job.jobId), { when: 'always' })
      return asBackupJob(job, rows, () => restore(job, parts, order))
    },
  }
}
