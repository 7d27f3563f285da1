/**
 * One attempt to back up a protected machine, as it is now, into its vault, as it lies now; and what is told of the machine beside the
 * bytes that were stored.
 */
import type { Clock } from '#base'
import {
  type Catalog,
  type CatalogTransaction,
  findProtectedItem,
  type ProtectedItem,
  type VaultPointDisk,
} from '#catalog'
import type { BackupPolicy, VaultImmutability } from '#domain'
import type { RegionRepositoryParts } from '../compute/region-repository.ts'
import { INSTANT_OPEN } from '../compute/take-snapshots.ts'
import { JobsError } from '../errors.ts'
import type { StepContext } from '../port.ts'
import type { TaskRunner } from '../tasks.ts'
import { BACK_UP_TO_VAULT_TASK, type BackedUp, type BackUpToVaultInput } from './back-up-task.ts'
import { passTask } from './backup-job-rows.ts'
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

export const INSTANT_WAIT_MS = 60_000
const DAY_MS = 24 * 3_600_000

/** What the API tells of the machine with its point. */
type MachineFacts = Readonly<{ vmSize?: string; osType?: string; sku?: string }>
export type Taken = Readonly<{
  done: BackedUp
  disks: readonly VaultPointDisk[]
  excluded: readonly Readonly<{ lun: number; name: string }>[]
  facts: MachineFacts
  wasRunning: boolean
  asked: 'crash' | 'application'
}>

/** By the item's key. */
export type TakenOf = Readonly<{ item: string; taken: Taken }>

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

function machineFacts(azure: MachineToBackUp['azure']): MachineFacts {
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

export function openMilestone(parts: ProtectionParts, step: StepContext): StepContext['milestone'] {
  return async (name, facts) => {
    await step.milestone(name, facts)
    if (name === INSTANT_OPEN) await passTask(parts, step.jobId, BACKUP_TASKS[0])
  }
}

/** What is told of a machine beside what was stored of it. */
export function toldOf({ azure, sources, disks }: MachineToBackUp): Omit<Taken, 'done' | 'asked'> {
  return {
    disks,
    excluded: azure.disks.filter(({ included }) => !included).map(({ lun, name }) => ({ lun, name })),
    facts: machineFacts(azure),
    wasRunning: sources.some(({ kind }) => kind === 'machine'),
  }
}

/** One attempt: the machine as it is now, into the vault as it lies now. */
export async function takeMachine(parts: ProtectionParts, step: StepContext, input: VaultBackupInput): Promise<Taken> {
  const { catalog, clock, tasks, repositories } = parts
  const item = await findItem(catalog, input.item)
  const policy = item.policyId === undefined ? undefined : await findPolicy(catalog, item.policyId)
  const asked = policy?.crashConsistentOnly === true ? 'crash' : 'application'
  const settings = vaultSettingsOf(await vaultRow(catalog, item.vaultKey))
  const lockMs = lockMsOf(settings.immutability, policy, input, clock.nowMs())
  const plan = await planBackup(catalog, clock, item)
  const { host, disks: _disks, ...given } = plan
  const { access } = await vaultRepository(repositories, item.vaultKey, host)
  const wanted: BackUpToVaultInput = {
    ...access,
    ...given,
    history: historyOf(item.machineId),
    consistency: asked,
    waitMs: INSTANT_WAIT_MS,
    ...(lockMs !== undefined && { lockMs }),
  }
  const milestone = openMilestone(parts, step)
  const done = (await tasks.run({ ...step, milestone }, BACK_UP_TO_VAULT_TASK, wanted, host)) as BackedUp
  return { done, asked, ...toldOf(plan) }
}
