/**
 * Azure's built-in roles that Holdfast knows, by their real ids. Source: Azure "Built-in roles" reference; actions of
 * providers that do not exist here are left out. `notActions` take away from the same role's `actions` only.
 */

export type RoleDefinition = Readonly<{
  id: string
  name: string
  description: string
  actions: readonly string[]
  notActions: readonly string[]
  dataActions: readonly string[]
  notDataActions: readonly string[]
}>

type Permissions = Readonly<{
  actions: readonly string[]
  notActions?: readonly string[]
  dataActions?: readonly string[]
}>

function role(id: string, name: string, description: string, permissions: Permissions): RoleDefinition {
  return { id, name, description, notActions: [], dataActions: [], notDataActions: [], ...permissions }
}

/** What nearly every Azure role holds besides its own subject. */
const COMMON = [
  'Microsoft.Authorization/*/read',
  'Microsoft.Resources/deployments/*',
  'Microsoft.Resources/subscriptions/resourceGroups/read',
]
const RECOVERY = 'Microsoft.RecoveryServices'
const BACKUP_OPERATIONS = [
  `${RECOVERY}/Vaults/backupFabrics/protectionContainers/protectedItems/*`,
  `${RECOVERY}/Vaults/backupFabrics/operationResults/read`,
  `${RECOVERY}/Vaults/backupFabrics/refreshContainers/action`,
  `${RECOVERY}/Vaults/backupJobs/*`,
  `${RECOVERY}/Vaults/backupOperations/read`,
  `${RECOVERY}/Vaults/backupOperationResults/read`,
  `${RECOVERY}/Vaults/*/read`,
  `${RECOVERY}/Vaults/read`,
  `${RECOVERY}/locations/*`,
]

export const OWNER_ROLE = '8e3af657-a8ff-443c-a75c-2fe8c4bcb635'

