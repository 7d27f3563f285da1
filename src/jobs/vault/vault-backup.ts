/**
 * The job `vault-backup`: one recovery point of a protected machine in its vault. Its id is that of the record in the list of jobs.
 *
 *   dies                             what is left                     what goes on
 *   serve                            the worker's task                the next serve attaches to it
 *   the worker, at any step          see back-up-task.ts              the task begins again; a point that is there is given
 *   serve, before the point's row    the point, by the job's note     the step is asked for again, gives it, and it is recorded
 *   serve, after the row             the row                          its name is of the log's number: it is not written twice
 *
 * A machine that is being changed, or whose instant broke, is tried again, as it is then: Azure does the same. A backup that failed or
 * was cancelled leaves no point. One at a time of a machine: the job's key is the machine.
 */
import { type Clock, isHoldfastError, must } from '#base'
import {
  type Catalog,
  type CatalogTransaction,
  changeProtectedItem,
  findProtectedItem,
  findVaultPoint,
  insertVaultPoint,
  listAlerts,
  listVaultPoints,
  type ProtectedItem,
  resolveAlert,
  type VaultPoint,
  type VaultPointDisk,
} from '#catalog'
import type { BackupPolicy, BackupJobError, VaultImmutability } from '#domain'
import type { RegionRepositoryParts } from '../compute/region-repository.ts'
import { INSTANT_OPEN } from '../compute/take-snapshots.ts'
import { FORGET_VERSIONS_TASK } from '../compute/version-tasks.ts'
import { JobsError } from '../errors.ts'
import type { JobContext, JobDefinition, StepContext } from '../port.ts'
import { inputInvalid, recordOf } from '../repository-access.ts'
import { HOST_WAIT, type TaskRunner } from '../tasks.ts'
import { ALERTS } from './alerts.ts'
import { BACK_UP_TO_VAULT_TASK, type BackedUp, type BackUpToVaultInput } from './back-up-task.ts'
import { backupErrorOf } from './backup-errors.ts'
import { asBackupJob, type BackupJobEnd, forbidCancel, passTask } from './backup-job-rows.ts'
import { keepByPolicy } from './keep-by-policy.ts'
import { type MachineToBackUp, planBackup } from './plan-backup.ts'
import { vaultRepository } from './vault-repository.ts'
import { findPolicy, vaultRow, vaultSettingsOf } from './vault-rows.ts'

export const VAULT_BACKUP_JOB = 'vault-backup'
export const VAULT_BACKUP_QUEUE = 'vault-backup'
export const BACKUP_TASKS = ['Take Snapshot', 'Transfer data to vault'] as const

export type VaultBackupInput = Readonly<{
  /** Key of the protected item. */
  item: string
  isOnDemand: boolean
  /** The slot of the schedule that it is for. */
  slotMs?: number
  expiresMs?: number
}>

export type ProtectionParts = Readonly<{
  catalog: Catalog
  clock: Clock
  tasks: TaskRunner
  repositories: RegionRepositoryParts
}>

/** What changes by itself within minutes is waited for: a worker, an operation on the machine, another instant of it. */
const BACKUP_RETRY = { attemptsMax: 10, delayMs: 500, delayMsMax: 60_000, ...HOST_WAIT }
const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 10_000, ...HOST_WAIT }
const INSTANT_WAIT_MS = 60_000
const DAY_MS = 24 * 3_600_000

/** What the API tells of the machine with its point. */
type MachineFacts = Readonly<{ vmSize?: string; osType?: string; sku?: string }>
type Taken = Readonly<{
  done: BackedUp
  disks: readonly VaultPointDisk[]
  excluded: readonly Readonly<{ lun: number; name: string }>[]
  facts: MachineFacts
  wasRunning: boolean
  asked: 'crash' | 'application'
}>

function readInput(given: unknown): VaultBackupInput {
  const input = recordOf(given, 'fields')
  if (typeof input['item'] !== 'string') throw inputInvalid('item')
  return input as unknown as VaultBackupInput
}

/** @throws JobsError `item_not_there` */
export async function findItem(from: Catalog | CatalogTransaction, key: string): Promise<ProtectedItem> {
  const item = await findProtectedItem(from, key)
  if (item !== undefined && item.softDeletedMs === undefined) return item
  throw new JobsError('item_not_there', `The protected item ${key} is not there any more.`, { facts: { item: key } })
}

/** Points of one machine in a vault's repository form a history, which `holdfast repo list` shows by this name. */
export function historyOf(machineId: string): string {
  const [, group = '', name = ''] = /\/resourceGroups\/([^/]+)\/.*\/([^/]+)$/i.exec(machineId) ?? []
  return `${group}/${name}`.toLowerCase()
}

/** Decimal digits; larger for newer ones, since the log's number leads. */
export function pointName(sequence: number, takenMs: number): string {
  return `${sequence}${String(Math.floor(takenMs / 1000)).padStart(10, '0')}`
}

