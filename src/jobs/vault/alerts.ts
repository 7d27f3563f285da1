/**
 * Alerts of vaults: what somebody should look at. Of one kind at most one is open for a vault, or for an item: what is raised again while it is
 * open changes nothing, and what is over is resolved and stays on record. Raised and resolved in the transaction that records what
 * they are about, so that a crash leaves both or neither.
 */
import { type Clock, type Random, randomUuid } from '#base'
import { type AlertSeverity, type CatalogTransaction, findOpenAlert, raiseAlert, resolveAlert } from '#catalog'

/** Every kind of alert that there is. */
export const ALERTS = {
  jobFailed: 'JobFailed',
  missedSchedule: 'MissedSchedule',
  mirrorLag: 'MirrorLag',
  mirrorFailed: 'MirrorFailed',
  verifyFailed: 'VerifyFailed',
  damageHealed: 'DamageHealed',
  dataDeleted: 'BackupDataDeleted',
  softDeleteChanged: 'SoftDeleteChanged',
  immutabilityChanged: 'ImmutabilityChanged',
} as const
export type AlertKind = (typeof ALERTS)[keyof typeof ALERTS]

export type AlertSource = Readonly<{ clock: Clock; random: Random }>

export type NewAlert = Readonly<{
  vaultKey: string
  kind: AlertKind
  severity: AlertSeverity
  itemKey?: string
  message: string
  facts: Readonly<Record<string, unknown>>
  /** It is told and needs nothing more: it is resolved from the start. */
  isOver?: boolean
}>

/** Raises the alert unless one of its kind is open. @returns its id, or that of the open one */
export async function openAlert(
  trx: CatalogTransaction,
  { isOver = false, ...alert }: NewAlert,
  { clock, random }: AlertSource,
): Promise<string> {
  const open = await findOpenAlert(trx, alert)
  if (open !== undefined && !isOver) return open.id
  const [id, nowMs] = [randomUuid(random), clock.nowMs()]
  await raiseAlert(trx, { ...alert, id, raisedMs: nowMs, ...(isOver && { resolvedMs: nowMs }) })
  return id
}

/** Resolves the open alert of this kind, if there is one. */
export async function closeAlert(
  trx: CatalogTransaction,
  alert: Pick<NewAlert, 'vaultKey' | 'kind' | 'itemKey'>,
  { clock }: Pick<AlertSource, 'clock'>,
): Promise<void> {
  const open = await findOpenAlert(trx, alert)
  if (open !== undefined) await resolveAlert(trx, open.id, clock.nowMs())
}
