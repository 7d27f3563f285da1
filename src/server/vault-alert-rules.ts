/**
 * Alerts that follow from a vault's records: a backup that was missed, data that was deleted; and that a failure is over when the same thing has
 * succeeded since. (What fails raises its alert itself, in the transaction that records it.)
 */
import { type Clock, type Random } from '#base'
import {
  type Catalog,
  findProtectedItem,
  listAlerts,
  listBackupJobs,
  listProtectedItems,
  raiseAlert,
  type ResourceRecord,
  resolveAlert,
  type VaultAlert,
} from '#catalog'
import type { BackupOperation } from '#domain'
import { ALERTS, openAlert } from '#jobs'

/** A scheduled backup that has not begun so long after it was due was missed. */
const MISSED_MS = 3_600_000
const DELETIONS_WITHIN_MS = 24 * 3_600_000
const ITEMS_MAX = 200

export type RecordRuleParts = Readonly<{ catalog: Catalog; clock: Clock; random: Random }>

export async function alertsOfRecords(parts: RecordRuleParts, vault: ResourceRecord): Promise<void> {
  await alertMissed(parts, vault)
  await alertDeleted(parts, vault)
  await resolveOver(parts, vault)
}

async function alertMissed(parts: RecordRuleParts, vault: ResourceRecord): Promise<void> {
  const { catalog, clock } = parts
  const dueBeforeMs = clock.nowMs() - MISSED_MS
  const missed = await listProtectedItems(catalog, { vaultKey: vault.key, dueBeforeMs, limit: ITEMS_MAX })
  const open = await listAlerts(catalog, { vaultKey: vault.key, kind: ALERTS.missedSchedule, onlyOpen: true })
  const known = new Set(open.map(({ itemKey }) => itemKey))
  const late = missed.filter(({ key, softDeletedMs }) => softDeletedMs === undefined && !known.has(key))
  if (late.length === 0) return
  await catalog.write(async (trx) => {
    for (const { key, friendlyName, nextDueMs } of late)
      await openAlert(
        trx,
        {
          vaultKey: vault.key,
          itemKey: key,
          kind: ALERTS.missedSchedule,
          severity: 'Critical',
          message: `The scheduled backup of ${friendlyName} has not begun, more than an hour after it was due.`,
          facts: { dueMs: nextDueMs },
        },
        parts,
      )
  })
}

async function alertDeleted({ catalog, clock }: RecordRuleParts, vault: ResourceRecord): Promise<void> {
  const startMs = clock.nowMs() - DELETIONS_WITHIN_MS
  const filter = { vaultKey: vault.key, operation: 'DeleteBackupData', startMs } as const
  const deletions = await listBackupJobs(catalog, { ...filter, limit: ITEMS_MAX })
  if (deletions.length === 0) return
  const since = { vaultKey: vault.key, kind: ALERTS.dataDeleted, fromMs: startMs }
  const told = new Set((await listAlerts(catalog, since)).map(({ id }) => id))
  const fresh = deletions.filter(({ id, endedMs }) => endedMs !== undefined && !told.has(`${ALERTS.dataDeleted}-${id}`))
  if (fresh.length === 0) return
  await catalog.write(async (trx) => {
    for (const { id, itemKey, entityName, endedMs = clock.nowMs() } of fresh)
      await raiseAlert(trx, {
        id: `${ALERTS.dataDeleted}-${id}`,
        vaultKey: vault.key,
        kind: ALERTS.dataDeleted,
        severity: 'Critical',
        itemKey,
        message: `The backup data of ${entityName} was deleted.`,
        facts: { job: id },
        raisedMs: endedMs,
        resolvedMs: endedMs,
      })
  })
}

/** Resolves what has succeeded since. */
async function resolveOver({ catalog, clock }: RecordRuleParts, vault: ResourceRecord): Promise<void> {
  for (const alert of await listAlerts(catalog, { vaultKey: vault.key, onlyOpen: true, limit: ITEMS_MAX })) {
    if (alert.itemKey === undefined || !(await isOver(catalog, clock, vault, alert, alert.itemKey))) continue
    await catalog.write((trx) => resolveAlert(trx, alert.id, clock.nowMs()))
  }
}

async function isOver(
  catalog: Catalog,
  clock: Clock,
  { key: vaultKey }: ResourceRecord,
  alert: VaultAlert,
  itemKey: string,
): Promise<boolean> {
  const item = await findProtectedItem(catalog, itemKey)
  if (item === undefined || item.softDeletedMs !== undefined) return true
  if (alert.kind === ALERTS.missedSchedule)
    return item.nextDueMs === undefined || item.nextDueMs > clock.nowMs() - MISSED_MS
  if (alert.kind !== ALERTS.jobFailed) return false
  const operation = alert.facts['operation'] as BackupOperation
  const jobs = await listBackupJobs(catalog, { vaultKey, itemKey, operation, startMs: alert.raisedMs, limit: 5 })
  return jobs.some(({ status }) => status === 'Completed' || status === 'CompletedWithWarnings')
}
