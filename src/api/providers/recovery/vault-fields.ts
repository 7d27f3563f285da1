/** The fields of vaults and of their configuration: what the check and docs/api/vaults.md are made from. */
import type { FieldTable } from '../../arm/field-table.ts'

const P = 'properties.'
const readOnly = (...paths: readonly string[]): FieldTable => paths.map((path) => ({ path, use: 'read-only' }))
const refused = (note: string, ...paths: readonly string[]): FieldTable =>
  paths.map((path) => ({ path, use: 'refused', note }))

const SOFT_DELETE = `${P}securitySettings.softDeleteSettings`
const IMMUTABILITY = `${P}securitySettings.immutabilitySettings`

export const VAULT_FIELDS: FieldTable = [
  ...readOnly('id', 'name', 'type', 'etag', 'systemData'),
  { path: 'location', use: 'honoured', note: 'a region of this server that has a store; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  { path: 'sku.name', use: 'stored', only: ['Standard', 'RS0'] },
  { path: 'sku.tier', use: 'stored', only: ['Standard'] },
  {
    path: 'identity.type',
    use: 'refused',
    only: ['None'],
    note: 'A vault needs no identity: its key is a file of the server.',
  },
  ...readOnly('identity.principalId', 'identity.tenantId'),
  { path: `${P}publicNetworkAccess`, use: 'stored', only: ['Enabled', 'Disabled'] },
  {
    path: `${P}monitoringSettings`,
    use: 'stored',
    note: 'alerts are raised, and a webhook is called where one is set',
  },
  { path: `${P}restoreSettings`, use: 'stored' },
  { path: `${P}costManagementSettings`, use: 'stored' },
  {
    path: `${P}redundancySettings.standardTierStorageRedundancy`,
    use: 'honoured',
    only: ['LocallyRedundant', 'GeoRedundant', 'ZoneRedundant'],
    note: 'default GeoRedundant where the region is paired, else LocallyRedundant; fixed once an item was protected',
  },
  {
    path: `${P}redundancySettings.crossRegionRestore`,
    use: 'honoured',
    only: ['Enabled', 'Disabled'],
    note: 'of a GeoRedundant vault; never turned off',
  },
  {
    path: `${SOFT_DELETE}.softDeleteState`,
    use: 'honoured',
    only: ['Enabled', 'Disabled', 'AlwaysON'],
    note: 'AlwaysON is for good; Disabled only from an api-version before 2024-09-30-preview',
  },
  { path: `${SOFT_DELETE}.softDeleteRetentionPeriodInDays`, use: 'honoured', note: '14 to 180' },
  { path: `${SOFT_DELETE}.enhancedSecurityState`, use: 'read-only' },
  {
    path: `${IMMUTABILITY}.state`,
    use: 'honoured',
    only: ['Disabled', 'Unlocked', 'Locked'],
    note: 'Locked is for good',
  },
  { path: `${IMMUTABILITY}.configuration.type`, use: 'honoured', only: ['AsPerPolicy', 'TimeBased'] },
  {
    path: `${IMMUTABILITY}.configuration.durationInDays`,
    use: 'honoured',
    note: 'of TimeBased: how long each point is kept at least',
  },
  {
    path: `${P}securitySettings.sourceScanConfiguration.state`,
    use: 'refused',
    only: ['Disabled'],
    note: 'Points are not scanned.',
  },
  ...readOnly(`${P}securitySettings.sourceScanConfiguration.sourceScanIdentity`),
  ...readOnly(`${P}securitySettings.multiUserAuthorization`),
  ...refused('Chunks are sealed with the vault’s own key, a file of the server.', `${P}encryption`),
  ...refused('There are no resource guards.', `${P}resourceGuardOperationRequests`),
  ...refused('', `${P}regionOfChoiceSettings`),
  ...readOnly(
    ...['provisioningState', 'upgradeDetails', 'privateEndpointConnections', 'privateEndpointStateForBackup'].map(
      (n) => P + n,
    ),
    ...['privateEndpointStateForSiteRecovery', 'moveDetails', 'moveState', 'backupStorageVersion'].map((n) => P + n),
    ...['secureScore', 'bcdrSecurityLevel'].map((n) => P + n),
  ),
]

export const VAULT_CONFIG_FIELDS: FieldTable = [
  ...readOnly('id', 'name', 'type', 'location', 'tags', 'eTag'),
  {
    path: `${P}softDeleteFeatureState`,
    use: 'honoured',
    only: ['Enabled', 'Disabled', 'AlwaysON'],
    note: 'as softDeleteState of the vault',
  },
  { path: `${P}softDeleteRetentionPeriodInDays`, use: 'honoured', note: '14 to 180' },
  ...readOnly(`${P}enhancedSecurityState`, `${P}isSoftDeleteFeatureStateEditable`),
  ...readOnly(`${P}storageModelType`, `${P}storageType`, `${P}storageTypeState`),
  ...refused('There are no resource guards.', `${P}resourceGuardOperationRequests`),
]

export const STORAGE_CONFIG_FIELDS: FieldTable = [
  ...readOnly('id', 'name', 'type', 'location', 'tags', 'eTag'),
  {
    path: `${P}storageModelType`,
    use: 'honoured',
    only: ['LocallyRedundant', 'GeoRedundant', 'ZoneRedundant'],
    note: 'fixed once an item was protected',
  },
  { path: `${P}storageType`, use: 'honoured', note: 'the same; storageModelType goes before it' },
  { path: `${P}crossRegionRestoreFlag`, use: 'honoured', note: 'never turned off' },
  ...readOnly(`${P}storageTypeState`),
  {
    path: `${P}dedupState`,
    use: 'stored',
    only: ['Disabled', 'Enabled', 'Invalid'],
    note: 'content is always stored once',
  },
  { path: `${P}xcoolState`, use: 'stored', only: ['Disabled', 'Invalid'] },
]
