/**
 * Retention, done to records: what the plan says of each of an item's points is written down in one transaction. Nothing of a
 * repository is touched here: what is to go is marked with the time at which it may, and `purge-points` takes it from there. So it may
 * be done at any time, twice, and a crash leaves either the old marks or the new ones.
 */
import { unreachable } from '#base'
import {
  type CatalogTransaction,
  changeVaultPoint,
  listVaultPoints,
  type ProtectedItem,
  type VaultPoint,
  type VaultPointChange,
} from '#catalog'
import { type GfsDecision, isImmutable, planGfs, softDeleteDaysOf } from '#domain'
import { findPolicy, gfsPointOf, vaultRow, vaultSettingsOf } from './vault-rows.ts'

/** What the decision changes of the record; undefined when it says so already. */
function changeOf(point: VaultPoint, decision: GfsDecision, nowMs: number): VaultPointChange | undefined {
  switch (decision.action) {
    case 'keep':
    case 'restore': {
      const { rules, untilMs } = decision
      const isSame =
        point.keptUntilMs === untilMs && point.keptBy.join() === rules.join() && point.softDeletedMs === undefined
      return isSame
        ? undefined
        : { keptBy: rules, keptUntilMs: untilMs, softDeletedMs: undefined, purgeAtMs: undefined }
    }
    case 'soft-delete':
      return { softDeletedMs: nowMs, purgeAtMs: decision.purgeAtMs, keptBy: [] }
    case 'delete':
      if (point.purgeAtMs !== undefined && point.purgeAtMs <= nowMs) return undefined
      return { softDeletedMs: point.softDeletedMs ?? nowMs, purgeAtMs: nowMs, keptBy: [] }
    case 'wait':
      return undefined
    default:
      return unreachable(decision)
  }
}

const MODES = { ProtectionStopped: 'forever', BackupsSuspended: 'suspended' } as const

/** Does the item's policy to its points. @returns how many records changed */
export async function keepByPolicy(trx: CatalogTransaction, item: ProtectedItem, nowMs: number): Promise<number> {
  // Its data goes as a whole, when its own time has come.
  if (item.softDeletedMs !== undefined) return 0
  const settings = vaultSettingsOf(await vaultRow(trx, item.vaultKey))
  const policy = item.policyId === undefined ? undefined : await findPolicy(trx, item.policyId)
  const mode = item.state === 'ProtectionStopped' || item.state === 'BackupsSuspended' ? MODES[item.state] : 'protected'
  const points = await listVaultPoints(trx, { itemKey: item.key })
  const { days } = settings.immutability
  const plan = planGfs(points.map(gfsPointOf), policy, {
    nowMs,
    mode: policy === undefined ? 'forever' : mode,
    softDeleteDays: softDeleteDaysOf(settings),
    ...(isImmutable(settings) && { immutable: { days } }),
  })
  const byName = new Map(points.map((point) => [point.name, point]))
  let changed = 0
  for (const decision of plan) {
    const point = byName.get(decision.point.id)
    const change = point === undefined ? undefined : changeOf(point, decision, nowMs)
    if (change === undefined) continue
    await changeVaultPoint(trx, item.key, decision.point.id, change)
    changed += 1
  }
  return changed
}
