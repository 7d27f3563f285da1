/**
 * The job `vault-backup`: one recovery point of a protected machine in its vault, or of each machine of its protection group at one
 * instant (take-group.ts). Its id is that of the record in the list of jobs.
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
import { isHoldfastError, must } from '#base'
import {
  type CatalogTransaction,
  changeProtectedItem,
  findVaultPoint,
  insertVaultPoint,
  listAlerts,
  listVaultPoints,
  type ProtectedItem,
  resolveAlert,
  type VaultPoint,
} from '#catalog'
import type { BackupPolicy, BackupJobError } from '#domain'
import { FORGET_VERSIONS_TASK } from '../compute/version-tasks.ts'
import type { JobContext, JobDefinition, StepContext } from '../port.ts'
import { inputInvalid, recordOf } from '../repository-access.ts'
import { HOST_WAIT } from '../tasks.ts'
import { ALERTS } from './alerts.ts'
import type { BackedUp } from './back-up-task.ts'
import { backupErrorOf } from './backup-errors.ts'
import { asBackupJob, type BackupJobEnd, forbidCancel } from './backup-job-rows.ts'
import { keepByPolicy } from './keep-by-policy.ts'
import { withItsGroup } from './group-members.ts'
import { takeGroup } from './take-group.ts'
import {
  findItem,
  type ProtectionParts,
  type Taken,
  takeMachine,
  type TakenOf,
  VAULT_BACKUP_JOB,
  type VaultBackupInput,
} from './take-machine.ts'
import { vaultRepository } from './vault-repository.ts'
import { findPolicy } from './vault-rows.ts'

export type { ProtectionParts } from './take-machine.ts'

/** What changes by itself within minutes is waited for: a worker, an operation on the machine, another instant of it. */
const BACKUP_RETRY = { attemptsMax: 10, delayMs: 500, delayMsMax: 60_000, ...HOST_WAIT }
const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 10_000, ...HOST_WAIT }
const DAY_MS = 24 * 3_600_000

function readInput(given: unknown): VaultBackupInput {
  const input = recordOf(given, 'fields')
  if (typeof input['item'] !== 'string') throw inputInvalid('item')
  return input as unknown as VaultBackupInput
}

/** Decimal digits; larger for newer ones, since the log's number leads. */
export function pointName(sequence: number, takenMs: number): string {
  return `${sequence}${String(Math.floor(takenMs / 1000)).padStart(10, '0')}`
}

/** The item and, where it is in a protection group, all of that group: their machines share one instant. */
async function take(parts: ProtectionParts, step: StepContext, input: VaultBackupInput): Promise<readonly TakenOf[]> {
  const item = await findItem(parts.catalog, input.item)
  if (item.group === undefined) return [{ item: item.key, taken: await takeMachine(parts, step, input) }]
  return takeGroup(parts, step, { group: item.group, vaultKey: item.vaultKey, input })
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
      ...(done.group !== undefined && { group: done.group }),
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

/** Points of one instant are on record together. @returns the name of the point of the item that the job is of */
async function record(parts: ProtectionParts, input: VaultBackupInput, all: readonly TakenOf[], jobId: string) {
  const nowMs = parts.clock.nowMs()
  return parts.catalog.write(async (trx) => {
    const names = new Map<string, string>()
    for (const { item, taken } of all)
      names.set(item, await recordOne(trx, { ...input, item }, taken, { nowMs, jobId }))
    return must(names.get(input.item), 'The item that the job is of is among them')
  })
}

async function recordOne(
  trx: CatalogTransaction,
  input: VaultBackupInput,
  taken: Taken,
  { nowMs, jobId }: Readonly<{ nowMs: number; jobId: string }>,
): Promise<string> {
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

function endOf(name: string, input: VaultBackupInput, all: readonly TakenOf[]) {
  const { taken } = must(
    all.find(({ item }) => item === input.item),
    'The item that the job is of is among them',
  )
  const { done, disks, excluded } = taken
  const { group } = done
  return {
    output: { point: name },
    warnings: all.flatMap((one) => warningsOf(one.taken)),
    properties: {
      ...(group !== undefined && {
        'Protection group': group.name,
        'Machines of the group': group.machines.join(', '),
        'Apart at most (ms)': String(group.skewMs),
      }),
      'Recovery point time': new globalThis.Date(done.takenAtMs).toISOString(),
      'Backed-up disk(s)': disks.map((disk) => disk.name).join(', '),
      'Excluded disk(s)': excluded.map((disk) => disk.name).join(', '),
    },
    result: { point: name },
    doneBytes: all.reduce((sum, one) => sum + sumOf(one.taken.done.disks, 'storedBytes'), 0),
    totalBytes: all.reduce((sum, one) => sum + sumOf(one.taken.done.disks, 'usedBytes'), 0),
  } satisfies BackupJobEnd<Readonly<{ point: string }>>
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
  return endOf(name, input, taken)
}

/** The item, and the others of its group, say that their last backup failed. */
async function noteFailure(parts: ProtectionParts, input: VaultBackupInput, code: string, message: string) {
  await parts.catalog.write(async (trx) => {
    if (code === 'cancelled') return
    for (const item of await withItsGroup(trx, input.item)) {
      const change = { lastBackupStatus: 'Failed', facts: { ...item.facts, lastError: { code, message } } }
      await changeProtectedItem(trx, item.key, change, parts.clock.nowMs())
    }
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
