/**
 * Alerts of vaults, as Microsoft.AlertsManagement lists them: under the subscription (`az rest`, the alerts page of a portal), under a
 * vault, one by its id; and closed by hand. Source: Azure "Alerts - Get All" 2019-05-05-preview.
 */
import { isoTime } from '#base'
import { findAlert, findResource, listAlerts, type ResourceRecord, resolveAlert, type VaultAlert } from '#catalog'
import { ArmError } from '#contract'
import { SEVERITIES } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'

const TYPE = 'Microsoft.AlertsManagement/alerts'
const READ = `${TYPE}/read`
const ALERTS_MAX = 1000
const DAY_MS = 24 * 3_600_000
const RANGES: Readonly<Record<string, number>> = {
  '1h': DAY_MS / 24,
  '1d': DAY_MS,
  '7d': 7 * DAY_MS,
  '30d': 30 * DAY_MS,
}

function view(vault: ResourceRecord, alert: VaultAlert): Readonly<Record<string, unknown>> {
  const { id, kind, severity, message, raisedMs, resolvedMs, itemKey, facts } = alert
  const group = /\/resourceGroups\/([^/]+)/i.exec(vault.id)?.[1]
  return {
    id: `${vault.id}/providers/${TYPE}/${id}`,
    name: id,
    type: TYPE,
    properties: {
      essentials: {
        severity: SEVERITIES[severity],
        signalType: 'Log',
        alertState: resolvedMs === undefined ? 'New' : 'Closed',
        monitorCondition: resolvedMs === undefined ? 'Fired' : 'Resolved',
        targetResource: vault.id,
        targetResourceName: vault.name,
        ...(group !== undefined && { targetResourceGroup: group }),
        targetResourceType: vault.type,
        monitorService: 'Azure Backup',
        alertRule: kind,
        description: message,
        startDateTime: isoTime(raisedMs),
        lastModifiedDateTime: isoTime(resolvedMs ?? raisedMs),
        ...(resolvedMs !== undefined && { monitorConditionResolvedDateTime: isoTime(resolvedMs) }),
      },
      context: { ...facts, ...(itemKey !== undefined && { protectedItem: itemKey }) },
    },
  }
}

function oneOf(call: ArmCall, name: string, words: readonly string[]): string | undefined {
  const given = call.query(name)
  if (given === undefined) return undefined
  const word = words.find((one) => one.toLowerCase() === given.toLowerCase())
  if (word !== undefined) return word
  throw new ArmError('InvalidParameter', `${name}: '${given.slice(0, 60)}' is none of ${words.join(', ')}.`, {
    target: name,
  })
}

/** Those of the vault, or of all that the caller may read, that the query asks for. */
async function listed(call: ArmCall, vault: ResourceRecord | undefined): Promise<ArmReply> {
  const { catalog, clock } = call.host
  const condition = oneOf(call, 'monitorCondition', ['Fired', 'Resolved'])
  const severity = oneOf(call, 'severity', Object.values(SEVERITIES))
  const range = oneOf(call, 'timeRange', Object.keys(RANGES))
  const [rule, target] = [call.query('alertRule'), call.query('targetResource')?.toLowerCase()]
  const found = await listAlerts(catalog, {
    limit: ALERTS_MAX,
    ...(vault !== undefined && { vaultKey: vault.key }),
    ...(rule !== undefined && { kind: rule }),
    ...(condition === 'Fired' && { onlyOpen: true }),
    ...(range !== undefined && { fromMs: clock.nowMs() - (RANGES[range] ?? 0) }),
  })
  const value: unknown[] = []
  for (const alert of found) {
    const its = vault ?? (await findResource(catalog, alert.vaultKey))
    if (its === undefined || (target !== undefined && its.key !== target) || !call.may(READ, its.id)) continue
    if (severity !== undefined && SEVERITIES[alert.severity] !== severity) continue
    if (condition === 'Resolved' && alert.resolvedMs === undefined) continue
    value.push(view(its, alert))
  }
  return ok({ value })
}

async function findOne(call: ArmCall): Promise<Readonly<{ vault: ResourceRecord; alert: VaultAlert }>> {
  const { catalog } = call.host
  const alert = await findAlert(catalog, call.param('alert'))
  const vault = alert === undefined ? undefined : await findResource(catalog, alert.vaultKey)
  if (alert !== undefined && vault !== undefined && call.may(READ, vault.id)) return { vault, alert }
  throw new ArmError('ResourceNotFound', `There is no alert '${call.param('alert')}'.`)
}

async function show(call: ArmCall): Promise<ArmReply> {
  const { vault, alert } = await findOne(call)
  return ok(view(vault, alert))
}

async function changeState(call: ArmCall): Promise<ArmReply> {
  const { vault, alert } = await findOne(call)
  if (!call.may(`${TYPE}/changestate/action`, vault.id))
    throw new ArmError('AuthorizationFailed', `The caller may not change alerts of '${vault.id}'.`)
  if (oneOf(call, 'newState', ['Closed']) === undefined)
    throw new ArmError('InvalidParameter', 'newState must be Closed: an alert here is open or closed.', {
      target: 'newState',
    })
  const { catalog, clock } = call.host
  await catalog.write((trx) => resolveAlert(trx, alert.id, clock.nowMs()))
  return ok(view(vault, (await findAlert(catalog, alert.id)) ?? alert))
}

const SUBSCRIPTION_PATH = `/subscriptions/{subscription}/providers/${TYPE}`
const VAULT_ALERTS = `${VAULT_PATH}/providers/${TYPE}`

export const alertRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: SUBSCRIPTION_PATH, action: READ, access: 'filter', handle: (call) => listed(call, undefined) },
  { method: 'GET', path: VAULT_ALERTS, action: READ, handle: async (call) => listed(call, await findVault(call)) },
  ...[SUBSCRIPTION_PATH, VAULT_ALERTS].flatMap((path): ArmRoute[] => [
    { method: 'GET', path: `${path}/{alert}`, action: READ, access: 'filter', handle: show },
    {
      method: 'POST',
      path: `${path}/{alert}/changestate`,
      action: `${TYPE}/changestate/action`,
      access: 'filter',
      handle: changeState,
    },
  ]),
]
