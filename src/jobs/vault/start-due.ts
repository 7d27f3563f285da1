/**
 * Starts backups that are due. An item says when its next one is (`nextDueMs`, of the slot `slotMs`); starting it writes the next time
 * in the transaction that puts the backup on record, so a slot is started once, whatever crashes and whoever looks.
 *
 *   the server was away                          the newest slot that was missed is made up for, once; longer than Azure's two hours
 *                                                late raises an alert, which the next backup resolves
 *   the backup before still runs                 the slot is passed over
 *   outside the hours that the policy allows     it stays due, and is looked at again in a while
 */
import {
  type CatalogTransaction,
  changeProtectedItem,
  countProtectedItems,
  findProtectedItem,
  listBackupJobs,
  listProtectedItems,
  type ProtectedItem,
} from '#catalog'
import { type BackupPolicy, lastSlot, mayBegin, nextSlot, spreadMs } from '#domain'
import { ALERTS, type NewAlert, openAlert } from './alerts.ts'
import { beginVaultJob, type VaultJobParts } from './begin-vault-job.ts'
import { BACKUP_TASKS, VAULT_BACKUP_JOB, VAULT_BACKUP_QUEUE, type VaultBackupInput } from './take-machine.ts'
import { withItsGroup } from './group-members.ts'
import { findPolicy, vaultRow } from './vault-rows.ts'

/** Azure starts a backup within two hours of its time. */
const LATE_MS = 2 * 3_600_000
/** Outside the policy's hours it is looked at again so much later. */
const LOOK_AGAIN_MS = 5 * 60_000
const ITEMS_AT_ONCE = 200

export type Due = Readonly<{ slotMs: number; nextDueMs: number }>

/** When the item's next backup is due after `afterMs`. */
export async function dueAfter(
  from: VaultJobParts['catalog'] | Parameters<typeof countProtectedItems>[0],
  item: Pick<ProtectedItem, 'key' | 'policyId'>,
  policy: BackupPolicy,
  afterMs: number,
): Promise<Due> {
  const items = await countProtectedItems(from, { policyKey: (item.policyId ?? '').toLowerCase() })
  const slotMs = nextSlot(policy, afterMs)
  return { slotMs, nextDueMs: slotMs + spreadMs(item.key, policy, items) }
}

/** Another one started it, or the item was changed meanwhile. */
class Overtaken extends Error {}

export type Started = 'started' | 'passed over' | 'waits' | 'none'

/** Whether a backup of it runs, or of another machine of its group, which is its backup as well. */
async function isRunning({ catalog }: VaultJobParts, item: ProtectedItem): Promise<boolean> {
  for (const { vaultKey, key } of await withItsGroup(catalog, item.key))
    for (const status of ['InProgress', 'Cancelling'] as const) {
      const running = { vaultKey, itemKey: key, operation: 'Backup', status, limit: 1 } as const
      if ((await listBackupJobs(catalog, running)).length > 0) return true
    }
  return false
}

/** The others of its group are backed up with it, and not again by the same slot. */
async function moveOnTogether(trx: CatalogTransaction, item: ProtectedItem, next: Due, nowMs: number): Promise<void> {
  for (const one of await withItsGroup(trx, item.key))
    if (one.policyId === item.policyId) await changeProtectedItem(trx, one.key, next, nowMs)
}

async function startOne(parts: VaultJobParts, item: ProtectedItem): Promise<Started> {
  const { catalog, clock } = parts
  const nowMs = clock.nowMs()
  const policy = item.policyId === undefined ? undefined : await findPolicy(catalog, item.policyId)
  const { nextDueMs = nowMs, slotMs = nowMs } = item
  const change = (due: Partial<Due> | Readonly<{ slotMs: undefined; nextDueMs: undefined }>) =>
    catalog.write((trx) => changeProtectedItem(trx, item.key, due, nowMs))
  if (policy === undefined || item.state === 'ProtectionStopped' || item.state === 'BackupsSuspended') {
    await change({ slotMs: undefined, nextDueMs: undefined })
    return 'none'
  }
  if (!mayBegin(policy, nowMs)) {
    await change({ nextDueMs: nowMs + LOOK_AGAIN_MS })
    return 'waits'
  }
  const slot = Math.max(slotMs, lastSlot(policy, nowMs))
  const next = await dueAfter(catalog, item, policy, nowMs)
  if (await isRunning(parts, item)) {
    await change(next)
    return 'passed over'
  }
  const vault = await vaultRow(catalog, item.vaultKey)
  const input: VaultBackupInput = { item: item.key, isOnDemand: false, slotMs: slot }
  try {
    await beginVaultJob(parts, {
      vault: { key: vault.key, subscription: vault.subscription, location: vault.location ?? '' },
      itemKey: item.key,
      entityName: item.friendlyName,
      operation: 'Backup',
      principal: undefined,
      action: 'Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/backup/action',
      job: { name: VAULT_BACKUP_JOB, input, queue: VAULT_BACKUP_QUEUE, key: item.machineKey },
      isCancellable: true,
      tasks: BACKUP_TASKS,
      announce: async (trx) => {
        const now = await findProtectedItem(trx, item.key)
        if (now?.nextDueMs !== item.nextDueMs || now?.state !== item.state) throw new Overtaken()
        await moveOnTogether(trx, item, next, nowMs)
        if (nowMs - nextDueMs <= LATE_MS) return
        const missed: NewAlert = {
          vaultKey: item.vaultKey,
          kind: ALERTS.missedSchedule,
          severity: 'Critical',
          itemKey: item.key,
          message: `The backup of ${item.friendlyName} that was due at ${new globalThis.Date(nextDueMs).toISOString()} could not be started in time; it is started now.`,
          facts: { slotMs, dueMs: nextDueMs, lateMs: nowMs - nextDueMs },
        }
        await openAlert(trx, missed, parts)
      },
    })
  } catch (error) {
    if (error instanceof Overtaken) return 'none'
    throw error
  }
  return 'started'
}

/** Starts what is due now; one that cannot be started keeps no other. @returns how many were started */
export async function startDue(
  parts: VaultJobParts,
  onError: (item: ProtectedItem, error: unknown) => void,
): Promise<number> {
  let started = 0
  const due = await listProtectedItems(parts.catalog, { dueBeforeMs: parts.clock.nowMs(), limit: ITEMS_AT_ONCE })
  for (const item of due) {
    try {
      if ((await startOne(parts, item)) === 'started') started += 1
    } catch (error) {
      onError(item, error)
    }
  }
  return started
}