export const BUILT_IN_ROLES: readonly RoleDefinition[] = [
  role(OWNER_ROLE, 'Owner', 'Grants full access to manage all resources, including the ability to assign roles.', {
    actions: ['*'],
  }),
  role(
    'b24988ac-6180-42a0-ab88-20f7382dd24c',
    'Contributor',
    'Grants full access to manage all resources, but not to assign roles.',
    {
      actions: ['*'],
      notActions: [
        'Microsoft.Authorization/*/Delete',
        'Microsoft.Authorization/*/Write',
        'Microsoft.Authorization/elevateAccess/Action',
      ],
    },
  ),
  role('acdd72a7-3385-48ef-bd42-f606fba81ae7', 'Reader', 'View all resources, but make no changes.', {
    actions: ['*/read'],
  }),
  role(
    '18d7d88d-d35e-4fb5-a5c3-7773c20a72d9',
    'User Access Administrator',
    'Lets you manage who has access to resources.',
    {
      actions: ['*/read', 'Microsoft.Authorization/*'],
    },
  ),
  role(
    '9980e02c-c2be-4d73-94e8-173b1dc7cf3c',
    'Virtual Machine Contributor',
    'Create and manage virtual machines and their disks.',
    {
      actions: [
        ...COMMON,
        'Microsoft.Compute/availabilitySets/*',
        'Microsoft.Compute/locations/*',
        'Microsoft.Compute/virtualMachines/*',
        'Microsoft.Compute/disks/read',
        'Microsoft.Compute/disks/write',
        'Microsoft.Compute/disks/delete',
        'Microsoft.Compute/images/read',
        'Microsoft.Compute/snapshots/read',
        'Microsoft.Network/networkInterfaces/*',
        'Microsoft.Network/networkSecurityGroups/join/action',
        'Microsoft.Network/networkSecurityGroups/read',
        'Microsoft.Network/publicIPAddresses/join/action',
        'Microsoft.Network/publicIPAddresses/read',
        'Microsoft.Network/virtualNetworks/read',
        'Microsoft.Network/virtualNetworks/subnets/join/action',
        'Microsoft.Network/locations/*',
        `${RECOVERY}/locations/*`,
        `${RECOVERY}/Vaults/backupFabrics/protectionContainers/protectedItems/*/read`,
        `${RECOVERY}/Vaults/backupFabrics/protectionContainers/protectedItems/read`,
        `${RECOVERY}/Vaults/backupFabrics/protectionContainers/protectedItems/write`,
        `${RECOVERY}/Vaults/backupPolicies/read`,
        `${RECOVERY}/Vaults/backupPolicies/write`,
        `${RECOVERY}/Vaults/read`,
        `${RECOVERY}/Vaults/usages/read`,
        `${RECOVERY}/Vaults/write`,
        'Microsoft.Storage/storageAccounts/listKeys/action',
        'Microsoft.Storage/storageAccounts/read',
      ],
    },
  ),
  role(
    '7efff54f-a5b4-42b5-a1c5-5411624893ce',
    'Disk Snapshot Contributor',
    'Provides permission to manage disk snapshots.',
    {
      actions: [
        ...COMMON,
        'Microsoft.Compute/snapshots/delete',
        'Microsoft.Compute/snapshots/write',
        'Microsoft.Compute/snapshots/read',
        'Microsoft.Compute/snapshots/beginGetAccess/action',
        'Microsoft.Compute/snapshots/endGetAccess/action',
        'Microsoft.Compute/disks/beginGetAccess/action',
        'Microsoft.Compute/disks/read',
        'Microsoft.Compute/locations/*/read',
        'Microsoft.Storage/storageAccounts/listkeys/action',
        'Microsoft.Storage/storageAccounts/write',
        'Microsoft.Storage/storageAccounts/read',
        'Microsoft.Storage/storageAccounts/delete',
      ],
    },
  ),
  role('3e5e47e6-65f7-47ef-90b5-e5dd4d455f24', 'Disk Backup Reader', 'Provides permission to read disks for backup.', {
    actions: [...COMMON, 'Microsoft.Compute/disks/read', 'Microsoft.Compute/disks/beginGetAccess/action'],
  }),
  role('b50d9833-a0cb-478e-945f-707fcc997c13', 'Disk Restore Operator', 'Provides permission to restore disks.', {
    actions: [
      ...COMMON,
      'Microsoft.Compute/disks/write',
      'Microsoft.Compute/disks/read',
      'Microsoft.Compute/locations/*/read',
    ],
  }),
  role(
    '4d97b98b-1d4f-4787-a291-c67834d212e7',
    'Network Contributor',
    'Lets you manage networks, but not access to them.',
    {
      actions: [...COMMON, 'Microsoft.Network/*'],
    },
  ),
  role('17d1049b-9a84-46fb-8f53-869881c3d3ab', 'Storage Account Contributor', 'Lets you manage storage accounts.', {
    actions: [...COMMON, 'Microsoft.Storage/storageAccounts/*'],
  }),
  role('ba92f5b4-2d11-453d-a403-e96b0029c9fe', 'Storage Blob Data Contributor', 'Read, write and delete blobs.', {
    actions: ['Microsoft.Storage/storageAccounts/blobServices/containers/*'],
    dataActions: ['Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*'],
  }),
  role(
    '5e467623-bb1f-42f4-a55d-6e525e11384b',
    'Backup Contributor',
    'Lets you manage backup, but not delete vaults or give access to others.',
    {
      actions: [
        ...COMMON,
        ...BACKUP_OPERATIONS,
        `${RECOVERY}/Vaults/*`,
        'Microsoft.Compute/virtualMachines/read',
        'Microsoft.Network/virtualNetworks/read',
        'Microsoft.Storage/storageAccounts/read',
        'Microsoft.Resources/subscriptions/resourceGroups/read',
      ],
      notActions: [`${RECOVERY}/Vaults/delete`],
    },
  ),
  role(
    '00c29273-979b-4161-815c-10b084fb9324',
    'Backup Operator',
    'Lets you run backups and restores, but not remove backups or make vaults.',
    {
      actions: [
        ...COMMON,
        ...BACKUP_OPERATIONS,
        'Microsoft.Compute/virtualMachines/read',
        'Microsoft.Storage/storageAccounts/read',
      ],
      notActions: [`${RECOVERY}/Vaults/backupFabrics/protectionContainers/protectedItems/delete`],
    },
  ),
  role('a795c7a0-d4a2-40c1-ae25-d81f01202912', 'Backup Reader', 'Can view backups, but make no changes.', {
    actions: [
      ...COMMON.slice(0, 1),
      `${RECOVERY}/Vaults/read`,
      `${RECOVERY}/Vaults/*/read`,
      `${RECOVERY}/locations/*/read`,
    ],
  }),
  role(
    '6670b86e-a3f7-4917-ac9b-5d6ab1be4567',
    'Site Recovery Contributor',
    'Lets you manage Site Recovery, except creating vaults and assigning roles.',
    {
      actions: [
        ...COMMON,
        `${RECOVERY}/locations/*/read`,
        `${RECOVERY}/Vaults/read`,
        `${RECOVERY}/Vaults/*/read`,
        `${RECOVERY}/Vaults/replication*/*`,
        `${RECOVERY}/vaults/replicationFabrics/*`,
        'Microsoft.Network/virtualNetworks/read',
        'Microsoft.Storage/storageAccounts/read',
      ],
    },
  ),
  role(
    '494ae006-db33-4328-bf46-533a6560a3ca',
    'Site Recovery Operator',
    'Lets you fail over and fail back, but not change what is protected.',
    {
      actions: [
        ...COMMON,
        `${RECOVERY}/locations/*/read`,
        `${RECOVERY}/Vaults/read`,
        `${RECOVERY}/Vaults/*/read`,
        `${RECOVERY}/Vaults/replication*/*/action`,
      ],
    },
  ),
  role(
    'dbaa88c4-0c30-4179-9fb3-46319faa6149',
    'Site Recovery Reader',
    'Lets you view Site Recovery, but make no changes.',
    {
      actions: [
        ...COMMON.slice(0, 1),
        `${RECOVERY}/locations/*/read`,
        `${RECOVERY}/Vaults/read`,
        `${RECOVERY}/Vaults/*/read`,
      ],
    },
  ),
]

/** @param id a role's GUID or the id of its definition at any scope */
export function findRole(id: string): RoleDefinition | undefined {
  const guid = id.slice(id.lastIndexOf('/') + 1).toLowerCase()
  return BUILT_IN_ROLES.find((role) => role.id === guid)
}
