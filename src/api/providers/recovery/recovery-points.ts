/**
 * .../protectedItems/{i}/recoveryPoints: list and show; and, which Azure does not offer, delete one. A deleted point is kept for the
 * days of the vault's soft delete, and restored from meanwhile; then `purge-points` takes it.
 */
import {
  changeVaultPoint,
  findVaultPoint,
  listVaultPoints,
  type ProtectedItem,
  type ResourceRecord,
  type VaultPoint,
} from '#catalog'
import { ArmError, checkFilterFields, equalTo, type FilterTerm, parseFilter } from '#contract'
import { isImmutable, softDeleteDaysOf } from '#domain'
import { PURGE_POINTS_JOB, RESOURCE_QUEUE, vaultSettingsOf } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { readFilterTime } from './azure-time.ts'
import { findVault, ITEM_ACTION, ITEM_PATH, POINT_PATH } from './find-vault.ts'
import { nextPage } from './next-page.ts'
import { POINT_TYPE, showPoint } from './point-view.ts'
import { findItemIn } from './protected-items.ts'
import { beginVaultOperation } from './vault-operations.ts'

const PAGE = 500
const DAY_MS = 24 * 3_600_000

function timeIn(terms: readonly FilterTerm[], field: string): number | undefined {
  const given = equalTo(terms, field)
  const ms = given === undefined ? undefined : readFilterTime(given)
  if (given !== undefined && ms === undefined)
    throw new ArmError('InvalidFilterInQueryString', `$filter: '${given}' is no time.`, { target: '$filter' })
  return ms
}

async function list(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const item = await findItemIn(call, vault)
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, ['startDate', 'endDate', 'extendedInfo', 'restorePointQueryType'])
  const [fromMs, toMs] = [timeIn(terms, 'startDate'), timeIn(terms, 'endDate')]
  const [takenMs, name] = (call.query('$skipToken') ?? '').split('_')
  const found = await listVaultPoints(call.host.catalog, {
    itemKey: item.key,
    ...(fromMs !== undefined && { fromMs }),
    ...(toMs !== undefined && { toMs }),
    ...(name !== undefined && { before: { takenMs: Number(takenMs), name } }),
    limit: PAGE + 1,
  })
  const page = found.slice(0, PAGE)
  const last = found.length > PAGE ? page.at(-1) : undefined
  const nowMs = call.host.clock.nowMs()
  const value = page.map((point) => showPoint(vault, item, point, nowMs))
  return ok(nextPage(call.url, value, last && `${last.takenMs}_${last.name}`))
}

/** The point that the path names. @throws ArmError `ResourceNotFound` */
export async function findPointIn(
  call: ArmCall,
): Promise<Readonly<{ vault: ResourceRecord; item: ProtectedItem; point: VaultPoint }>> {
  const vault = await findVault(call)
  const item = await findItemIn(call, vault)
  const point = await findVaultPoint(call.host.catalog, item.key, call.param('point'))
  if (point !== undefined) return { vault, item, point }
  throw new ArmError('ResourceNotFound', `'${item.friendlyName}' has no recovery point '${call.param('point')}'.`)
}

async function show(call: ArmCall): Promise<ArmReply> {
  const { vault, item, point } = await findPointIn(call)
  return ok(showPoint(vault, item, point, call.host.clock.nowMs()))
}

/** The newest point of a machine that is protected is what everything else builds on, and what a user has. */
async function whyNot(call: ArmCall, vault: ResourceRecord, item: ProtectedItem, point: VaultPoint) {
  if (isImmutable(vaultSettingsOf(vault)))
    return `The vault '${vault.name}' is immutable: a recovery point goes when its time is over, not before.`
  const [newest] = await listVaultPoints(call.host.catalog, { itemKey: item.key, softDeleted: false, limit: 1 })
  if (newest?.name === point.name && item.state !== 'ProtectionStopped')
    return `It is the newest recovery point of '${item.friendlyName}', which is protected: it is always kept.`
  return undefined
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const item = await findItemIn(call, vault)
  const { catalog, clock, jobs } = call.host
  const point = await findVaultPoint(catalog, item.key, call.param('point'))
  if (point === undefined) return noContent
  const why = await whyNot(call, vault, item, point)
  if (why !== undefined) throw new ArmError('OperationNotAllowed', why)
  const nowMs = clock.nowMs()
  const days = softDeleteDaysOf(vaultSettingsOf(vault))
  const reply = await beginVaultOperation(call, vault, {
    at: item.id,
    itemKey: item.key,
    entityName: item.friendlyName,
    operation: 'DeleteBackupData',
    action: `${ITEM_ACTION}/recoveryPoints/delete`,
    properties: { 'Recovery point': point.name },
    announce: async (trx) => {
      const now = await findVaultPoint(trx, item.key, point.name)
      if (now === undefined || now.facts['deletedByUser'] === true) return
      const facts = { ...now.facts, deletedByUser: true }
      await changeVaultPoint(trx, item.key, point.name, {
        softDeletedMs: nowMs,
        purgeAtMs: nowMs + days * DAY_MS,
        keptBy: [],
        facts,
      })
    },
  })
  if (days === 0) await jobs.start(PURGE_POINTS_JOB, { vaultKey: vault.key }, { queue: RESOURCE_QUEUE, key: 'vaults' })
  return reply
}

async function forMove(call: ArmCall): Promise<ArmReply> {
  await findItemIn(call, await findVault(call))
  return ok({ value: [] })
}

function move(): never {
  throw new ArmError('NotSupported', 'There is no archive tier here: a recovery point cannot be moved to one.')
}

export const recoveryPointRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: `${ITEM_PATH}/recoveryPoints`, action: `${POINT_TYPE}/read`, handle: list },
  { method: 'GET', path: POINT_PATH, action: `${POINT_TYPE}/read`, handle: show },
  { method: 'DELETE', path: POINT_PATH, action: `${POINT_TYPE}/delete`, handle: remove },
  { method: 'POST', path: `${POINT_PATH}/move`, action: `${POINT_TYPE}/move/action`, handle: move },
  {
    method: 'POST',
    path: `${ITEM_PATH}/recoveryPointsRecommendedForMove`,
    action: `${ITEM_ACTION}/recoveryPointsRecommendedForMove/action`,
    handle: forMove,
  },
]
