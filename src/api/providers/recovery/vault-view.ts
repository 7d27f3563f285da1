/** A vault as the API shows it. */
import type { ResourceRecord } from '#catalog'
import type { VaultSettings } from '#domain'
import { propertiesOf, vaultBackingOf } from '#jobs'
import type { ResourceView } from '../../arm/resource-view.ts'

const DISABLED = 'Disabled'
const enabled = (flag: boolean): string => (flag ? 'Enabled' : DISABLED)

/** How well the vault is guarded against its own administrators, in Azure's words. */
function secureScore({ softDelete, immutability }: VaultSettings): string {
  if (softDelete.state === DISABLED) return 'None'
  if (immutability.state === DISABLED) return softDelete.state === 'AlwaysON' ? 'Adequate' : 'Minimum'
  return softDelete.state === 'AlwaysON' && immutability.state === 'Locked' ? 'Maximum' : 'Adequate'
}

function bcdrLevel({ redundancy, crossRegionRestore }: VaultSettings, score: string): string {
  if (redundancy !== 'GeoRedundant') return score === 'None' ? 'Poor' : 'Fair'
  return crossRegionRestore && score === 'Maximum' ? 'Excellent' : 'Good'
}

export function showVault(record: ResourceRecord): ResourceView {
  const { id, name, type, location, tags, state, etag } = record
  const { settings, hadItems } = vaultBackingOf(record)
  const { softDelete, immutability, redundancy, crossRegionRestore } = settings
  const configuration =
    immutability.days === undefined ? { type: 'AsPerPolicy' } : { type: 'TimeBased', durationInDays: immutability.days }
  const score = secureScore(settings)
  return {
    id,
    name,
    type,
    etag,
    location,
    tags,
    sku: { name: 'RS0', tier: 'Standard' },
    properties: {
      publicNetworkAccess: 'Enabled',
      restoreSettings: { crossSubscriptionRestoreSettings: { crossSubscriptionRestoreState: 'Enabled' } },
      ...propertiesOf(record),
      provisioningState: state,
      privateEndpointStateForBackup: 'None',
      privateEndpointStateForSiteRecovery: 'None',
      backupStorageVersion: hadItems === true ? 'V2' : 'Unassigned',
      redundancySettings: {
        standardTierStorageRedundancy: redundancy,
        crossRegionRestore: enabled(crossRegionRestore),
      },
      securitySettings: {
        softDeleteSettings: {
          softDeleteState: softDelete.state,
          softDeleteRetentionPeriodInDays: softDelete.days,
          enhancedSecurityState: softDelete.state === 'AlwaysON' ? 'AlwaysON' : 'Enabled',
        },
        immutabilitySettings: {
          state: immutability.state,
          ...(immutability.state !== DISABLED && { configuration }),
        },
        multiUserAuthorization: DISABLED,
      },
      secureScore: score,
      bcdrSecurityLevel: bcdrLevel(settings, score),
    },
  }
}