function machineFacts({ azure }: MachineToBackUp): MachineFacts {
  const properties = (azure.machine.body['properties'] ?? {}) as Record<string, unknown>
  const { vmSize } = (properties['hardwareProfile'] ?? {}) as Record<string, unknown>
  const os = azure.disks.find(({ lun }) => lun < 0)
  const { osType } = (os?.body['properties'] ?? {}) as Record<string, unknown>
  const { name } = (os?.body['sku'] ?? {}) as Record<string, unknown>
  return {
    ...(typeof vmSize === 'string' && { vmSize }),
    ...(typeof osType === 'string' && { osType }),
    ...(typeof name === 'string' && { sku: name }),
  }
}

/**
 * How long the point of a locked vault is locked at least: what its policy promises whatever is made after it. (The vault's days, where it
 * has them, are its repository's own policy; see immutability.ts.)
 */
export function lockMsOf(
  { state }: VaultImmutability,
  policy: BackupPolicy | undefined,
  { isOnDemand, expiresMs }: Pick<VaultBackupInput, 'isOnDemand' | 'expiresMs'>,
  nowMs: number,
): number | undefined {
  if (state !== 'Locked') return undefined
  if (isOnDemand) return expiresMs === undefined ? undefined : Math.max(0, expiresMs - nowMs)
  if (policy === undefined) return undefined
  const { schedule, rules, instantDays } = policy
  if (schedule.kind === 'hourly') return instantDays * DAY_MS
  return (schedule.kind === 'daily' ? (rules.daily?.days ?? instantDays) : 7 * (rules.weekly?.weeks ?? 1)) * DAY_MS
}

/** One attempt: the machine as it is now, into the vault as it lies now. */
async function take(parts: ProtectionParts, step: StepContext, input: VaultBackupInput): Promise<Taken> {
  const { catalog, clock, tasks, repositories } = parts
  const item = await findItem(catalog, input.item)
  const policy = item.policyId === undefined ? undefined : await findPolicy(catalog, item.policyId)
  const asked = policy?.crashConsistentOnly === true ? 'crash' : 'application'
  const settings = vaultSettingsOf(await vaultRow(catalog, item.vaultKey))
  const lockMs = lockMsOf(settings.immutability, policy, input, clock.nowMs())
  const { host, disks, ...plan } = await planBackup(catalog, clock, item)
  const { access } = await vaultRepository(repositories, item.vaultKey, host)
  const wanted: BackUpToVaultInput = {
    ...access,
    ...plan,
    history: historyOf(item.machineId),
    consistency: asked,
    waitMs: INSTANT_WAIT_MS,
    ...(lockMs !== undefined && { lockMs }),
  }
  const milestone: StepContext['milestone'] = async (name, facts) => {
    await step.milestone(name, facts)
    if (name === INSTANT_OPEN) await passTask(parts, step.jobId, BACKUP_TASKS[0])
  }
  const done = (await tasks.run({ ...step, milestone }, BACK_UP_TO_VAULT_TASK, wanted, host)) as BackedUp
  const wasRunning = plan.sources.some(({ kind }) => kind === 'machine')
  const excluded = plan.azure.disks.filter(({ included }) => !included).map(({ lun, name }) => ({ lun, name }))
  return { done, disks, excluded, facts: machineFacts({ host, disks, ...plan } as MachineToBackUp), wasRunning, asked }
}

function sumOf(disks: BackedUp['disks'], field: 'usedBytes' | 'readBytes' | 'storedBytes'): number {
  return disks.reduce((sum, disk) => sum + disk[field], 0)
}

function rowOf(
  item: ProtectedItem,
  policy: BackupPolicy | undefined,
  input: VaultBackupInput,
  { done, disks, excluded, facts }: Taken,
  nowMs: number,
  jobId: string,
): VaultPoint {
  const { point, sequence, takenAtMs, consistency, notes } = done
  const [worst] = (['full', 'scan', 'incremental'] as const).filter((mode) =>
    done.disks.some((one) => one.mode === mode),
  )
  return {
    vaultKey: item.vaultKey,
    itemKey: item.key,
    name: pointName(sequence, takenAtMs),
    pointId: point,
    takenMs: takenAtMs,
    sequence,
    slotMs: input.slotMs,
    consistency,
    vaultedMs: nowMs,
    instantUntilMs: takenAtMs + (policy?.instantDays ?? 1) * DAY_MS,
    expiresMs: input.expiresMs,
    isOnDemand: input.isOnDemand,
    keptBy: [],
    sizeBytes: disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    storedBytes: sumOf(done.disks, 'storedBytes'),
    disks,
    facts: {
      ...facts,
      job: jobId,
      mode: worst,
      notes,
      reasons: done.reasons,
      excluded,
      usedBytes: sumOf(done.disks, 'usedBytes'),
      readBytes: sumOf(done.disks, 'readBytes'),
    },
  }
}

