/** Protected items and their containers as Azure shows them. */
import { isoTime } from '#base'
import type { ProtectedItem, ResourceRecord, VaultPoint } from '#catalog'
import { softDeleteDaysOf, type ProtectionState } from '#domain'
import { vaultSettingsOf } from '#jobs'
import { containerId, containerName, machineNameOf } from './item-names.ts'

type Shown = Readonly<Record<string, unknown>>

const FABRIC = 'Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers'
export const ITEM_TYPE = `${FABRIC}/protectedItems`
export const MACHINE = 'Microsoft.Compute/virtualMachines'
/** Azure's word for "never". */
const NEVER = '2001-01-01T00:00:00Z'
const DAY_MS = 24 * 3_600_000

const HEALTH: Readonly<Record<ProtectionState, string>> = {
  IRPending: 'Passed',
  Protected: 'Passed',
  ProtectionError: 'ActionRequired',
  ProtectionStopped: 'ActionSuggested',
  BackupsSuspended: 'ActionSuggested',
  ProtectionPaused: 'ActionSuggested',
}

function lastError(item: ProtectedItem): Readonly<{ code: string; message: string }> | undefined {
  return item.facts['lastError'] as Readonly<{ code: string; message: string }> | undefined
}

function healthOf(item: ProtectedItem): Shown {
  const error = lastError(item)
  if (error === undefined) return { healthStatus: HEALTH[item.state], healthDetails: [] }
  const detail = {
    code: 0,
    title: error.code,
    message: error.message,
    recommendations: ['See the errors of the job, and back the machine up again.'],
  }
  return { healthStatus: 'ActionRequired', healthDetails: [detail] }
}

/** 14.00:00:00 as .NET writes a span of time. */
function spanText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const two = (value: number): string => String(value).padStart(2, '0')
  const [days, rest] = [Math.floor(seconds / 86_400), seconds % 86_400]
  return `${days}.${two(Math.floor(rest / 3600))}:${two(Math.floor((rest % 3600) / 60))}:${two(rest % 60)}`
}

function deletion(vault: ResourceRecord, { softDeletedMs, purgeAtMs }: ProtectedItem, nowMs: number): Shown {
  const settings = vaultSettingsOf(vault)
  const days = { softDeleteRetentionPeriodInDays: softDeleteDaysOf(settings) }
  if (softDeletedMs === undefined || purgeAtMs === undefined)
    return { isScheduledForDeferredDelete: false, isRehydrate: false, ...days }
  return {
    isScheduledForDeferredDelete: true,
    isRehydrate: false,
    isDeferredDeleteScheduleUpcoming: purgeAtMs - nowMs < 2 * DAY_MS,
    deferredDeleteTimeInUTC: isoTime(softDeletedMs),
    deferredDeleteTimeRemaining: spanText(purgeAtMs - nowMs),
    ...days,
    softDeleteRetentionPeriodInDays: Math.round((purgeAtMs - softDeletedMs) / DAY_MS),
  }
}

/** `points`: of the one that is asked for alone, to count them. */
export function showItem(
  vault: ResourceRecord,
  item: ProtectedItem,
  nowMs: number,
  points?: readonly VaultPoint[],
): Shown {
  const name = machineNameOf(item.machineId)
  const { exclusion, lastBackupMs, policyId } = item
  return {
    id: item.id,
    name: item.name,
    type: ITEM_TYPE,
    properties: {
      protectedItemType: MACHINE,
      backupManagementType: 'AzureIaasVM',
      workloadType: 'VM',
      containerName: containerName(name),
      friendlyName: item.friendlyName,
      virtualMachineId: item.machineId,
      sourceResourceId: item.machineId,
      protectedItemDataId: item.facts['dataId'] ?? '',
      policyId: policyId ?? '',
      policyName: policyId?.split('/').at(-1) ?? '',
      protectionState: item.state,
      protectionStatus: lastError(item) === undefined ? 'Healthy' : 'Unhealthy',
      ...healthOf(item),
      kpisHealths: {},
      lastBackupStatus: item.lastBackupStatus ?? (item.state === 'IRPending' ? 'IRPending' : ''),
      lastBackupTime: lastBackupMs === undefined ? NEVER : isoTime(lastBackupMs),
      ...(lastBackupMs !== undefined && { lastRecoveryPoint: isoTime(lastBackupMs) }),
      ...(item.group !== undefined && { holdfast: { protectionGroup: item.group } }),
      ...(item.nextDueMs !== undefined && { nextBackupTime: isoTime(item.nextDueMs) }),
      ...(exclusion !== undefined && {
        extendedProperties: {
          diskExclusionProperties: { diskLunList: exclusion.luns, isInclusionList: exclusion.isInclusionList },
        },
      }),
      ...(points !== undefined && { extendedInfo: extendedInfo(points) }),
      ...deletion(vault, item, nowMs),
    },
  }
}

function extendedInfo(points: readonly VaultPoint[]): Shown {
  const [newest, oldest] = [points[0], points.at(-1)]
  return {
    ...(oldest !== undefined && {
      oldestRecoveryPoint: isoTime(oldest.takenMs),
      oldestRecoveryPointInVault: isoTime(oldest.takenMs),
    }),
    ...(newest !== undefined && { newestRecoveryPointInVault: isoTime(newest.takenMs) }),
    recoveryPointCount: points.length,
    policyInconsistent: false,
  }
}

export function showContainer(vault: ResourceRecord, item: ProtectedItem): Shown {
  const name = machineNameOf(item.machineId)
  return {
    id: containerId(vault.id, name),
    name: containerName(name),
    type: FABRIC,
    properties: {
      containerType: MACHINE,
      virtualMachineId: item.machineId,
      virtualMachineVersion: 'Compute',
      resourceGroup: name.group,
      friendlyName: item.friendlyName,
      backupManagementType: 'AzureIaasVM',
      registrationStatus: 'Registered',
      healthStatus: 'Healthy',
      protectableObjectType: MACHINE,
    },
  }
}
