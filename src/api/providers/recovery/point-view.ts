/** Recovery points as Azure shows them. Where a point can be restored from is told by its tiers. */
import { isoTime } from '#base'
import type { ProtectedItem, ResourceRecord, VaultPoint } from '#catalog'
import { isRetained, vaultSettingsOf } from '#jobs'
import { hasFileSession } from './files/file-sessions.ts'

type Shown = Readonly<Record<string, unknown>>

export const POINT_TYPE =
  'Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/recoveryPoints'

const LEVELS = {
  crash: 'CrashConsistent',
  filesystem: 'FileSystemConsistent',
  application: 'AppConsistent',
} as const

/** In the vault, and in its mirror where there is to be one. */
export function isHardened(vault: ResourceRecord, { vaultedMs, mirroredMs }: VaultPoint): boolean {
  const isGeo = vaultSettingsOf(vault).redundancy === 'GeoRedundant'
  return vaultedMs !== undefined && (!isGeo || mirroredMs !== undefined)
}

function tiersOf(vault: ResourceRecord, point: VaultPoint, nowMs: number): Shown[] {
  const hardened = isHardened(vault, point)
  const isInstant = !hardened || (point.instantUntilMs ?? 0) > nowMs
  return [
    ...(isInstant ? [{ type: 'InstantRP', status: 'Valid' }] : []),
    ...(hardened ? [{ type: 'HardenedRP', status: 'Valid' }] : []),
  ]
}

/** Azure names the rule that keeps it longest; all stand in `holdfast`. */
function ruleOf({ keptBy, isOnDemand }: VaultPoint): string {
  const [rule] = keptBy
  return rule ?? (isOnDemand ? 'OnDemand' : '')
}

function expiryOf(point: VaultPoint): Shown {
  if (point.softDeletedMs !== undefined)
    return point.purgeAtMs === undefined ? {} : { expiryTime: isoTime(point.purgeAtMs) }
  if (isRetained(point)) return {}
  const untilMs = point.keptUntilMs ?? (point.isOnDemand ? point.expiresMs : undefined)
  return untilMs === undefined ? {} : { expiryTime: isoTime(untilMs) }
}

type Left = Readonly<{ lun: number; name: string }>

function diskConfiguration({ disks, facts }: VaultPoint): Shown {
  const excluded = (facts['excluded'] ?? []) as readonly Left[]
  return {
    numberOfDisksIncludedInBackup: disks.length,
    numberOfDisksAttachedToVm: disks.length + excluded.length,
    includedDiskList: disks.map(({ lun, name }) => ({ lun, name })),
    excludedDiskList: excluded.map(({ lun, name }) => ({ lun, name })),
  }
}

/** Azure's word for the disks of a machine, from the class of its first. */
function storageType(sku: unknown): string {
  return typeof sku === 'string' && sku.toLowerCase().startsWith('premium') ? 'PremiumLRS' : 'StandardLRS'
}

export function showPoint(vault: ResourceRecord, item: ProtectedItem, point: VaultPoint, nowMs: number): Shown {
  const { facts } = point
  return {
    id: `${item.id}/recoveryPoints/${point.name}`,
    name: point.name,
    type: POINT_TYPE,
    properties: {
      objectType: 'IaasVMRecoveryPoint',
      recoveryPointType: LEVELS[point.consistency],
      recoveryPointTime: isoTime(point.takenMs),
      recoveryPointAdditionalInfo: ((facts['notes'] ?? []) as readonly string[]).join(' '),
      sourceVMStorageType: storageType(facts['sku']),
      isSourceVMEncrypted: false,
      isInstantIlrSessionActive: hasFileSession(point, nowMs),
      isManagedVirtualMachine: true,
      ...(facts['vmSize'] !== undefined && { virtualMachineSize: facts['vmSize'] }),
      originalStorageAccountOption: false,
      ...(facts['osType'] !== undefined && { osType: facts['osType'] }),
      zones: [],
      recoveryPointTierDetails: tiersOf(vault, point, nowMs),
      recoveryPointMoveReadinessInfo: {
        ArchivedRP: { isReadyForMove: false, additionalInfo: 'There is no archive tier here.' },
      },
      recoveryPointDiskConfiguration: diskConfiguration(point),
      recoveryPointProperties: {
        ...expiryOf(point),
        ruleName: ruleOf(point),
        isSoftDeleted: point.softDeletedMs !== undefined,
      },
      holdfast: {
        pointId: point.pointId,
        keptBy: point.keptBy,
        isOnDemand: point.isOnDemand,
        sizeBytes: point.sizeBytes,
        storedBytes: point.storedBytes,
        mode: facts['mode'],
        ...(Array.isArray(facts['reasons']) && { consistencyReasons: facts['reasons'] }),
        ...(facts['group'] !== undefined && { group: facts['group'] }),
        ...(point.slotMs !== undefined && { slot: isoTime(point.slotMs) }),
        ...(point.mirroredMs !== undefined && { mirrored: isoTime(point.mirroredMs) }),
      },
    },
  }
}