/** What is open about the item's backups is settled by one that succeeded. */
async function resolveAlerts(trx: CatalogTransaction, item: ProtectedItem, nowMs: number): Promise<void> {
  for (const { id, kind, facts } of await listAlerts(trx, { itemKey: item.key, onlyOpen: true })) {
    const isOver = kind === ALERTS.missedSchedule || (kind === ALERTS.jobFailed && facts['operation'] === 'Backup')
    if (isOver) await resolveAlert(trx, id, nowMs)
  }
}

async function record(parts: ProtectionParts, input: VaultBackupInput, taken: Taken, jobId: string): Promise<string> {
  const nowMs = parts.clock.nowMs()
  return parts.catalog.write(async (trx) => {
    const item = await findItem(trx, input.item)
    const policy = item.policyId === undefined ? undefined : await findPolicy(trx, item.policyId)
    const row = rowOf(item, policy, input, taken, nowMs, jobId)
    if ((await findVaultPoint(trx, item.key, row.name)) === undefined) await insertVaultPoint(trx, row)
    const waits = item.state === 'IRPending' || item.state === 'ProtectionError'
    const change = {
      lastBackupMs: row.takenMs,
      lastBackupStatus: 'Completed',
      ...(waits && { state: 'Protected' as const }),
      facts: { ...item.facts, lastError: undefined },
    }
    const changed = must(await changeProtectedItem(trx, item.key, change, nowMs), 'It was found in this transaction')
    await resolveAlerts(trx, changed, nowMs)
    await keepByPolicy(trx, changed, nowMs)
    return row.name
  })
}

/** These are how the guest is made, and no fault of this backup. */
const QUIET_REASONS: readonly string[] = ['no_scripts', 'freeze_disabled', 'nothing_to_freeze', 'mounts_skipped']

/** What kept the point from being as consistent as was asked for. */
function warningsOf({ done, wasRunning, asked }: Taken): BackupJobError[] {
  if (!wasRunning || asked === 'crash') return []
  const facts = { consistency: done.consistency }
  return done.reasons
    .filter((reason) => !QUIET_REASONS.includes(reason))
    .map((reason) => backupErrorOf({ code: reason, message: done.notes.join(' '), facts, retry: 'never' }))
}

function endOf(name: string, taken: Taken): BackupJobEnd<Readonly<{ point: string }>> {
  const { done, disks, excluded } = taken
  return {
    output: { point: name },
    warnings: warningsOf(taken),
    properties: {
      'Recovery point time': new globalThis.Date(done.takenAtMs).toISOString(),
      'Backed-up disk(s)': disks.map((disk) => disk.name).join(', '),
      'Excluded disk(s)': excluded.map((disk) => disk.name).join(', '),
    },
    result: { point: name },
    doneBytes: sumOf(done.disks, 'storedBytes'),
    totalBytes: sumOf(done.disks, 'usedBytes'),
  }
}

/** Whether the point got its row although the step that wrote it was cut short: then it stays. */
async function isInList({ catalog }: ProtectionParts, { item }: VaultBackupInput, jobId: string): Promise<boolean> {
  const newest = await listVaultPoints(catalog, { itemKey: item, limit: 10 })
  return newest.some(({ facts }) => facts['job'] === jobId)
}

async function run(job: JobContext, parts: ProtectionParts, input: VaultBackupInput) {
  let isRecorded = false
  job.cleanup(
    'give up the point',
    async (step) => {
      if (isRecorded || (await isInList(parts, input, job.jobId))) return
      try {
        const { access } = await vaultRepository(parts.repositories, input.item.replace(/\/backupfabrics\/.*$/, ''))
        await parts.tasks.run(step, FORGET_VERSIONS_TASK, { ...access, madeBy: job.jobId })
      } catch (error) {
        // A vault that is gone has no point; one that is locked keeps it until the lock ends.
        if (!isHoldfastError(error, 'vault_not_there', 'point_locked')) throw error
      }
    },
    { retry: WORKER_RETRY },
  )
  const taken = await job.step('back up', (step) => take(parts, step, input), { retry: BACKUP_RETRY })
  const name = await job.step('record', async () => {
    await forbidCancel(parts, job.jobId)
    return record(parts, input, taken, job.jobId)
  })
  isRecorded = true
  return endOf(name, taken)
}

/** The item says that its last backup failed. */
async function noteFailure(parts: ProtectionParts, input: VaultBackupInput, code: string, message: string) {
  await parts.catalog.write(async (trx) => {
    const item = await findProtectedItem(trx, input.item)
    if (item === undefined || code === 'cancelled') return
    const change = { lastBackupStatus: 'Failed', facts: { ...item.facts, lastError: { code, message } } }
    await changeProtectedItem(trx, item.key, change, parts.clock.nowMs())
  })
}

export function vaultBackupJob(parts: ProtectionParts): JobDefinition<VaultBackupInput, Readonly<{ point: string }>> {
  return {
    name: VAULT_BACKUP_JOB,
    version: 1,
    parse: readInput,
    run: (job, input) =>
      asBackupJob(
        job,
        parts,
        () => run(job, parts, input),
        ({ code, message }) => noteFailure(parts, input, code, message),
      ),
  }
}
