/** Vaults as records: what stands behind the rows of `Microsoft.RecoveryServices/vaults`, of deleted ones, and of policies. */
import {
  type Catalog,
  type CatalogTransaction,
  findResource,
  listResources,
  type ResourceRecord,
  type VaultPoint,
} from '#catalog'
import type { BackupPolicy, GfsPoint, GfsRule, VaultSettings } from '#domain'
import { JobsError } from '../errors.ts'

export const VAULT_TYPE = 'Microsoft.RecoveryServices/vaults'
export const DELETED_VAULT_TYPE = 'Microsoft.RecoveryServices/locations/deletedVaults'
export const POLICY_TYPE = 'Microsoft.RecoveryServices/vaults/backupPolicies'

export type VaultBacking = Readonly<{
  /** What its folder and its key file are named by; never changes, and is never given again. */
  uid: string
  region: string
  /** Where its repository lies: a folder or an s3:// URL. */
  location: string
  /** Undefined while it is being made. */
  repositoryId?: string
  /** A copy that is kept in another region (GRS): the same packs, the same log, the same key. */
  mirror?: Readonly<{ region: string; location: string }>
  settings: VaultSettings
  /** An item was protected in it once (the catalog marks it): its redundancy is fixed. */
  hadItems?: boolean
  /** Of a deleted one: where it was, and until when it is kept. */
  deleted?: Readonly<{ vaultId: string; name: string; atMs: number; purgeAtMs: number }>
}>

export type PolicyBacking = Readonly<{ policy: BackupPolicy }>

export function vaultBackingOf(row: ResourceRecord): VaultBacking {
  return row.backing as VaultBacking
}

/** What a vault promises. */
export function vaultSettingsOf(row: ResourceRecord): VaultSettings {
  return vaultBackingOf(row).settings
}

export function policyOf(row: ResourceRecord): BackupPolicy {
  return (row.backing as PolicyBacking).policy
}

/** A vault, or a deleted one that is still kept. @throws JobsError `vault_not_there` */
export async function vaultRow(from: Catalog | CatalogTransaction, vaultId: string): Promise<ResourceRecord> {
  const row = await findResource(from, vaultId)
  if (row !== undefined && (row.type === VAULT_TYPE || row.type === DELETED_VAULT_TYPE)) return row
  throw new JobsError('vault_not_there', `There is no vault ${vaultId}.`, { facts: { vault: vaultId } })
}

/** The policy that an item is protected by. */
export async function findPolicy(
  from: Catalog | CatalogTransaction,
  policyId: string,
): Promise<BackupPolicy | undefined> {
  const row = await findResource(from, policyId)
  return row?.type === POLICY_TYPE ? policyOf(row) : undefined
}

export async function listDeletedVaults(from: Catalog | CatalogTransaction): Promise<ResourceRecord[]> {
  return listResources(from, { type: DELETED_VAULT_TYPE })
}

/** Whether it is kept for ever, protection having been stopped. */
export function isRetained({ keptBy }: Pick<VaultPoint, 'keptBy'>): boolean {
  return keptBy.includes('Retained' satisfies GfsRule)
}

/** A recovery point as retention looks at it. One that was deleted by name says so in its facts: `deletedByUser`. */
export function gfsPointOf(point: VaultPoint): GfsPoint {
  const { name, takenMs, sequence, slotMs, isOnDemand, expiresMs, keptUntilMs, softDeletedMs, purgeAtMs } = point
  return {
    id: name,
    takenMs,
    sequence,
    slotMs,
    isOnDemand,
    expiresMs,
    promisedUntilMs: keptUntilMs,
    isRetained: isRetained(point),
    ...(softDeletedMs !== undefined && {
      softDeleted: { purgeAtMs: purgeAtMs ?? softDeletedMs, byUser: point.facts['deletedByUser'] === true },
    }),
  }
}
